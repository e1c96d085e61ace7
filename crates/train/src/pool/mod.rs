//! Trains adapters. A pool: keys by k-means over the queries of the data, then keys and adapters together beside the frozen model.
//!
//! `W(x) = W0 + sum of alpha_n(x) * (alpha / r) * B_n A_n`, where `alpha_n(x)` is the weight that blending would give adapter
//! `n` for a few examples of the task of `x` (`episodes`); the loss is the cross-entropy of the answer's tokens, and A, B, the
//! keys and the score of no adapter learn (`gate`). In the hard variant an example belongs to its nearest adapter alone. The
//! joint training is our choice; the paper's record leaves it open. Or one adapter for one person ([`fit`]).

mod data;
mod episodes;
mod gate;
mod learner;
mod mixture;
mod network;
mod options;
mod single;
mod soft;
mod tensors;

use std::ops::ControlFlow;
use std::path::Path;

use crayon_adapters::{AnswerKeys, Lora, Member, Pool, Random, Sample};
use crayon_formats::Checkpoint;
use crayon_kernels::Threads;
use sha2::{Digest, Sha256};

use crate::{Progress, Schedule, State, TrainError, TrainSummary, Trainable, Variable};
use data::{assign, centred, epoch_order, groups, grown, names, split};
use episodes::{Drawn, Episodes};
use gate::Gate;
pub use learner::{Learner, Learning, Own};
pub use mixture::{Mixture, Weighing};
use network::Model;
pub use options::TrainOptions;
pub use single::{fit, loss};
use soft::Soft;

/// Trains a pool for the model in `checkpoint`, called `name`. The state of the training is kept in `folder`, where a stopped
/// one with the same data and options goes on; `watch` is told after every step and may stop it. The same seed gives the same
/// pool, stopped in between or not, on any number of threads.
///
/// # Errors
/// When the options or the data cannot be used, `watch` stops it, or the disk does not take the state.
pub fn train(
    checkpoint: &Checkpoint,
    name: &str,
    samples: &[Sample],
    options: &TrainOptions,
    folder: &Path,
    threads: &Threads,
    watch: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<(Pool, TrainSummary), TrainError> {
    run(&Data { checkpoint, name, samples, from: None }, options, folder, threads, watch)
}

/// As [`train`], from the adapters and keys of `pool` on, which is of this model. Their number, rank and places count, not those of
/// `options`. A pool that did not look at answers learns to.
///
/// # Errors
/// As [`train`], and when the pool's adapters differ in their ranks or places.
pub fn go_on(
    checkpoint: &Checkpoint,
    pool: &Pool,
    samples: &[Sample],
    options: &TrainOptions,
    folder: &Path,
    threads: &Threads,
    watch: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<(Pool, TrainSummary), TrainError> {
    let options = options.clone().like(pool)?;
    let data = Data { checkpoint, name: &pool.base_name, samples, from: Some(pool) };
    run(&data, &options, folder, threads, watch)
}

/// What is trained on, and what from.
struct Data<'a> {
    checkpoint: &'a Checkpoint,
    name: &'a str,
    samples: &'a [Sample],
    from: Option<&'a Pool>,
}

fn run(
    data: &Data<'_>,
    options: &TrainOptions,
    folder: &Path,
    threads: &Threads,
    watch: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<(Pool, TrainSummary), TrainError> {
    let &Data { checkpoint, name, samples, from } = data;
    options.check()?;
    let (learning, held_out) = split(samples.len(), options)?;
    let mut means = centred(samples, &learning, options);
    if let Some(Pool { keys, .. }) = from {
        // What is compared with an earlier pool's keys is centred as that was.
        means.mean.clone_from(&keys.mean);
        let answers = keys.answers.as_ref().map(|answers| AnswerKeys { keys: Vec::new(), ..answers.clone() });
        means.answers = answers.or(means.answers);
    }
    let episodes = Episodes::new(&means, samples, &learning, options);
    let keys = match from {
        Some(pool) => grown(&pool.keys, &means, samples, &learning),
        None => groups(&episodes, &learning, &means, options)?,
    };
    let model = Model::open(checkpoint, options, threads)?;
    let base = checkpoint.fingerprint();

    let (soft, gate) = (Soft::new(&checkpoint.spec, options), Gate::new(keys, options));
    let mut learned = Learned { soft, gate };
    if let Some(pool) = from {
        learned.soft.set(pool);
    }
    let key = key(&base, samples, options, &learned);
    let mut state = State::resume(folder, &key, &mut learned).unwrap_or_else(|| State::new(&learned));
    let resumed = state.step;
    let per_epoch = learning.len().div_ceil(options.batch);
    let steps = per_epoch * options.epochs;
    let mut random = Random::new(options.seed, 2);
    let valid: Vec<Drawn<'_>> = held_out.iter().map(|&at| episodes.draw(at, &mut random)).collect();
    if state.step == 0 {
        state.first_loss = learned.loss(&model, &valid, options.batch)?;
    }

    let schedule = Schedule::new(options.rate, steps);
    while state.step < steps && !state.ended {
        let (epoch, within) = (state.step / per_epoch, state.step % per_epoch);
        let order = epoch_order(samples, &learning, options, epoch);
        let chosen = &order[within * options.batch..order.len().min((within + 1) * options.batch)];
        let mut random = Random::new(options.seed, 1_000_000 + state.step as u64);
        let drawn = chosen.iter().map(|&at| match learned.gate.variables().is_empty() {
            true => episodes.draw(at, &mut random),
            false => episodes.draw_or_exchange(at, &mut random),
        });
        let batch: Vec<Drawn<'_>> = drawn.collect();
        let value = learned.learn(&model, &batch)?;
        if !value.is_finite() {
            return Err(TrainError::NotFinite { step: state.step + 1 });
        }
        state.adam.step(&mut learned, schedule.at(state.step), state.step);
        state.step += 1;
        let epoch_ends = state.step.is_multiple_of(per_epoch);
        if epoch_ends {
            let loss = learned.loss(&model, &valid, options.batch)?;
            state.judge(loss, &learned, options.patience);
        }
        let flow = watch(&Progress {
            step: state.step,
            steps,
            epoch: state.step.div_ceil(per_epoch),
            loss: value,
            validation: epoch_ends.then_some(state.last_loss),
            resumed,
        });
        let stopped = flow.is_break();
        if stopped || epoch_ends || state.step.is_multiple_of(options.keep_every.max(1)) {
            state.keep(folder, &key, &learned)?;
        }
        if stopped {
            return Err(TrainError::Stopped);
        }
    }

    let (adapters, keys) = state.best.split_at(learned.soft.variables().len());
    let loras = learned.soft.split(adapters, options);
    let mut keys = learned.gate.keys(keys);
    let nearest = assign(&mut keys, samples, &learning);
    let names = names(samples, &learning, &nearest, options.adapters);
    let members = loras.into_iter().zip(names).map(|(pairs, (name, examples))| Member {
        name,
        examples,
        lora: Lora { pairs, ..Lora::default() },
    });
    let pool = Pool {
        members: members.collect(),
        keys,
        temperature: options.temperature,
        base,
        base_name: name.to_owned(),
    };
    let summary = TrainSummary {
        examples: learning.len(),
        held_out: held_out.len(),
        steps: state.step,
        resumed,
        loss_before: state.first_loss,
        loss: state.best_loss,
    };
    Ok((pool, summary))
}

/// Everything of a pool that learns.
struct Learned {
    soft: Soft,
    gate: Gate,
}

impl Learned {
    /// Examples with the weights that they have now.
    fn weighed<'d>(&self, drawn: &'d [Drawn<'d>]) -> Vec<(&'d Drawn<'d>, Vec<f32>)> {
        drawn.iter().map(|drawn| (drawn, self.gate.shares(&drawn.query))).collect()
    }

    /// Mean loss of a batch, whose gradient goes into the variables.
    fn learn(&mut self, model: &Model<'_>, drawn: &[Drawn<'_>]) -> Result<f32, TrainError> {
        let batch = self.weighed(drawn);
        let loss = model.pass(&mut self.soft, &batch, true)?.mean() as f32;
        self.gate.backward(drawn.iter().map(|drawn| &drawn.query), self.soft.by_shares());
        Ok(loss)
    }

    /// Mean loss of examples, a few at a time.
    fn loss(&mut self, model: &Model<'_>, drawn: &[Drawn<'_>], size: usize) -> Result<f32, TrainError> {
        let batch = self.weighed(drawn);
        model.loss(&mut self.soft, &batch, size)
    }
}

impl Trainable for Learned {
    fn variables(&self) -> Vec<&Variable> {
        [self.soft.variables(), self.gate.variables()].concat()
    }

    fn variables_mut(&mut self) -> Vec<&mut Variable> {
        let mut all = self.soft.variables_mut();
        all.extend(self.gate.variables_mut());
        all
    }
}

/// Tells trainings apart: another model, other data or other options start anew.
fn key(base: &str, samples: &[Sample], options: &TrainOptions, start: &dyn Trainable) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{base} {options:?} {}", samples.len()));
    for sample in samples {
        hash.update(format!("{:?} {:?} {}", sample.prompt, sample.answer, sample.task));
    }
    for value in start.variables().into_iter().flat_map(|variable| &variable.values) {
        hash.update(value.to_le_bytes());
    }
    hex::encode(hash.finalize())
}
