//! A whole model, block by block.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use crayon_adapters::Random;
use crayon_formats::{Checkpoint, Origin};
use crayon_kernels::nibbles;
use crayon_train::plain::PlainDecoder;
use crayon_train::quantised::{BlockSetup, Learns, QuantisedDecoder};
use crayon_train::{Schedule, State, Trainable};
use sha2::{Digest, Sha256};

use crate::block::{self, BlockReport, bound};
use crate::fold;
use crate::kept::Kept;
use crate::rotate::rotated;
use crate::{
    Calibration, Form, GridKind, Groups, Method, QuantError, RangeKind, Recipe, WeightKind, prepared,
};

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Pieces of work done.
    pub done: usize,
    /// All of them.
    pub total: usize,
    /// Blocks that an earlier run had finished.
    pub resumed: usize,
}

/// A quantised model.
pub struct Quantised {
    /// Ready to run or to be written.
    pub checkpoint: Checkpoint,
    /// What became of every block.
    pub blocks: Vec<BlockReport>,
    /// How every block is rounded, with all that was learned.
    pub setups: Vec<BlockSetup>,
    /// Blocks that an earlier run had finished.
    pub resumed: usize,
    /// Loss of all together in nats a token before and after phase 2, where it was done.
    pub end_to_end: Option<[f32; 2]>,
}

/// Told how far the run is; [`ControlFlow::Break`] stops it.
pub type Watch<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// Quantises `checkpoint` as `recipe` says, by what `calibration` shows. With `folder`, what is finished is kept there, and a run
/// with the same inputs goes on from it.
///
/// # Errors
/// When the model is quantised already, a place does not fold, a loss is not finite, the disk refuses, or `watch` stops.
pub fn quantise(
    checkpoint: &Checkpoint,
    recipe: &Recipe,
    calibration: &Calibration,
    folder: Option<&Path>,
    watch: &mut Watch<'_>,
) -> Result<Quantised, QuantError> {
    if recipe.weights == WeightKind::Gptq && (recipe.form == Form::Blocks || recipe.end_to_end) {
        return Err(QuantError::unusable(
            "gptq rounds rows and groups, as the last step",
            "leave it out beside blocks and phase 2",
        ));
    }
    let fits = match (recipe.scheme.weight_bits(), recipe.grid, recipe.groups) {
        (4, GridKind::Nibbles, Groups::Of(size)) => size == nibbles::SHARED,
        (8, GridKind::Symmetric, Groups::Channel | Groups::Tensor) => true,
        _ => false,
    };
    if recipe.form == Form::Rows && !fits {
        return Err(QuantError::unusable(
            "rows of bytes have one scale each and the zero in the middle, rows of nibbles a grid for each 32",
            "keep other weights as floats",
        ));
    }
    let mut source = prepared(checkpoint)?;
    if recipe.method == Method::Hadamard {
        source = rotated(&source, recipe.places, recipe.seed)?;
    }
    let spec = &source.spec;
    let key = key(checkpoint, recipe, calibration);
    let kept = folder.and_then(|folder| Kept::resume(folder, &key, recipe, spec));
    let resumed = kept.as_ref().map_or(0, |kept| kept.setups.len());
    let steps = if recipe.learns_by_block() { recipe.steps } else { 0 };
    // Observing a block and passing on cost about as much as some steps.
    let around = 2 * calibration.sequences().div_ceil(recipe.batch.max(1)).max(1);
    let each = steps + around;
    let finals = if recipe.end_to_end { recipe.final_steps } else { 0 };
    let total = spec.layers * each + finals;
    let mut at = |done: usize| match watch(Progress { done, total, resumed }) {
        ControlFlow::Break(()) => Err(QuantError::Stopped),
        ControlFlow::Continue(()) => Ok(()),
    };

    let mut state = match kept {
        Some(kept) => kept,
        None => Kept { setups: Vec::new(), reports: Vec::new(), hidden: embedded(&source, calibration)? },
    };
    let (mut tensors, mut roundings) = (Vec::new(), BTreeMap::new());
    for setup in &state.setups {
        let (own, inputs) = block::finish(&source, setup, recipe)?;
        tensors.extend(own);
        roundings.extend(inputs);
    }
    for layer in state.setups.len()..spec.layers {
        let before = layer * each;
        at(before)?;
        let found = block::find(&source, layer, &state.hidden, calibration.window, recipe, &mut |step| {
            at(before + around / 2 + step)
        })?;
        let (own, inputs) = block::finish(&source, &found.setup, recipe)?;
        if layer + 1 < spec.layers {
            let finished = source.clone().with_tensors(own.clone())?;
            state.hidden = block::pass_on(&finished, &found.setup, &state.hidden, calibration.window)?;
        }
        tensors.extend(own);
        roundings.extend(inputs);
        state.setups.push(found.setup);
        state.reports.push(found.report);
        if let Some(folder) = folder {
            state.keep(folder, &key)?;
        }
        at(before + each)?;
    }
    let mut losses = None;
    if recipe.end_to_end {
        let done = spec.layers * each;
        let mut decoder = QuantisedDecoder::open(&source, std::mem::take(&mut state.setups))?;
        losses =
            Some(together(&mut decoder, recipe, calibration, folder, &key, &mut |step| at(done + step))?);
        (tensors, roundings) = (Vec::new(), BTreeMap::new());
        for setup in &decoder.setups {
            let (own, inputs) = block::finish(&source, setup, recipe)?;
            tensors.extend(own);
            roundings.extend(inputs);
        }
        state.setups = decoder.setups;
    }
    let Kept { setups, reports: blocks, .. } = state;
    let mut made = source.with_tensors(tensors)?.with_roundings(roundings)?;
    let origin = match recipe.method {
        // An adapter reads and adds to channels, which a rotation mixes.
        Method::Hadamard => Some(Origin::mixed()),
        _ => fold::origin(checkpoint, &setups),
    };
    if let Some(origin) = origin {
        made = made.with_origin(origin);
    }
    Ok(Quantised { checkpoint: made, blocks, setups, resumed, end_to_end: losses })
}

/// Removes what a run kept in `folder`, once its result is written.
pub fn forget(folder: &Path) {
    let _ = State::remove(folder);
    Kept::remove(folder);
}

/// What the first block reads.
fn embedded(checkpoint: &Checkpoint, calibration: &Calibration) -> Result<Vec<f32>, QuantError> {
    Ok(PlainDecoder::first_rows(checkpoint, &calibration.tokens, calibration.window)?)
}

/// Tells runs apart: a state is of use to the same run alone.
fn key(checkpoint: &Checkpoint, recipe: &Recipe, calibration: &Calibration) -> String {
    let mut hash = Sha256::new();
    hash.update(checkpoint.fingerprint());
    hash.update(format!("{recipe:?} {}", calibration.window));
    calibration.tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
    hex::encode(hash.finalize())
}

/// Phase 2: all blocks by the language model's loss. The loss before and after on sequences that are held out, where there are
/// some; what is no better is not taken.
fn together(
    decoder: &mut QuantisedDecoder,
    recipe: &Recipe,
    calibration: &Calibration,
    folder: Option<&Path>,
    key: &str,
    tick: &mut dyn FnMut(usize) -> Result<(), QuantError>,
) -> Result<[f32; 2], QuantError> {
    /// Purpose of the order.
    const ORDER: u64 = 0x53;
    /// Steps between two looks at the held-out sequences.
    const LOOK: usize = 10;
    let window = calibration.window;
    for setup in &mut decoder.setups {
        setup.learns = Learns {
            scales: recipe.method == Method::Quadapter,
            ranges: recipe.range == RangeKind::Learned,
            shares: recipe.weights == WeightKind::Learned,
            weights: false,
        };
    }
    let judged: &[u32] =
        if calibration.held_out.is_empty() { &calibration.tokens } else { &calibration.held_out };
    let judged = &judged[..judged.len().min(4 * window)];
    let judge = |decoder: &mut QuantisedDecoder| -> Result<f32, QuantError> {
        let mut sum = 0.0;
        for sequence in judged.chunks(window) {
            sum += decoder.loss(sequence, window, false)?;
        }
        Ok(sum / judged.chunks(window).len() as f32)
    };
    let mut state = match folder.and_then(|folder| State::resume(folder, key, decoder)) {
        Some(state) => state,
        None => {
            let mut state = State::new(decoder);
            let loss = judge(decoder)?;
            state.first_loss = loss;
            state.judge(loss, decoder, usize::MAX);
            state
        }
    };
    let schedule = Schedule::new(recipe.final_rate, recipe.final_steps);
    let sequences = calibration.sequences();
    let batch = recipe.batch.clamp(1, sequences);
    while state.step < recipe.final_steps {
        // The order follows from the step, so that a run that goes on takes the same.
        let mut random = Random::new(recipe.seed, ORDER ^ (state.step as u64) << 8);
        let order = random.order(sequences);
        let tokens: Vec<u32> = order[..batch]
            .iter()
            .flat_map(|at| calibration.tokens[at * window..(at + 1) * window].iter().copied())
            .collect();
        let loss = decoder.loss(&tokens, window, true)?;
        if !loss.is_finite() {
            return Err(QuantError::NotFinite {
                part: "all blocks together".to_owned(),
                step: state.step + 1,
            });
        }
        state.adam.step(decoder, schedule.at(state.step), state.step);
        decoder.setups.iter_mut().for_each(bound);
        state.step += 1;
        if state.step.is_multiple_of(LOOK) || state.step == recipe.final_steps {
            let loss = judge(decoder)?;
            state.judge(loss, decoder, usize::MAX);
            if let Some(folder) = folder {
                state.keep(folder, key, decoder)?;
            }
        }
        tick(state.step)?;
    }
    for (variable, values) in decoder.variables_mut().into_iter().zip(&state.best) {
        variable.values.clone_from(values);
    }
    Ok([state.first_loss, state.best_loss])
}
