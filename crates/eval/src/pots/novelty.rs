//! Whether novelty from the frequent part of a vocabulary keeps what the whole vocabulary would keep.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crayon_engine::{Engine, EngineError};
use crayon_model::{Scratch, Step, Summed, Want};
use crayon_pot::{KvStorage, Slab};
use serde::Serialize;

use crate::correlation::spearman;
use crate::{EvalError, Progress};

/// Cheap novelty beside the exact one on a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NoveltyCheck {
    /// Tokens compared.
    pub tokens: usize,
    /// Spearman's rank correlation; none where one side is constant.
    pub spearman: Option<f64>,
    /// Of the tokens that the exact novelty keeps of each chunk, the share that the cheap one keeps.
    pub overlap: f64,
    /// Mean of the exact novelty less the cheap one, in nats.
    pub missing_nats: f64,
    /// Seconds for the layers, for exact and for cheap novelty.
    pub layers_s: f64,
    /// See above.
    pub exact_s: f64,
    /// See above.
    pub cheap_s: f64,
}

/// Reads windows of `window` tokens of `ids` and compares the novelty of their tokens; of each `chunk`, a quarter is kept, as at
/// α = 0.5 with half of a pot.
///
/// # Errors
/// When there is less than a window, the network fails, or `progress` stops the measurement.
pub fn novelty(
    engine: &Engine,
    ids: &[u32],
    window: usize,
    chunk: usize,
    progress: &mut Progress<'_>,
) -> Result<NoveltyCheck, EvalError> {
    let (decoder, threads) = (engine.decoder(), engine.threads());
    let windows = ids.chunks_exact(window.max(2));
    let total = windows.len();
    if total == 0 {
        return Err(EvalError::TooShort { found: ids.len() });
    }
    let mut scratch = Scratch::new();
    let mut found: [Vec<f32>; 2] = Default::default();
    let (mut layers, mut spent) = (Duration::ZERO, [Duration::ZERO; 2]);
    for (done, window) in windows.enumerate() {
        let mut memory = Slab::plain(engine.spec(), window.len(), KvStorage::F16);
        let mut read = 0;
        for pass in window[..window.len() - 1].chunks(decoder.pass_rows()) {
            let began = Instant::now();
            let mut step = [Step::new(pass, &mut memory).wanting(Want::Nothing)];
            decoder.forward(threads, &mut step, &mut scratch).map_err(EngineError::from)?;
            layers += began.elapsed();
            let targets = &window[read + 1..read + 1 + pass.len()];
            read += pass.len();
            for (side, summed) in [Summed::All, Summed::Frequent].into_iter().enumerate() {
                let began = Instant::now();
                let mut likely = vec![0.0; targets.len()];
                decoder.log_likelihoods(threads, 0, targets, summed, &mut likely, &mut scratch);
                spent[side] += began.elapsed();
                found[side].extend(likely.iter().map(|value| -value));
            }
        }
        if let ControlFlow::Break(()) = progress(done + 1, total) {
            return Err(EngineError::Cancelled.into());
        }
    }
    let [exact, cheap] = &found;
    let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
    let missing = exact.iter().zip(cheap).map(|(exact, cheap)| f64::from(exact - cheap)).sum::<f64>();
    Ok(NoveltyCheck {
        tokens: exact.len(),
        spearman: spearman(&wide(exact), &wide(cheap)),
        overlap: overlap(exact, cheap, chunk.max(4)),
        missing_nats: missing / exact.len() as f64,
        layers_s: layers.as_secs_f64(),
        exact_s: spent[0].as_secs_f64(),
        cheap_s: spent[1].as_secs_f64(),
    })
}

/// The share of the largest quarter of each chunk of `exact` that is in the largest quarter of `cheap`, too.
fn overlap(exact: &[f32], cheap: &[f32], chunk: usize) -> f64 {
    let (mut both, mut all) = (0, 0);
    for (exact, cheap) in exact.chunks(chunk).zip(cheap.chunks(chunk)) {
        let keep = (exact.len() / 4).max(1);
        let kept = |values: &[f32]| {
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
            order.truncate(keep);
            order
        };
        let (exact, cheap) = (kept(exact), kept(cheap));
        both += cheap.iter().filter(|at| exact.contains(at)).count();
        all += keep;
    }
    f64::from(both as u32) / f64::from(all.max(1) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_counts_what_both_keep_of_each_chunk() {
        let exact = [8.0, 7.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let other = [8.0, 1.0, 7.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(overlap(&exact, &exact, 8), 1.0);
        assert_eq!(overlap(&exact, &other, 8), 0.5);
        // The first of four, then the last of four.
        assert_eq!(overlap(&exact, &other, 4), 1.0);
    }
}
