//! How a block is rounded, and what of that learns.

use std::collections::BTreeMap;

use candle_core::{DType, Result as Candle, Tensor, Var};
use crayon_formats::spec::Spec;
use crayon_model::{Place, Projection, Site};

use super::fake::{by_group, by_range};
use super::grid::{Cut, Grid, GridKind, Groups, WeightRounding};
use crate::plain::{PlainDecoder, PlainPass};
use crate::{TrainError, Trainable, Variable};

/// How the inputs of linear layers are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputRounding {
    /// Not at all.
    Exact,
    /// By the range of each row (token), symmetric.
    Row {
        /// 2 to 8.
        bits: u8,
    },
    /// By a range known beforehand, with a zero point.
    Fixed {
        /// 2 to 8.
        bits: u8,
    },
}

/// Both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRounding {
    /// `None` leaves weights as they are.
    pub weights: Option<WeightRounding>,
    /// At every place alike.
    pub inputs: InputRounding,
}

impl BlockRounding {
    /// Nothing is rounded.
    pub const EXACT: BlockRounding = BlockRounding { weights: None, inputs: InputRounding::Exact };
}

/// Least and largest value of every channel of a place, without scales.
#[derive(Clone, Debug, PartialEq)]
pub struct Extremes {
    /// `[channels]`.
    pub low: Vec<f32>,
    /// `[channels]`.
    pub high: Vec<f32>,
}

/// What learns of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learns {
    /// The scales of the places that have some.
    pub scales: bool,
    /// The ends of static ranges.
    pub ranges: bool,
    /// How much of their range weights keep.
    pub shares: bool,
    /// Weights, norms and biases themselves.
    pub weights: bool,
}

/// The roundings of one block with their parameters.
#[derive(Clone, Debug)]
pub struct BlockSetup {
    /// Which block, from 0.
    pub layer: usize,
    /// How it is rounded.
    pub rounding: BlockRounding,
    /// Logarithms of the scales, at the places that have some.
    pub scales: BTreeMap<Place, Variable>,
    /// What was seen at the places; needed for static ranges.
    pub extremes: BTreeMap<Place, Extremes>,
    /// Share of the low and of the high end of each static range, `[2]`.
    pub ranges: BTreeMap<Place, Variable>,
    /// Share that weights keep of their range, `[groups]`.
    pub shares: BTreeMap<Projection, Variable>,
    /// The grids of weights that lie on them already, one for each group; the other weights' follow from their shares.
    pub grids: BTreeMap<Projection, Vec<Grid>>,
    /// Parameters of the block that learn, under their canonical names; others are the network's.
    pub weights: BTreeMap<String, Variable>,
    /// What learns.
    pub learns: Learns,
}

/// A block's parameters as tensors, folded and rounded.
pub(super) struct Graph {
    pub(super) parameters: BTreeMap<String, Tensor>,
    ranges: BTreeMap<Place, Tensor>,
    variables: Vec<Var>,
}

impl BlockSetup {
    /// A block without scales, whole ranges, nothing that learns.
    pub fn new(layer: usize, rounding: BlockRounding, spec: &Spec) -> BlockSetup {
        let mut setup = BlockSetup {
            layer,
            rounding,
            scales: BTreeMap::new(),
            extremes: BTreeMap::new(),
            ranges: BTreeMap::new(),
            shares: BTreeMap::new(),
            grids: BTreeMap::new(),
            weights: BTreeMap::new(),
            learns: Learns::default(),
        };
        if let Some(rounding) = rounding.weights {
            for projection in Projection::ALL.into_iter().filter(|projection| projection.exists(spec)) {
                let (cols, rows) = projection.size(spec);
                let count = rounding.cut(rows, cols).count(rows * cols);
                setup.shares.insert(projection, Variable::new(vec![1.0; count]));
            }
        }
        if matches!(rounding.inputs, InputRounding::Fixed { .. }) {
            setup.ranges = Place::ALL.map(|place| (place, Variable::new(vec![1.0; 2]))).into();
        }
        setup
    }

    /// Lets the parameters of the block in `network` learn.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn learn_weights(&mut self, network: &PlainDecoder) -> Result<(), TrainError> {
        let prefix = format!("blk.{}.", self.layer);
        for (name, _) in network.spec().tensors() {
            if let Some(tensor) = network.parameter_of(&name).filter(|_| name.starts_with(&prefix)) {
                let values = tensor.flatten_all()?.to_vec1()?;
                self.weights.insert(name, Variable::new(values));
            }
        }
        self.learns.weights = true;
        Ok(())
    }

    /// Low and high end of the static range at `place` with the scales as they are; `None` where nothing was seen.
    pub fn range(&self, spec: &Spec, place: Place) -> Option<(f32, f32)> {
        let Extremes { low, high } = self.extremes.get(&place)?;
        let scale = |channel: usize| match self.scales.get(&place) {
            Some(scales) => scales.values[place.scale_of(spec, channel)].exp(),
            None => 1.0,
        };
        let lowest = low.iter().enumerate().map(|(at, low)| low * scale(at)).fold(0.0, f32::min);
        let highest = high.iter().enumerate().map(|(at, high)| high * scale(at)).fold(0.0, f32::max);
        let shares = self.ranges.get(&place).map_or(&[1.0, 1.0][..], |shares| &shares.values);
        Some((lowest * shares[0], highest * shares[1]))
    }

    /// The parameters of this block of `network`, folded and rounded. With `learn`, as a graph that knows its way back.
    pub(super) fn graph(&self, network: &PlainDecoder, learn: bool) -> Result<Graph, TrainError> {
        let spec = network.spec();
        let mut graph = Graph { parameters: BTreeMap::new(), ranges: BTreeMap::new(), variables: Vec::new() };
        let device = network.device();
        let mut tensor = |variable: &Variable, learns: bool, shape: &[usize]| -> Candle<Tensor> {
            let tensor = Tensor::from_vec(variable.values.clone(), shape, device)?;
            if !(learn && learns) {
                return Ok(tensor);
            }
            let variable = Var::from_tensor(&tensor)?;
            graph.variables.push(variable.clone());
            Ok(variable.as_tensor().clone())
        };
        // In the order of `variables`.
        let (mut scales, mut shares, mut range_shares) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (place, variable) in &self.scales {
            scales.insert(*place, tensor(variable, self.learns.scales, &[variable.values.len()])?.exp()?);
        }
        for (place, variable) in &self.ranges {
            range_shares.insert(*place, tensor(variable, self.learns.ranges, &[2])?);
        }
        for (projection, variable) in &self.shares {
            let value = tensor(variable, self.learns.shares, &[variable.values.len()])?;
            shares.insert(*projection, value);
        }
        let mut parameters = BTreeMap::new();
        for (name, variable) in &self.weights {
            let shape = spec.shape_of(name).unwrap_or_default();
            parameters.insert(name.clone(), tensor(variable, self.learns.weights, &shape)?);
        }
        let prefix = format!("blk.{}.", self.layer);
        for (name, _) in spec.tensors().into_iter().filter(|(name, _)| name.starts_with(&prefix)) {
            if let (Some(value), false) = (network.parameter_of(&name), parameters.contains_key(&name)) {
                parameters.insert(name, value.clone());
            }
        }
        for (place, scales) in &scales {
            fold(spec, self.layer, *place, scales, &mut parameters)?;
        }
        if let Some(rounding) = self.rounding.weights {
            for (projection, shares) in shares.iter().filter(|(key, _)| !self.grids.contains_key(key)) {
                let name = format!("{}.weight", Site { layer: self.layer, projection: *projection });
                let Some(weight) = parameters.get_mut(&name) else { continue };
                let (rows, cols) = weight.dims2()?;
                *weight = by_group(weight, shares, rounding, rounding.cut(rows, cols))?;
            }
        }
        graph.parameters = parameters;
        if matches!(self.rounding.inputs, InputRounding::Fixed { .. }) {
            for place in Place::ALL {
                let range =
                    self.range_tensor(network, place, scales.get(&place), range_shares.get(&place))?;
                graph.ranges.insert(place, range);
            }
        }
        Ok(graph)
    }

    /// Both ends of a static range, `[2]`.
    fn range_tensor(
        &self,
        network: &PlainDecoder,
        place: Place,
        scales: Option<&Tensor>,
        shares: Option<&Tensor>,
    ) -> Result<Tensor, TrainError> {
        let Some(extremes) = self.extremes.get(&place) else {
            return Err(TrainError::unusable(
                format!("block {} was not observed at {place}", self.layer),
                "a static range is learned from calibration data".into(),
            ));
        };
        let device = network.device();
        let end = |values: &[f32], largest: bool| -> Candle<Tensor> {
            let mut values = Tensor::new(values, device)?;
            if let Some(scales) = scales {
                values = (values * per_channel(network.spec(), place, scales)?)?;
            }
            let zero = Tensor::zeros(1, DType::F32, device)?;
            let values = Tensor::cat(&[values, zero], 0)?;
            if largest { values.max_keepdim(0) } else { values.min_keepdim(0) }
        };
        let mut range = Tensor::cat(&[end(&extremes.low, false)?, end(&extremes.high, true)?], 0)?;
        if let Some(shares) = shares {
            range = (range * shares)?;
        }
        Ok(range)
    }

    /// The input of `place` as the layers there see it.
    pub(super) fn input(&self, graph: &Graph, place: Place, x: &Tensor) -> Candle<Tensor> {
        match self.rounding.inputs {
            InputRounding::Exact => Ok(x.clone()),
            InputRounding::Fixed { bits } => by_range(x, &graph.ranges[&place], bits),
            InputRounding::Row { bits } => {
                let width = x.dim(candle_core::D::Minus1)?;
                let shares = Tensor::ones(x.elem_count() / width, DType::F32, x.device())?;
                let rounding = WeightRounding { bits, kind: GridKind::Symmetric, groups: Groups::Channel };
                by_group(x, &shares, rounding, Cut::whole(width))
            }
        }
    }

    /// The block on `hidden` `[batch, rows, hidden]`.
    pub(super) fn run(
        &self,
        network: &PlainDecoder,
        graph: &Graph,
        hidden: Tensor,
    ) -> Result<Tensor, TrainError> {
        let inputs = |_: usize, place: Place, x: &Tensor| self.input(graph, place, x);
        let pass = PlainPass { inputs: Some(&inputs), ..PlainPass::default() };
        network.with(graph.parameters.clone()).block(self.layer, hidden, pass)
    }

    /// Takes the gradients of what learns from those of the graph it was made into.
    pub(super) fn take(
        &mut self,
        graph: &Graph,
        gradients: &candle_core::backprop::GradStore,
    ) -> Result<(), TrainError> {
        for (variable, learned) in self.variables_mut().into_iter().zip(&graph.variables) {
            match gradients.get(learned.as_tensor()) {
                Some(gradient) => variable.gradient = gradient.flatten_all()?.to_vec1()?,
                None => variable.gradient.fill(0.0),
            }
        }
        Ok(())
    }
}

impl Trainable for BlockSetup {
    fn variables(&self) -> Vec<&Variable> {
        let Learns { scales, ranges, shares, weights } = self.learns;
        let chosen = |learns: bool| move |_: &&Variable| learns;
        let all =
            self.scales.values().filter(chosen(scales)).chain(self.ranges.values().filter(chosen(ranges)));
        all.chain(self.shares.values().filter(chosen(shares)))
            .chain(self.weights.values().filter(chosen(weights)))
            .collect()
    }

    fn variables_mut(&mut self) -> Vec<&mut Variable> {
        let Learns { scales, ranges, shares, weights } = self.learns;
        let mut all: Vec<&mut Variable> = Vec::new();
        if scales {
            all.extend(self.scales.values_mut());
        }
        if ranges {
            all.extend(self.ranges.values_mut());
        }
        if shares {
            all.extend(self.shares.values_mut());
        }
        if weights {
            all.extend(self.weights.values_mut());
        }
        all
    }
}

/// Scales of a place for each of its channels.
fn per_channel(spec: &Spec, place: Place, scales: &Tensor) -> Candle<Tensor> {
    if place != Place::Output || spec.heads == spec.kv_heads {
        return Ok(scales.clone());
    }
    let group = spec.heads / spec.kv_heads;
    let shape = (spec.kv_heads, group, spec.head_dim);
    scales.reshape((spec.kv_heads, 1, spec.head_dim))?.broadcast_as(shape)?.flatten_all()
}

/// Multiplies what stands before a place by its scales, and divides the columns of the weights behind it.
fn fold(
    spec: &Spec,
    layer: usize,
    place: Place,
    scales: &Tensor,
    parameters: &mut BTreeMap<String, Tensor>,
) -> Candle<()> {
    let mut multiply = |stem: &str| -> Candle<()> {
        for kind in ["weight", "bias"] {
            if let Some(value) = parameters.get_mut(&format!("blk.{layer}.{stem}.{kind}")) {
                *value = match value.rank() {
                    1 => (&*value * scales)?,
                    _ => value.broadcast_mul(&scales.unsqueeze(1)?)?,
                };
            }
        }
        Ok(())
    };
    match place {
        Place::Attention => multiply("attn_norm")?,
        Place::Mlp => multiply("ffn_norm")?,
        Place::Output => multiply(Projection::V.stem())?,
        Place::Down => multiply(Projection::Up.stem())?,
    }
    let inverse = per_channel(spec, place, scales)?.recip()?;
    for projection in place.readers(spec) {
        if let Some(weight) = parameters.get_mut(&format!("{}.weight", Site { layer, projection })) {
            *weight = weight.broadcast_mul(&inverse)?;
        }
    }
    Ok(())
}
