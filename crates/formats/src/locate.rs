//! Where in a file a canonical tensor lies, and what has to be done to the stored one.

use std::ops::Range;

use crayon_kernels::Format;

use crate::bytes::Bytes;
use crate::error::{DAMAGED, Error, Result};
use crate::names::split_block;
use crate::spec::Spec;
use crate::tensor::Tensor;

/// How a canonical tensor is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// Name in the file.
    pub(crate) name: String,
    /// Part of a fused tensor: its rows (as `[out, in]`), and how many the whole has.
    pub(crate) rows: Option<(Range<usize>, usize)>,
    /// Stored as `[in, out]`.
    pub(crate) transposed: bool,
    /// A norm weight stored as its difference from 1 (Gemma).
    pub(crate) plus_one: bool,
}

impl Location {
    pub(crate) fn whole(name: String) -> Location {
        Location { name, rows: None, transposed: false, plus_one: false }
    }

    pub(crate) fn rows(name: String, rows: Range<usize>, total: usize) -> Location {
        Location { rows: Some((rows, total)), ..Location::whole(name) }
    }

    /// The shape the stored tensor must have so that the canonical one has `shape`.
    fn stored_shape(&self, shape: &[usize]) -> Vec<usize> {
        let mut stored = shape.to_vec();
        if let (Some((_, total)), Some(first)) = (&self.rows, stored.first_mut()) {
            *first = *total;
        }
        if self.transposed {
            stored.reverse();
        }
        stored
    }

    /// Checks the stored tensor's shape, of which leading ones are dropped, against what the network asks for.
    pub(crate) fn check(&self, file: &str, mut stored: Tensor, shape: &[usize]) -> Result<Tensor> {
        let expected = self.stored_shape(shape);
        while stored.shape.len() > expected.len() && stored.shape.first() == Some(&1) {
            stored.shape.remove(0);
        }
        if stored.shape != expected {
            let what =
                format!("has shape {:?}, the description of the network asks for {expected:?}", stored.shape);
            return Err(Error::tensor(file, &self.name, what)
                .with_hint("weights and configuration belong to different models, or the file is damaged"));
        }
        if self.rows.is_some() && stored.shape.len() < 2 && stored.format.block_len() > 1 {
            let what = format!("is a vector in blocks of {}, which its parts may cut", stored.format);
            return Err(Error::tensor(file, &self.name, what).with_hint(DAMAGED));
        }
        Ok(stored)
    }

    /// Bytes of the canonical tensor, given the stored one.
    pub(crate) fn bytes(&self, stored: &Tensor) -> usize {
        match &self.rows {
            Some((rows, total)) => stored.data.len() / (*total).max(1) * rows.len(),
            None => stored.data.len(),
        }
    }

    /// The canonical tensor, given the stored one brought to `[out, in]`.
    pub(crate) fn finish(&self, canonical: &str, upright: Tensor) -> Tensor {
        let mut tensor = match &self.rows {
            Some((rows, _)) => upright.rows(rows.clone()),
            None => upright,
        };
        if self.plus_one {
            let values: Vec<f32> = tensor.to_f32().into_iter().map(|value| value + 1.0).collect();
            return Tensor::from_f32(canonical, tensor.shape, &values);
        }
        tensor.name = canonical.to_owned();
        tensor
    }
}

/// The place of a canonical tensor in GGUF's fused ones (GPT-2, Phi-3): q, k, v in `attn_qkv`, gate and up of a
/// gated MLP in `ffn_up`; `None` for tensors that are never fused.
pub(crate) fn locate_fused(spec: &Spec, canonical: &str) -> Option<Location> {
    let (layer, part) = split_block(canonical)?;
    let (stem, kind) = part.rsplit_once('.')?;
    let (q, kv, mlp) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim, spec.intermediate);
    let (fused, rows, total) = match stem {
        "attn_q" => ("attn_qkv", 0..q, q + 2 * kv),
        "attn_k" => ("attn_qkv", q..q + kv, q + 2 * kv),
        "attn_v" => ("attn_qkv", q + kv..q + 2 * kv, q + 2 * kv),
        "ffn_gate" => ("ffn_up", 0..mlp, 2 * mlp),
        "ffn_up" if spec.gated => ("ffn_up", mlp..2 * mlp, 2 * mlp),
        _ => return None,
    };
    Some(Location::rows(format!("blk.{layer}.{fused}.{kind}"), rows, total))
}

/// `[in, out]` floats as `[out, in]`, in the same format.
///
/// # Errors
/// If the tensor is not a matrix of floats.
pub(crate) fn transpose(file: &str, tensor: &Tensor) -> Result<Tensor> {
    let data = match (tensor.shape.as_slice(), tensor.format) {
        (&[rows, cols], Format::F32) => transpose_values::<4>(&tensor.data, rows, cols),
        (&[rows, cols], Format::F16 | Format::BF16) => transpose_values::<2>(&tensor.data, rows, cols),
        _ => {
            let what = format!("{} {:?} cannot be transposed", tensor.format, tensor.shape);
            return Err(Error::tensor(file, &tensor.name, what));
        }
    };
    let shape = tensor.shape.iter().rev().copied().collect();
    Tensor::new(file, &tensor.name, tensor.format, shape, Bytes::from(data))
}

fn transpose_values<const N: usize>(bytes: &[u8], rows: usize, cols: usize) -> Vec<u8> {
    /// Side of the square moved at once, so that both sides stay in the cache.
    const TILE: usize = 32;
    let values = bytes.as_chunks::<N>().0;
    let mut out = vec![[0u8; N]; values.len()];
    for row0 in (0..rows).step_by(TILE) {
        for col0 in (0..cols).step_by(TILE) {
            for row in row0..rows.min(row0 + TILE) {
                for col in col0..cols.min(col0 + TILE) {
                    if let (Some(to), Some(from)) =
                        (out.get_mut(col * rows + row), values.get(row * cols + col))
                    {
                        *to = *from;
                    }
                }
            }
        }
    }
    out.into_flattened()
}
