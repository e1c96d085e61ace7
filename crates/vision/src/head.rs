//! SigLIP's pooling: one learned query attends to all patches, and an MLP follows.

use std::ops::Range;

use crayon_formats::clip::TowerSpec;
use crayon_kernels::{KvSlice, Mode, Threads, ops};
use crayon_model::{Attention, HeadView, Linear, Mlp, ModelError, RowNorm, Sight, split_heads};

use crate::block::mlp;
use crate::encoder::{Buffers, Run};
use crate::weights::Weights;

/// The layers of the head, in the order they run.
pub(crate) struct Head {
    /// The learned query, `[hidden]`, already through its layer.
    query: Vec<f32>,
    k: Linear,
    v: Linear,
    o: Linear,
    norm: RowNorm,
    mlp: Mlp,
    heads: usize,
    hidden: usize,
}

impl Head {
    pub(crate) fn open(weights: &Weights<'_>, spec: &TowerSpec) -> Result<Head, ModelError> {
        let linear = |part: &str| weights.linear(&format!("image.head.{part}"), true);
        let probe = weights.values("image.head.probe")?;
        let mut query = Vec::new();
        let (threads, mut buffers) = (Threads::new(1), Buffers::default());
        let run = Run { threads: &threads, mode: Mode::Exact };
        run.project(&mut buffers.activations, &probe, 1, [(&linear("attn_q")?, &mut query)]);
        Ok(Head {
            query,
            k: linear("attn_k")?,
            v: linear("attn_v")?,
            o: linear("attn_output")?,
            norm: weights.norm("image.head.ffn_norm", spec.eps)?,
            mlp: mlp(weights, "image.head", spec)?,
            heads: spec.heads,
            hidden: spec.hidden,
        })
    }

    /// Pools the rows `buffers.hidden` of each picture into one, `[pictures, hidden]`.
    pub(crate) fn pool(&self, run: Run<'_>, spans: &[Range<usize>], buffers: &mut Buffers) {
        let Buffers { activations, hidden, normed, mixed, delta, inner: [k, v], .. } = buffers;
        let (width, dim) = (self.hidden, self.hidden / self.heads);
        run.project(activations, hidden, hidden.len() / width, [(&self.k, &mut *k), (&self.v, &mut *v)]);
        let attention = Attention {
            heads: self.heads,
            kv_heads: self.heads,
            dim,
            scale: 1.0 / (dim as f32).sqrt(),
            softcap: None,
            sight: Sight::All,
            tap: None,
        };
        mixed.resize(spans.len() * width, 0.0);
        let (mut keys, mut values, mut by_head) = (Vec::new(), Vec::new(), Vec::new());
        for (span, out) in spans.iter().zip(mixed.chunks_exact_mut(width)) {
            for (from, to) in [(&k, &mut keys), (&v, &mut values)] {
                let from = &from[span.start * width..span.end * width];
                to.resize(from.len(), 0.0);
                split_heads(run.threads, from, self.heads, dim, to);
            }
            let view = |head: usize| {
                let of = head * span.len() * dim..(head + 1) * span.len() * dim;
                let (keys, values) = (KvSlice::F32(&keys[of.clone()]), KvSlice::F32(&values[of]));
                HeadView { keys, values, slots: span.len(), key_bias: None }
            };
            attention.mix(run.threads, &self.query, 1, &view, &mut by_head, out);
        }
        run.project(activations, mixed, spans.len(), [(&self.o, &mut *hidden)]);
        normed.resize(hidden.len(), 0.0);
        self.norm.apply_to_rows(run.threads, hidden, normed);
        self.mlp.forward(&mut run.projector(activations), normed, spans.len(), [k, v], delta);
        ops::add(hidden, delta);
    }
}
