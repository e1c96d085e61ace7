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

/// Sequences to calibrate by, drawn by `seed`.
pub(super) fn calibration(
    engine: &Engine,
    options: &QuantizeOptions,
    sequences: usize,
    seed: u64,
    tick: &mut dyn FnMut() -> Result<(), EvalError>,
) -> Result<Calibration, EvalError> {
    /// Sequences that exponents are chosen on.
    const HELD_OUT: usize = 4;
    let start = start(engine)?;
    let ids = match &options.calibration {
        Some(text) => engine.tokenizer()?.encode(text, Special::Plain)?,
        None => {
            let own = options.window - usize::from(start.is_some());
            let mut flow =
                |_, _| if tick().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
            engine.unprompted(sequences + HELD_OUT, own, seed, &mut flow)?.concat()
        }
    };
    let found = Calibration::new(&ids, start, options.window, sequences, HELD_OUT, seed);
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
