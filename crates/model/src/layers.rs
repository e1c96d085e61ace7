//! The pieces a block is made of: linear layers, norms and the block itself, read from a checkpoint.

use crayon_formats::spec::{Norm, Spec};
use crayon_formats::{Checkpoint, Tensor};
use crayon_kernels::{Matrix, Threads, ops};

use crate::ModelError;
use crate::adapter::{Projection, Site};

/// Values of one task in elementwise work: large enough that a single row stays on one thread.
pub(crate) const ELEMENTS: usize = 16 * 1024;

/// The same in whole rows of `width` values.
pub(crate) fn some_rows(width: usize) -> usize {
    (ELEMENTS / width).max(1) * width
}

/// `y = x Wᵀ + b`, weights left in their file.
pub(crate) struct Linear {
    pub(crate) site: Site,
    weight: Tensor,
    pub(crate) bias: Option<Vec<f32>>,
}

impl Linear {
    fn open(
        checkpoint: &Checkpoint,
        layer: usize,
        projection: Projection,
        bias: bool,
    ) -> Result<Linear, ModelError> {
        let site = Site { layer, projection };
        let weight = matrix(checkpoint, &format!("{site}.weight"))?;
        let bias = if bias { Some(checkpoint.tensor(&format!("{site}.bias"))?.to_f32()) } else { None };
        Ok(Linear { site, weight, bias })
    }

    pub(crate) fn matrix(&self) -> Matrix<'_> {
        view(&self.weight)
    }

    pub(crate) fn add_bias(&self, pool: &Threads, out: &mut [f32]) {
        if let Some(bias) = &self.bias {
            pool.for_each_chunk(out, some_rows(bias.len()), |_, out| ops::add_bias(out, bias));
        }
    }
}

/// A 2-D tensor whose bytes were checked against its shape, so that [`view`] cannot fail.
pub(crate) fn matrix(checkpoint: &Checkpoint, name: &str) -> Result<Tensor, ModelError> {
    let tensor = checkpoint.tensor(name)?;
    let fail = |reason: String| ModelError::Weight { name: name.to_string(), reason };
    let [rows, cols] = tensor.shape[..] else {
        return Err(fail(format!("expected two dimensions, found {:?}", tensor.shape)));
    };
    Matrix::new(tensor.format, rows, cols, &tensor.data).map_err(|error| fail(error.to_string()))?;
    Ok(tensor)
}

/// The kernels' view of a tensor that [`matrix`] accepted.
pub(crate) fn view(tensor: &Tensor) -> Matrix<'_> {
    Matrix { format: tensor.format, rows: tensor.shape[0], cols: tensor.shape[1], data: &tensor.data }
}

/// RMSNorm or LayerNorm over rows.
pub(crate) struct Normalise {
    kind: Norm,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Normalise {
    pub(crate) fn open(checkpoint: &Checkpoint, stem: &str, kind: Norm) -> Result<Normalise, ModelError> {
        let weight = checkpoint.tensor(&format!("{stem}.weight"))?.to_f32();
        let bias = match kind {
            Norm::Layer { .. } => Some(checkpoint.tensor(&format!("{stem}.bias"))?.to_f32()),
            Norm::Rms { .. } => None,
        };
        Ok(Normalise { kind, weight, bias })
    }

    /// Normalises each row of `x` into `out`, spread over the threads; rows are as wide as the weight.
    pub(crate) fn apply_to_rows(&self, pool: &Threads, x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "rows before and after the norm");
        let each = some_rows(self.weight.len());
        pool.for_each_chunk(out, each, |i, out| self.apply(&x[i * each..][..out.len()], out));
    }

    /// Normalises each row of `x` into `out`; rows are as wide as the weight.
    pub(crate) fn apply(&self, x: &[f32], out: &mut [f32]) {
        match self.kind {
            Norm::Rms { eps } => ops::rms_norm(x, &self.weight, eps, out),
            Norm::Layer { eps } => ops::layer_norm(x, &self.weight, self.bias.as_deref(), eps, out),
        }
    }
}

/// One block: attention and MLP with their norms.
pub(crate) struct Block {
    pub(crate) attention_norm: Normalise,
    pub(crate) q: Linear,
    pub(crate) k: Linear,
    pub(crate) v: Linear,
    pub(crate) o: Linear,
    /// RMSNorm over single heads of q and k.
    pub(crate) qk_norm: Option<(Normalise, Normalise)>,
    pub(crate) post_attention_norm: Option<Normalise>,
    pub(crate) mlp_norm: Normalise,
    pub(crate) gate: Option<Linear>,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    pub(crate) post_mlp_norm: Option<Normalise>,
    pub(crate) window: Option<usize>,
}

impl Block {
    pub(crate) fn open(checkpoint: &Checkpoint, layer: usize) -> Result<Block, ModelError> {
        let spec: &Spec = &checkpoint.spec;
        let linear =
            |projection: Projection| Linear::open(checkpoint, layer, projection, projection.has_bias(spec));
        let norm = |name: &str| Normalise::open(checkpoint, &format!("blk.{layer}.{name}"), spec.norm);
        let optional = |wanted: bool, name: &str| wanted.then(|| norm(name)).transpose();
        Ok(Block {
            attention_norm: norm("attn_norm")?,
            q: linear(Projection::Q)?,
            k: linear(Projection::K)?,
            v: linear(Projection::V)?,
            o: linear(Projection::O)?,
            qk_norm: match spec.qk_norm {
                true => Some((norm("attn_q_norm")?, norm("attn_k_norm")?)),
                false => None,
            },
            post_attention_norm: optional(spec.post_norms, "post_attention_norm")?,
            mlp_norm: norm("ffn_norm")?,
            gate: Projection::Gate.exists(spec).then(|| linear(Projection::Gate)).transpose()?,
            up: linear(Projection::Up)?,
            down: linear(Projection::Down)?,
            post_mlp_norm: optional(spec.post_norms, "post_ffw_norm")?,
            window: spec.windows.get(layer).copied().flatten(),
        })
    }
}
