//! The pool's adapters under weights fitted to the examples' answers: N numbers whose softmax learns by gradient, from the blend on.

use crayon_adapters::{Form, Lora, blend};
use crayon_train::pool::{Mixture, TrainOptions, Weighing};

use crate::error::CustomizeError;
use crate::learn::{Learned, Recipe, Work, learn};
use crate::request::Members;

/// Learning rate of the weights' logarithms. `examples/defaults.rs` compares the softmax with free weights and with those of each layer.
const RATE: f64 = 0.2;
/// Times the examples are read at most.
const ROUNDS: usize = 4;
/// Examples of a step.
const BATCH: usize = 8;

/// How weights learn.
pub(crate) fn options(seed: u64) -> TrainOptions {
    TrainOptions { rate: RATE, batch: BATCH, seed, ..TrainOptions::default() }
}

pub(crate) fn fit(work: &mut Work<'_, '_, '_>, members: Members<'_>) -> Result<Learned, CustomizeError> {
    let threads = work.engine.threads();
    let lora = |mixture: &Mixture| {
        let parts: Vec<(&Lora, f32)> = members.loras.iter().copied().zip(mixture.weights(0)).collect();
        Ok(blend(&parts, Form::Exact, threads)?)
    };
    let recipe = Recipe {
        options: options(work.seed),
        rounds: ROUNDS,
        make: &|| Mixture::weighed(members.loras, members.weights, Weighing::Softmax),
        lora: &lora,
        weights: &|mixture| Some(mixture.weights(0)),
    };
    learn(work, &recipe)
}
