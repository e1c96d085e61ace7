//! An adapter trained on the examples, on top of what the pool gives where that helps.

use crayon_adapters::{Form, Lora, blend};
use crayon_train::pool::{Own, TrainOptions};

use crate::learn::{Learned, Recipe, Work, learn};
use crate::{CustomizeError, Note};

/// Times the examples are read at most.
const ROUNDS: usize = 12;

pub(crate) fn train(
    work: &mut Work<'_, '_, '_>,
    below: Option<&Lora>,
) -> Result<Result<Learned, Note>, CustomizeError> {
    let env = |name: &str, other: f64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(other);
    let targets = match std::env::var("LT").as_deref() {
        Ok("all") => crayon_model::Projection::ALL.to_vec(),
        Ok("qvo") => {
            vec![crayon_model::Projection::Q, crayon_model::Projection::V, crayon_model::Projection::O]
        }
        Ok("mlp") => vec![crayon_model::Projection::Up, crayon_model::Projection::Down],
        Ok("qvd") => {
            vec![crayon_model::Projection::Q, crayon_model::Projection::V, crayon_model::Projection::Down]
        }
        _ => TrainOptions::default().targets,
    };
    let options = TrainOptions {
        rate: env("LR", 3e-3),
        batch: env("LB", 4.0) as usize,
        rank: env("LK", 8.0) as usize,
        targets,
        seed: work.seed,
        ..TrainOptions::default()
    };
    let (spec, threads) = (work.decoder.spec(), work.engine.pool());
    let lora = |own: &Own<'_>| {
        let own = own.lora();
        Ok(match below {
            Some(below) => blend(&[(below, 1.0), (&own, 1.0)], Form::Exact, threads)?,
            None => own,
        })
    };
    let recipe = Recipe {
        make: &|| Own::new(spec, &options, below),
        options: options.clone(),
        rounds: env("LE", ROUNDS as f64) as usize,
        lora: &lora,
        weights: &|_| None,
    };
    learn(work, &recipe)
}
