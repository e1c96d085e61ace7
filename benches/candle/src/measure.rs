//! One run of either side.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use crayon_engine::{Engine, ModelSource, Settings, peak_rss_bytes};
use crayon_eval::bench::{GenerateOptions, Subject, generate, prompt_ids};
use serde::{Deserialize, Serialize};

use crate::Work;
use crate::rival::Rival;

/// What one process reports.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) prefill_tok_s: f64,
    pub(crate) decode_tok_s: f64,
    pub(crate) load_ms: f64,
    pub(crate) peak_rss_mb: f64,
    pub(crate) weight_bytes: u64,
    pub(crate) kv_bytes: u64,
    /// Some logits after the prompt.
    pub(crate) probe: Vec<f32>,
}

/// Number of logits reported.
const PROBE: usize = 512;

fn probe(logits: &[f32]) -> Vec<f32> {
    logits.iter().step_by((logits.len() / PROBE).max(1)).copied().collect()
}

pub(crate) fn print(measured: &Measured) -> Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(measured)?)?;
    Ok(())
}

/// candle. Threads are rayon's; the driver sets RAYON_NUM_THREADS.
pub(crate) fn candle(file: &Path, work: Work) -> Result<Measured> {
    let started = Instant::now();
    let mut model = Rival::open(file, work.prompt + work.tokens, work.attention)?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let ids = prompt_ids(work.prompt, vocabulary(file)?);
    let mut last = (0.0, 0.0);
    let mut kept = Vec::new();
    // The first round is a short one that brings everything into memory.
    for tokens in [4.min(work.tokens), work.tokens] {
        model.reset();
        let started = Instant::now();
        let logits = model.feed(&ids)?;
        let prefill = started.elapsed().as_secs_f64();
        kept = logits.to_vec1::<f32>()?;
        let mut id = largest(&kept);
        let started = Instant::now();
        for _ in 1..tokens {
            id = largest(&model.feed(&[id])?.to_vec1::<f32>()?);
        }
        last = (work.prompt as f64 / prefill, (tokens - 1) as f64 / started.elapsed().as_secs_f64());
    }
    Ok(Measured {
        prefill_tok_s: last.0,
        decode_tok_s: last.1,
        load_ms,
        peak_rss_mb: peak_rss_bytes().context("the system does not tell the memory used")? as f64 / 1e6,
        weight_bytes: 0,
        kv_bytes: 0,
        probe: probe(&kept),
    })
}

/// crayon, by the same steps through `bench generate`.
pub(crate) fn crayon(file: &Path, work: Work) -> Result<Measured> {
    let settings = Settings { threads: work.threads, ..Settings::default() };
    let source = ModelSource::path(file)?;
    let options = GenerateOptions {
        prompt: work.prompt,
        tokens: work.tokens,
        context: None,
        runs: 1,
        settings: settings.clone(),
    };
    let go_on = &mut |_: usize, _: usize| std::ops::ControlFlow::Continue(());
    let bench = generate(&Subject::Model(source.clone()), &options, go_on)?;
    let engine = Engine::open(&source, &settings)?;
    let ids = prompt_ids(work.prompt, engine.spec().vocab);
    let logits = crayon_eval::logits(&engine, &ids, false)?.logits.remove(0);
    Ok(Measured {
        prefill_tok_s: bench.prefill_tok_s,
        decode_tok_s: bench.decode_tok_s,
        load_ms: bench.load_ms,
        peak_rss_mb: bench.peak_rss_mb.context("the system does not tell the memory used")?,
        weight_bytes: bench.weight_bytes as u64,
        kv_bytes: bench.kv_bytes as u64,
        probe: probe(&logits),
    })
}

fn vocabulary(file: &Path) -> Result<usize> {
    let content = candle_core::quantized::gguf_file::Content::read(&mut std::fs::File::open(file)?)?;
    let info = content.tensor_infos.get("token_embd.weight").context("no embedding")?;
    Ok(info.shape.dims2()?.0)
}

fn largest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, value) in logits.iter().enumerate() {
        if *value > logits[best] {
            best = id;
        }
    }
    best as u32
}

/// How far two probes are apart: root of the mean square difference over that of the first.
pub(crate) fn distance(a: &[f32], b: &[f32]) -> Result<f64> {
    ensure!(a.len() == b.len(), "different vocabularies: {} and {} logits", a.len(), b.len());
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
    let apart = square(&mut a.iter().zip(b).map(|(a, b)| a - b));
    Ok((apart / square(&mut a.iter().copied())).sqrt())
}
