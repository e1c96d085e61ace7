//! What a run could reach at most on this machine.
//!
//! - **decode** reads every weight once a token and the keys and values of the tokens before it:
//!   `decode_share = (weights + kv) * decode_tok_s / bandwidth`. `weights` are the bytes of all tensors a token
//!   passes through (of an embedding that is not the output layer too, only a row); `kv` is the mean over the
//!   answer.
//! - **prefill** multiplies every weight of the blocks for each token, and the output layer for the last alone:
//!   `prefill_share = 2 * (blocks * prompt + output) / seconds / peak`, where `peak` is the 8-bit integer rate
//!   for quantised weights and the f32 rate for float ones. Attention's own products are not counted.

use crayon_engine::Engine;
use crayon_formats::spec::Spec;
use crayon_formats::{Format, stored_bytes};
use crayon_kernels::limits::Limits;
use serde::Serialize;

use crate::EvalError;

/// The machine's limits, measured with the same threads, and the shares reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limit {
    /// Bytes read from memory, 10^9 a second.
    pub bandwidth_gb_s: f64,
    /// Share of it that decoding reached. Above 1 when the weights fit the caches.
    pub decode_share: f64,
    /// 8-bit integer operations, 10^9 a second.
    pub int8_gops: f64,
    /// f32 operations, 10^9 a second.
    pub f32_gflops: f64,
    /// Share of the rate that `prefill_unit` names that prefill reached.
    pub prefill_share: f64,
    /// `int8` or `f32`.
    pub prefill_unit: &'static str,
}

/// What one run asks of the machine.
pub(super) struct Load {
    /// Format of most of the weights.
    pub(super) format: Format,
    prompt: usize,
    /// Bytes read for one token of the answer.
    decode_bytes: f64,
    /// Operations of the prompt.
    prefill_operations: f64,
}

impl Load {
    /// Of `prompt` tokens read and `tokens` written.
    pub(super) fn new(engine: &Engine, prompt: usize, tokens: usize) -> Result<Load, EvalError> {
        let (spec, checkpoint) = (engine.spec(), engine.checkpoint());
        let embedding = checkpoint.tensor("token_embd.weight")?;
        let row = stored_bytes(embedding.format, &[1, spec.hidden]).unwrap_or(0);
        let unread = if spec.tied { 0 } else { embedding.data.len() - row };
        let weights = checkpoint.bytes() - unread;
        let kv = mean_kv_bytes(spec, engine.kv_type().slot_bytes(spec.head_dim), prompt, tokens);

        let matrices =
            spec.tensors().into_iter().filter(|(name, shape)| name.starts_with("blk.") && shape.len() == 2);
        let blocks: usize = matrices.map(|(_, shape)| shape.iter().product::<usize>()).sum();
        let output = spec.vocab * spec.hidden;
        Ok(Load {
            // The largest matrix of a block speaks for the rest.
            format: checkpoint.tensor("blk.0.ffn_up.weight")?.format,
            prompt,
            decode_bytes: weights as f64 + kv,
            prefill_operations: 2.0 * (blocks as f64 * prompt as f64 + output as f64),
        })
    }

    /// The shares that the given speeds, in tokens a second, are of `limits`.
    pub(super) fn limit(&self, limits: &Limits, prefill_tok_s: f64, decode_tok_s: f64) -> Limit {
        let seconds = self.prompt as f64 / prefill_tok_s;
        let (peak, unit) = match self.format.is_float() {
            true => (limits.f32_gflops, "f32"),
            false => (limits.int8_gops, "int8"),
        };
        Limit {
            bandwidth_gb_s: limits.bandwidth_gb_s,
            decode_share: self.decode_bytes * decode_tok_s / (limits.bandwidth_gb_s * 1e9),
            int8_gops: limits.int8_gops,
            f32_gflops: limits.f32_gflops,
            prefill_share: self.prefill_operations / seconds / (peak * 1e9),
            prefill_unit: unit,
        }
    }
}

/// Bytes of keys and values read for one token, the mean over an answer of `tokens` after `prompt`.
fn mean_kv_bytes(spec: &Spec, slot_bytes: usize, prompt: usize, tokens: usize) -> f64 {
    let per_slot = spec.kv_heads * slot_bytes;
    let mean_past = prompt as f64 + (tokens as f64 - 1.0) / 2.0;
    let layers = spec.windows.iter().map(|window| match window {
        Some(window) => mean_past.min(*window as f64),
        None => mean_past,
    });
    layers.sum::<f64>() * per_slot as f64
}
