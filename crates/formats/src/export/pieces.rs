//! A tensor on its way from one format to another: canonical parts put together, rows reordered, values
//! converted.

use std::num::NonZero;

use crayon_kernels::{Format, dequantize_rows, quantize_rows};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::locate::{Location, transpose};
use crate::spec::{Positions, RopeLayout, Spec};
use crate::tensor::Tensor;

/// A tensor of the new file and the canonical tensors it is made of.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Name in the new file.
    pub(crate) name: String,
    /// Sizes as `[out, in]`.
    pub(crate) shape: Vec<usize>,
    /// Canonical tensors, stacked by rows.
    pub(crate) parts: Vec<String>,
    /// To be stored as `[in, out]`.
    pub(crate) transposed: bool,
    /// To be stored as the difference from 1.
    pub(crate) minus_one: bool,
}

impl Piece {
    /// Sizes as they are stored.
    pub(crate) fn stored_shape(&self) -> Vec<usize> {
        if self.transposed { self.shape.iter().rev().copied().collect() } else { self.shape.clone() }
    }

    /// Whether this is the token embedding or the output layer.
    pub(crate) fn is_embedding(&self) -> bool {
        self.parts.iter().any(|part| part == "token_embd.weight" || part == "output.weight")
    }
}

/// The tensors of a new file in forward order, given where each canonical tensor goes.
pub(crate) fn pieces(spec: &Spec, place: impl Fn(&str) -> Location) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::new();
    for (canonical, mut shape) in spec.tensors() {
        let location = place(&canonical);
        if let Some(piece) = out.iter_mut().rev().take(16).find(|piece| piece.name == location.name) {
            piece.parts.push(canonical);
            continue;
        }
        if let (Some((_, total)), Some(first)) = (&location.rows, shape.first_mut()) {
            *first = *total;
        }
        out.push(Piece {
            name: location.name,
            shape,
            parts: vec![canonical],
            transposed: location.transposed,
            minus_one: location.plus_one,
        });
    }
    out
}

/// The piece's values in `format`, rotary rows in `layout`.
pub(crate) fn assemble(
    checkpoint: &Checkpoint,
    piece: &Piece,
    format: Format,
    layout: RopeLayout,
) -> Result<Vec<u8>> {
    let file = &checkpoint.source.name;
    let mut data = Vec::new();
    for part in &piece.parts {
        let mut tensor = checkpoint.tensor(part)?;
        if piece.minus_one {
            let values: Vec<f32> = tensor.to_f32().into_iter().map(|value| value - 1.0).collect();
            tensor = Tensor::from_f32(part, tensor.shape, &values);
        }
        let tensor = reorder(&checkpoint.spec, tensor, layout);
        if piece.transposed {
            // Blocks do not survive a transposition; floats are turned as they are.
            let upright =
                if tensor.format.is_float() { tensor } else { convert(file, &tensor, Format::F32)? };
            convert_into(file, &upright, format, &mut data)?;
        } else {
            convert_into(file, &tensor, format, &mut data)?;
        }
    }
    if piece.transposed {
        let upright = Tensor::new(file, &piece.name, format, piece.shape.clone(), data.into())?;
        return Ok(transpose(file, &upright)?.data.to_vec());
    }
    Ok(data)
}

fn convert(file: &str, tensor: &Tensor, format: Format) -> Result<Tensor> {
    let mut data = Vec::new();
    convert_into(file, tensor, format, &mut data)?;
    Tensor::new(file, &tensor.name, format, tensor.shape.clone(), data.into())
}

/// Appends the tensor's values in `format`, as they are if they have it already. Works on runs of whole rows,
/// so that no more than a few megabytes of f32 are held, on every core.
fn convert_into(file: &str, tensor: &Tensor, format: Format, out: &mut Vec<u8>) -> Result<()> {
    if tensor.format == format {
        out.extend_from_slice(&tensor.data);
        return Ok(());
    }
    /// Values converted at a time.
    const RUN: usize = 1 << 18;
    let cols = tensor.cols().max(1);
    let (Some(from_bytes), Some(to_bytes)) = (tensor.format.row_bytes(cols), format.row_bytes(cols)) else {
        let what = format!("rows of {cols} values cannot be stored as {format}");
        return Err(Error::tensor(file, &tensor.name, what));
    };
    let rows_a_run = (RUN / cols).max(1);
    let start = out.len();
    let total_rows = tensor.elements() / cols;
    out.resize(start + total_rows * to_bytes, 0);
    let from: &[u8] = &tensor.data;
    let mut jobs: Vec<(&[u8], &mut [u8])> = from
        .chunks(rows_a_run * from_bytes)
        .zip(out.get_mut(start..).unwrap_or_default().chunks_mut(rows_a_run * to_bytes))
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(jobs.len().max(1));
    let share = jobs.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        while !jobs.is_empty() {
            let mine = jobs.split_off(jobs.len().saturating_sub(share));
            scope.spawn(move || {
                let (mut values, mut bytes) = (Vec::new(), Vec::new());
                for (source, target) in mine {
                    values.clear();
                    values.resize(source.len() / from_bytes * cols, 0.0);
                    dequantize_rows(tensor.format, cols, source, &mut values);
                    bytes.clear();
                    quantize_rows(format, cols, &values, &mut bytes);
                    target.copy_from_slice(&bytes);
                }
            });
        }
    });
    Ok(())
}

/// Rows of q and k as `layout` wants them; other tensors as they are.
fn reorder(spec: &Spec, tensor: Tensor, layout: RopeLayout) -> Tensor {
    let Positions::Rope(rope) = &spec.positions else { return tensor };
    let heads = match crate::names::split_block(&tensor.name).map(|(_, part)| part) {
        Some("attn_q.weight" | "attn_q.bias") => spec.heads,
        Some("attn_k.weight" | "attn_k.bias") => spec.kv_heads,
        _ => return tensor,
    };
    let rows = heads * spec.head_dim;
    if rope.layout == layout || rows == 0 {
        return tensor;
    }
    let row_bytes = tensor.data.len() / rows;
    let half = rope.dims / 2;
    let mut data = Vec::with_capacity(tensor.data.len());
    for head in 0..heads {
        for row in 0..spec.head_dim {
            // The row of the old order that comes to stand here.
            let source = match layout {
                _ if row >= rope.dims => row,
                RopeLayout::Interleaved => row / 2 + row % 2 * half,
                RopeLayout::Half => row % half * 2 + row / half,
            };
            let start = (head * spec.head_dim + source) * row_bytes;
            data.extend_from_slice(&tensor.data[start..start + row_bytes]);
        }
    }
    Tensor { data: data.into(), ..tensor }
}
