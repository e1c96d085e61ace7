//! Canonical tensor names and the shapes a [`Spec`] asks of them.
//!
//! The names are GGUF's. A linear weight is `[out, in]`, a norm or bias `[size]`.

use crate::spec::{Norm, Positions, Spec};

/// A canonical tensor name with the shape it must have.
pub type NamedShape = (String, Vec<usize>);

impl Spec {
    /// Every tensor of the network, in the order of a forward pass, with the shape it must have.
    pub fn tensors(&self) -> Vec<NamedShape> {
        let mut out = vec![("token_embd.weight".to_owned(), vec![self.vocab, self.hidden])];
        if self.positions == Positions::Learned {
            out.push(("position_embd.weight".to_owned(), vec![self.context, self.hidden]));
        }
        for layer in 0..self.layers {
            self.block_tensors(layer, &mut out);
        }
        self.push_norm("output_norm", &mut out);
        if !self.tied {
            out.push(("output.weight".to_owned(), vec![self.vocab, self.hidden]));
        }
        out
    }

    /// The shape the tensor called `canonical` must have; `None` if the network has no such tensor.
    pub fn shape_of(&self, canonical: &str) -> Option<Vec<usize>> {
        let mut candidates = Vec::new();
        match split_block(canonical) {
            Some((layer, _)) if layer < self.layers => self.block_tensors(layer, &mut candidates),
            Some(_) => return None,
            None => candidates = Spec { layers: 0, ..self.clone() }.tensors(),
        }
        candidates.into_iter().find(|(name, _)| name == canonical).map(|(_, shape)| shape)
    }

    fn block_tensors(&self, layer: usize, out: &mut Vec<NamedShape>) {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        self.push_norm(&name("attn_norm"), out);
        for (part, rows) in [("attn_q", q), ("attn_k", kv), ("attn_v", kv)] {
            push_linear(&name(part), rows, self.hidden, self.biases.qkv, out);
        }
        if self.qk_norm {
            out.push((name("attn_q_norm.weight"), vec![self.head_dim]));
            out.push((name("attn_k_norm.weight"), vec![self.head_dim]));
        }
        push_linear(&name("attn_output"), self.hidden, q, self.biases.attention_output, out);
        if self.post_norms {
            out.push((name("post_attention_norm.weight"), vec![self.hidden]));
        }
        self.push_norm(&name("ffn_norm"), out);
        if self.gated {
            push_linear(&name("ffn_gate"), self.intermediate, self.hidden, self.biases.mlp, out);
        }
        push_linear(&name("ffn_up"), self.intermediate, self.hidden, self.biases.mlp, out);
        push_linear(&name("ffn_down"), self.hidden, self.intermediate, self.biases.mlp, out);
        if self.post_norms {
            out.push((name("post_ffw_norm.weight"), vec![self.hidden]));
        }
    }

    fn push_norm(&self, name: &str, out: &mut Vec<NamedShape>) {
        out.push((format!("{name}.weight"), vec![self.hidden]));
        if matches!(self.norm, Norm::Layer { .. }) {
            out.push((format!("{name}.bias"), vec![self.hidden]));
        }
    }
}

fn push_linear(name: &str, rows: usize, cols: usize, bias: bool, out: &mut Vec<NamedShape>) {
    out.push((format!("{name}.weight"), vec![rows, cols]));
    if bias {
        out.push((format!("{name}.bias"), vec![rows]));
    }
}

/// `blk.3.attn_q.weight` as `(3, "attn_q.weight")`.
pub(crate) fn split_block(canonical: &str) -> Option<(usize, &str)> {
    let (number, part) = canonical.strip_prefix("blk.")?.split_once('.')?;
    Some((number.parse().ok()?, part))
}

/// The largest sizes a description may claim. They are far beyond any published model and keep products of
/// them inside 64 bits.
pub(crate) mod limits {
    /// Layers.
    pub(crate) const LAYERS: usize = 4096;
    /// Rows of the vocabulary.
    pub(crate) const VOCAB: usize = 1 << 24;
    /// Widths: residual stream, MLP, heads times head width.
    pub(crate) const WIDTH: usize = 1 << 22;
    /// Heads.
    pub(crate) const HEADS: usize = 1 << 14;
    /// Positions.
    pub(crate) const CONTEXT: usize = 1 << 30;
}
