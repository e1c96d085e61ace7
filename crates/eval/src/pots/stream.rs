//! Perplexity of one stream that is read through a pot.

use std::ops::ControlFlow;
use std::time::Instant;

use crayon_engine::{Engine, EngineError, PotOptions};
use serde::Serialize;

use crate::{EvalError, Progress};

/// How well a model predicts a text of any length in fixed memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamPerplexity {
    /// Mean negative log-likelihood of the scored tokens, in nats.
    pub nll: f64,
    /// `exp(nll)`.
    pub perplexity: f64,
    /// Tokens scored: all but the first.
    pub tokens: usize,
    /// Bits for one byte of the scored tokens' text; only where the text is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_byte: Option<f64>,
    /// Policy.
    pub policy: String,
    /// Entries of the pot.
    pub pot: usize,
    /// How often the pot was distilled.
    pub distillations: usize,
    /// Bytes of keys and values.
    pub kv_bytes: usize,
    /// Time taken.
    pub seconds: f64,
}

/// Tokens read at a time.
const CHUNK: usize = 1024;

/// Reads `ids` as one stream.
///
/// # Errors
/// When the pot is refused, the network fails, or `progress` stops the measurement.
pub fn perplexity_through_pot(
    engine: &Engine,
    ids: &[u32],
    options: PotOptions,
    progress: &mut Progress<'_>,
) -> Result<StreamPerplexity, EvalError> {
    if ids.len() < 2 {
        return Err(EvalError::TooShort { found: ids.len() });
    }
    let started = Instant::now();
    let (policy, pot) = (options.policy.clone(), options.entries);
    let mut session = engine.pot_session(options, 0)?;
    let (mut sum, mut read) = (0.0f64, 0);
    let mut surprise = Vec::with_capacity(CHUNK);
    for chunk in ids.chunks(CHUNK) {
        surprise.clear();
        session.feed_scored(chunk, &mut surprise, &mut |_| ControlFlow::Continue(()))?;
        sum += surprise.iter().map(|value| f64::from(*value)).sum::<f64>();
        read += chunk.len();
        if progress(read, ids.len()).is_break() {
            return Err(EngineError::Cancelled.into());
        }
    }
    let tokens = ids.len() - 1;
    let nll = sum / tokens as f64;
    let bytes: usize = match engine.tokenizer() {
        Ok(tokenizer) => ids[1..].iter().map(|id| tokenizer.bytes(*id).map_or(0, |bytes| bytes.len())).sum(),
        Err(_) => 0,
    };
    Ok(StreamPerplexity {
        nll,
        perplexity: nll.exp(),
        tokens,
        bits_per_byte: (bytes > 0).then(|| sum / std::f64::consts::LN_2 / bytes as f64),
        policy,
        pot,
        distillations: session.pot().distillations(),
        kv_bytes: session.kv_bytes(),
        seconds: started.elapsed().as_secs_f64(),
    })
}
