//! The decoder on slices with fixed weights, and the way back to what is trained beside them.
//!
//! A tensor library with automatic gradients computes those of the fixed weights too, pads sequences to one length and makes
//! logits of every position. Here nothing learns but what a [`TrainableAdapter`] holds: the way back goes through activations alone,
//! sequences stand one behind another without padding, and logits are made where a token is predicted. Tested against
//! [`plain::PlainDecoder`](crate::plain::PlainDecoder) on every family.
//!
//! Shapes: hidden `[rows, hidden]` over the rows of all sequences, heads `[rows, heads, head_dim]`.

mod attention;
mod linear;
mod pieces;

use std::collections::HashMap;
use std::ops::Range;

use crayon_formats::Checkpoint;
use crayon_formats::spec::{Activation, Norm, Positions, Spec};
use crayon_kernels::{Threads, ops};
use crayon_model::rope::Rotations;
use crayon_model::{ModelError, Projection, Site, act};

use crate::TrainError;
use attention::{Angles, Attention};
use linear::{Linear, parameter};
pub use linear::{product, transpose};
use pieces::{RowNorm, cross_entropy, slope};

/// Something trained beside fixed linear layers: a LoRA, say.
pub trait TrainableAdapter {
    /// Adds its part to `y` `[rows, out]` at `site` for input `x` `[rows, in]`.
    fn forward(&mut self, site: Site, x: &[f32], rows: usize, y: &mut [f32], threads: &Threads);

    /// Takes the gradient `[rows, out]` of `y` for its own gradients and adds what flows on to `x_gradient` `[rows, in]`. Called
    /// once for every `forward`, with the same `x`.
    fn backward(
        &mut self,
        site: Site,
        x: &[f32],
        gradient: &[f32],
        rows: usize,
        x_gradient: &mut [f32],
        threads: &Threads,
    );
}

/// One text to read.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Token ids, at least two.
    pub tokens: &'a [u32],
    /// Tokens from this one on are predicted, the first at most from position 1.
    pub answer: usize,
}

/// The loss of some sequences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Sum over predicted tokens of their cross-entropy in nats.
    pub sum: f64,
    /// Predicted tokens.
    pub tokens: usize,
}

impl Loss {
    /// Nats a predicted token.
    pub fn mean(&self) -> f64 {
        self.sum / self.tokens.max(1) as f64
    }
}

/// A network that does not learn.
pub struct FrozenDecoder {
    spec: Spec,
    layers: Vec<Layer>,
    embedding: Linear,
    positions: Option<Vec<f32>>,
    output_norm: RowNorm,
    /// Where it is not the embedding.
    output: Option<Linear>,
}

struct Layer {
    attention_norm: RowNorm,
    post_attention_norm: Option<RowNorm>,
    mlp_norm: RowNorm,
    post_mlp_norm: Option<RowNorm>,
    q_norm: Option<RowNorm>,
    k_norm: Option<RowNorm>,
    linear: HashMap<Projection, Linear>,
}

/// What a layer's way back looks at.
struct Trace {
    hidden: Vec<f32>,
    normed: Vec<f32>,
    /// q and k before their norms, where there are such.
    raw: Option<[Vec<f32>; 2]>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    probabilities: Vec<Vec<f32>>,
    mixed: Vec<f32>,
    attended: Vec<f32>,
    middle: Vec<f32>,
    mlp_normed: Vec<f32>,
    /// The gate before its activation, where there is one.
    gate: Option<Vec<f32>>,
    up: Vec<f32>,
    inner: Vec<f32>,
    expanded: Vec<f32>,
}

/// The rows of a pass.
struct Rows {
    sequences: Vec<Range<usize>>,
    count: usize,
    global: Option<Angles>,
    local: Option<Angles>,
}

impl FrozenDecoder {
    /// Reads `checkpoint`: every matrix transposed in f32, and once more as it is unless it lies in the file so.
    ///
    /// # Errors
    /// When a tensor is missing or damaged.
    pub fn open(checkpoint: &Checkpoint) -> Result<FrozenDecoder, TrainError> {
        let spec = checkpoint.spec.clone();
        let norm = |stem: String| RowNorm::open(checkpoint, &stem, spec.norm);
        let head_norm = |stem: String| {
            let eps = match spec.norm {
                Norm::Rms { eps } | Norm::Layer { eps } => eps,
            };
            RowNorm::open(checkpoint, &stem, Norm::Rms { eps })
        };
        let mut layers = Vec::with_capacity(spec.layers);
        for layer in 0..spec.layers {
            let stem = |name: &str| format!("blk.{layer}.{name}");
            let mut linear = HashMap::new();
            for projection in Projection::ALL.into_iter().filter(|projection| projection.exists(&spec)) {
                let (site, bias) = (Site { layer, projection }, projection.has_bias(&spec));
                linear.insert(projection, Linear::open(checkpoint, &site.to_string(), bias)?);
            }
            let post = |name: &str| spec.post_norms.then(|| norm(stem(name))).transpose();
            let head = |name: &str| spec.qk_norm.then(|| head_norm(stem(name))).transpose();
            layers.push(Layer {
                attention_norm: norm(stem("attn_norm"))?,
                post_attention_norm: post("post_attention_norm")?,
                mlp_norm: norm(stem("ffn_norm"))?,
                post_mlp_norm: post("post_ffw_norm")?,
                q_norm: head("attn_q_norm")?,
                k_norm: head("attn_k_norm")?,
                linear,
            });
        }
        let learned = spec.positions == Positions::Learned;
        Ok(FrozenDecoder {
            layers,
            embedding: Linear::open(checkpoint, "token_embd", false)?,
            positions: learned.then(|| parameter(checkpoint, "position_embd.weight")).transpose()?,
            output_norm: norm("output_norm".to_owned())?,
            output: (!spec.tied).then(|| Linear::open(checkpoint, "output", false)).transpose()?,
            spec,
        })
    }

    /// The network's description.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Loss of the answers of `sequences` with `adapter` taking part. With `learn`, the gradient of the mean over all predicted
    /// tokens goes back to it.
    ///
    /// # Errors
    /// When a token is not in the vocabulary, or a sequence is longer than the learned positions or predicts nothing.
    pub fn loss(
        &self,
        sequences: &[Sequence<'_>],
        adapter: &mut dyn TrainableAdapter,
        learn: bool,
        threads: &Threads,
    ) -> Result<Loss, TrainError> {
        if sequences.is_empty() {
            return Ok(Loss { sum: 0.0, tokens: 0 });
        }
        let rows = self.rows(sequences)?;
        let mut hidden = self.embed(sequences);
        let mut traces = Vec::with_capacity(self.layers.len());
        for number in 0..self.layers.len() {
            let trace = self.layer(number, hidden, &rows, adapter, threads);
            hidden = trace.middle.clone();
            ops::add(&mut hidden, &self.expanded(number, &trace));
            traces.push(trace);
        }

        let width = self.spec.hidden;
        let wanted = || {
            let spans = rows.sequences.iter().zip(sequences);
            spans.flat_map(|(span, sequence)| span.start + sequence.answer - 1..span.end)
        };
        let targets: Vec<u32> =
            sequences.iter().flat_map(|sequence| &sequence.tokens[sequence.answer..]).copied().collect();
        let picked: Vec<f32> =
            wanted().flat_map(|row| &hidden[row * width..(row + 1) * width]).copied().collect();
        let normed = self.output_norm.forward(&picked);
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        let mut logits = output.forward(&normed, targets.len(), threads);
        if let Some(cap) = self.spec.logit_softcap {
            ops::softcap(&mut logits, cap);
        }
        let capped = self.spec.logit_softcap.filter(|_| learn).map(|cap| (cap, logits.clone()));
        let sum = cross_entropy(&mut logits, &targets, 1.0 / targets.len() as f32);
        let loss = Loss { sum, tokens: targets.len() };
        if !learn {
            return Ok(loss);
        }

        let mut gradient = logits;
        if let Some((cap, logits)) = capped {
            for (gradient, logit) in gradient.iter_mut().zip(logits) {
                *gradient *= 1.0 - (logit / cap) * (logit / cap);
            }
        }
        let mut gradient = output.backward(&gradient, targets.len(), threads);
        self.output_norm.backward(&picked, &mut gradient);
        hidden.fill(0.0);
        for (row, gradient) in wanted().zip(gradient.chunks_exact(width)) {
            hidden[row * width..(row + 1) * width].copy_from_slice(gradient);
        }
        for (number, trace) in traces.iter().enumerate().rev() {
            self.layer_back(number, trace, &mut hidden, &rows, adapter, threads);
        }
        Ok(loss)
    }

    fn rows(&self, sequences: &[Sequence<'_>]) -> Result<Rows, TrainError> {
        let (vocab, context) = (self.spec.vocab, self.spec.context);
        let mut spans = Vec::with_capacity(sequences.len());
        let mut count = 0;
        for sequence in sequences {
            if let Some(&id) = sequence.tokens.iter().find(|id| **id as usize >= vocab) {
                return Err(ModelError::Token { id, vocab }.into());
            }
            // The last token is predicted, not read.
            let length = sequence.tokens.len().saturating_sub(1);
            if sequence.answer == 0 || sequence.answer > length {
                return Err(TrainError::NothingPredicted {
                    tokens: sequence.tokens.len(),
                    answer: sequence.answer,
                });
            }
            if self.positions.is_some() && length > context {
                return Err(ModelError::Position { position: context, context }.into());
            }
            spans.push(count..count + length);
            count += length;
        }
        let (mut global, mut local) = (None, None);
        if let Positions::Rope(rope) = &self.spec.positions {
            let longest = spans.iter().map(Range::len).max().unwrap_or(0);
            let rotations = Rotations::new(rope, longest);
            global = Some(Angles::new(&rotations.global, &spans));
            local = rotations.local.as_ref().map(|rotation| Angles::new(rotation, &spans));
        }
        Ok(Rows { sequences: spans, count, global, local })
    }

    fn embed(&self, sequences: &[Sequence<'_>]) -> Vec<f32> {
        let mut hidden = Vec::new();
        for sequence in sequences {
            let ids = &sequence.tokens[..sequence.tokens.len() - 1];
            let mut rows = self.embedding.rows(ids);
            ops::scale(&mut rows, self.spec.embedding_scale);
            if let Some(positions) = &self.positions {
                let length = rows.len();
                ops::add(&mut rows, &positions[..length]);
            }
            hidden.append(&mut rows);
        }
        hidden
    }

    fn angles<'a>(&self, number: usize, rows: &'a Rows) -> Option<&'a Angles> {
        let sliding = self.window(number).is_some();
        rows.local.as_ref().filter(|_| sliding).or(rows.global.as_ref())
    }

    fn window(&self, number: usize) -> Option<usize> {
        self.spec.windows.get(number).copied().flatten()
    }

    fn attention<'a>(&'a self, number: usize, rows: &'a Rows, qkv: [&'a [f32]; 3]) -> Attention<'a> {
        let [q, k, v] = qkv;
        Attention { spec: &self.spec, sequences: &rows.sequences, window: self.window(number), q, k, v }
    }

    /// What the MLP of a layer adds to the hidden rows.
    fn expanded(&self, number: usize, trace: &Trace) -> Vec<f32> {
        match &self.layers[number].post_mlp_norm {
            Some(norm) => norm.forward(&trace.expanded),
            None => trace.expanded.clone(),
        }
    }

    fn layer(
        &self,
        number: usize,
        hidden: Vec<f32>,
        rows: &Rows,
        adapter: &mut dyn TrainableAdapter,
        threads: &Threads,
    ) -> Trace {
        let (spec, layer, count) = (&self.spec, &self.layers[number], rows.count);
        let mut linear = |projection: Projection, x: &[f32]| {
            let mut y = layer.linear[&projection].forward(x, count, threads);
            adapter.forward(Site { layer: number, projection }, x, count, &mut y, threads);
            y
        };
        let normed = layer.attention_norm.forward(&hidden);
        let (mut q, mut k) = (linear(Projection::Q, &normed), linear(Projection::K, &normed));
        let v = linear(Projection::V, &normed);
        let mut raw = None;
        if let (Some(q_norm), Some(k_norm)) = (&layer.q_norm, &layer.k_norm) {
            let (q_normed, k_normed) = (q_norm.forward(&q), k_norm.forward(&k));
            raw = Some([std::mem::replace(&mut q, q_normed), std::mem::replace(&mut k, k_normed)]);
        }
        if let Some(angles) = self.angles(number, rows) {
            angles.rotate(&mut q, spec.heads, spec.head_dim, false);
            angles.rotate(&mut k, spec.kv_heads, spec.head_dim, false);
        }
        let (probabilities, mixed) = self.attention(number, rows, [&q, &k, &v]).forward(threads);
        let attended = linear(Projection::O, &mixed);
        let mut middle = hidden.clone();
        match &layer.post_attention_norm {
            Some(norm) => ops::add(&mut middle, &norm.forward(&attended)),
            None => ops::add(&mut middle, &attended),
        }
        let mlp_normed = layer.mlp_norm.forward(&middle);
        let gate = spec.gated.then(|| linear(Projection::Gate, &mlp_normed));
        let up = linear(Projection::Up, &mlp_normed);
        let inner = match &gate {
            Some(gate) => {
                let mut inner = gate.clone();
                ops::gate_mul(act(spec.activation), &mut inner, &up);
                inner
            }
            None => {
                let mut inner = up.clone();
                act(spec.activation).apply(&mut inner);
                inner
            }
        };
        let expanded = linear(Projection::Down, &inner);
        Trace {
            hidden,
            normed,
            raw,
            q,
            k,
            v,
            probabilities,
            mixed,
            attended,
            middle,
            mlp_normed,
            gate,
            up,
            inner,
            expanded,
        }
    }

    /// `hidden`: the gradient of a layer's output, becomes that of its input.
    fn layer_back(
        &self,
        number: usize,
        trace: &Trace,
        hidden: &mut [f32],
        rows: &Rows,
        adapter: &mut dyn TrainableAdapter,
        threads: &Threads,
    ) {
        let (spec, layer, count) = (&self.spec, &self.layers[number], rows.count);
        let mut linear = |projection: Projection, x: &[f32], gradient: &[f32]| {
            let mut x_gradient = layer.linear[&projection].backward(gradient, count, threads);
            let site = Site { layer: number, projection };
            adapter.backward(site, x, gradient, count, &mut x_gradient, threads);
            x_gradient
        };
        let mut gradient = hidden.to_vec();
        if let Some(norm) = &layer.post_mlp_norm {
            norm.backward(&trace.expanded, &mut gradient);
        }
        let mut up = linear(Projection::Down, &trace.inner, &gradient);
        let gate = mlp_back(spec.activation, trace, &mut up);
        let mut gradient = linear(Projection::Up, &trace.mlp_normed, &up);
        if let Some(gate) = gate {
            ops::add(&mut gradient, &linear(Projection::Gate, &trace.mlp_normed, &gate));
        }
        layer.mlp_norm.backward(&trace.middle, &mut gradient);
        ops::add(hidden, &gradient);

        let mut gradient = hidden.to_vec();
        if let Some(norm) = &layer.post_attention_norm {
            norm.backward(&trace.attended, &mut gradient);
        }
        let mixed = linear(Projection::O, &trace.mixed, &gradient);
        let attention = self.attention(number, rows, [&trace.q, &trace.k, &trace.v]);
        let mut own = attention.backward(&trace.probabilities, &mixed, threads);
        if let Some(angles) = self.angles(number, rows) {
            angles.rotate(&mut own.q, spec.heads, spec.head_dim, true);
            angles.rotate(&mut own.k, spec.kv_heads, spec.head_dim, true);
        }
        if let (Some(q_norm), Some(k_norm), Some([q, k])) = (&layer.q_norm, &layer.k_norm, &trace.raw) {
            q_norm.backward(q, &mut own.q);
            k_norm.backward(k, &mut own.k);
        }
        let mut gradient = linear(Projection::Q, &trace.normed, &own.q);
        ops::add(&mut gradient, &linear(Projection::K, &trace.normed, &own.k));
        ops::add(&mut gradient, &linear(Projection::V, &trace.normed, &own.v));
        layer.attention_norm.backward(&trace.hidden, &mut gradient);
        ops::add(hidden, &gradient);
    }
}

/// `inner`, the gradient of the activated values, becomes that of `up`; returns that of the gate, where there is one.
fn mlp_back(activation: Activation, trace: &Trace, inner: &mut [f32]) -> Option<Vec<f32>> {
    let Some(gate) = &trace.gate else {
        for ((gradient, x), value) in inner.iter_mut().zip(&trace.up).zip(&trace.inner) {
            *gradient *= slope(activation, *x, *value);
        }
        return None;
    };
    let mut activated = gate.clone();
    act(activation).apply(&mut activated);
    let mut gate_gradient = Vec::with_capacity(gate.len());
    for (((gradient, up), gate), value) in inner.iter_mut().zip(&trace.up).zip(gate).zip(&activated) {
        gate_gradient.push(*gradient * up * slope(activation, *gate, *value));
        *gradient *= value;
    }
    Some(gate_gradient)
}
