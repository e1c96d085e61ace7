//! Trains a pool: keys by k-means over the queries of the data, then all adapters together beside the frozen model.
//!
//! `W(x) = W0 + sum of alpha_n(x) * (alpha / r) * B_n A_n`, where `alpha_n(x)` is the weight that blending would give adapter
//! `n` for a few examples of the task of `x` (`episodes`); the loss is the cross-entropy of the answer's tokens, and only A
//! and B learn. In the hard variant an example belongs to its nearest adapter alone. The joint training is our choice; the
//! paper's record leaves it open.

mod device;
mod episodes;
mod optimiser;
mod progress;
mod single;
mod soft;
mod state;
mod tensors;

use std::ops::ControlFlow;
use std::path::Path;

use crayon_errors::{Command, Setting, phrase};
use crayon_formats::Checkpoint;
use crayon_kernels::Threads;
use crayon_model::frozen::{Beside, FrozenDecoder, Loss, Sequence};
use crayon_model::{ModelError, Projection};

use crate::Random;
use crate::keys::centre;
use crate::{AdapterError, Clusters, Keys, Lora, Member, Pool, TEMPERATURE, k_means};
pub use device::Device;
use episodes::Episodes;
use optimiser::Adam;
pub use progress::{Progress, Report};
pub use single::{fit, loss};
use soft::Soft;
use state::State;
use tensors::TensorModel;

/// One example, ready to learn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Token ids up to where the answer begins.
    pub prompt: Vec<u32>,
    /// Token ids of the answer with its end.
    pub answer: Vec<u32>,
    /// Its query as [`QueryEncoder::query`](crate::QueryEncoder::query) gives it, `[width]`.
    pub query: Vec<f32>,
    /// The task it belongs to; adapters are named after the tasks they hold.
    pub task: String,
}

/// How a pool is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Adapters, N.
    pub adapters: usize,
    /// Rank of each.
    pub rank: usize,
    /// LoRA's alpha; the factor on each product is `alpha / rank`.
    pub alpha: f32,
    /// Adapted layers of every block.
    pub targets: Vec<Projection>,
    /// Times the data is read at most.
    pub epochs: usize,
    /// Examples of a step.
    pub batch: usize,
    /// Largest learning rate; it rises over the first twentieth of the steps and falls to 0 at the end.
    pub rate: f64,
    /// Temperature of the softmax over scores.
    pub temperature: f32,
    /// Examples of a task, at most, whose mean query weighs the adapters while one of them is learned; 1: each by itself.
    pub episode: usize,
    /// Every example trains the one nearest adapter only.
    pub hard: bool,
    /// The mean query is subtracted from queries. Without, all of them are nearly alike; for comparison only.
    pub centred: bool,
    /// Everything random follows from it.
    pub seed: u64,
    /// Share of the data held out to see when to stop.
    pub validation: f64,
    /// Epochs without improvement on it after which training ends.
    pub patience: usize,
    /// Steps after which the state is kept, so that a stopped training can go on.
    pub keep_every: usize,
    /// Where it is computed. Losses differ in their last digits between devices.
    pub device: Device,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            adapters: 8,
            rank: 8,
            alpha: 16.0,
            targets: vec![Projection::Q, Projection::V],
            epochs: 10,
            batch: 8,
            rate: 3e-4,
            temperature: TEMPERATURE,
            episode: 16,
            hard: false,
            centred: true,
            seed: 0,
            validation: 0.1,
            patience: 2,
            keep_every: 50,
            device: Device::Cpu,
        }
    }
}

impl Options {
    fn check(&self) -> Result<(), AdapterError> {
        let sane = |value: f64| value.is_finite() && value > 0.0;
        let wrong = if self.adapters == 0 || self.rank == 0 || self.epochs == 0 || self.batch == 0 {
            "adapters, rank, epochs and batch must be 1 or more"
        } else if self.episode == 0 {
            "an episode has 1 example or more"
        } else if self.adapters.saturating_mul(self.rank) > 1 << 16 {
            "adapters times rank must be at most 65536"
        } else if !sane(self.rate) || !sane(f64::from(self.alpha)) || !sane(f64::from(self.temperature)) {
            "learning rate, alpha and temperature must be above 0"
        } else if !(0.0..1.0).contains(&self.validation) {
            "the share for validation must be at least 0 and below 1"
        } else if self.targets.is_empty() {
            "no layers to adapt are named"
        } else {
            return Ok(());
        };
        Err(AdapterError::unusable(
            wrong,
            phrase!["the help of ", Command::TrainPool, " lists the settings with their usual values"],
        ))
    }
}

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
    options: &Options,
    folder: &Path,
    threads: &Threads,
    watch: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<(Pool, Report), AdapterError> {
    options.check()?;
    let (learning, held_out) = split(samples.len(), options)?;
    let (keys, clusters) = find_keys(samples, &learning, options)?;
    let episodes = Episodes::new(&keys, samples, &learning, options);
    let with_shares = |chosen: &[usize], purpose: u64| -> Vec<(&Sample, Vec<f32>)> {
        let mut random = Random::new(options.seed, purpose);
        chosen.iter().map(|&at| (&samples[at], episodes.shares(at, &mut random))).collect()
    };
    let model = Model::open(checkpoint, options.device, threads)?;
    let base = checkpoint.fingerprint();

    let mut soft = Soft::new(&checkpoint.spec, options);
    let key = state::key(&base, samples, options);
    let mut state = State::resume(folder, &key, &mut soft)?.unwrap_or_else(|| State::new(&soft));
    let resumed = state.step;
    let per_epoch = learning.len().div_ceil(options.batch);
    let steps = per_epoch * options.epochs;
    let valid = with_shares(&held_out, 2);
    if state.step == 0 {
        state.first_loss = model.loss(&mut soft, &valid, options.batch)?;
    }

    let mut optimiser = Adam::new(options.rate, steps);
    while state.step < steps && !state.ended {
        let (epoch, within) = (state.step / per_epoch, state.step % per_epoch);
        let order = epoch_order(samples, &learning, options, epoch);
        let chosen = &order[within * options.batch..order.len().min((within + 1) * options.batch)];
        let batch = with_shares(chosen, 1_000_000 + state.step as u64);
        let value = model.pass(&mut soft, &batch, true)?.mean() as f32;
        if !value.is_finite() {
            return Err(AdapterError::unusable(
                format!("the loss is no number any more at step {}", state.step + 1),
                phrase!["lower ", Setting::LearningRate],
            ));
        }
        optimiser.step(&mut soft, &mut state);
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
            return Err(AdapterError::Stopped);
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
    let report = Report {
        examples: learning.len(),
        held_out: held_out.len(),
        steps: state.step,
        resumed,
        loss_before: state.first_loss,
        loss: state.best_loss,
    };
    Ok((pool, report))
}

/// Removes the state of a finished training.
///
/// # Errors
/// When the disk refuses.
pub fn clean(folder: &Path) -> Result<(), AdapterError> {
    state::remove(folder)
}

/// The frozen network.
enum Model<'a> {
    Slices { decoder: Box<FrozenDecoder>, threads: &'a Threads },
    Tensors(Box<TensorModel>),
}

impl<'a> Model<'a> {
    fn open(
        checkpoint: &Checkpoint,
        device: Device,
        threads: &'a Threads,
    ) -> Result<Model<'a>, AdapterError> {
        Ok(match device {
            Device::Cpu => Model::Slices { decoder: Box::new(FrozenDecoder::open(checkpoint)?), threads },
            _ => Model::Tensors(Box::new(TensorModel::open(checkpoint, device)?)),
        })
    }

    /// Loss of the answers' tokens in a batch; with `learn`, `soft` gets the gradients of its mean.
    fn pass(
        &self,
        soft: &mut Soft,
        samples: &[(&Sample, Vec<f32>)],
        learn: bool,
    ) -> Result<Loss, ModelError> {
        let (decoder, threads) = match self {
            Model::Slices { decoder, threads } => (decoder, *threads),
            Model::Tensors(model) => return model.pass(soft, samples, learn),
        };
        // The last token is predicted, not read.
        let rows = |sample: &Sample| sample.prompt.len() + sample.answer.len() - 1;
        soft.set_shares(samples.iter().map(|(sample, shares)| (&shares[..], rows(sample))));
        let samples: Vec<&Sample> = samples.iter().map(|(sample, _)| *sample).collect();
        pass(decoder, soft, &samples, learn, threads)
    }

    /// Mean loss over the tokens of all answers.
    fn loss(&self, soft: &mut Soft, samples: &[(&Sample, Vec<f32>)], size: usize) -> Result<f32, ModelError> {
        let mut all = Loss { sum: 0.0, tokens: 0 };
        for part in samples.chunks(size) {
            let loss = self.pass(soft, part, false)?;
            all = Loss { sum: all.sum + loss.sum, tokens: all.tokens + loss.tokens };
        }
        Ok(all.mean() as f32)
    }
}

/// Loss of the answers of `samples` with `beside` taking part.
fn pass(
    decoder: &FrozenDecoder,
    beside: &mut dyn Beside,
    samples: &[&Sample],
    learn: bool,
    threads: &Threads,
) -> Result<Loss, ModelError> {
    let texts: Vec<Vec<u32>> =
        samples.iter().map(|sample| [&sample.prompt[..], &sample.answer].concat()).collect();
    let sequences: Vec<Sequence<'_>> = samples
        .iter()
        .zip(&texts)
        .map(|(sample, tokens)| Sequence { tokens, answer: sample.prompt.len() })
        .collect();
    decoder.loss(&sequences, beside, learn, threads)
}

/// Which examples train, and which are held out.
fn split(count: usize, options: &Options) -> Result<(Vec<usize>, Vec<usize>), AdapterError> {
    let least = options.adapters + 1;
    if count < least {
        return Err(AdapterError::unusable(
            format!(
                "{count} examples are too few for {} adapters; at least {least} are needed",
                options.adapters
            ),
            phrase!["give more of ", Setting::Data, ", or lower ", Setting::Adapters],
        ));
    }
    let mut order = Random::new(options.seed, 1).order(count);
    let wanted = (count as f64 * options.validation).round() as usize;
    let held_out = order.split_off(count - wanted.clamp(1, count - options.adapters));
    Ok((order, held_out))
}

/// The keys of the training examples, and from how near on an example fits one.
fn find_keys(
    samples: &[Sample],
    learning: &[usize],
    options: &Options,
) -> Result<(Keys, Clusters), AdapterError> {
    /// Share of the training examples that lie farther from every key than the floor allows.
    const OUTSIDE: f64 = 0.01;
    let width = samples.first().map_or(0, |sample| sample.query.len());
    let mut mean = vec![0.0f64; width];
    for &at in learning.iter().filter(|_| options.centred) {
        for (sum, value) in mean.iter_mut().zip(&samples[at].query) {
            *sum += f64::from(*value) / learning.len() as f64;
        }
    }
    let mean: Vec<f32> = mean.into_iter().map(|value| value as f32).collect();
    let points: Vec<Vec<f32>> = learning.iter().map(|&at| centre(&samples[at].query, &mean)).collect();
    let clusters = k_means(&points, options.adapters, options.seed)?;
    let mut keys = Keys { keys: clusters.centroids.clone(), mean, floor: 0.0 };
    let best = |point: &Vec<f32>| keys.scores(point).into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut nearest: Vec<f32> = points.iter().map(best).collect();
    nearest.sort_by(f32::total_cmp);
    keys.floor = nearest[((nearest.len() - 1) as f64 * OUTSIDE) as usize];
    Ok((keys, clusters))
}

/// The examples of an epoch: shuffled, then sorted by length within a few batches, so that the examples of a batch
/// are about equally long and threads end together.
fn epoch_order(samples: &[Sample], learning: &[usize], options: &Options, epoch: usize) -> Vec<usize> {
    /// Batches among which examples are sorted.
    const WINDOW: usize = 8;
    let mut random = Random::new(options.seed, 1000 + epoch as u64);
    let mut order: Vec<usize> = random.order(learning.len()).into_iter().map(|at| learning[at]).collect();
    for window in order.chunks_mut(WINDOW * options.batch) {
        window.sort_by_key(|&at| samples[at].prompt.len() + samples[at].answer.len());
    }
    order
}

/// For each adapter the tasks of most of its examples, and how many it has.
fn names(samples: &[Sample], learning: &[usize], clusters: &Clusters, count: usize) -> Vec<(String, usize)> {
    /// A second task is named when it has at least this share of the first.
    const SECOND: f64 = 0.5;
    let mut names: Vec<(String, usize)> = Vec::with_capacity(count);
    for group in 0..count {
        let own = learning.iter().zip(&clusters.nearest).filter(|(_, nearest)| **nearest == group);
        let mut tasks = std::collections::BTreeMap::<&str, usize>::new();
        own.for_each(|(at, _)| *tasks.entry(&samples[*at].task).or_default() += 1);
        let examples = tasks.values().sum();
        let mut tasks: Vec<(&str, usize)> = tasks.into_iter().collect();
        tasks.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let mut name = tasks.first().map_or("nothing", |(task, _)| task).to_owned();
        if let [(_, first), (second, size), ..] = tasks[..]
            && size as f64 >= SECOND * first as f64
        {
            name = format!("{name}+{second}");
        }
        let same = |name: &str| names.iter().any(|(other, _)| other == name);
        let number = (2..).find(|number| !same(&format!("{name} {number}")));
        if let Some(number) = number.filter(|_| same(&name)) {
            name = format!("{name} {number}");
        }
        names.push((name, examples));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(task: &str, query: [f32; 2]) -> Sample {
        Sample { prompt: vec![1], answer: vec![2], query: query.to_vec(), task: task.to_owned() }
    }

    #[test]
    fn adapters_are_named_after_their_tasks_and_told_apart() {
        let samples = ["a", "a", "b", "a", "c", "c"].map(|task| sample(task, [0.0, 0.0]));
        let clusters = Clusters { centroids: vec![], nearest: vec![0, 0, 0, 1, 2, 2], spread: 0.0 };
        let names = names(&samples, &[0, 1, 2, 3, 4, 5], &clusters, 4);
        let expected = [("a+b", 3), ("a", 1), ("c", 2), ("nothing", 0)];
        assert_eq!(names, expected.map(|(name, count)| (name.to_owned(), count)));
        let twice = Clusters { centroids: vec![], nearest: vec![0, 1, 2, 1, 2, 2], spread: 0.0 };
        let names = super::names(&samples[..2], &[0, 1], &twice, 2);
        assert_eq!((names[0].0.as_str(), names[1].0.as_str()), ("a", "a 2"));
    }

    #[test]
    fn every_example_trains_or_is_held_out_once() {
        let options = Options { adapters: 2, ..Options::default() };
        let (learning, held_out) = split(40, &options).unwrap();
        let mut all = [learning.clone(), held_out.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..40).collect::<Vec<_>>());
        assert_eq!(held_out.len(), 4);
        assert_eq!(split(3, &options).unwrap().1.len(), 1);
        assert!(split(2, &options).is_err());
        let samples = vec![sample("a", [0.0, 0.0]); 40];
        let mut order = epoch_order(&samples, &learning, &options, 3);
        order.sort_unstable();
        let mut expected = learning;
        expected.sort_unstable();
        assert_eq!(order, expected);
    }
}
