//! What learns from a person's examples, a step at a time, so that whoever waits can look at it and stop it.

use std::path::Path;

use crayon_adapters::{Lora, Random, Sample};
use crayon_formats::spec::Spec;
use crayon_kernels::Threads;
use crayon_model::Site;

use super::network::pass;
use super::single::Fixed;
use super::soft::Part;
use super::{Soft, TrainOptions};
use crate::frozen::{FrozenDecoder, TrainableAdapter};
use crate::{Schedule, State, TrainError, Trainable, Variable};

/// Something that takes part in the network and learns there.
pub trait Learning: TrainableAdapter + Trainable {}

impl<L: TrainableAdapter + Trainable> Learning for L {}

/// A training on a few examples. The same seed gives the same result, on any number of threads.
pub struct Learner<'a, L> {
    decoder: &'a FrozenDecoder,
    samples: Vec<&'a Sample>,
    learned: L,
    state: State,
    schedule: Schedule,
    steps: usize,
    batch: usize,
    seed: u64,
    /// Samples that have not come yet in this round.
    waiting: Vec<usize>,
    threads: &'a Threads,
}

impl<'a, L: Learning> Learner<'a, L> {
    /// `learned` learns from `samples` in `steps` steps. Of `options` batch, rate and seed count.
    ///
    /// # Errors
    /// When there are no samples, or the options cannot be used.
    pub fn new(
        decoder: &'a FrozenDecoder,
        samples: Vec<&'a Sample>,
        learned: L,
        options: &TrainOptions,
        steps: usize,
        threads: &'a Threads,
    ) -> Result<Learner<'a, L>, TrainError> {
        options.check()?;
        if samples.is_empty() {
            let hint = "give at least one".into();
            return Err(TrainError::unusable("there are no examples to learn from", hint));
        }
        Ok(Learner {
            decoder,
            samples,
            state: State::new(&learned),
            learned,
            schedule: Schedule::new(options.rate, steps),
            steps,
            batch: options.batch,
            seed: options.seed,
            waiting: Vec::new(),
            threads,
        })
    }

    /// Steps in all.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Steps done.
    pub fn done(&self) -> usize {
        self.state.step
    }

    /// Whether all steps are done.
    pub fn ended(&self) -> bool {
        self.state.step >= self.steps
    }

    /// Keeps what was learned so far in `folder`, under a `key` of everything that it follows from, for [`resume`](Self::resume).
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep(&self, folder: &Path, key: &str) -> Result<(), TrainError> {
        self.state.keep(folder, key, &self.learned)
    }

    /// Goes on where a training of the same key was kept; says whether there was one. To be called before the first step.
    pub fn resume(&mut self, folder: &Path, key: &str) -> bool {
        let Some(state) = State::resume(folder, key, &mut self.learned) else { return false };
        for step in 0..state.step {
            self.batch(step);
        }
        self.state = state;
        true
    }

    /// One step more. Returns the loss before it, in nats a token of the answers read.
    ///
    /// # Errors
    /// When a sample cannot be read, or the loss is not finite.
    pub fn step(&mut self) -> Result<f64, TrainError> {
        let batch = self.batch(self.state.step);
        let loss = pass(self.decoder, &mut self.learned, &batch, true, self.threads)?.mean();
        if !loss.is_finite() {
            return Err(TrainError::NotFinite { step: self.state.step + 1 });
        }
        let State { step, adam, .. } = &mut self.state;
        adam.step(&mut self.learned, self.schedule.at(*step), *step);
        *step += 1;
        Ok(loss)
    }

    /// The samples of a step: every one comes once before one comes again.
    fn batch(&mut self, step: usize) -> Vec<&'a Sample> {
        let size = self.batch.min(self.samples.len());
        let mut batch = Vec::with_capacity(size);
        while batch.len() < size {
            if self.waiting.is_empty() {
                self.waiting = Random::new(self.seed, 5000 + step as u64).order(self.samples.len());
            }
            batch.extend(self.waiting.pop().map(|at| self.samples[at]));
        }
        batch
    }

    /// What was learned so far.
    pub fn learned(&self) -> &L {
        &self.learned
    }
}

/// An adapter of one's own, on top of one that stays as it is.
pub struct Own<'a> {
    below: Option<&'a Lora>,
    soft: Soft,
    options: TrainOptions,
}

impl<'a> Own<'a> {
    /// Of `options` rank, alpha, targets and seed count.
    pub fn new(spec: &Spec, options: &TrainOptions, below: Option<&'a Lora>) -> Own<'a> {
        let options = TrainOptions { adapters: 1, ..options.clone() };
        Own { below, soft: Soft::new(spec, &options), options }
    }

    /// What was learned, without what is below.
    pub fn lora(&self) -> Lora {
        let pairs = self.soft.split(&self.soft.values(), &self.options).into_iter().next();
        Lora { pairs: pairs.unwrap_or_default(), ..Lora::default() }
    }
}

impl Trainable for Own<'_> {
    fn variables(&self) -> Vec<&Variable> {
        self.soft.variables()
    }

    fn variables_mut(&mut self) -> Vec<&mut Variable> {
        self.soft.variables_mut()
    }
}

impl TrainableAdapter for Own<'_> {
    fn alike(&self) -> bool {
        true
    }

    fn begin(&mut self, rows: usize) {
        self.soft.set_parts(std::iter::once(Part { shares: &[1.0], rows, taught: true }));
    }

    fn forward(&mut self, site: Site, x: &[f32], rows: usize, y: &mut [f32], threads: &Threads) {
        if let Some(below) = self.below {
            Fixed(below).forward(site, x, rows, y, threads);
        }
        self.soft.forward(site, x, rows, y, threads);
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
        if let Some(below) = self.below {
            Fixed(below).backward(site, x, gradient, rows, x_gradient, threads);
        }
        self.soft.backward(site, x, gradient, rows, x_gradient, threads);
    }
}
