//! What it costs to train an adapter on a person's examples.

use std::ops::ControlFlow;
use std::time::Instant;

use crayon_engine::adapters::Sample;
use crayon_engine::{EngineError, Settings};
use crayon_formats::spec::Spec;
use crayon_kernels::{Mode, limits};
use crayon_model::Projection;
use crayon_train::frozen::FrozenDecoder;
use crayon_train::pool::{Learner, Own, TrainOptions};
use serde::Serialize;

use super::memory::{forget_peak, peak_mb};
use super::{Subject, open, prompt_ids};
use crate::{EvalError, Progress};

/// What is learned, and how often.
#[derive(Clone, Debug)]
pub struct TrainBenchOptions {
    /// Examples, made up.
    pub examples: usize,
    /// Tokens of each.
    pub tokens: usize,
    /// Of them so many are the answer.
    pub answer: usize,
    /// Of them so many at the start are the same in all.
    pub shared: usize,
    /// Times the examples are read.
    pub rounds: usize,
    /// Examples of a step.
    pub batch: usize,
    /// Rank of the adapter, on every linear layer.
    pub rank: usize,
}

/// The time it took, and what the machine could do at most.
#[derive(Clone, Debug, Serialize)]
pub struct TrainBench {
    /// The model.
    pub model: String,
    /// Threads.
    pub threads: usize,
    /// Steps made.
    pub steps: usize,
    /// Seconds to make the transposed weights.
    pub open_seconds: f64,
    /// Seconds of all steps.
    pub seconds: f64,
    /// Tokens of examples read, a second.
    pub tok_s: f64,
    /// Operations with the model's weights, both ways, 10^9 a second. Shared tokens count once a step.
    pub gops: f64,
    /// What the machine does in f32 and in 8-bit integers at most.
    pub limits: [f64; 2],
    /// Share of the limit that holds here: in exact mode f32's.
    pub share: f64,
    /// Loss of the first and of the last step, nats a token of the answers.
    pub loss: [f64; 2],
    /// Bytes of the model's weights.
    pub weight_bytes: usize,
    /// Most memory resident at once in 10^6 bytes, the model's mapped file among it.
    pub peak_rss_mb: Option<f64>,
}

/// Trains an adapter on made-up examples.
///
/// # Errors
/// When the model cannot be opened or trained beside, or `progress` stops it.
pub fn train(
    subject: &Subject,
    options: &TrainBenchOptions,
    settings: &Settings,
    progress: &mut Progress<'_>,
) -> Result<TrainBench, EvalError> {
    let opened = open(subject, settings)?;
    let engine = &opened.engine;
    forget_peak();
    let started = Instant::now();
    let decoder = FrozenDecoder::open(engine.checkpoint(), engine.mode(), engine.threads())?;
    let open_seconds = started.elapsed().as_secs_f64();

    let samples = samples(options, engine.spec().vocab);
    let training = TrainOptions {
        batch: options.batch,
        rank: options.rank,
        rate: 1e-3,
        targets: Projection::ALL.to_vec(),
        ..TrainOptions::default()
    };
    let own = Own::new(engine.spec(), &training, None);
    let steps = options.rounds * options.examples.div_ceil(options.batch);
    let mut learner =
        Learner::new(&decoder, samples.iter().collect(), own, &training, steps, engine.threads())?;
    let mut loss = [0.0; 2];
    let started = Instant::now();
    for step in 0..steps {
        loss[1] = learner.step()?;
        if step == 0 {
            loss[0] = loss[1];
        }
        if progress(step + 1, steps) == ControlFlow::Break(()) {
            return Err(EngineError::Cancelled.into());
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let peak_rss_mb = peak_mb();
    let limits = limits::measure(engine.threads());
    let read = (steps * options.batch.min(options.examples) * (options.tokens - 1)) as f64;
    let gops = steps as f64 * operations(engine.spec(), options) / seconds / 1e9;
    let limit = if engine.mode() == Mode::Exact { limits.f32_gflops } else { limits.int8_gops };
    Ok(TrainBench {
        model: engine.name().to_owned(),
        threads: engine.threads().count(),
        steps,
        open_seconds,
        seconds,
        tok_s: read / seconds,
        gops,
        limits: [limits.f32_gflops, limits.int8_gops],
        share: gops / limit,
        loss,
        weight_bytes: engine.checkpoint().bytes(),
        peak_rss_mb,
    })
}

/// Operations of a step with the model's weights: two forward and two back for each of them and each row.
fn operations(spec: &Spec, options: &TrainBenchOptions) -> f64 {
    let sizes = Projection::ALL.into_iter().filter(|projection| projection.exists(spec));
    let sizes = sizes.map(|projection| projection.size(spec)).map(|(input, output)| input * output);
    let (block, output) = (spec.layers * sizes.sum::<usize>(), spec.vocab * spec.hidden);
    let batch = options.batch.min(options.examples);
    let rows = options.shared + batch * (options.tokens - 1 - options.shared);
    4.0 * (block as f64 * rows as f64 + output as f64 * (batch * options.answer) as f64)
}

fn samples(options: &TrainBenchOptions, vocab: usize) -> Vec<Sample> {
    let own = options.tokens - options.shared;
    let ids = prompt_ids(options.shared + options.examples * own, vocab);
    let (shared, rest) = ids.split_at(options.shared);
    let sample = |own: &[u32]| {
        let (prompt, answer) = own.split_at(own.len() - options.answer);
        Sample {
            prompt: [shared, prompt].concat(),
            answer: answer.to_vec(),
            query: crayon_adapters::Query::default(),
            task: String::new(),
        }
    };
    rest.chunks_exact(own).map(sample).collect()
}
