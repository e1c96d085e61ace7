//! Folding scales into the neighbouring parameters: exact in what a block computes, so that running it costs nothing.
//!
//! At a place with scales a, what stands before is multiplied by a (a norm's weight and bias, the rows of v or up) and the columns
//! of the weights behind by 1/a.

use std::collections::BTreeMap;

use crayon_formats::spec::Spec;
use crayon_formats::{Checkpoint, Origin, Tensor};
use crayon_model::{Place, Projection};
use crayon_train::quantised::BlockSetup;

use crate::QuantError;

/// The parameters of block `layer` as floats, by canonical name.
///
/// # Errors
/// When one cannot be read.
pub fn parameters(checkpoint: &Checkpoint, layer: usize) -> Result<BTreeMap<String, Tensor>, QuantError> {
    let prefix = format!("blk.{layer}.");
    let mut out = BTreeMap::new();
    for (name, shape) in checkpoint.spec.tensors().into_iter().filter(|(name, _)| name.starts_with(&prefix)) {
        let values = checkpoint.tensor(&name)?.to_f32();
        out.insert(name.clone(), Tensor::from_f32(&name, shape, &values));
    }
    Ok(out)
}

/// The stem of what stands before a place and takes its scales.
fn before(place: Place) -> &'static str {
    match place {
        Place::Attention => "attn_norm",
        Place::Mlp => "ffn_norm",
        Place::Output => Projection::V.stem(),
        Place::Down => Projection::Up.stem(),
    }
}

/// Largest magnitude of what stands before a place, for each of its scales.
pub fn largest_before(
    layer: usize,
    place: Place,
    scales: usize,
    parameters: &BTreeMap<String, Tensor>,
) -> Vec<f32> {
    let Some(tensor) = parameters.get(&format!("blk.{layer}.{}.weight", before(place))) else {
        return vec![0.0; scales];
    };
    let values = tensor.to_f32();
    let row = |row: &[f32]| row.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    values.chunks_exact(values.len() / scales).map(row).collect()
}

/// Folds the scales, whose logarithms are given, of `place` into the f32 parameters of block `layer`.
///
/// # Errors
/// When the place does not fold in this network.
pub fn fold(
    spec: &Spec,
    layer: usize,
    place: Place,
    logs: &[f32],
    parameters: &mut BTreeMap<String, Tensor>,
) -> Result<(), QuantError> {
    if !place.folds(spec) {
        return Err(QuantError::DoesNotFold { place, family: format!("{:?}", spec.family) });
    }
    let before = before(place);
    for kind in ["weight", "bias"] {
        let Some(tensor) = parameters.get_mut(&format!("blk.{layer}.{before}.{kind}")) else { continue };
        let mut values = tensor.to_f32();
        let each = values.len() / logs.len();
        for (row, log) in values.chunks_exact_mut(each).zip(logs) {
            let scale = log.exp();
            row.iter_mut().for_each(|value| *value *= scale);
        }
        *tensor = Tensor::from_f32(&tensor.name, tensor.shape.clone(), &values);
    }
    let width = place.width(spec);
    let inverse: Vec<f32> = (0..width).map(|at| (-logs[place.scale_of(spec, at)]).exp()).collect();
    for projection in place.readers(spec) {
        let name = format!("blk.{layer}.{}.weight", projection.stem());
        let Some(tensor) = parameters.get_mut(&name) else { continue };
        let mut values = tensor.to_f32();
        for row in values.chunks_exact_mut(width) {
            row.iter_mut().zip(&inverse).for_each(|(value, inverse)| *value *= inverse);
        }
        *tensor = Tensor::from_f32(&name, tensor.shape.clone(), &values);
    }
    Ok(())
}

/// What the folded model says of where it comes from: `checkpoint`, and the scales that were folded into it, on top of those that were
/// in it already.
pub fn origin(checkpoint: &Checkpoint, setups: &[BlockSetup]) -> Option<Origin> {
    let mut origin = checkpoint.as_origin()?;
    for setup in setups {
        for (place, logs) in &setup.scales {
            let name = format!("blk.{}.{place}", setup.layer);
            let scales = origin.scales.entry(name).or_insert_with(|| vec![1.0; logs.values.len()]);
            scales.iter_mut().zip(&logs.values).for_each(|(scale, log)| *scale *= log.exp());
        }
    }
    Some(origin)
}

/// The same model with outliers: a few channels of the paper's places `factor` times larger, and the weights behind them as much
/// smaller. What it computes stays, what it loses by rounding does not: a model to try methods on.
///
/// # Errors
/// When a tensor cannot be read.
pub fn planted(checkpoint: &Checkpoint, factor: f32) -> Result<Checkpoint, QuantError> {
    /// Channels of a place.
    const CHANNELS: usize = 6;
    let spec = checkpoint.spec.clone();
    let mut tensors = Vec::new();
    for layer in 0..spec.layers {
        let mut parameters = parameters(checkpoint, layer)?;
        for place in Place::PAPER {
            let width = place.scales(&spec);
            let mut logs = vec![0.0; width];
            for at in 0..CHANNELS.min(width) {
                // Other channels in every block.
                logs[(at * (width / CHANNELS).max(1) + 7 * layer) % width] = factor.ln();
            }
            fold(&spec, layer, place, &logs, &mut parameters)?;
        }
        tensors.extend(parameters.into_values());
    }
    Ok(checkpoint.clone().with_tensors(tensors)?)
}
