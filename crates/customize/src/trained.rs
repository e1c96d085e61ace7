//! An adapter trained on the examples, on top of what the pool gives where that helps.

use crayon_adapters::{Form, Lora, blend};
use crayon_model::Projection;
use crayon_train::pool::{Own, TrainOptions};

use crate::error::CustomizeError;
use crate::learn::{Learned, Recipe, Work, learn};

/// Times the examples are read at most in a network of [`WIDTH`] or narrower; a wider one has learned what it can sooner.
const ROUNDS: usize = 12;
const ROUNDS_WIDE: usize = 8;
/// Learning rate in a network of [`WIDTH`]. With Adam a wider one wants a smaller rate, by as much as it is wider (arXiv 2203.03466).
const RATE: f64 = 5e-3;
const WIDTH: usize = 256;
/// LoRA's alpha in a network of [`WIDTH`]; less in a wider one for the same reason.
const ALPHA: f32 = 16.0;
/// Examples of a step: few, so that a dozen examples make several steps a round.
const BATCH: usize = 2;

/// How an adapter of one's own learns in a network whose rows are `hidden` wide. `examples/defaults.rs` has what it was chosen by.
pub fn training(hidden: usize, seed: u64) -> TrainOptions {
    let narrower = WIDTH as f64 / hidden.max(1) as f64;
    TrainOptions {
        alpha: ALPHA * narrower as f32,
        rate: RATE * narrower,
        batch: BATCH,
        targets: Projection::ALL.to_vec(),
        seed,
        ..TrainOptions::default()
    }
}

pub(crate) fn train(work: &mut Work<'_, '_, '_>, below: Option<&Lora>) -> Result<Learned, CustomizeError> {
    let (spec, threads) = (work.decoder.spec(), work.engine.threads());
    let options = training(spec.hidden, work.seed);
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
        rounds: if spec.hidden <= WIDTH { ROUNDS } else { ROUNDS_WIDE },
        lora: &lora,
        weights: &|_| None,
    };
    learn(work, &recipe)
}
