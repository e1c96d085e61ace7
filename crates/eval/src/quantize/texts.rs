//! Texts as windows of tokens: to calibrate by, and to measure on.

use std::ops::ControlFlow;

use crayon_engine::Engine;
use crayon_errors::Setting;
use crayon_quant::{Calibration, QuantError};
use crayon_text::Special;

use super::QuantizeOptions;
use crate::EvalError;

/// A text cut into windows of ids.
pub(super) struct Windows {
    pub(super) name: String,
    pub(super) windows: Vec<Vec<u32>>,
}

/// What a text begins with, where the model has that.
fn start(engine: &Engine) -> Result<Option<u32>, EvalError> {
    let tokenizer = engine.tokenizer()?;
    Ok(tokenizer.bos().filter(|_| tokenizer.add_bos()))
}

/// `sequences` of a text to calibrate by and `held_out` others, of `window` tokens each, drawn by `seed`. Without a text the model writes
/// one, of which `watch` is told how many tokens there are of how many.
///
/// # Errors
/// When the text is too short, the model has no tokenizer or writes nothing, or `watch` stops.
pub fn calibration(
    engine: &Engine,
    text: Option<&str>,
    window: usize,
    sequences: usize,
    held_out: usize,
    seed: u64,
    watch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Calibration, EvalError> {
    let start = start(engine)?;
    let ids = match text {
        Some(text) => engine.tokenizer()?.encode(text, Special::Plain)?,
        None => {
            let own = window - usize::from(start.is_some());
            engine.unprompted(sequences + held_out, own, seed, watch)?.concat()
        }
    };
    let found = Calibration::new(&ids, start, window, sequences, held_out, seed);
    found.map_err(|error: QuantError| EvalError::Quantise(Box::new(error)))
}

/// Windows spread over the text, each begun as the model expects its texts to.
pub(super) fn windows(
    engine: &Engine,
    name: &str,
    text: &str,
    options: &QuantizeOptions,
) -> Result<Windows, EvalError> {
    let ids = engine.tokenizer()?.encode(text, Special::Plain)?;
    let start = start(engine)?;
    let own = options.window - usize::from(start.is_some());
    let there = ids.len() / own;
    if there == 0 {
        let what = format!("{name} has {} tokens, less than a window of {own}", ids.len());
        return Err(EvalError::option(Setting::Window, what, "give longer texts, or a shorter window"));
    }
    let count = options.windows.min(there);
    let windows = (0..count)
        .map(|number| {
            let at = number * there / count;
            start.into_iter().chain(ids[at * own..(at + 1) * own].iter().copied()).collect()
        })
        .collect();
    Ok(Windows { name: name.to_owned(), windows })
}
