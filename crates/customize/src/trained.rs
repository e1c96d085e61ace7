//! An adapter trained on the examples, on top of what the pool gives where that helps.

use crayon_adapters::{Form, Lora, blend};
use crayon_model::Projection;
use crayon_train::pool::{Own, TrainOptions};

use crate::error::CustomizeError;
use crate::learn::{Learned, Recipe, Work, learn};

/// Times the examples are read at most.
const ROUNDS: usize = 12;
/// Learning rate. A pool's 3e-4 hardly moves in so few steps.
const RATE: f64 = 5e-3;
/// Examples of a step: few, so that a dozen examples make several steps a round.
const BATCH: usize = 4;

/// How an adapter of one's own learns.
pub fn training(seed: u64) -> TrainOptions {
    TrainOptions {
        rate: RATE,
        batch: BATCH,
        targets: Projection::ALL.to_vec(),
        seed,
        ..TrainOptions::default()
    }
}

pub(crate) fn train(work: &mut Work<'_, '_, '_>, below: Option<&Lora>) -> Result<Learned, CustomizeError> {
    let options = training(work.seed);
    let (spec, threads) = (work.decoder.spec(), work.engine.threads());
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
        rounds: ROUNDS,
        lora: &lora,
        weights: &|_| None,
    };
    learn(work, &recipe)
}
