//! One adapter, for one person: trained on their examples, or judged by them.

use crayon_adapters::{Lora, Random, Sample};
use crayon_kernels::{Threads, ops};
use crayon_model::Site;

use super::network::pass;
use super::{Soft, TrainOptions};
use crate::frozen::{FrozenDecoder, TrainableAdapter, product};
use crate::{Schedule, State, TrainError, Trainable as _};

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
    let options = TrainOptions { adapters: 1, ..options.clone() };
    options.check()?;
    if samples.is_empty() {
        return Err(TrainError::unusable("there are no examples to learn from", "give at least one".into()));
    }
    let mut soft = Soft::new(decoder.spec(), &options);
    let mut state = State::new(&soft);
    let schedule = Schedule::new(options.rate, steps);
    let mut waiting: Vec<usize> = Vec::new();
    while state.step < steps {
        // Every example once before one comes again.
        let mut batch: Vec<&Sample> = Vec::with_capacity(options.batch);
        while batch.len() < options.batch.min(samples.len()) {
            if waiting.is_empty() {
                waiting = Random::new(options.seed, 5000 + state.step as u64).order(samples.len());
            }
            batch.extend(waiting.pop().map(|at| &samples[at]));
        }
        let rows = |sample: &&Sample| sample.prompt.len() + sample.answer.len() - 1;
        soft.set_shares(batch.iter().map(|sample| (&[1.0][..], rows(sample))));
        pass(decoder, &mut soft, &batch, true, threads)?;
        state.adam.step(&mut soft, schedule.at(state.step), state.step);
        state.step += 1;
    }
    let pairs = soft.split(&soft.values(), &options).into_iter().next().unwrap_or_default();
    Ok(Lora { pairs, ..Lora::default() })
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

/// An adapter that does not learn.
struct Fixed<'a>(&'a Lora);

impl TrainableAdapter for Fixed<'_> {
    fn forward(&mut self, site: Site, x: &[f32], rows: usize, y: &mut [f32], threads: &Threads) {
        let Some(pair) = self.0.pairs.get(&site) else { return };
        let mut inner = product(threads, x, rows, x.len() / rows, &pair.a, pair.rank);
        ops::scale(&mut inner, pair.scale);
        ops::add(y, &product(threads, &inner, rows, pair.rank, &pair.b, y.len() / rows));
    }

    /// Nothing asks for gradients: [`loss`] does not learn.
    fn backward(&mut self, _: Site, _: &[f32], _: &[f32], _: usize, _: &mut [f32], _: &Threads) {}
}
