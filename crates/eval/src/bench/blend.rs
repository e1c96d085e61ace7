//! What it costs to blend a pool's adapters into one that is ready to answer.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use crayon_adapters::{Form, Keys, Lora, Member, Pool, blend_into};
use crayon_engine::EngineError;
use crayon_formats::spec::{Activation, Biases, Family, Norm, Positions, Spec};
use crayon_kernels::Threads;
use crayon_model::{LowRankPair, Projection, Site};
use serde::Serialize;

use super::Shape;
use crate::{EvalError, Progress};

/// What is blended.
#[derive(Clone, Debug)]
pub struct BlendBenchOptions {
    /// The base's sizes.
    pub shape: Shape,
    /// Adapters in the pool.
    pub adapters: usize,
    /// Rank of each.
    pub rank: usize,
    /// Timed runs.
    pub runs: usize,
    /// Threads.
    pub threads: usize,
}

/// The times.
#[derive(Clone, Debug, Serialize)]
pub struct BlendBench {
    /// The base's shape.
    pub shape: &'static str,
    /// Adapters in the pool.
    pub adapters: usize,
    /// Rank of each.
    pub rank: usize,
    /// Timed runs.
    pub runs: usize,
    /// Threads.
    pub threads: usize,
    /// One row for each form.
    pub forms: Vec<FormBench>,
}

/// One form's times.
#[derive(Clone, Debug, Serialize)]
pub struct FormBench {
    /// Name of the form; `shared` is the exact sum with the adapters left where they are.
    pub form: &'static str,
    /// From scores to the blended adapter in memory that an earlier blend left, the median, in milliseconds.
    pub millis: f64,
    /// The same in memory that is new to the process.
    pub fresh_millis: f64,
    /// Rank of the result.
    pub rank: usize,
    /// Bytes of the result.
    pub bytes: usize,
}

/// The name of the exact sum without copies.
const SHARED: &str = "shared";

/// Weighs the adapters where they are, on a stack that is made once for a pool.
fn shared(
    pool: &Pool,
    scores: &[f32],
    options: &BlendBenchOptions,
    threads: &Threads,
) -> Result<FormBench, EvalError> {
    let stack = Arc::new(pool.stack(&spec(&options.shape), threads).map_err(EngineError::from)?);
    let mut times = Vec::new();
    for _ in 0..options.runs {
        let started = Instant::now();
        let weights = crayon_adapters::weights(scores, pool.temperature);
        let weighted = stack.weigh(&weights).map_err(EngineError::from)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        drop(weighted);
    }
    let millis = median(times);
    let rank = options.adapters * options.rank;
    Ok(FormBench { form: SHARED, millis, fresh_millis: millis, rank, bytes: 4 * options.adapters })
}

/// In milliseconds, to a tenth of a microsecond.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let millis = times.get(times.len() / 2).copied().unwrap_or(0.0);
    (millis * 1e4).round() / 1e4
}

/// The network of a shape, as far as adapters look at it.
fn spec(shape: &Shape) -> Spec {
    Spec {
        family: Family::Qwen2,
        vocab: shape.vocab,
        hidden: shape.hidden,
        layers: shape.layers,
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.hidden / shape.heads,
        intermediate: shape.intermediate,
        context: shape.context,
        norm: Norm::Rms { eps: 1e-6 },
        post_norms: false,
        qk_norm: false,
        activation: Activation::Silu,
        gated: true,
        biases: Biases::default(),
        positions: Positions::Learned,
        attention_scale: 1.0,
        attention_softcap: None,
        logit_softcap: None,
        windows: vec![None; shape.layers],
        embedding_scale: 1.0,
        tied: true,
    }
}

/// Blends made-up adapters of q and v in every layer, `runs` times in each form.
///
/// # Errors
/// When `progress` stops it.
pub fn blend(options: &BlendBenchOptions, progress: &mut Progress<'_>) -> Result<BlendBench, EvalError> {
    let shape = &options.shape;
    let kv = shape.hidden / shape.heads * shape.kv_heads;
    let mut state = 1u32;
    let mut made = |count: usize| -> Vec<f32> {
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        std::iter::repeat_with(next).take(count).collect()
    };
    let mut members = Vec::with_capacity(options.adapters);
    for number in 0..options.adapters {
        let mut pairs = BTreeMap::new();
        for layer in 0..shape.layers {
            for (projection, output) in [(Projection::Q, shape.hidden), (Projection::V, kv)] {
                let (a, b) = (made(options.rank * shape.hidden), made(output * options.rank));
                pairs
                    .insert(Site { layer, projection }, LowRankPair { a, b, rank: options.rank, scale: 2.0 });
            }
        }
        let lora = Lora { pairs, ..Lora::default() };
        members.push(Member { name: number.to_string(), examples: 1, lora });
    }
    let pool = Pool {
        members,
        keys: Keys::default(),
        temperature: crayon_adapters::TEMPERATURE,
        base: String::new(),
        base_name: shape.name.to_owned(),
    };
    let scores = made(options.adapters);
    let threads = Threads::new(options.threads);
    let mut forms = vec![shared(&pool, &scores, options, &threads)?];
    let total = Form::ALL.len() * options.runs;
    for (at, form) in Form::ALL.into_iter().enumerate() {
        let (mut times, mut fresh, mut out) = (Vec::new(), Vec::new(), Lora::default());
        // The first is not timed: it makes what the others write into.
        for run in 0..=options.runs {
            let started = Instant::now();
            let weights = crayon_adapters::weights(&scores, pool.temperature);
            let loras = pool.members.iter().map(|member| &member.lora);
            let parts: Vec<(&Lora, f32)> = loras.zip(weights).collect();
            blend_into(&parts, form, &threads, &mut out).map_err(EngineError::from)?;
            let time = started.elapsed();
            if run == 0 {
                continue;
            }
            times.push(time.as_secs_f64() * 1e3);
            let started = Instant::now();
            let blended = pool.blend(&scores, pool.temperature, form, &threads).map_err(EngineError::from)?;
            fresh.push(started.elapsed().as_secs_f64() * 1e3);
            drop(blended);
            if progress(at * options.runs + run, total) == ControlFlow::Break(()) {
                return Err(EngineError::Cancelled.into());
            }
        }
        let (rank, bytes) = (out.rank(), 4 * out.parameters());
        let (millis, fresh_millis) = (median(times), median(fresh));
        forms.push(FormBench { form: form.name(), millis, fresh_millis, rank, bytes });
    }
    Ok(BlendBench {
        shape: shape.name,
        adapters: options.adapters,
        rank: options.rank,
        runs: options.runs,
        threads: options.threads,
        forms,
    })
}
