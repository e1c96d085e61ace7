//! Fine-tuning of all weights on the calibration text: quantisation-aware, or without quantisers as its control. A rival in the
//! comparison: it needs the whole network in memory four times over.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crayon_adapters::Random;
use crayon_formats::{Checkpoint, Tensor};
use crayon_train::quantised::{BlockRounding, BlockSetup, Learns, QuantisedDecoder};
use crayon_train::{Adam, Schedule};

use crate::block::{self, bound};
use crate::{Calibration, Progress, QuantError, Quantised, Recipe, Watch, fold, prepared};

/// Trains all weights of the blocks for `recipe.final_steps` steps at `recipe.final_rate` by the language model's loss, with
/// quantisers as `recipe` has them and ranges that learn along, starting from `from`, what round-to-nearest gave; without, from the
/// model as it is, and then nothing is rounded: what the text alone teaches.
///
/// # Errors
/// As [`quantise`](crate::quantise).
pub fn tune(
    checkpoint: &Checkpoint,
    recipe: &Recipe,
    calibration: &Calibration,
    setups: Option<Vec<BlockSetup>>,
    watch: &mut Watch<'_>,
) -> Result<Quantised, QuantError> {
    /// Purpose of the order.
    const ORDER: u64 = 0x54;
    let source = prepared(checkpoint)?;
    let spec = source.spec.clone();
    let aware = setups.is_some();
    let plain =
        || (0..spec.layers).map(|layer| BlockSetup::new(layer, BlockRounding::EXACT, &spec)).collect();
    let mut decoder = QuantisedDecoder::open(&source, setups.unwrap_or_else(plain))?;
    decoder.learn_weights()?;
    for setup in &mut decoder.setups {
        setup.learns = Learns { scales: false, ranges: aware, shares: false, weights: true };
    }
    let schedule = Schedule::new(recipe.final_rate, recipe.final_steps);
    let mut adam = Adam::new(&decoder);
    let (window, sequences) = (calibration.window, calibration.sequences());
    let mut first = f32::NAN;
    let mut last = f32::NAN;
    let mut random = Random::new(recipe.seed, ORDER);
    let batch = recipe.batch.clamp(1, sequences);
    let mut order: Vec<usize> = Vec::new();
    for step in 0..recipe.final_steps {
        if order.len() < batch {
            order = random.order(sequences);
        }
        let tokens: Vec<u32> = order
            .split_off(order.len() - batch)
            .into_iter()
            .flat_map(|at| calibration.tokens[at * window..(at + 1) * window].iter().copied())
            .collect();
        last = decoder.loss(&tokens, window, true)?;
        if !last.is_finite() {
            return Err(QuantError::NotFinite { part: "all weights".to_owned(), step: step + 1 });
        }
        if step == 0 {
            first = last;
        }
        adam.step(&mut decoder, schedule.at(step), step);
        decoder.setups.iter_mut().for_each(bound);
        let progress = Progress { done: step + 1, total: recipe.final_steps, resumed: 0 };
        if let ControlFlow::Break(()) = watch(progress) {
            return Err(QuantError::Stopped);
        }
    }
    let (mut tensors, mut roundings) = (Vec::new(), BTreeMap::new());
    for setup in &decoder.setups {
        match aware {
            true => {
                let (own, inputs) = block::finish(&source, setup, recipe)?;
                tensors.extend(own);
                roundings.extend(inputs);
            }
            false => tensors.extend(setup.weights.iter().map(|(name, variable)| {
                Tensor::from_f32(name, spec.shape_of(name).unwrap_or_default(), &variable.values)
            })),
        }
    }
    let mut made = source.with_tensors(tensors)?.with_roundings(roundings)?;
    if let Some(origin) = fold::origin(checkpoint, &decoder.setups) {
        made = made.with_origin(origin);
    }
    Ok(Quantised {
        checkpoint: made,
        blocks: Vec::new(),
        setups: decoder.setups,
        resumed: 0,
        end_to_end: Some([first, last]),
    })
}
