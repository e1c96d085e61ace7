//! The decoder on plain slices: token ids in, logits out, one pass for any number of sequences.
//!
//! Read [`Decoder::forward`] for the way of a token: embedding, then per block norm, q k v, positions, memory,
//! attention, projection, MLP, then the output layer. Buffers are `[rows, width]`, where the rows of all
//! sequences of a pass stand one after the other, so that every product reads its weights once.

use std::ops::Range;

use crayon_formats::spec::{Positions, Spec};
use crayon_formats::{Checkpoint, Tensor};
use crayon_kernels::{Activations, Matrix, Mode, Product, Threads, dequantize, matmul, ops};

use crate::ModelError;
use crate::adapter::{Adapter, Site, add_each};
use crate::attention::{Attention, HeadTap, Sight};
use crate::block::Block;
use crate::likelihood::rows_at_once;
use crate::linear::{ELEMENTS, Linear, Projector, matrix, view};
use crate::memory::{KvMemory, ScoreTap};
use crate::norm::RowNorm;
use crate::rope::{Rotation, Rotations};

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
    final_norm: RowNorm,
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
    /// Which of its rows get logits.
    pub want: Want,
}

impl<'a> Step<'a> {
    /// New tokens of a sequence without adapter or tap, whose last row gets logits.
    pub fn new(tokens: &'a [u32], memory: &'a mut dyn KvMemory) -> Step<'a> {
        Step { tokens, memory, adapter: None, tap: None, want: Want::Last }
    }

    /// The same with logits for other rows.
    pub fn wanting(self, want: Want) -> Step<'a> {
        Step { want, ..self }
    }
}

/// Which rows of a sequence get logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// None: the pass only fills the memory.
    Nothing,
    /// The last row.
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
    /// Logits of a few rows at a time, for log-likelihoods.
    pub(crate) likely: Vec<f32>,
    /// Rows of each sequence of the pass, and those that get logits.
    pub(crate) spans: Vec<Range<usize>>,
    wanted: Vec<usize>,
}

impl Scratch {
    /// Empty buffers; they grow with the first pass.
    pub fn new() -> Scratch {
        Scratch::default()
    }

    /// Bytes the buffers take.
    pub fn bytes(&self) -> usize {
        let Scratch {
            hidden,
            normed,
            q,
            k,
            v,
            mixed,
            by_head,
            delta,
            gate,
            up,
            cos,
            sin,
            logits,
            likely,
            ..
        } = self;
        let floats = [hidden, normed, q, k, v, mixed, by_head, delta, gate, up, logits, likely];
        let floats: usize = floats.into_iter().chain(cos).chain(sin).map(Vec::capacity).sum();
        self.activations.bytes() + size_of::<f32>() * floats
    }

    /// The wanted logits of step `at` of the last pass, `[wanted rows, vocab]`.
    pub fn logits(&self, at: usize) -> &[f32] {
        let before = |row: usize| self.wanted.partition_point(|wanted| *wanted < row);
        let vocab = self.logits.len().checked_div(self.wanted.len()).unwrap_or(0);
        let span = &self.spans[at];
        &self.logits[before(span.start) * vocab..before(span.end) * vocab]
    }
}

impl Decoder {
    /// Reads the network of `checkpoint`. Weights stay where they are; only norms, biases and the like are copied.
    pub fn open(checkpoint: &Checkpoint, mode: Mode) -> Result<Decoder, ModelError> {
        let spec = checkpoint.spec.clone();
        let tensor = |name: &str| matrix(checkpoint.tensor(name)?);
        let learned = spec.positions == Positions::Learned;
        Ok(Decoder {
            embedding: tensor("token_embd.weight")?,
            learned_positions: learned.then(|| tensor("position_embd.weight")).transpose()?,
            rotations: match &spec.positions {
                Positions::Rope(rope) if Rotations::longest_short(rope).is_none() => {
                    Some(Rotations::new(rope, 0))
                }
                _ => None,
            },
            blocks: (0..spec.layers).map(|layer| Block::open(checkpoint, layer)).collect::<Result<_, _>>()?,
            final_norm: RowNorm::open(checkpoint, "output_norm", spec.norm)?,
            output: (!spec.tied).then(|| tensor("output.weight")).transpose()?,
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

    /// About the bytes of the buffers of passes of at most `rows` rows, of which `wanted` get logits; with `likely` also of
    /// [`log_likelihoods`](Self::log_likelihoods).
    pub fn scratch_bytes(&self, rows: usize, wanted: usize, likely: bool) -> usize {
        let Spec { hidden, intermediate, heads, kv_heads, head_dim, vocab, .. } = self.spec;
        let (q, widest) = (heads * head_dim, hidden.max(heads * head_dim).max(intermediate));
        // hidden, normed and delta; q, mixed and by_head; k and v; gate and up; the input of a product and its codes; angles.
        let floats = 3 * hidden.max(q)
            + 3 * q
            + 2 * kv_heads * head_dim
            + 2 * intermediate
            + 2 * widest
            + 2 * head_dim;
        let likely = if likely { rows_at_once(vocab) } else { 0 };
        size_of::<f32>() * (rows * floats + (wanted + likely) * vocab)
    }

    /// Runs the new tokens of every step and returns the wanted logits, `[wanted rows, vocab]`, in the order of the steps.
    pub fn forward<'s>(
        &self,
        pool: &Threads,
        steps: &mut [Step<'_>],
        scratch: &'s mut Scratch,
    ) -> Result<&'s mut [f32], ModelError> {
        let mut spans = std::mem::take(&mut scratch.spans);
        self.admit(steps, &mut spans)?;
        self.embed(steps, &spans, scratch)?;
        let varying = self.angles(steps, &spans, scratch);
        let rotations = varying.as_ref().or(self.rotations.as_ref());

        let mut pass = Pass { threads: pool, steps: &mut *steps, spans: &spans, rotations };
        for (layer, block) in self.blocks.iter().enumerate() {
            self.attention(layer, block, &mut pass, scratch);
            self.mlp(block, &pass, scratch);
        }
        for (step, span) in steps.iter_mut().zip(&spans) {
            step.memory.advance(span.len());
        }

        let mut wanted = std::mem::take(&mut scratch.wanted);
        wanted.clear();
        for (step, span) in steps.iter().zip(&spans) {
            wanted.extend(match step.want {
                Want::Nothing => span.end..span.end,
                Want::Last => span.end - 1..span.end,
                Want::All => span.clone(),
            });
        }
        let mut logits = std::mem::take(&mut scratch.logits);
        match wanted.is_empty() {
            true => logits.clear(),
            false => self.logits(pool, &wanted, scratch, &mut logits),
        }
        (scratch.spans, scratch.wanted, scratch.logits) = (spans, wanted, logits);
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

    /// Adds a block's attention to the hidden rows.
    fn attention(&self, layer: usize, block: &Block, pass: &mut Pass<'_, '_>, scratch: &mut Scratch) {
        let (spec, threads) = (&self.spec, pass.threads);
        let (dim, kv_width) = (spec.head_dim, spec.kv_heads * spec.head_dim);
        let Scratch { activations, hidden, normed, q, k, v, mixed, by_head, delta, cos, sin, .. } = scratch;

        normed.resize(hidden.len(), 0.0);
        block.attention_norm.apply_to_rows(threads, hidden, normed);
        self.project(pass, activations, normed, [(&block.q, &mut *q), (&block.k, &mut *k), (&block.v, v)]);
        if let Some((q_norm, k_norm)) = &block.qk_norm {
            for (norm, x) in [(q_norm, &mut *q), (k_norm, &mut *k)] {
                delta.resize(x.len(), 0.0);
                norm.apply_to_rows(threads, x, delta);
                std::mem::swap(x, delta);
            }
        }
        if let Some(rotations) = pass.rotations {
            let kind = usize::from(block.window.is_some() && rotations.local.is_some());
            let (cos, sin) = (&cos[kind], &sin[kind]);
            rotations.rotate(threads, q, spec.heads, dim, cos, sin);
            rotations.rotate(threads, k, spec.kv_heads, dim, cos, sin);
        }

        mixed.resize(q.len(), 0.0);
        for (step, span) in pass.steps.iter_mut().zip(pass.spans) {
            let kv = span.start * kv_width..span.end * kv_width;
            step.memory.append(layer, &k[kv.clone()], &v[kv], span.len());
            let memory: &dyn KvMemory = &*step.memory;
            let report = step.tap.map(|tap| {
                move |head: usize, row: usize, first: usize, probabilities: &[f32]| {
                    tap.scores(layer, head, row, first, probabilities);
                }
            });
            let attention = Attention {
                heads: spec.heads,
                kv_heads: spec.kv_heads,
                dim,
                scale: spec.attention_scale,
                softcap: spec.attention_softcap,
                sight: Sight::Causal { window: block.window },
                tap: report.as_ref().map(|report| report as &HeadTap<'_>),
            };
            let own = span.start * spec.heads * dim..span.end * spec.heads * dim;
            let (q, mixed) = (&q[own.clone()], &mut mixed[own]);
            attention.mix(threads, q, span.len(), &|head| memory.head(layer, head), by_head, mixed);
        }

        self.project(pass, activations, mixed, [(&block.o, &mut *delta)]);
        add_residual(threads, block.post_attention_norm.as_ref(), delta, normed, hidden);
    }

    /// Adds a block's MLP to the hidden rows.
    fn mlp(&self, block: &Block, pass: &Pass<'_, '_>, scratch: &mut Scratch) {
        let Scratch { activations, hidden, normed, delta, gate, up, .. } = scratch;
        block.mlp_norm.apply_to_rows(pass.threads, hidden, normed);
        let adapt = |site: Site, x: &[f32], out: &mut [f32]| pass.adapt(site, x, out);
        let mut project = Projector { threads: pass.threads, mode: self.mode, activations, adapt: &adapt };
        block.mlp.forward(&mut project, normed, pass.rows(), [gate, up], delta);
        add_residual(pass.threads, block.post_mlp_norm.as_ref(), delta, normed, hidden);
    }

    /// Linear layers of one input `x` `[rows, in]`, with what the steps' adapters add.
    fn project<const N: usize>(
        &self,
        pass: &Pass<'_, '_>,
        activations: &mut Activations,
        x: &[f32],
        layers: [(&Linear, &mut Vec<f32>); N],
    ) {
        let adapt = |site: Site, x: &[f32], out: &mut [f32]| pass.adapt(site, x, out);
        let mut project = Projector { threads: pass.threads, mode: self.mode, activations, adapt: &adapt };
        project.run(x, pass.rows(), layers);
    }

    /// The output layer's weights, `[vocab, hidden]`.
    pub(crate) fn output(&self) -> Matrix<'_> {
        view(self.output.as_ref().unwrap_or(&self.embedding))
    }

    /// Final norm and output layer of the `wanted` rows.
    fn logits(&self, pool: &Threads, wanted: &[usize], scratch: &mut Scratch, logits: &mut Vec<f32>) {
        self.norm_wanted(pool, wanted, scratch);
        self.logits_of(pool, scratch, self.output(), logits);
    }

    /// Puts the `wanted` rows behind the final norm where [`logits_of`](Self::logits_of) takes them.
    pub(crate) fn norm_wanted(&self, pool: &Threads, wanted: &[usize], scratch: &mut Scratch) {
        let width = self.spec.hidden;
        scratch.normed.resize(wanted.len() * width, 0.0);
        for (row, out) in wanted.iter().zip(scratch.normed.chunks_exact_mut(width)) {
            self.final_norm.apply(&scratch.hidden[row * width..(row + 1) * width], out);
        }
        scratch.activations.set(&scratch.normed, wanted.len(), width);
        scratch.activations.prepare(pool, [self.output().format].into_iter(), self.mode);
    }

    /// Logits of those rows for the tokens of `weight`, rows of the output layer: `[wanted rows, tokens]`.
    pub(crate) fn logits_of(
        &self,
        pool: &Threads,
        scratch: &Scratch,
        weight: Matrix<'_>,
        logits: &mut Vec<f32>,
    ) {
        let rows = scratch.normed.len() / self.spec.hidden;
        logits.resize(rows * weight.rows, 0.0);
        let out = &mut logits[..];
        matmul(pool, &scratch.activations, &mut [Product { weight, out }], self.mode);
        if let Some(cap) = self.spec.logit_softcap {
            ops::softcap(logits, cap);
        }
    }

    /// Adds the states of all rows of step `step` of the pass that `scratch` was last used for to `sum`, `[hidden]`, behind the final
    /// norm.
    pub fn add_states(&self, step: usize, sum: &mut [f32], scratch: &mut Scratch) {
        let width = self.spec.hidden;
        let Scratch { hidden, normed, spans, .. } = scratch;
        normed.resize(width, 0.0);
        for row in spans[step].clone() {
            self.final_norm.apply(&hidden[row * width..(row + 1) * width], &mut normed[..width]);
            ops::add(sum, &normed[..width]);
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
        self.blocks.iter().flat_map(Block::linears).filter_map(Linear::site)
    }
}

/// What the blocks share in one pass.
struct Pass<'p, 's> {
    threads: &'p Threads,
    steps: &'p mut [Step<'s>],
    /// Rows of each step.
    spans: &'p [Range<usize>],
    rotations: Option<&'p Rotations>,
}

impl Pass<'_, '_> {
    fn rows(&self) -> usize {
        self.spans.last().map_or(0, |span| span.end)
    }

    /// Adds to a layer's output `[rows, out]` what each step's adapter makes of the input `[rows, in]`.
    fn adapt(&self, site: Site, x: &[f32], out: &mut [f32]) {
        let sequences = self.steps.iter().map(|step| step.adapter).zip(self.spans.iter().cloned());
        add_each(site, x, self.rows(), out, sequences, self.threads);
    }
}

/// `hidden += delta`, through Gemma's second norm where there is one; `normed` is a buffer.
fn add_residual(
    threads: &Threads,
    norm: Option<&RowNorm>,
    delta: &[f32],
    normed: &mut Vec<f32>,
    hidden: &mut [f32],
) {
    let delta = match norm {
        Some(norm) => {
            normed.resize(delta.len(), 0.0);
            norm.apply_to_rows(threads, delta, normed);
            &normed[..]
        }
        None => delta,
    };
    threads.for_each_chunk(hidden, ELEMENTS, |i, hidden| {
        ops::add(hidden, &delta[i * ELEMENTS..][..hidden.len()]);
    });
}
