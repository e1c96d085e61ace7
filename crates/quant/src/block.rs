//! One block: observed, scaled, learned, folded and rounded.

use std::collections::BTreeMap;

use crayon_adapters::Random;
use crayon_formats::spec::Spec;
use crayon_formats::{Checkpoint, Tensor};
use crayon_kernels::Rounding;
use crayon_model::{Place, Projection, Site};
use crayon_train::quantised::{BlockRounding, BlockSetup, InputRounding, Learns, QuantisedBlock};
use crayon_train::{Adam, Schedule, Trainable, Variable};

use crate::ranges::{Seen, shares};
use crate::scales::Magnitudes;
use crate::weights::finished;
use crate::{Form, Method, QuantError, RangeKind, Recipe, Start, WeightKind, fold, gptq};

/// What became of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockReport {
    /// Which, from 0.
    pub layer: usize,
    /// Distance from the exact block as a share of what the block changes, before anything learned.
    pub loss_before: f32,
    /// The same in the end.
    pub loss: f32,
    /// For each place what was seen there.
    pub places: Vec<PlaceReport>,
}

/// The activations of a place over the calibration data.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceReport {
    /// Which.
    pub place: Place,
    /// Largest magnitude of the channels over the median of them, without scales and with.
    pub outliers: [f32; 2],
    /// Kurtosis of all values (3 for a normal distribution), without scales and with.
    pub kurtosis: [f32; 2],
}

/// A finished block.
pub(crate) struct Finished {
    /// How it is rounded, with all that was learned.
    pub(crate) setup: BlockSetup,
    pub(crate) report: BlockReport,
}

/// Told the steps of this block done so far; stops with an error.
pub(crate) type Tick<'a> = dyn FnMut(usize) -> Result<(), QuantError> + 'a;

/// Finds the setup of block `layer` for inputs `hidden` `[sequences, rows, hidden]`.
pub(crate) fn find(
    checkpoint: &Checkpoint,
    layer: usize,
    hidden: &[f32],
    rows: usize,
    recipe: &Recipe,
    tick: &mut Tick<'_>,
) -> Result<Finished, QuantError> {
    let spec = &checkpoint.spec;
    let setup = BlockSetup::new(layer, recipe.rounding(), spec);
    let mut block = QuantisedBlock::open(checkpoint, setup)?;
    let mut seen: BTreeMap<Place, Seen> = BTreeMap::new();
    let target = block.exact(hidden, rows, &mut |place, x| {
        let seen = seen.entry(place).or_default();
        seen.sequence = x.len();
        seen.values.extend_from_slice(x);
    })?;
    tick(0)?;
    let parameters = fold::parameters(checkpoint, layer)?;
    for (place, seen) in &seen {
        block.setup.extremes.insert(*place, seen.extremes(place.width(spec)));
    }
    for place in recipe.scaled(spec) {
        let extremes = &block.setup.extremes[&place];
        let readers = readers(spec, layer, place, &parameters);
        let readers: Vec<&[f32]> = readers.iter().map(Vec::as_slice).collect();
        let magnitudes = Magnitudes::new(spec, place, &extremes.low, &extremes.high, &readers);
        let logs = match (recipe.method, recipe.start) {
            (Method::Quadapter, Start::One) => vec![0.0; place.scales(spec)],
            (Method::Equalise, _) => {
                magnitudes.equal(&fold::largest_before(layer, place, place.scales(spec), &parameters))
            }
            _ => magnitudes.smooth(recipe.alpha),
        };
        block.setup.scales.insert(place, Variable::new(logs));
    }
    settle(&mut block.setup, checkpoint, recipe, &seen, parameters)?;

    let loss_before = judge(&mut block, hidden, &target, rows)?;
    let mut loss = loss_before;
    if recipe.learns_by_block() {
        loss = learn(&mut block, hidden, &target, rows, recipe, loss_before, tick)?;
    }
    if recipe.weights == WeightKind::Gptq {
        make_up(&mut block.setup, checkpoint, &seen)?;
        loss = judge(&mut block, hidden, &target, rows)?;
    }
    if !loss.is_finite() {
        return Err(QuantError::NotFinite { part: format!("block {layer}"), step: 0 });
    }
    let places = seen.iter().map(|(place, seen)| {
        let logs = block.setup.scales.get(place).map(|scales| &scales.values[..]);
        report(spec, *place, seen, logs)
    });
    let report = BlockReport { layer, loss_before, loss, places: places.collect() };
    Ok(Finished { setup: block.setup, report })
}

fn readers(spec: &Spec, layer: usize, place: Place, parameters: &BTreeMap<String, Tensor>) -> Vec<Vec<f32>> {
    let weight = |projection| parameters.get(&format!("{}.weight", Site { layer, projection }));
    place.readers(spec).into_iter().filter_map(weight).map(Tensor::to_f32).collect()
}

/// Shares of ranges, for activations and weights with the scales as they are.
fn settle(
    setup: &mut BlockSetup,
    checkpoint: &Checkpoint,
    recipe: &Recipe,
    seen: &BTreeMap<Place, Seen>,
    mut parameters: BTreeMap<String, Tensor>,
) -> Result<(), QuantError> {
    let spec = &checkpoint.spec;
    if let InputRounding::Fixed { bits } = setup.rounding.inputs {
        for (place, seen) in seen {
            let logs = setup.scales.get(place).map(|scales| &scales.values[..]);
            let found = shares(recipe.range, seen, spec, *place, logs, bits);
            setup.ranges.insert(*place, Variable::new(found.to_vec()));
        }
    }
    if let (Some(rounding), WeightKind::Mse | WeightKind::Learned | WeightKind::Gptq) =
        (setup.rounding.weights, recipe.weights)
    {
        for (place, scales) in &setup.scales {
            fold::fold(spec, setup.layer, *place, &scales.values, &mut parameters)?;
        }
        for (projection, variable) in &mut setup.shares {
            let name = format!("{}.weight", Site { layer: setup.layer, projection: *projection });
            let Some(tensor) = parameters.get(&name) else { continue };
            let cut = rounding.cut(tensor.shape[0], tensor.shape[1]);
            *variable = Variable::new(rounding.best_shares(&tensor.to_f32(), cut));
        }
    }
    Ok(())
}

/// GPTQ: weights that make up for each other's rounding, given as they are before folding, so that they fold like others.
fn make_up(
    setup: &mut BlockSetup,
    checkpoint: &Checkpoint,
    seen: &BTreeMap<Place, Seen>,
) -> Result<(), QuantError> {
    /// Rows of inputs looked at.
    const ROWS: usize = 16_384;
    let spec = &checkpoint.spec;
    let Some(rounding) = setup.rounding.weights else { return Ok(()) };
    let mut parameters = fold::parameters(checkpoint, setup.layer)?;
    for (place, scales) in &setup.scales {
        fold::fold(spec, setup.layer, *place, &scales.values, &mut parameters)?;
    }
    for (place, seen) in seen {
        let width = place.width(spec);
        let mut inputs = seen.values.clone();
        if let Some(logs) = setup.scales.get(place) {
            let scales: Vec<f32> =
                (0..width).map(|channel| logs.values[place.scale_of(spec, channel)].exp()).collect();
            for row in inputs.chunks_exact_mut(width) {
                row.iter_mut().zip(&scales).for_each(|(value, scale)| *value *= scale);
            }
        }
        let hessian = gptq::hessian(&inputs, width, ROWS);
        for projection in place.readers(spec) {
            let name = format!("{}.weight", Site { layer: setup.layer, projection });
            let Some(tensor) = parameters.get_mut(&name) else { continue };
            let mut values = tensor.to_f32();
            let cut = rounding.cut(tensor.shape[0], width);
            // Scales may have learned since ranges were found.
            let shares = rounding.best_shares(&values, cut);
            let grids = rounding.grids(&values, cut, &shares);
            if gptq::round(&mut values, width, hessian.clone(), cut, &grids) {
                setup.grids.insert(projection, grids);
                *tensor = Tensor::from_f32(&name, tensor.shape.clone(), &values);
            }
        }
    }
    for (place, scales) in &setup.scales {
        let back: Vec<f32> = scales.values.iter().map(|log| -log).collect();
        fold::fold(spec, setup.layer, *place, &back, &mut parameters)?;
    }
    for projection in Projection::ALL {
        let name = format!("{}.weight", Site { layer: setup.layer, projection });
        if let Some(tensor) = parameters.get(&name) {
            setup.weights.insert(name, Variable::new(tensor.to_f32()));
        }
    }
    Ok(())
}

/// Loss over some of the sequences, always the same.
fn judge(block: &mut QuantisedBlock, hidden: &[f32], target: &[f32], rows: usize) -> Result<f32, QuantError> {
    /// Sequences looked at.
    const SOME: usize = 4;
    let each = rows * block.network().spec().hidden;
    let some = hidden.len().min(SOME * each);
    Ok(block.loss(&hidden[..some], &target[..some], rows, false)?)
}

/// Phase 1: the block alone. Its loss in the end; what is no better than the start is not taken.
fn learn(
    block: &mut QuantisedBlock,
    hidden: &[f32],
    target: &[f32],
    rows: usize,
    recipe: &Recipe,
    before: f32,
    tick: &mut Tick<'_>,
) -> Result<f32, QuantError> {
    /// Purpose of the order.
    const ORDER: u64 = 0x52;
    let layer = block.setup.layer;
    block.setup.learns = Learns {
        scales: recipe.method == Method::Quadapter,
        ranges: recipe.range == RangeKind::Learned,
        shares: recipe.weights == WeightKind::Learned,
        weights: false,
    };
    let started = block.setup.values();
    let each = rows * block.network().spec().hidden;
    let sequences = hidden.len() / each;
    let batch = recipe.batch.clamp(1, sequences);
    let mut random = Random::new(recipe.seed, ORDER ^ (layer as u64) << 8);
    let (mut adam, schedule) = (Adam::new(&block.setup), Schedule::new(recipe.rate, recipe.steps));
    let mut order: Vec<usize> = Vec::new();
    for step in 0..recipe.steps {
        if order.len() < batch {
            order = random.order(sequences);
        }
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for at in order.split_off(order.len() - batch) {
            inputs.extend_from_slice(&hidden[at * each..(at + 1) * each]);
            targets.extend_from_slice(&target[at * each..(at + 1) * each]);
        }
        let loss = block.loss(&inputs, &targets, rows, true)?;
        if !loss.is_finite() {
            return Err(QuantError::NotFinite { part: format!("block {layer}"), step: step + 1 });
        }
        adam.step(&mut block.setup, schedule.at(step), step);
        bound(&mut block.setup);
        tick(step + 1)?;
    }
    let after = judge(block, hidden, target, rows)?;
    if after < before {
        return Ok(after);
    }
    for (variable, values) in block.setup.variables_mut().into_iter().zip(started) {
        variable.values = values;
    }
    Ok(before)
}

/// Shares stay shares: a range is neither empty nor wider than what was seen.
pub(crate) fn bound(setup: &mut BlockSetup) {
    for variable in setup.ranges.values_mut().chain(setup.shares.values_mut()) {
        variable.values.iter_mut().for_each(|share| *share = share.clamp(0.05, 1.0));
    }
}

/// The block's tensors, folded and rounded, and how the inputs of its layers are rounded.
pub(crate) fn finish(
    checkpoint: &Checkpoint,
    setup: &BlockSetup,
    recipe: &Recipe,
) -> Result<(Vec<Tensor>, BTreeMap<String, Rounding>), QuantError> {
    let spec = &checkpoint.spec;
    let mut parameters = fold::parameters(checkpoint, setup.layer)?;
    for (name, variable) in &setup.weights {
        if let Some(tensor) = parameters.get_mut(name) {
            *tensor = Tensor::from_f32(name, tensor.shape.clone(), &variable.values);
        }
    }
    for (place, scales) in &setup.scales {
        fold::fold(spec, setup.layer, *place, &scales.values, &mut parameters)?;
    }
    if let Some(rounding) = setup.rounding.weights {
        for (projection, shares) in &setup.shares {
            let name = format!("{}.weight", Site { layer: setup.layer, projection: *projection });
            let Some(tensor) = parameters.get_mut(&name) else { continue };
            let found = || {
                let cut = rounding.cut(tensor.shape[0], tensor.shape[1]);
                rounding.grids(&tensor.to_f32(), cut, &shares.values)
            };
            let grids = setup.grids.get(projection).cloned().unwrap_or_else(found);
            *tensor = finished(tensor, rounding, &grids, recipe.form, recipe.scheme.blocks());
        }
    }
    let mut roundings = BTreeMap::new();
    for projection in Projection::ALL.into_iter().filter(|projection| projection.exists(spec)) {
        let rounding = match setup.rounding.inputs {
            InputRounding::Exact => None,
            InputRounding::Row { bits } => Some(Rounding::Row { bits }),
            InputRounding::Fixed { bits } => {
                setup.range(spec, Place::of(projection)).map(|(low, high)| Rounding::fixed(bits, low, high))
            }
        };
        let site = Site { layer: setup.layer, projection };
        if let (Some(rounding), Form::Rows | Form::Floats) = (rounding, recipe.form) {
            roundings.insert(site.to_string(), rounding);
        }
    }
    Ok((parameters.into_values().collect(), roundings))
}

/// What the finished block gives for inputs `hidden`: its tensors as they are kept, activations as they will be rounded.
pub(crate) fn pass_on(
    finished: &Checkpoint,
    setup: &BlockSetup,
    hidden: &[f32],
    rows: usize,
) -> Result<Vec<f32>, QuantError> {
    let mut own = setup.clone();
    own.rounding = BlockRounding { weights: None, ..setup.rounding };
    own.weights.clear();
    own.shares.clear();
    own.grids.clear();
    // The scales are in the parameters now; the extremes are those of scaled activations.
    for (place, extremes) in &mut own.extremes {
        let Some(logs) = setup.scales.get(place) else { continue };
        let scale = |channel| logs.values[place.scale_of(&finished.spec, channel)].exp();
        for values in [&mut extremes.low, &mut extremes.high] {
            values.iter_mut().enumerate().for_each(|(channel, value)| *value *= scale(channel));
        }
    }
    own.scales.clear();
    Ok(QuantisedBlock::open(finished, own)?.rounded(hidden, rows)?)
}

fn report(spec: &Spec, place: Place, seen: &Seen, logs: Option<&[f32]>) -> PlaceReport {
    let width = place.width(spec);
    let measure = |scale: &dyn Fn(usize) -> f32| {
        let mut largest = vec![0.0f32; width];
        let mut count = 0usize;
        let (mut second, mut fourth) = (0.0f64, 0.0f64);
        for row in seen.values.chunks_exact(width) {
            for (channel, value) in row.iter().enumerate() {
                let value = value * scale(channel);
                largest[channel] = largest[channel].max(value.abs());
                let square = f64::from(value) * f64::from(value);
                second += square;
                fourth += square * square;
                count += 1;
            }
        }
        let most = largest.iter().copied().fold(0.0, f32::max);
        let middle = *largest.select_nth_unstable_by(width / 2, f32::total_cmp).1;
        let count = count.max(1) as f64;
        let kurtosis = (fourth / count) / (second / count).powi(2).max(1e-30);
        (most / middle.max(1e-12), kurtosis as f32)
    };
    let plain = measure(&|_| 1.0);
    let scaled = match logs {
        Some(logs) => {
            let scales: Vec<f32> =
                (0..width).map(|channel| logs[place.scale_of(spec, channel)].exp()).collect();
            measure(&|channel| scales[channel])
        }
        None => plain,
    };
    PlaceReport { place, outliers: [plain.0, scaled.0], kurtosis: [plain.1, scaled.1] }
}
