//! Layers made of a checkpoint's tensors.

use crayon_formats::Tensor;
use crayon_formats::clip::ClipCheckpoint;
use crayon_formats::spec::Norm;
use crayon_kernels::{Format, quantize_rows};
use crayon_model::{Linear, ModelError, RowNorm};

/// Gives layers by their canonical names.
pub(crate) struct Weights<'a> {
    pub(crate) checkpoint: &'a ClipCheckpoint,
    /// What linear weights are brought to.
    pub(crate) format: Option<Format>,
}

impl Weights<'_> {
    /// The values of the tensor `name`.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        Ok(self.checkpoint.tensor(name)?.to_f32())
    }

    /// The norm called `stem`.
    pub(crate) fn norm(&self, stem: &str, eps: f32) -> Result<RowNorm, ModelError> {
        let (weight, bias) = (self.values(&format!("{stem}.weight"))?, self.values(&format!("{stem}.bias"))?);
        Ok(RowNorm::new(Norm::Layer { eps }, weight, Some(bias)))
    }

    /// The linear layer called `stem`.
    pub(crate) fn linear(&self, stem: &str, bias: bool) -> Result<Linear, ModelError> {
        let weight = self.convert(self.checkpoint.tensor(&format!("{stem}.weight"))?);
        let bias = bias.then(|| self.values(&format!("{stem}.bias"))).transpose()?;
        Linear::new(weight, bias)
    }

    /// `tensor` in the wanted format, if its rows can have it.
    fn convert(&self, tensor: Tensor) -> Tensor {
        let Some(format) = self.format.filter(|&format| format != tensor.format) else { return tensor };
        if format.row_bytes(tensor.cols()).is_none() {
            return tensor;
        }
        let mut bytes = Vec::new();
        quantize_rows(format, tensor.cols(), &tensor.to_f32(), &mut bytes);
        Tensor { format, data: bytes.into(), ..tensor }
    }
}
