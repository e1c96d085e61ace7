//! Perplexity over independent windows.
//!
//! The ids are cut into windows of W; windows do not overlap and know nothing of each other; the first token of
//! each is read but not scored. No special tokens are added. The mean is over all scored tokens:
//! `nll = -1/N Σ ln p(x_t | x_<t within the window)`, `perplexity = exp(nll)`.

use std::time::Instant;

use crayon_engine::Engine;
use crayon_errors::Setting;
use crayon_text::Special;
use serde::Serialize;

use crate::score::{feed_rows, log_likelihood, not_finite};
use crate::{EvalError, Progress};

/// How well a model predicts a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Perplexity {
    /// Mean negative log-likelihood of the scored tokens, in nats.
    pub nll: f64,
    /// `exp(nll)`.
    pub perplexity: f64,
    /// Tokens scored: all but the first of each window.
    pub tokens: usize,
    /// Bits for one byte of the scored tokens' text; only where the text is known. Comparable between
    /// vocabularies, which perplexity is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_byte: Option<f64>,
    /// Tokens of a full window.
    pub window: usize,
    /// Windows read.
    pub windows: usize,
    /// Tokens of a last window of one, which scores nothing: 0 or 1.
    pub dropped: usize,
    /// Time taken.
    pub seconds: f64,
}

/// Perplexity of `text`, encoded whole and without special tokens.
///
/// # Errors
/// As [`perplexity`], or when the model has no tokenizer.
pub fn perplexity_of_text(
    engine: &Engine,
    text: &str,
    window: Option<usize>,
    progress: &mut Progress<'_>,
) -> Result<Perplexity, EvalError> {
    let tokenizer = engine.tokenizer()?;
    let ids = tokenizer.encode(text, Special::Plain)?;
    let mut result = perplexity(engine, &ids, window, progress)?;
    let length = |id: &u32| tokenizer.bytes(*id).map_or(0, |bytes| bytes.len());
    let bytes: usize = ids.chunks(result.window).flat_map(|window| &window[1..]).map(length).sum();
    if bytes > 0 {
        result.bits_per_byte =
            Some(result.nll * result.tokens as f64 / std::f64::consts::LN_2 / bytes as f64);
    }
    Ok(result)
}

/// Perplexity of `ids` in windows of `window` tokens; `None` takes the model's whole context.
///
/// # Errors
/// When the window is below 2 or beyond the context, there are fewer than 2 ids, an id is outside the
/// vocabulary, the network computes something that is not finite, or `progress` stops the measurement.
pub fn perplexity(
    engine: &Engine,
    ids: &[u32],
    window: Option<usize>,
    progress: &mut Progress<'_>,
) -> Result<Perplexity, EvalError> {
    let context = engine.spec().context;
    let window = window.unwrap_or(context);
    if window < 2 {
        return Err(EvalError::option(Setting::Window, format!("{window} scores nothing"), "take 2 or more"));
    }
    if window > context {
        let what = format!("{window} is longer than the model's context of {context} tokens");
        return Err(EvalError::option(Setting::Window, what, format!("take {context} or fewer")));
    }
    if ids.len() < 2 {
        return Err(EvalError::TooShort { found: ids.len() });
    }
    let started = Instant::now();
    let (mut sum, mut tokens, mut windows, mut read) = (0.0f64, 0, 0, 0);
    // A last window of another length gets a session of its own, so that its length alone decides everything.
    let mut session = engine.session(window.min(ids.len()))?;
    for part in ids.chunks(window) {
        read += part.len();
        if part.len() >= 2 {
            if session.limit() != Some(part.len()) {
                session = engine.session(part.len())?;
            }
            session.rewind(0);
            // The last token is predicted, not read.
            feed_rows(&mut session, &part[..part.len() - 1], |row, logits| {
                let value = log_likelihood(logits, part[row + 1]).ok_or_else(|| not_finite(engine))?;
                sum -= value;
                tokens += 1;
                Ok(())
            })?;
            windows += 1;
        }
        if progress(read, ids.len()).is_break() {
            return Err(EvalError::Engine(crayon_engine::EngineError::Cancelled));
        }
    }
    let nll = sum / tokens as f64;
    Ok(Perplexity {
        nll,
        perplexity: nll.exp(),
        tokens,
        bits_per_byte: None,
        window,
        windows,
        dropped: usize::from(ids.len() % window == 1),
        seconds: started.elapsed().as_secs_f64(),
    })
}
