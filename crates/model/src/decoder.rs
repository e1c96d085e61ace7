//! The decoder on plain slices: token ids in, logits out, one pass for any number of sequences.
//!
//! Read [`Decoder::forward`] for the way of a token: embedding, then per block norm, q k v, positions, memory,
//! attention, projection, MLP, then the output layer. Buffers are `[rows, width]`, where the rows of all
//! sequences of a pass stand one after the other, so that every product reads its weights once.

use std::cell::RefCell;
use std::ops::Range;

use crayon_formats::spec::{Activation, Positions, Spec};
use crayon_formats::{Checkpoint, Tensor};
use crayon_kernels::ops::{self, Act};
use crayon_kernels::{
    Activations, AttentionShape, Matrix, Mode, Product, Tap, Threads, attend, attend_heads, dequantize,
    matmul,
};

use crate::ModelError;
use crate::adapter::{Adapter, Site};
use crate::layers::{Block, ELEMENTS, Linear, Normalise, matrix, some_rows, view};
use crate::memory::{KvMemory, ScoreTap};
use crate::rope::{Rotation, Rotations};

thread_local! {
    /// Scores of the head a thread works on, kept from call to call.
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The most rows of a pass.
const PASS_ROWS: usize = 256;
/// The same beside few bytes of weights.
const SMALL_PASS_ROWS: usize = 144;

/// A network with its weights, shared by all sequences.
pub struct Decoder {
    spec: Spec,
    embedding: Tensor,
    learned_positions: Option<Tensor>,
    /// The rotations of every pass, unless they depend on the length of a sequence.
    rotations: Option<Rotations>,
    blocks: Vec<Block>,
    final_norm: Normalise,
    /// `None` when the token embedding serves as output layer.
    output: Option<Tensor>,
    mode: Mode,
    weight_bytes: usize,
}

/// The new tokens of one sequence in a pass.
pub struct Step<'a> {
    /// Token ids, at least one.
    pub tokens: &'a [u32],
    /// Where this sequence keeps its keys and values.
    pub memory: &'a mut dyn KvMemory,
    /// Added to the linear layers for this sequence only.
    pub adapter: Option<&'a dyn Adapter>,
    /// Sees this sequence's attention probabilities.
    pub tap: Option<&'a dyn ScoreTap>,
}

impl<'a> Step<'a> {
    /// New tokens of a sequence without adapter or tap.
    pub fn new(tokens: &'a [u32], memory: &'a mut dyn KvMemory) -> Step<'a> {
        Step { tokens, memory, adapter: None, tap: None }
    }
}

/// Which rows get logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// None: the pass only fills the memory.
    Nothing,
    /// The last row of each sequence.
    Last,
    /// Every row.
    All,
}

/// Buffers of a pass, reused from one to the next.
#[derive(Default)]
pub struct Scratch {
    activations: Activations,
    hidden: Vec<f32>,
    normed: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    /// Attention output `[rows, heads, head_dim]`.
    mixed: Vec<f32>,
    /// The same while it is made, `[heads, rows, head_dim]` for a sequence of several rows.
    by_head: Vec<f32>,
    delta: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    cos: [Vec<f32>; 2],
    sin: [Vec<f32>; 2],
    logits: Vec<f32>,
    /// Rows of each sequence of the pass, and those that get logits.
    spans: Vec<Range<usize>>,
    wanted: Vec<usize>,
}

impl Scratch {
    /// Empty buffers; they grow with the first pass.
    pub fn new() -> Scratch {
        Scratch::default()
    }
}

impl Decoder {
    /// Reads the network of `checkpoint`. Weights stay where they are; only norms, biases and the like are copied.
    pub fn open(checkpoint: &Checkpoint, mode: Mode) -> Result<Decoder, ModelError> {
        let spec = checkpoint.spec.clone();
        let learned = spec.positions == Positions::Learned;
        Ok(Decoder {
            embedding: matrix(checkpoint, "token_embd.weight")?,
            learned_positions: learned.then(|| matrix(checkpoint, "position_embd.weight")).transpose()?,
            rotations: match &spec.positions {
                Positions::Rope(rope) if Rotations::longest_short(rope).is_none() => {
                    Some(Rotations::new(rope, 0))
                }
                _ => None,
            },
            blocks: (0..spec.layers).map(|layer| Block::open(checkpoint, layer)).collect::<Result<_, _>>()?,
            final_norm: Normalise::open(checkpoint, "output_norm", spec.norm)?,
            output: (!spec.tied).then(|| matrix(checkpoint, "output.weight")).transpose()?,
            spec,
            mode,
            weight_bytes: checkpoint.bytes(),
        })
    }

    /// The network's description.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Whether activations stay f32.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The most rows of a pass that are worth their memory: enough to read weights seldom, few enough that its buffers stay small beside
    /// the weights, that progress is reported and that a stop comes soon.
    pub fn pass_rows(&self) -> usize {
        // Most of a row's buffers are the MLP's columns, five floats each.
        let buffers = PASS_ROWS * 5 * size_of::<f32>() * self.spec.intermediate;
        if buffers <= self.weight_bytes / 16 { PASS_ROWS } else { SMALL_PASS_ROWS }
    }

    /// Runs the new tokens of every step and returns the wanted logits, `[wanted rows, vocab]`.
    pub fn forward<'s>(
        &self,
        pool: &Threads,
        steps: &mut [Step<'_>],
        want: Want,
        scratch: &'s mut Scratch,
    ) -> Result<&'s mut [f32], ModelError> {
        let mut spans = std::mem::take(&mut scratch.spans);
        self.admit(steps, &mut spans)?;
        let rows = spans.last().map_or(0, |span| span.end);
        self.embed(steps, &spans, scratch)?;
        let varying = self.angles(steps, &spans, scratch);
        let rotations = varying.as_ref().or(self.rotations.as_ref());

        for (layer, block) in self.blocks.iter().enumerate() {
            self.attention(pool, layer, block, steps, &spans, rotations, scratch);
            self.mlp(pool, block, steps, &spans, scratch);
        }
        for (step, span) in steps.iter_mut().zip(&spans) {
            step.memory.advance(span.len());
        }

        let mut wanted = std::mem::take(&mut scratch.wanted);
        wanted.clear();
        match want {
            Want::Nothing => {}
            Want::Last => wanted.extend(spans.iter().map(|span| span.end - 1)),
            Want::All => wanted.extend(0..rows),
        }
        match wanted.is_empty() {
            true => scratch.logits.clear(),
            false => self.logits(pool, &wanted, scratch),
        }
        (scratch.spans, scratch.wanted) = (spans, wanted);
        Ok(&mut scratch.logits)
    }

    /// Checks the tokens, makes room for them, and gives each step its rows.
    fn admit(&self, steps: &mut [Step<'_>], spans: &mut Vec<Range<usize>>) -> Result<(), ModelError> {
        spans.clear();
        let mut start = 0;
        for step in steps.iter_mut() {
            if let Some(&id) = step.tokens.iter().find(|&&id| id as usize >= self.spec.vocab) {
                return Err(ModelError::Token { id, vocab: self.spec.vocab });
            }
            let last = step.memory.position() + step.tokens.len();
            if self.learned_positions.is_some() && last > self.spec.context {
                return Err(ModelError::Position { position: self.spec.context, context: self.spec.context });
            }
            step.memory.reserve(step.tokens.len())?;
            spans.push(start..start + step.tokens.len());
            start += step.tokens.len();
        }
        Ok(())
    }

    fn embed(
        &self,
        steps: &[Step<'_>],
        spans: &[Range<usize>],
        scratch: &mut Scratch,
    ) -> Result<(), ModelError> {
        let width = self.spec.hidden;
        let rows = spans.last().map_or(0, |span| span.end);
        scratch.hidden.resize(rows * width, 0.0);
        let mut out = scratch.hidden.chunks_exact_mut(width);
        for step in steps {
            let first = step.memory.position();
            for ((offset, &id), row) in step.tokens.iter().enumerate().zip(&mut out) {
                self.embedding(id, row);
                if let Some(positions) = &self.learned_positions {
                    let positions = view(positions);
                    scratch.delta.resize(width, 0.0);
                    dequantize(positions.format, positions.row(first + offset), &mut scratch.delta);
                    ops::add(row, &scratch.delta);
                }
            }
        }
        Ok(())
    }

    /// Fills the cos and sin tables of this pass, `[rows, dims / 2]`, for global and for local layers. The rotations
    /// where they depend on the sequence.
    fn angles(&self, steps: &[Step<'_>], spans: &[Range<usize>], scratch: &mut Scratch) -> Option<Rotations> {
        let Positions::Rope(rope) = &self.spec.positions else { return None };
        for table in scratch.cos.iter_mut().chain(&mut scratch.sin) {
            table.clear();
        }
        let mut varying = None;
        for (step, span) in steps.iter().zip(spans) {
            let rotations = match &self.rotations {
                Some(rotations) => rotations,
                None => varying.insert(Rotations::new(rope, step.memory.span())),
            };
            let first = step.memory.position();
            let kinds: [Option<&Rotation>; 2] = [Some(&rotations.global), rotations.local.as_ref()];
            for (kind, rotation) in kinds.into_iter().enumerate() {
                let Some(rotation) = rotation else { continue };
                for offset in 0..span.len() {
                    rotation.push_angles(first + offset, &mut scratch.cos[kind], &mut scratch.sin[kind]);
                }
            }
        }
        varying
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one pass, each named")]
    fn attention(
        &self,
        pool: &Threads,
        layer: usize,
        block: &Block,
        steps: &mut [Step<'_>],
        spans: &[Range<usize>],
        rotations: Option<&Rotations>,
        scratch: &mut Scratch,
    ) {
        let spec = &self.spec;
        let (dim, width) = (spec.head_dim, spec.hidden);
        let rows = scratch.hidden.len() / width;

        scratch.normed.resize(rows * width, 0.0);
        block.attention_norm.apply_to_rows(pool, &scratch.hidden, &mut scratch.normed);
        self.project(
            pool,
            &scratch.normed,
            &mut [(&block.q, &mut scratch.q), (&block.k, &mut scratch.k), (&block.v, &mut scratch.v)],
            &mut scratch.activations,
            steps,
            spans,
        );

        if let Some((q_norm, k_norm)) = &block.qk_norm {
            scratch.delta.resize(scratch.q.len(), 0.0);
            q_norm.apply_to_rows(pool, &scratch.q, &mut scratch.delta);
            std::mem::swap(&mut scratch.q, &mut scratch.delta);
            scratch.delta.resize(scratch.k.len(), 0.0);
            k_norm.apply_to_rows(pool, &scratch.k, &mut scratch.delta);
            std::mem::swap(&mut scratch.k, &mut scratch.delta);
        }
        if let Some(rotations) = rotations {
            let kind = usize::from(block.window.is_some() && rotations.local.is_some());
            let (cos, sin) = (&scratch.cos[kind], &scratch.sin[kind]);
            rotate(pool, &mut scratch.q, spec.heads, dim, cos, sin, rotations);
            rotate(pool, &mut scratch.k, spec.kv_heads, dim, cos, sin, rotations);
        }

        scratch.mixed.resize(rows * spec.heads * dim, 0.0);
        for (step, span) in steps.iter_mut().zip(spans) {
            let kv = span.start * spec.kv_heads * dim..span.end * spec.kv_heads * dim;
            step.memory.append(layer, &scratch.k[kv.clone()], &scratch.v[kv], span.len());
            let own = span.start * spec.heads * dim..span.end * spec.heads * dim;
            let (q, mixed) = (&scratch.q[own.clone()], &mut scratch.mixed[own]);
            if span.len() == 1 {
                self.attend_heads(pool, layer, block.window, step, q, mixed);
                continue;
            }
            scratch.by_head.resize(mixed.len(), 0.0);
            self.attend_heads(pool, layer, block.window, step, q, &mut scratch.by_head);
            gather_heads(pool, &scratch.by_head, spec.heads, dim, mixed);
        }

        scratch.delta.resize(rows * width, 0.0);
        self.project(
            pool,
            &scratch.mixed,
            &mut [(&block.o, &mut scratch.delta)],
            &mut scratch.activations,
            steps,
            spans,
        );
        add_residual(pool, block.post_attention_norm.as_ref(), scratch);
    }

    /// Attention of one sequence: `q` is `[rows, heads, head_dim]`, `out` is `[heads, rows, head_dim]`.
    fn attend_heads(
        &self,
        pool: &Threads,
        layer: usize,
        window: Option<usize>,
        step: &Step<'_>,
        q: &[f32],
        out: &mut [f32],
    ) {
        let spec = &self.spec;
        let (dim, stride) = (spec.head_dim, spec.heads * spec.head_dim);
        let rows = step.tokens.len();
        let group = spec.heads / spec.kv_heads;
        // A single row's heads go together where they share keys and values, as long as every thread has work.
        let together = match rows {
            1 => heads_together(group, spec.kv_heads, pool.count()),
            _ => 1,
        };
        let memory: &dyn KvMemory = &*step.memory;
        pool.for_each_chunk(out, together * rows * dim, |task, out| {
            let head = task * together;
            let kv = memory.head(layer, head / group);
            let shape = AttentionShape {
                dim,
                scale: spec.attention_scale,
                softcap: spec.attention_softcap,
                window,
                key_bias: kv.key_bias,
            };
            let q = &q[head * dim..];
            let mut report = step.tap.map(|tap| {
                move |index: usize, first: usize, probabilities: &[f32]| {
                    let (head, row) = if together > 1 { (head + index, 0) } else { (head, index) };
                    tap.scores(layer, head, row, first, probabilities);
                }
            });
            let tap = report.as_mut().map(|report| report as &mut Tap<'_>);
            SCORES.with_borrow_mut(|scores| match together {
                1 => {
                    let past = kv.slots - rows;
                    attend(&shape, q, stride, rows, past, kv.keys, kv.values, out, dim, scores, tap);
                }
                heads => attend_heads(&shape, q, heads, kv.slots, kv.keys, kv.values, out, scores, tap),
            });
        });
    }

    fn mlp(
        &self,
        pool: &Threads,
        block: &Block,
        steps: &[Step<'_>],
        spans: &[Range<usize>],
        scratch: &mut Scratch,
    ) {
        block.mlp_norm.apply_to_rows(pool, &scratch.hidden, &mut scratch.normed);
        let activations = &mut scratch.activations;
        let act = match self.spec.activation {
            Activation::Silu => Act::Silu,
            Activation::GeluTanh => Act::GeluTanh,
            Activation::Gelu => Act::Gelu,
        };
        match &block.gate {
            Some(gate) => {
                let mut layers = [(gate, &mut scratch.gate), (&block.up, &mut scratch.up)];
                self.project(pool, &scratch.normed, &mut layers, activations, steps, spans);
                let up = &scratch.up;
                pool.for_each_chunk(&mut scratch.gate, ELEMENTS, |i, gate| {
                    ops::gate_mul(act, gate, &up[i * ELEMENTS..][..gate.len()]);
                });
            }
            None => {
                let mut layers = [(&block.up, &mut scratch.gate)];
                self.project(pool, &scratch.normed, &mut layers, activations, steps, spans);
                pool.for_each_chunk(&mut scratch.gate, ELEMENTS, |_, x| act.apply(x));
            }
        }
        let mut layers = [(&block.down, &mut scratch.delta)];
        self.project(pool, &scratch.gate, &mut layers, activations, steps, spans);
        add_residual(pool, block.post_mlp_norm.as_ref(), scratch);
    }

    /// Several linear layers of one input: `x` is `[rows, in]`; biases and each step's adapter are added.
    fn project(
        &self,
        pool: &Threads,
        x: &[f32],
        layers: &mut [(&Linear, &mut Vec<f32>)],
        activations: &mut Activations,
        steps: &[Step<'_>],
        spans: &[Range<usize>],
    ) {
        let rows = spans.last().map_or(0, |span| span.end);
        let cols = layers[0].0.matrix().cols;
        activations.set_with(pool, x, rows, cols);
        activations.prepare(pool, layers.iter().map(|(layer, _)| layer.matrix().format), self.mode);
        for (layer, out) in layers.iter_mut() {
            out.resize(rows * layer.matrix().rows, 0.0);
        }
        multiply(pool, activations, layers, self.mode);
        for (layer, out) in layers.iter_mut() {
            layer.add_bias(pool, out);
            let width = layer.matrix().rows;
            for (step, span) in steps.iter().zip(spans) {
                if let Some(adapter) = step.adapter {
                    let x = &x[span.start * cols..span.end * cols];
                    let out = &mut out[span.start * width..span.end * width];
                    adapter.add(layer.site, x, span.len(), out, pool);
                }
            }
        }
    }

    /// Final norm and output layer of the `wanted` rows.
    fn logits(&self, pool: &Threads, wanted: &[usize], scratch: &mut Scratch) {
        let (width, vocab) = (self.spec.hidden, self.spec.vocab);
        scratch.normed.resize(wanted.len() * width, 0.0);
        for (row, out) in wanted.iter().zip(scratch.normed.chunks_exact_mut(width)) {
            self.final_norm.apply(&scratch.hidden[row * width..(row + 1) * width], out);
        }
        let weight: Matrix<'_> = view(self.output.as_ref().unwrap_or(&self.embedding));
        scratch.activations.set(&scratch.normed, wanted.len(), width);
        scratch.activations.prepare(pool, [weight.format].into_iter(), self.mode);
        scratch.logits.resize(wanted.len() * vocab, 0.0);
        let out = &mut scratch.logits[..];
        matmul(pool, &scratch.activations, &mut [Product { weight, out }], self.mode);
        if let Some(cap) = self.spec.logit_softcap {
            ops::softcap(&mut scratch.logits, cap);
        }
    }

    /// Log-likelihoods of `targets[i]` after row `i` of the pass that `scratch` was last used for, `[targets]`. Takes
    /// the output layer for a few rows at a time, so that memory does not grow with the rows of a pass.
    pub fn log_likelihoods(&self, pool: &Threads, targets: &[u32], out: &mut [f32], scratch: &mut Scratch) {
        /// Logits held at a time.
        const LOGITS: usize = 1 << 22;
        assert_eq!(targets.len(), out.len(), "one result for each target");
        let vocab = self.spec.vocab;
        let rows = (LOGITS / vocab).clamp(1, 256);
        for (block, (targets, out)) in targets.chunks(rows).zip(out.chunks_mut(rows)).enumerate() {
            let wanted: Vec<usize> = (block * rows..block * rows + targets.len()).collect();
            self.logits(pool, &wanted, scratch);
            pool.for_each_chunk(&mut scratch.logits, vocab, |row, logits| {
                logits[0] = ops::log_probability(logits, targets[row] as usize);
            });
            for (out, logits) in out.iter_mut().zip(scratch.logits.chunks_exact(vocab)) {
                *out = logits[0];
            }
        }
    }

    /// The embedding of a token as it enters the first block, without positions, `[hidden]`.
    pub fn embedding(&self, token: u32, out: &mut [f32]) {
        let embedding = view(&self.embedding);
        dequantize(embedding.format, embedding.row(token as usize), out);
        if self.spec.embedding_scale != 1.0 {
            ops::scale(out, self.spec.embedding_scale);
        }
    }

    /// Every linear layer of the blocks, in the order they run: where an adapter can attach.
    pub fn sites(&self) -> impl Iterator<Item = Site> + '_ {
        self.blocks.iter().flat_map(|block| {
            let all = [Some(&block.q), Some(&block.k), Some(&block.v), Some(&block.o), block.gate.as_ref()];
            all.into_iter().flatten().chain([&block.up, &block.down]).map(|layer| layer.site)
        })
    }
}

fn multiply(pool: &Threads, x: &Activations, layers: &mut [(&Linear, &mut Vec<f32>)], mode: Mode) {
    match layers {
        [(a, x_a)] => matmul(pool, x, &mut [Product { weight: a.matrix(), out: x_a }], mode),
        [(a, x_a), (b, x_b)] => {
            let a = Product { weight: a.matrix(), out: x_a };
            matmul(pool, x, &mut [a, Product { weight: b.matrix(), out: x_b }], mode);
        }
        [(a, x_a), (b, x_b), (c, x_c)] => {
            let a = Product { weight: a.matrix(), out: x_a };
            let b = Product { weight: b.matrix(), out: x_b };
            matmul(pool, x, &mut [a, b, Product { weight: c.matrix(), out: x_c }], mode);
        }
        more => {
            for (layer, out) in more {
                matmul(pool, x, &mut [Product { weight: layer.matrix(), out }], mode);
            }
        }
    }
}

/// How many heads of a group of `group` go together: the most that divide the group and leave each thread a task.
fn heads_together(group: usize, groups: usize, threads: usize) -> usize {
    let fits = |heads: &usize| group.is_multiple_of(*heads) && groups * (group / heads) >= threads;
    (1..=group).rev().find(fits).unwrap_or(1)
}

/// Rotates every head of `x` `[rows, heads, dim]` by the tables `[rows, dims / 2]`.
fn rotate(
    pool: &Threads,
    x: &mut [f32],
    heads: usize,
    dim: usize,
    cos: &[f32],
    sin: &[f32],
    rotations: &Rotations,
) {
    let (half, width) = (rotations.dims / 2, heads * dim);
    let each = some_rows(width);
    pool.for_each_chunk(x, each, |i, x| {
        for (row, x) in (i * each / width..).zip(x.chunks_exact_mut(width)) {
            let (cos, sin) = (&cos[row * half..(row + 1) * half], &sin[row * half..(row + 1) * half]);
            for head in x.chunks_exact_mut(dim) {
                ops::rope(&mut head[..rotations.dims], cos, sin, rotations.interleaved);
            }
        }
    });
}

/// `[heads, rows, dim]` to `[rows, heads, dim]`.
fn gather_heads(pool: &Threads, by_head: &[f32], heads: usize, dim: usize, out: &mut [f32]) {
    let width = heads * dim;
    let (rows, each) = (by_head.len() / width, some_rows(width));
    pool.for_each_chunk(out, each, |i, out| {
        for (row, out) in (i * each / width..).zip(out.chunks_exact_mut(width)) {
            for (head, out) in out.chunks_exact_mut(dim).enumerate() {
                out.copy_from_slice(&by_head[(head * rows + row) * dim..][..dim]);
            }
        }
    });
}

/// `hidden += delta`, through Gemma's second norm where there is one.
fn add_residual(pool: &Threads, norm: Option<&Normalise>, scratch: &mut Scratch) {
    let delta = match norm {
        Some(norm) => {
            scratch.normed.resize(scratch.delta.len(), 0.0);
            norm.apply_to_rows(pool, &scratch.delta, &mut scratch.normed);
            &scratch.normed
        }
        None => &scratch.delta,
    };
    pool.for_each_chunk(&mut scratch.hidden, ELEMENTS, |i, hidden| {
        ops::add(hidden, &delta[i * ELEMENTS..][..hidden.len()]);
    });
}
