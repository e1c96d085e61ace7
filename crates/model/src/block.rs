//! One block of the decoder, read from a checkpoint: attention and MLP with their norms.

use crayon_formats::Checkpoint;
use crayon_formats::spec::Spec;

use crate::ModelError;
use crate::adapter::{Projection, Site};
use crate::linear::Linear;
use crate::mlp::Mlp;
use crate::norm::RowNorm;

/// A block's layers, in the order they run.
pub(crate) struct Block {
    pub(crate) attention_norm: RowNorm,
    pub(crate) q: Linear,
    pub(crate) k: Linear,
    pub(crate) v: Linear,
    /// RMSNorm over single heads of q and k.
    pub(crate) qk_norm: Option<(RowNorm, RowNorm)>,
    /// Slots a row sees; all when `None`.
    pub(crate) window: Option<usize>,
    pub(crate) o: Linear,
    pub(crate) post_attention_norm: Option<RowNorm>,
    pub(crate) mlp_norm: RowNorm,
    pub(crate) mlp: Mlp,
    pub(crate) post_mlp_norm: Option<RowNorm>,
}

impl Block {
    pub(crate) fn open(checkpoint: &Checkpoint, layer: usize) -> Result<Block, ModelError> {
        let spec: &Spec = &checkpoint.spec;
        let linear = |projection: Projection| Linear::open(checkpoint, Site { layer, projection });
        let norm = |name: &str| RowNorm::open(checkpoint, &format!("blk.{layer}.{name}"), spec.norm);
        let optional = |wanted: bool, name: &str| wanted.then(|| norm(name)).transpose();
        let block = Block {
            attention_norm: norm("attn_norm")?,
            q: linear(Projection::Q)?,
            k: linear(Projection::K)?,
            v: linear(Projection::V)?,
            qk_norm: match spec.qk_norm {
                true => Some((norm("attn_q_norm")?, norm("attn_k_norm")?)),
                false => None,
            },
            window: spec.windows.get(layer).copied().flatten(),
            o: linear(Projection::O)?,
            post_attention_norm: optional(spec.post_norms, "post_attention_norm")?,
            mlp_norm: norm("ffn_norm")?,
            mlp: Mlp {
                gate: Projection::Gate.exists(spec).then(|| linear(Projection::Gate)).transpose()?,
                up: linear(Projection::Up)?,
                down: linear(Projection::Down)?,
                activation: spec.activation,
            },
            post_mlp_norm: optional(spec.post_norms, "post_ffw_norm")?,
        };
        block.check()?;
        Ok(block)
    }

    /// Layers that share an input must agree on its rounding.
    fn check(&self) -> Result<(), ModelError> {
        let Mlp { gate, up, .. } = &self.mlp;
        let pairs =
            [(&self.q, &self.k), (&self.q, &self.v)].into_iter().chain(gate.iter().map(|gate| (gate, up)));
        for (one, other) in pairs {
            if one.rounding() != other.rounding() {
                let name = other.site().map_or_else(String::new, |site| site.to_string());
                let reason = "its input is rounded otherwise than beside it".to_owned();
                return Err(ModelError::Weight { name, reason });
            }
        }
        Ok(())
    }

    /// Its linear layers, in the order they run.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        let Mlp { gate, up, down, .. } = &self.mlp;
        [&self.q, &self.k, &self.v, &self.o].into_iter().chain(gate).chain([up, down])
    }
}
