//! Norms over rows.

use crayon_formats::Checkpoint;
use crayon_formats::spec::Norm;
use crayon_kernels::{Threads, ops};

use crate::ModelError;
use crate::linear::some_rows;

/// RMSNorm or LayerNorm over rows of the weight's width.
pub struct RowNorm {
    kind: Norm,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl RowNorm {
    /// A norm with `weight` `[width]` and, for a LayerNorm, `bias` `[width]`.
    ///
    /// # Panics
    /// When there is no weight, or the bias has another size.
    pub fn new(kind: Norm, weight: Vec<f32>, bias: Option<Vec<f32>>) -> RowNorm {
        assert!(!weight.is_empty(), "a norm over nothing");
        assert!(bias.as_ref().is_none_or(|bias| bias.len() == weight.len()), "a norm's weight and bias");
        RowNorm { kind, weight, bias }
    }

    /// The norm called `stem` in the checkpoint of a decoder, which checked the sizes.
    pub(crate) fn open(checkpoint: &Checkpoint, stem: &str, kind: Norm) -> Result<RowNorm, ModelError> {
        let weight = checkpoint.tensor(&format!("{stem}.weight"))?.to_f32();
        let bias = match kind {
            Norm::Layer { .. } => Some(checkpoint.tensor(&format!("{stem}.bias"))?.to_f32()),
            Norm::Rms { .. } => None,
        };
        Ok(RowNorm::new(kind, weight, bias))
    }

    /// Normalises each row of `x` `[rows, width]` into `out`.
    pub fn apply(&self, x: &[f32], out: &mut [f32]) {
        match self.kind {
            Norm::Rms { eps } => ops::rms_norm(x, &self.weight, eps, out),
            Norm::Layer { eps } => ops::layer_norm(x, &self.weight, self.bias.as_deref(), eps, out),
        }
    }

    /// The same, spread over the threads.
    ///
    /// # Panics
    /// When `out` has another size than `x`.
    pub fn apply_to_rows(&self, threads: &Threads, x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "rows before and after the norm");
        let each = some_rows(self.weight.len());
        threads.for_each_chunk(out, each, |i, out| self.apply(&x[i * each..][..out.len()], out));
    }
}
