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
mod low_rank;
mod memory;
mod pieces;
mod rows;
mod turned;

use std::collections::HashMap;

use crayon_formats::spec::{Norm, Positions, Spec};
use crayon_formats::{Checkpoint, Tensor};
use crayon_kernels::{Mode, Threads, ops};
use crayon_model::rope::Rotations;
use crayon_model::{ModelError, Projection, Site, act};

use crate::TrainError;
use attention::{Angles, Attention};
pub use linear::transpose;
use linear::{Linear, Work, forward, look_up, parameter};
pub use low_rank::{back_to_inner, back_to_input, inward, matrix_gradient, outward};
use memory::{Buffer, Memory};
use pieces::{RowNorm, add, cross_entropy, gated, gated_back, slope};
use rows::{Part, parts};

/// Something trained beside fixed linear layers: a LoRA, say.
pub trait TrainableAdapter {
    /// Whether it acts alike on the rows of all sequences, so that what they have in common at the beginning may be read once.
    fn alike(&self) -> bool {
        false
    }

    /// A pass over so many rows begins.
    fn begin(&mut self, _rows: usize) {}

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
    mode: Mode,
    layers: Vec<Layer>,
    /// `[vocab, hidden]`, as it lies in the file.
    embedding: Tensor,
    positions: Option<Vec<f32>>,
    output_norm: RowNorm,
    output: Linear,
    memory: Memory,
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
    hidden: Buffer,
    normed: Buffer,
    /// q and k before their norms, where there are such.
    raw: Option<[Buffer; 2]>,
    q: Buffer,
    k: Buffer,
    v: Buffer,
    probabilities: Vec<Vec<f32>>,
    mixed: Buffer,
    attended: Buffer,
    middle: Buffer,
    mlp_normed: Buffer,
    /// The gate before its activation, where there is one.
    gate: Option<Buffer>,
    up: Buffer,
    inner: Buffer,
    expanded: Buffer,
}

/// The rows of a pass.
struct Rows {
    parts: Vec<Part>,
    count: usize,
    global: Option<Angles>,
    local: Option<Angles>,
}

impl FrozenDecoder {
    /// Reads `checkpoint`. In [`Mode::Exact`] weights stay in the file, and products are computed in f32. [`Mode::Fast`] runs on
    /// 8-bit integers: weights of other formats are brought to blocks of 32 with a scale each, once as they are and once with
    /// rows and columns exchanged for the way back, both laid out for products of many rows, and activations and gradients are
    /// rounded as they come.
    ///
    /// # Errors
    /// When a tensor is missing or damaged.
    pub fn open(checkpoint: &Checkpoint, mode: Mode, threads: &Threads) -> Result<FrozenDecoder, TrainError> {
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
                linear.insert(projection, Linear::open(checkpoint, &site.to_string(), bias, mode, threads)?);
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
            mode,
            embedding: checkpoint.tensor("token_embd.weight")?,
            positions: learned.then(|| parameter(checkpoint, "position_embd.weight")).transpose()?,
            output_norm: norm("output_norm".to_owned())?,
            output: Linear::open(
                checkpoint,
                if spec.tied { "token_embd" } else { "output" },
                false,
                mode,
                threads,
            )?,
            memory: Memory::default(),
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
        self.check(sequences)?;
        let (parts, tokens) = parts(sequences, adapter.alike());
        let rows = self.rows(parts, tokens.len());
        adapter.begin(rows.count);
        let (memory, work) = (&self.memory, &mut Work::new(threads, &self.memory, self.mode));
        let mut hidden = self.embed(&tokens, &rows);
        let mut traces = Vec::with_capacity(self.layers.len());
        for number in 0..self.layers.len() {
            let trace = self.layer(number, hidden, &rows, adapter, work);
            hidden = self.after(
                &trace.middle,
                self.layers[number].post_mlp_norm.as_ref(),
                &trace.expanded,
                threads,
            );
            traces.push(trace);
        }

        let width = self.spec.hidden;
        // Each sequence's own part ends with the rows that predict its answer.
        let own = &rows.parts[rows.parts.len() - sequences.len()..];
        let wanted = || {
            let spans = own.iter().zip(sequences);
            spans.flat_map(|(part, sequence)| {
                part.rows.end - (sequence.tokens.len() - sequence.answer)..part.rows.end
            })
        };
        let targets: Vec<u32> =
            sequences.iter().flat_map(|sequence| &sequence.tokens[sequence.answer..]).copied().collect();
        let picked: Vec<f32> =
            wanted().flat_map(|row| &hidden[row * width..(row + 1) * width]).copied().collect();
        let normed = self.output_norm.forward(&picked, memory, threads);
        let mut logits = self.output.forward(&normed, targets.len(), work);
        if let Some(cap) = self.spec.logit_softcap {
            ops::softcap(&mut logits, cap);
        }
        let capped = self.spec.logit_softcap.filter(|_| learn).map(|cap| (cap, memory.copy(&logits)));
        let sum = cross_entropy(&mut logits, &targets, 1.0 / targets.len() as f32, threads);
        let loss = Loss { sum, tokens: targets.len() };
        if !learn {
            return Ok(loss);
        }

        let mut gradient = logits;
        if let Some((cap, logits)) = capped {
            for (gradient, logit) in gradient.iter_mut().zip(&logits[..]) {
                *gradient *= 1.0 - (logit / cap) * (logit / cap);
            }
        }
        let mut by_normed = memory.buffer(picked.len());
        self.output.backward(&gradient, targets.len(), &mut by_normed, false, work);
        drop(gradient);
        self.output_norm.backward(&picked, &mut by_normed, threads);
        hidden.fill(0.0);
        for (row, gradient) in wanted().zip(by_normed.chunks_exact(width)) {
            hidden[row * width..(row + 1) * width].copy_from_slice(gradient);
        }
        while let Some(trace) = traces.pop() {
            self.layer_back(traces.len(), &trace, &mut hidden, &rows, adapter, work);
        }
        Ok(loss)
    }

    fn check(&self, sequences: &[Sequence<'_>]) -> Result<(), TrainError> {
        let (vocab, context) = (self.spec.vocab, self.spec.context);
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
        }
        Ok(())
    }

    fn rows(&self, parts: Vec<Part>, count: usize) -> Rows {
        let (mut global, mut local) = (None, None);
        if let Positions::Rope(rope) = &self.spec.positions {
            let longest = parts.iter().map(Part::seen).max().unwrap_or(0);
            let rotations = Rotations::new(rope, longest);
            global = Some(Angles::new(&rotations.global, &parts));
            local = rotations.local.as_ref().map(|rotation| Angles::new(rotation, &parts));
        }
        Rows { parts, count, global, local }
    }

    fn embed(&self, tokens: &[u32], rows: &Rows) -> Buffer {
        let mut hidden = self.memory.copy(&look_up(&self.embedding, tokens));
        ops::scale(&mut hidden, self.spec.embedding_scale);
        if let Some(positions) = &self.positions {
            let width = self.spec.hidden;
            for part in &rows.parts {
                let own = &mut hidden[part.rows.start * width..part.rows.end * width];
                ops::add(own, &positions[part.before.len() * width..part.seen() * width]);
            }
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
        Attention { spec: &self.spec, parts: &rows.parts, window: self.window(number), q, k, v }
    }

    /// Hidden rows and what a half of a layer made of them, by its norm where it has one.
    fn after(&self, hidden: &[f32], norm: Option<&RowNorm>, made: &[f32], threads: &Threads) -> Buffer {
        let Some(norm) = norm else {
            let mut sum = self.memory.copy(hidden);
            add(&mut sum, made, threads);
            return sum;
        };
        let mut sum = norm.forward(made, &self.memory, threads);
        add(&mut sum, hidden, threads);
        sum
    }

    fn layer(
        &self,
        number: usize,
        hidden: Buffer,
        rows: &Rows,
        adapter: &mut dyn TrainableAdapter,
        work: &mut Work<'_>,
    ) -> Trace {
        let (spec, layer, count, threads) = (&self.spec, &self.layers[number], rows.count, work.threads);
        let memory = &self.memory;
        let mut adapt = |projection: Projection, x: &[f32], y: &mut [f32]| {
            adapter.forward(Site { layer: number, projection }, x, count, y, threads);
        };
        let normed = layer.attention_norm.forward(&hidden, memory, threads);
        let qkv = [Projection::Q, Projection::K, Projection::V];
        let mut made = forward(qkv.map(|projection| &layer.linear[&projection]), &normed, count, work);
        qkv.into_iter().zip(&mut made).for_each(|(projection, y)| adapt(projection, &normed, y));
        let [mut q, mut k, v] = made;
        let mut raw = None;
        if let (Some(q_norm), Some(k_norm)) = (&layer.q_norm, &layer.k_norm) {
            let (q_normed, k_normed) =
                (q_norm.forward(&q, memory, threads), k_norm.forward(&k, memory, threads));
            raw = Some([std::mem::replace(&mut q, q_normed), std::mem::replace(&mut k, k_normed)]);
        }
        if let Some(angles) = self.angles(number, rows) {
            angles.rotate(&mut q, spec.heads, spec.head_dim, false, threads);
            angles.rotate(&mut k, spec.kv_heads, spec.head_dim, false, threads);
        }
        let (probabilities, mixed) = self.attention(number, rows, [&q, &k, &v]).forward(memory, threads);
        let mut attended = layer.linear[&Projection::O].forward(&mixed, count, work);
        adapt(Projection::O, &mixed, &mut attended);
        let middle = self.after(&hidden, layer.post_attention_norm.as_ref(), &attended, threads);
        let mlp_normed = layer.mlp_norm.forward(&middle, memory, threads);
        let up_layer = &layer.linear[&Projection::Up];
        let (gate, mut up) = match layer.linear.get(&Projection::Gate) {
            Some(gate) => {
                let [mut gate, up] = forward([gate, up_layer], &mlp_normed, count, work);
                adapt(Projection::Gate, &mlp_normed, &mut gate);
                (Some(gate), up)
            }
            None => (None, up_layer.forward(&mlp_normed, count, work)),
        };
        adapt(Projection::Up, &mlp_normed, &mut up);
        let inner = match &gate {
            Some(gate) => gated(act(spec.activation), gate, &up, memory, threads),
            None => {
                let mut inner = memory.copy(&up);
                act(spec.activation).apply(&mut inner);
                inner
            }
        };
        let mut expanded = layer.linear[&Projection::Down].forward(&inner, count, work);
        adapt(Projection::Down, &inner, &mut expanded);
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
        work: &mut Work<'_>,
    ) {
        let (spec, layer, count, threads) = (&self.spec, &self.layers[number], rows.count, work.threads);
        let memory = &self.memory;
        let mut linear = |projection: Projection, x: &[f32], gradient: &[f32], to: &mut [f32], more: bool| {
            layer.linear[&projection].backward(gradient, count, to, more, work);
            adapter.backward(Site { layer: number, projection }, x, gradient, count, to, threads);
        };
        let mut gradient = memory.copy(hidden);
        if let Some(norm) = &layer.post_mlp_norm {
            norm.backward(&trace.expanded, &mut gradient, threads);
        }
        let mut up = memory.buffer(trace.inner.len());
        linear(Projection::Down, &trace.inner, &gradient, &mut up, false);
        let gate = match &trace.gate {
            Some(gate) => Some(gated_back(spec.activation, gate, &trace.up, &mut up, memory, threads)),
            None => {
                for ((gradient, x), value) in up.iter_mut().zip(&trace.up[..]).zip(&trace.inner[..]) {
                    *gradient *= slope(spec.activation, *x, *value);
                }
                None
            }
        };
        linear(Projection::Up, &trace.mlp_normed, &up, &mut gradient, false);
        if let Some(gate) = gate {
            linear(Projection::Gate, &trace.mlp_normed, &gate, &mut gradient, true);
        }
        layer.mlp_norm.backward(&trace.middle, &mut gradient, threads);
        add(hidden, &gradient, threads);

        gradient.copy_from_slice(hidden);
        if let Some(norm) = &layer.post_attention_norm {
            norm.backward(&trace.attended, &mut gradient, threads);
        }
        let mut mixed = memory.buffer(trace.mixed.len());
        linear(Projection::O, &trace.mixed, &gradient, &mut mixed, false);
        let attention = self.attention(number, rows, [&trace.q, &trace.k, &trace.v]);
        let mut own = attention.backward(&trace.probabilities, &mixed, memory, threads);
        if let Some(angles) = self.angles(number, rows) {
            angles.rotate(&mut own.q, spec.heads, spec.head_dim, true, threads);
            angles.rotate(&mut own.k, spec.kv_heads, spec.head_dim, true, threads);
        }
        if let (Some(q_norm), Some(k_norm), Some([q, k])) = (&layer.q_norm, &layer.k_norm, &trace.raw) {
            q_norm.backward(q, &mut own.q, threads);
            k_norm.backward(k, &mut own.k, threads);
        }
        linear(Projection::Q, &trace.normed, &own.q, &mut gradient, false);
        linear(Projection::K, &trace.normed, &own.k, &mut gradient, true);
        linear(Projection::V, &trace.normed, &own.v, &mut gradient, true);
        layer.attention_norm.backward(&trace.hidden, &mut gradient, threads);
        add(hidden, &gradient, threads);
    }
}
