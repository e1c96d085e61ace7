//! One adapter, for one person: trained on their examples, or judged by them.

use crayon_adapters::{Lora, Sample};
use crayon_kernels::{Threads, ops};
use crayon_model::Site;

use super::TrainOptions;
use super::learner::{Learner, Own};
use super::network::pass;
use crate::TrainError;
use crate::frozen::{FrozenDecoder, TrainableAdapter, back_to_inner, back_to_input, inward, outward};

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
    fn alike(&self) -> bool {
        true
    }

    fn forward(&mut self, site: Site, x: &[f32], rows: usize, y: &mut [f32], threads: &Threads) {
        let Some(pair) = self.0.pairs.get(&site) else { return };
        let mut inner = inward(x, rows, &pair.a, pair.rank, threads);
        ops::scale(&mut inner, pair.scale);
        outward(&inner, rows, &pair.b, y, threads);
    }

    fn backward(
        &mut self,
        site: Site,
        _: &[f32],
        gradient: &[f32],
        rows: usize,
        x_gradient: &mut [f32],
        threads: &Threads,
    ) {
        let Some(pair) = self.0.pairs.get(&site) else { return };
        let mut flow = back_to_inner(gradient, rows, &pair.b, pair.rank, threads);
        ops::scale(&mut flow, pair.scale);
        back_to_input(&flow, rows, &pair.a, x_gradient, threads);
    }
}
