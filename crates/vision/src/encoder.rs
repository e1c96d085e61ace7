//! The blocks of a tower over a batch of sequences, which are rows one after another: none is padded to another's length.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crayon_formats::clip::TowerSpec;
use crayon_kernels::{Activations, KvSlice, Mode, Threads};
use crayon_model::{Attention, HeadView, Linear, ModelError, Projector, Sight, split_heads};

use crate::block::Block;
use crate::weights::Weights;

thread_local! {
    /// Keys, values and outputs of the sequence a thread works on, by head; kept from call to call.
    static BY_HEAD: RefCell<[Vec<f32>; 3]> = const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
}

/// The blocks of one tower.
pub(crate) struct Encoder {
    blocks: Vec<Block>,
    heads: usize,
    hidden: usize,
    sight: Sight,
}

/// Buffers of a pass, which grow with the first.
#[derive(Default)]
pub(crate) struct Buffers {
    pub(crate) activations: Activations,
    /// The rows: `[rows, hidden]`.
    pub(crate) hidden: Vec<f32>,
    pub(crate) normed: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    pub(crate) mixed: Vec<f32>,
    pub(crate) delta: Vec<f32>,
    pub(crate) inner: [Vec<f32>; 2],
    /// Of the last block, where only some rows go on.
    chosen: Vec<f32>,
}

/// What the sequences of a pass are.
pub(crate) struct Batch<'a> {
    /// Rows of each sequence, one after another and none empty.
    pub(crate) spans: &'a [Range<usize>],
    /// For each sequence, what is added to the attention logits of its keys, `[rows]`, and from which layer on.
    pub(crate) bias: &'a [Option<(Vec<f32>, usize)>],
    /// The row of each sequence that goes on after the last block: all when `None`.
    pub(crate) pooled: Option<&'a [usize]>,
}

/// What runs a pass.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) threads: &'a Threads,
    pub(crate) mode: Mode,
}

impl Run<'_> {
    /// Linear layers of one input `x` `[rows, in]`.
    pub(crate) fn project<const N: usize>(
        &self,
        activations: &mut Activations,
        x: &[f32],
        rows: usize,
        layers: [(&Linear, &mut Vec<f32>); N],
    ) {
        self.projector(activations).run(x, rows, layers);
    }

    pub(crate) fn projector<'p>(&'p self, activations: &'p mut Activations) -> Projector<'p> {
        Projector { threads: self.threads, mode: self.mode, activations, adapt: &|_, _, _| {} }
    }
}

impl Encoder {
    /// The blocks called `tower.blk.0` and so on.
    pub(crate) fn open(
        weights: &Weights<'_>,
        tower: &str,
        spec: &TowerSpec,
        sight: Sight,
    ) -> Result<Encoder, ModelError> {
        let block = |layer: usize| Block::open(weights, &format!("{tower}.blk.{layer}"), spec);
        let blocks = (0..spec.layers).map(block).collect::<Result<_, _>>()?;
        Ok(Encoder { blocks, heads: spec.heads, hidden: spec.hidden, sight })
    }

    /// Blocks.
    pub(crate) fn layers(&self) -> usize {
        self.blocks.len()
    }

    /// Runs the blocks over `buffers.hidden`, which afterwards holds the rows that go on.
    pub(crate) fn forward(&self, run: Run<'_>, batch: &Batch<'_>, buffers: &mut Buffers) {
        for (layer, block) in self.blocks.iter().enumerate() {
            let pooled = batch.pooled.filter(|_| layer + 1 == self.blocks.len());
            self.attention(run, block, layer, batch, pooled, buffers);
            let Buffers { activations, hidden, normed, delta, inner: [inner, up], .. } = buffers;
            normed.resize(hidden.len(), 0.0);
            block.mlp_norm.apply_to_rows(run.threads, hidden, normed);
            let rows = hidden.len() / self.hidden;
            block.mlp.add(&mut run.projector(activations), normed, rows, [inner, up, delta], hidden);
        }
    }

    /// Adds a block's attention to the rows, of which afterwards only the `pooled` ones are left.
    fn attention(
        &self,
        run: Run<'_>,
        block: &Block,
        layer: usize,
        batch: &Batch<'_>,
        pooled: Option<&[usize]>,
        buffers: &mut Buffers,
    ) {
        let Buffers { activations, hidden, normed, q, k, v, mixed, delta, chosen, .. } = buffers;
        let (width, dim) = (self.hidden, self.hidden / self.heads);
        let mut rows = hidden.len() / width;
        normed.resize(hidden.len(), 0.0);
        block.attention_norm.apply_to_rows(run.threads, hidden, normed);
        match pooled {
            None => {
                run.project(activations, normed, rows, [(&block.q, &mut *q), (&block.k, k), (&block.v, v)])
            }
            Some(pooled) => {
                run.project(activations, normed, rows, [(&block.k, k), (&block.v, v)]);
                choose(hidden, pooled, width, chosen);
                std::mem::swap(hidden, chosen);
                choose(normed, pooled, width, chosen);
                rows = pooled.len();
                run.project(activations, chosen, rows, [(&block.q, &mut *q)]);
            }
        }
        mixed.resize(q.len(), 0.0);
        let attention = Attention {
            heads: self.heads,
            kv_heads: self.heads,
            dim,
            scale: 1.0 / (dim as f32).sqrt(),
            softcap: None,
            sight: self.sight,
            tap: None,
        };
        // Each sequence takes its own part of the output.
        let mut rest = &mut mixed[..];
        let mut parts = Vec::with_capacity(batch.spans.len());
        for span in batch.spans {
            let rows = if pooled.is_some() { 1 } else { span.len() };
            let (part, after) = std::mem::take(&mut rest).split_at_mut(rows * width);
            rest = after;
            parts.push(Mutex::new(part));
        }
        let (q, k, v) = (&*q, &*k, &*v);
        // A few sequences are shared out by heads, many one by one.
        let many = batch.spans.len() >= 2 * run.threads.count();
        let sequence = |i: usize| {
            let mut out = parts[i].lock().unwrap_or_else(PoisonError::into_inner);
            let span = &batch.spans[i];
            let rows = out.len() / width;
            let first = if pooled.is_some() { i } else { span.start };
            let bias = batch.bias.get(i).and_then(Option::as_ref).filter(|(_, from)| layer >= *from);
            let (slots, kv) = (span.len(), span.start * width..span.end * width);
            let (q, k, v) = (&q[first * width..][..rows * width], &k[kv.clone()], &v[kv]);
            BY_HEAD.with_borrow_mut(|[keys, values, by_head]| {
                for (from, to) in [(k, &mut *keys), (v, &mut *values)] {
                    to.resize(from.len(), 0.0);
                    split_heads(run.threads, from, self.heads, dim, to);
                }
                let view = |head: usize| {
                    let of = head * slots * dim..(head + 1) * slots * dim;
                    HeadView {
                        keys: KvSlice::F32(&keys[of.clone()]),
                        values: KvSlice::F32(&values[of]),
                        slots,
                        key_bias: bias.map(|(bias, _)| &bias[..]),
                    }
                };
                match many {
                    true => attention.mix_alone(q, rows, &view, &mut out),
                    false => attention.mix(run.threads, q, rows, &view, by_head, &mut out),
                }
            });
        };
        match many {
            true => run.threads.run(batch.spans.len(), sequence),
            false => (0..batch.spans.len()).for_each(sequence),
        }
        drop(parts);
        run.projector(activations).run_onto(mixed, rows, &block.o, delta, hidden);
    }
}

/// Rows of `x` `[rows, width]`.
fn choose(x: &[f32], rows: &[usize], width: usize, out: &mut Vec<f32>) {
    out.clear();
    out.extend(rows.iter().flat_map(|row| &x[row * width..(row + 1) * width]));
}
