//! Trains adapters. A pool: keys by k-means over the queries of the data, then all adapters together beside the frozen model.
//!
//! `W(x) = W0 + sum of alpha_n(x) * (alpha / r) * B_n A_n`, where `alpha_n(x)` is the weight that blending would give adapter
//! `n` for a few examples of the task of `x` (`episodes`); the loss is the cross-entropy of the answer's tokens, and only A
//! and B learn. In the hard variant an example belongs to its nearest adapter alone. The joint training is our choice; the
//! paper's record leaves it open. Or one adapter for one person ([`fit`]).

mod data;
mod episodes;
mod learner;
mod mixture;
mod network;
mod options;
mod single;
mod soft;
mod tensors;

use std::ops::ControlFlow;
use std::path::Path;

use crayon_adapters::{Lora, Member, Pool, Random, Sample};
use crayon_formats::Checkpoint;
use crayon_kernels::Threads;
use sha2::{Digest, Sha256};

use crate::{Progress, Schedule, State, TrainError, TrainSummary};
use data::{epoch_order, find_keys, names, split};
use episodes::Episodes;
pub use learner::{Learner, Learning, Own};
pub use mixture::Mixture;
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
    options.check()?;
    let (learning, held_out) = split(samples.len(), options)?;
    let (keys, clusters) = find_keys(samples, &learning, options)?;
    let episodes = Episodes::new(&keys, samples, &learning, options);
    let with_shares = |chosen: &[usize], purpose: u64| -> Vec<(&Sample, Vec<f32>)> {
        let mut random = Random::new(options.seed, purpose);
        chosen.iter().map(|&at| (&samples[at], episodes.shares(at, &mut random))).collect()
    };
    let model = Model::open(checkpoint, options, threads)?;
    let base = checkpoint.fingerprint();

    let mut soft = Soft::new(&checkpoint.spec, options);
    let key = key(&base, samples, options);
    let mut state = State::resume(folder, &key, &mut soft).unwrap_or_else(|| State::new(&soft));
    let resumed = state.step;
    let per_epoch = learning.len().div_ceil(options.batch);
    let steps = per_epoch * options.epochs;
    let valid = with_shares(&held_out, 2);
    if state.step == 0 {
        state.first_loss = model.loss(&mut soft, &valid, options.batch)?;
    }

    let schedule = Schedule::new(options.rate, steps);
    while state.step < steps && !state.ended {
        let (epoch, within) = (state.step / per_epoch, state.step % per_epoch);
        let order = epoch_order(samples, &learning, options, epoch);
        let chosen = &order[within * options.batch..order.len().min((within + 1) * options.batch)];
        let batch = with_shares(chosen, 1_000_000 + state.step as u64);
        let value = model.pass(&mut soft, &batch, true)?.mean() as f32;
        if !value.is_finite() {
            return Err(TrainError::NotFinite { step: state.step + 1 });
        }
        state.adam.step(&mut soft, schedule.at(state.step), state.step);
        state.step += 1;
        let epoch_ends = state.step.is_multiple_of(per_epoch);
        if epoch_ends {
            let loss = model.loss(&mut soft, &valid, options.batch)?;
            state.judge(loss, &soft, options.patience);
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
            state.keep(folder, &key, &soft)?;
        }
        if stopped {
            return Err(TrainError::Stopped);
        }
    }

    let loras = soft.split(&state.best, options);
    let names = names(samples, &learning, &clusters, options.adapters);
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

/// Tells trainings apart: another model, other data or other options start anew.
fn key(base: &str, samples: &[Sample], options: &TrainOptions) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{base} {options:?} {}", samples.len()));
    for sample in samples {
        hash.update(format!("{:?} {:?} {}", sample.prompt, sample.answer, sample.task));
    }
    hex::encode(hash.finalize())
}
