//! One block of a tower.

use crayon_formats::clip::TowerSpec;
use crayon_model::{Linear, Mlp, ModelError, RowNorm};

use crate::weights::Weights;

/// A block's layers, in the order they run.
pub(crate) struct Block {
    pub(crate) attention_norm: RowNorm,
    pub(crate) q: Linear,
    pub(crate) k: Linear,
    pub(crate) v: Linear,
    pub(crate) o: Linear,
    pub(crate) mlp_norm: RowNorm,
    pub(crate) mlp: Mlp,
}

impl Block {
    /// The block called `stem`.
    pub(crate) fn open(weights: &Weights<'_>, stem: &str, spec: &TowerSpec) -> Result<Block, ModelError> {
        let linear = |part: &str| weights.linear(&format!("{stem}.{part}"), true);
        Ok(Block {
            attention_norm: weights.norm(&format!("{stem}.attn_norm"), spec.eps)?,
            q: linear("attn_q")?,
            k: linear("attn_k")?,
            v: linear("attn_v")?,
            o: linear("attn_output")?,
            mlp_norm: weights.norm(&format!("{stem}.ffn_norm"), spec.eps)?,
            mlp: mlp(weights, stem, spec)?,
        })
    }
}

/// The MLP of the block called `stem`.
pub(crate) fn mlp(weights: &Weights<'_>, stem: &str, spec: &TowerSpec) -> Result<Mlp, ModelError> {
    Ok(Mlp {
        gate: None,
        up: weights.linear(&format!("{stem}.ffn_up"), true)?,
        down: weights.linear(&format!("{stem}.ffn_down"), true)?,
        activation: spec.activation,
    })
}
