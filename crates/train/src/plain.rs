//! The decoder written plainly with candle tensors: exact f32, differentiable, on any device.
//!
//! It reads whole sequences without a key-value memory. Only operations that have a backward pass are used
//! (candle's fused softmax, norms and rotary kernels have none), and a test asks for a gradient of every variable.
//! Shapes: tokens `[batch, rows]`, hidden `[batch, rows, hidden]`, heads `[batch, heads, rows, head_dim]`.

use std::collections::{BTreeMap, HashMap};

use candle_core::{D, DType, Device, Result as Candle, Tensor, Var};
use crayon_formats::Checkpoint;
use crayon_formats::spec::{Activation, Norm, Positions, RopeLayout, Spec};
use crayon_model::rope::{Rotation, Rotations};
use crayon_model::{ModelError, Place, Projection, Site};

use crate::TrainError;

/// Which weights learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Train {
    /// None: for reference logits and for training adapters beside a frozen network.
    Nothing,
    /// All of them.
    Everything,
}

/// Something that adds to the output of linear layers, with gradients.
pub trait PlainAdapter {
    /// What to add at `site` for input `x` `[batch, rows, in]`, or `None`.
    fn delta(&self, site: Site, x: &Tensor) -> Candle<Option<Tensor>>;
}

/// Trainable low-rank pairs: `scale * x Aᵀ Bᵀ`.
#[derive(Default)]
pub struct PlainLowRank {
    pairs: HashMap<Site, (Var, Var, f64)>,
}

impl PlainLowRank {
    /// Attaches A `[rank, in]` and B `[out, rank]` at `site`.
    pub fn insert(&mut self, site: Site, a: Var, b: Var, scale: f64) {
        self.pairs.insert(site, (a, b, scale));
    }

    /// A and B of every site.
    pub fn variables(&self) -> impl Iterator<Item = (Site, &Var, &Var)> {
        self.pairs.iter().map(|(site, (a, b, _))| (*site, a, b))
    }
}

impl PlainAdapter for PlainLowRank {
    fn delta(&self, site: Site, x: &Tensor) -> Candle<Option<Tensor>> {
        let Some((a, b, scale)) = self.pairs.get(&site) else { return Ok(None) };
        let inner = x.broadcast_matmul(&a.t()?)?;
        Ok(Some((inner.broadcast_matmul(&b.t()?)? * *scale)?))
    }
}

/// What a pass may carry beside the tokens.
#[derive(Default)]
pub struct PlainPass<'a> {
    /// Added to linear layers.
    pub adapter: Option<&'a dyn PlainAdapter>,
    /// Sees attention probabilities `[batch, heads, rows, rows]` of each layer.
    pub tap: Option<&'a mut PlainTap<'a>>,
    /// Takes the place of the inputs of linear layers.
    pub inputs: Option<&'a PlainInputs<'a>>,
}

/// Given a layer's index, a place and the input `[batch, rows, width]` there, says what the linear layers read instead.
pub type PlainInputs<'a> = dyn Fn(usize, Place, &Tensor) -> Candle<Tensor> + 'a;

/// Receives a layer's index and its attention probabilities.
pub type PlainTap<'a> = dyn FnMut(usize, &Tensor) + 'a;

/// The network as candle tensors under their canonical names. Cloning is cheap: the data is shared.
#[derive(Clone)]
pub struct PlainDecoder {
    spec: Spec,
    parameters: BTreeMap<String, Tensor>,
    variables: BTreeMap<String, Var>,
    device: Device,
}

impl PlainDecoder {
    /// Reads `checkpoint` into f32 tensors on `device`.
    pub fn open(checkpoint: &Checkpoint, device: &Device, train: Train) -> Result<PlainDecoder, TrainError> {
        PlainDecoder::open_part(checkpoint, device, train, |_| true)
    }

    /// Reads only the block `layer`, which is all that [`PlainDecoder::block`] of it needs.
    pub fn open_block(
        checkpoint: &Checkpoint,
        layer: usize,
        device: &Device,
    ) -> Result<PlainDecoder, TrainError> {
        let prefix = format!("blk.{layer}.");
        PlainDecoder::open_part(checkpoint, device, Train::Nothing, |name| name.starts_with(&prefix))
    }

    /// What the first block reads of sequences of `rows` tokens, `[sequences, rows, hidden]`, without the other blocks in memory.
    ///
    /// # Errors
    /// When a tensor is missing or damaged, a token is not in the vocabulary, or sequences are longer than learned positions.
    pub fn first_rows(checkpoint: &Checkpoint, tokens: &[u32], rows: usize) -> Result<Vec<f32>, TrainError> {
        let spec = &checkpoint.spec;
        if let Some(&id) = tokens.iter().find(|id| **id as usize >= spec.vocab) {
            return Err(ModelError::Token { id, vocab: spec.vocab }.into());
        }
        let device = Device::Cpu;
        let names = ["token_embd.weight", "position_embd.weight"];
        let network =
            PlainDecoder::open_part(checkpoint, &device, Train::Nothing, |name| names.contains(&name))?;
        let tokens = Tensor::from_slice(tokens, (tokens.len() / rows, rows), &device)?;
        Ok(network.embeddings(&tokens)?.flatten_all()?.to_vec1()?)
    }

    fn open_part(
        checkpoint: &Checkpoint,
        device: &Device,
        train: Train,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<PlainDecoder, TrainError> {
        let spec = checkpoint.spec.clone();
        let mut decoder = PlainDecoder {
            parameters: BTreeMap::new(),
            variables: BTreeMap::new(),
            device: device.clone(),
            spec,
        };
        for (name, _) in decoder.spec.tensors() {
            if !wanted(&name) {
                continue;
            }
            let tensor = checkpoint.tensor(&name)?;
            let mut values = tensor.to_f32();
            pair_halves(&decoder.spec, &name, &tensor.shape, &mut values);
            let value = Tensor::from_vec(values, tensor.shape.clone(), device)?;
            if train == Train::Everything {
                let variable = Var::from_tensor(&value)?;
                decoder.parameters.insert(name.clone(), variable.as_tensor().clone());
                decoder.variables.insert(name, variable);
            } else {
                decoder.parameters.insert(name, value);
            }
        }
        Ok(decoder)
    }

    /// The trainable weights by canonical name; empty for a frozen network.
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.variables
    }

    /// Where its tensors lie.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The parameter called `name`, if it was read.
    pub fn parameter_of(&self, name: &str) -> Option<&Tensor> {
        self.parameters.get(name)
    }

    /// The same network with other parameters in place of some, under their canonical names.
    pub fn with(&self, parameters: BTreeMap<String, Tensor>) -> PlainDecoder {
        let mut other = self.clone();
        other.parameters.extend(parameters);
        other
    }

    /// The network's description. Rotary pairs are always halves here, whatever the file had.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Logits `[batch, rows, vocab]` of `tokens` `[batch, rows]` (u32).
    pub fn forward(&self, tokens: &Tensor, mut pass: PlainPass<'_>) -> Result<Tensor, TrainError> {
        let (batch, rows) = tokens.dims2()?;
        let mut hidden = self.embed(tokens, batch, rows)?;
        let angles = self.angles(rows)?;
        for layer in 0..self.spec.layers {
            hidden = self.one_block(layer, hidden, &angles, &mut pass)?;
        }
        self.logits(&hidden)
    }

    /// Embeddings `[batch, rows, hidden]` of `tokens` `[batch, rows]` (u32), as they enter the first block.
    pub fn embeddings(&self, tokens: &Tensor) -> Result<Tensor, TrainError> {
        let (batch, rows) = tokens.dims2()?;
        self.embed(tokens, batch, rows)
    }

    /// Block `layer` alone: `hidden` `[batch, rows, hidden]` before it to the same after it.
    pub fn block(&self, layer: usize, hidden: Tensor, mut pass: PlainPass<'_>) -> Result<Tensor, TrainError> {
        let angles = self.angles(hidden.dim(1)?)?;
        self.one_block(layer, hidden, &angles, &mut pass)
    }

    fn one_block(
        &self,
        layer: usize,
        hidden: Tensor,
        angles: &Angles,
        pass: &mut PlainPass<'_>,
    ) -> Result<Tensor, TrainError> {
        let mixed = self.attention(layer, &hidden, angles, pass)?;
        let hidden = (hidden + self.maybe_norm(&format!("blk.{layer}.post_attention_norm"), mixed)?)?;
        let expanded = self.mlp(layer, &hidden, pass)?;
        Ok((hidden + self.maybe_norm(&format!("blk.{layer}.post_ffw_norm"), expanded)?)?)
    }

    /// Logits `[batch, rows, vocab]` of `hidden` `[batch, rows, hidden]` after the last block.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor, TrainError> {
        let normed = self.norm("output_norm", hidden)?;
        let output = if self.spec.tied { "token_embd.weight" } else { "output.weight" };
        let logits = flat_matmul(&normed, self.parameter(output))?;
        Ok(match self.spec.logit_softcap {
            Some(cap) => softcap(&logits, cap)?,
            None => logits,
        })
    }

    fn parameter(&self, name: &str) -> &Tensor {
        // Every name asked for is in `Spec::tensors`, from which the map was filled.
        &self.parameters[name]
    }

    fn embed(&self, tokens: &Tensor, batch: usize, rows: usize) -> Result<Tensor, TrainError> {
        let width = self.spec.hidden;
        let embedded = self.parameter("token_embd.weight").index_select(&tokens.flatten_all()?, 0)?;
        let embedded = embedded.reshape((batch, rows, width))?;
        let embedded = (embedded * f64::from(self.spec.embedding_scale))?;
        if self.spec.positions != Positions::Learned {
            return Ok(embedded);
        }
        if rows > self.spec.context {
            return Err(
                ModelError::Position { position: self.spec.context, context: self.spec.context }.into()
            );
        }
        Ok(embedded.broadcast_add(&self.parameter("position_embd.weight").narrow(0, 0, rows)?)?)
    }

    fn attention(
        &self,
        layer: usize,
        hidden: &Tensor,
        angles: &Angles,
        pass: &mut PlainPass<'_>,
    ) -> Result<Tensor, TrainError> {
        let spec = &self.spec;
        let (batch, rows, _) = hidden.dims3()?;
        let x = self.norm(&format!("blk.{layer}.attn_norm"), hidden)?;
        let x = self.input(layer, Place::Attention, x, pass)?;
        let split = |projection, heads: usize| -> Result<Tensor, TrainError> {
            let y = self.linear(layer, projection, &x, pass)?;
            Ok(y.reshape((batch, rows, heads, spec.head_dim))?.transpose(1, 2)?.contiguous()?)
        };
        let mut q = split(Projection::Q, spec.heads)?;
        let mut k = split(Projection::K, spec.kv_heads)?;
        let v = split(Projection::V, spec.kv_heads)?;
        if spec.qk_norm {
            q = self.norm(&format!("blk.{layer}.attn_q_norm"), &q)?;
            k = self.norm(&format!("blk.{layer}.attn_k_norm"), &k)?;
        }
        let window = spec.windows.get(layer).copied().flatten();
        if let Some((cos, sin)) = angles.of(window.is_some()) {
            q = rotate(&q, cos, sin)?;
            k = rotate(&k, cos, sin)?;
        }
        let group = spec.heads / spec.kv_heads;
        let (k, v) = (repeat_heads(&k, group)?, repeat_heads(&v, group)?);

        let mut scores = (q.matmul(&k.t()?)? * f64::from(spec.attention_scale))?;
        if let Some(cap) = spec.attention_softcap {
            scores = softcap(&scores, cap)?;
        }
        let scores = scores.broadcast_add(&self.mask(rows, window)?)?;
        let probabilities = candle_nn::ops::softmax(&scores, D::Minus1)?;
        if let Some(tap) = pass.tap.as_mut() {
            tap(layer, &probabilities);
        }
        let mixed =
            probabilities.matmul(&v)?.transpose(1, 2)?.reshape((batch, rows, spec.heads * spec.head_dim))?;
        let mixed = self.input(layer, Place::Output, mixed, pass)?;
        self.linear(layer, Projection::O, &mixed, pass)
    }

    fn mlp(&self, layer: usize, hidden: &Tensor, pass: &PlainPass<'_>) -> Result<Tensor, TrainError> {
        let x = self.norm(&format!("blk.{layer}.ffn_norm"), hidden)?;
        let x = self.input(layer, Place::Mlp, x, pass)?;
        let up = self.linear(layer, Projection::Up, &x, pass)?;
        let inner = if self.spec.gated {
            (self.activate(&self.linear(layer, Projection::Gate, &x, pass)?)? * up)?
        } else {
            self.activate(&up)?
        };
        let inner = self.input(layer, Place::Down, inner, pass)?;
        self.linear(layer, Projection::Down, &inner, pass)
    }

    fn input(&self, layer: usize, place: Place, x: Tensor, pass: &PlainPass<'_>) -> Candle<Tensor> {
        match pass.inputs {
            Some(inputs) => inputs(layer, place, &x),
            None => Ok(x),
        }
    }

    fn linear(
        &self,
        layer: usize,
        projection: Projection,
        x: &Tensor,
        pass: &PlainPass<'_>,
    ) -> Result<Tensor, TrainError> {
        let site = Site { layer, projection };
        let mut y = flat_matmul(x, self.parameter(&format!("{site}.weight")))?;
        if let Some(bias) = self.parameters.get(&format!("{site}.bias")) {
            y = y.broadcast_add(bias)?;
        }
        if let Some(delta) = pass.adapter.map(|adapter| adapter.delta(site, x)).transpose()?.flatten() {
            y = (y + delta)?;
        }
        Ok(y)
    }

    fn activate(&self, x: &Tensor) -> Candle<Tensor> {
        match self.spec.activation {
            Activation::Silu => x.silu(),
            Activation::GeluTanh => x.gelu(),
            Activation::Gelu => x.gelu_erf(),
            Activation::QuickGelu => (x * 1.702)?.silu()? / 1.702,
        }
    }

    /// Norm over the last dimension.
    fn norm(&self, stem: &str, x: &Tensor) -> Result<Tensor, TrainError> {
        let weight = self.parameter(&format!("{stem}.weight"));
        Ok(match self.spec.norm {
            Norm::Rms { eps } => {
                let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
                x.broadcast_div(&(mean_square + f64::from(eps))?.sqrt()?)?.broadcast_mul(weight)?
            }
            Norm::Layer { eps } => {
                let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
                let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
                centred
                    .broadcast_div(&(variance + f64::from(eps))?.sqrt()?)?
                    .broadcast_mul(weight)?
                    .broadcast_add(self.parameter(&format!("{stem}.bias")))?
            }
        })
    }

    fn maybe_norm(&self, stem: &str, x: Tensor) -> Result<Tensor, TrainError> {
        if self.spec.post_norms { self.norm(stem, &x) } else { Ok(x) }
    }

    /// 0 where row `i` sees slot `j`, minus infinity elsewhere, `[rows, rows]`.
    fn mask(&self, rows: usize, window: Option<usize>) -> Candle<Tensor> {
        let window = window.unwrap_or(usize::MAX);
        let sees = |i: usize, j: usize| j <= i && i - j < window;
        let values: Vec<f32> = (0..rows * rows)
            .map(|at| if sees(at / rows, at % rows) { 0.0 } else { f32::NEG_INFINITY })
            .collect();
        Tensor::from_vec(values, (rows, rows), &self.device)
    }

    fn angles(&self, rows: usize) -> Candle<Angles> {
        let Positions::Rope(rope) = &self.spec.positions else {
            return Ok(Angles { global: None, local: None });
        };
        let rotations = Rotations::new(rope, rows);
        let table = |rotation: &Rotation| -> Candle<(Tensor, Tensor)> {
            let (mut cos, mut sin) = (Vec::new(), Vec::new());
            for position in 0..rows {
                rotation.push_angles(position, &mut cos, &mut sin);
            }
            let shape = (rows, rotations.dims / 2);
            Ok((Tensor::from_vec(cos, shape, &self.device)?, Tensor::from_vec(sin, shape, &self.device)?))
        };
        Ok(Angles {
            global: Some(table(&rotations.global)?),
            local: rotations.local.as_ref().map(table).transpose()?,
        })
    }
}

/// Reorders the rows of q and k of interleaved files so that rotated pairs are `(i, i + dims / 2)`; other tensors stay.
/// Says whether it did.
pub(crate) fn pair_halves(spec: &Spec, name: &str, shape: &[usize], values: &mut Vec<f32>) {
    let Some(order) = half_order(spec, name, shape[0]) else { return };
    let width: usize = shape[1..].iter().product();
    *values = order.iter().flat_map(|from| &values[from * width..(from + 1) * width]).copied().collect();
}

/// Where each of `rows` rows of the parameter `name` comes from, where the file has them in another order than this form.
pub fn half_order(spec: &Spec, name: &str, rows: usize) -> Option<Vec<usize>> {
    let Positions::Rope(rope) = &spec.positions else { return None };
    let is_q_or_k = [".attn_q.", ".attn_k."].iter().any(|part| name.contains(part));
    if rope.layout == RopeLayout::Half || !is_q_or_k {
        return None;
    }
    let (dim, half) = (spec.head_dim, rope.dims / 2);
    let source = |row: usize| {
        let (head, i) = (row / dim, row % dim);
        let from = if i < half {
            2 * i
        } else if i < rope.dims {
            2 * (i - half) + 1
        } else {
            i
        };
        head * dim + from
    };
    Some((0..rows).map(source).collect())
}

/// cos and sin, `[rows, dims / 2]`, for layers that see everything and for sliding ones.
struct Angles {
    global: Option<(Tensor, Tensor)>,
    local: Option<(Tensor, Tensor)>,
}

impl Angles {
    fn of(&self, sliding: bool) -> Option<&(Tensor, Tensor)> {
        if sliding { self.local.as_ref().or(self.global.as_ref()) } else { self.global.as_ref() }
    }
}

/// Rotates pairs `(i, i + dims / 2)` of `x` `[batch, heads, rows, head_dim]`.
fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Candle<Tensor> {
    let half = cos.dim(1)?;
    let rest = x.dim(D::Minus1)? - 2 * half;
    let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let first = (a.broadcast_mul(cos)? - b.broadcast_mul(sin)?)?;
    let second = (b.broadcast_mul(cos)? + a.broadcast_mul(sin)?)?;
    if rest == 0 {
        return Tensor::cat(&[first, second], D::Minus1);
    }
    Tensor::cat(&[first, second, x.narrow(D::Minus1, 2 * half, rest)?], D::Minus1)
}

/// `x Wᵀ` for `x` `[batch, rows, in]` and `weight` `[out, in]`, as one product: broadcasting the weight over the batch would
/// make its gradient once for every sequence.
pub fn flat_matmul(x: &Tensor, weight: &Tensor) -> Candle<Tensor> {
    let (batch, rows, width) = x.dims3()?;
    x.reshape((batch * rows, width))?.matmul(&weight.t()?)?.reshape((batch, rows, weight.dim(0)?))
}

/// Each key or value head serves `group` query heads.
fn repeat_heads(x: &Tensor, group: usize) -> Candle<Tensor> {
    let (batch, heads, rows, dim) = x.dims4()?;
    x.unsqueeze(2)?.expand((batch, heads, group, rows, dim))?.reshape((batch, heads * group, rows, dim))
}

fn softcap(x: &Tensor, cap: f32) -> Candle<Tensor> {
    (x / f64::from(cap))?.tanh()? * f64::from(cap)
}

/// Mean cross-entropy in nats of `targets` `[batch, rows]` (u32) under `logits` `[batch, rows, vocab]`, weighted
/// by `weights` `[batch, rows]`; rows of weight 0 do not count.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<Tensor, TrainError> {
    let log_probabilities = candle_nn::ops::log_softmax(logits, D::Minus1)?;
    let picked = log_probabilities.gather(&targets.unsqueeze(D::Minus1)?, D::Minus1)?.squeeze(D::Minus1)?;
    let weights = weights.to_dtype(DType::F32)?;
    Ok((picked * &weights)?.sum_all()?.neg()?.div(&weights.sum_all()?)?)
}
