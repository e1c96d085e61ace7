//! One adapter, for one person: trained on their examples, or judged by them.

use crayon_adapters::{Lora, Sample};
use crayon_kernels::{Threads, ops};
use crayon_model::Site;

use super::TrainOptions;
use super::learner::{Learner, Own};
use super::network::pass;
use crate::TrainError;
use crate::frozen::{FrozenDecoder, TrainableAdapter, product, transpose};

/// Trains one adapter on `samples` in `steps` steps. Of `options` rank, alpha, targets, batch, rate and seed count.
///
/// # Errors
/// When there are no samples, or one cannot be read.
pub fn fit(
    decoder: &FrozenDecoder,
    samples: &[Sample],
    options: &TrainOptions,
    steps: usize,
    threads: &Threads,
) -> Result<Lora, TrainError> {
    let own = Own::new(decoder.spec(), options, None);
    let mut learner = Learner::new(decoder, samples.iter().collect(), own, options, steps, threads)?;
    while !learner.ended() {
        learner.step()?;
    }
    Ok(learner.learned().lora())
}

/// Mean loss of the answers of `samples` through `lora`, in nats a token.
///
/// # Errors
/// When a sample cannot be read.
pub fn loss(
    decoder: &FrozenDecoder,
    lora: &Lora,
    samples: &[Sample],
    threads: &Threads,
) -> Result<f64, TrainError> {
    let samples: Vec<&Sample> = samples.iter().collect();
    Ok(pass(decoder, &mut Fixed(lora), &samples, false, threads)?.mean())
}

/// An adapter that does not learn. Gradients go through it.
pub(super) struct Fixed<'a>(pub(super) &'a Lora);

impl TrainableAdapter for Fixed<'_> {
    fn forward(&mut self, site: Site, x: &[f32], rows: usize, y: &mut [f32], threads: &Threads) {
        let Some(pair) = self.0.pairs.get(&site) else { return };
        let mut inner = product(threads, x, rows, x.len() / rows, &pair.a, pair.rank);
        ops::scale(&mut inner, pair.scale);
        ops::add(y, &product(threads, &inner, rows, pair.rank, &pair.b, y.len() / rows));
    }

    fn backward(
        &mut self,
        site: Site,
        x: &[f32],
        gradient: &[f32],
        rows: usize,
        x_gradient: &mut [f32],
        threads: &Threads,
    ) {
        let Some(pair) = self.0.pairs.get(&site) else { return };
        let (input, output) = (x.len() / rows, gradient.len() / rows);
        let b = transpose(&pair.b, output, pair.rank);
        let mut flow = product(threads, gradient, rows, output, &b, pair.rank);
        ops::scale(&mut flow, pair.scale);
        let a = transpose(&pair.a, pair.rank, input);
        ops::add(x_gradient, &product(threads, &flow, rows, pair.rank, &a, input));
    }
}
