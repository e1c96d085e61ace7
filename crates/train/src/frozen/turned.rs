//! Weights as fast training multiplies with them: in 8-bit blocks, and once more with rows and columns exchanged for the way back.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crayon_formats::Tensor;
use crayon_kernels::{Format, Threads, dequantize_rows, quantize_rows};

use super::linear::transpose;

/// Rows of the weight that a task takes: whole blocks of every format, and few enough that the largest vocabulary never stands
/// there in floats.
const STRIPE: usize = 256;

/// `weight` in 8-bit blocks, unless it has a format whose products are as fast, or rows that are not whole blocks.
pub(super) fn stored_in_blocks(weight: Tensor, threads: &Threads) -> Tensor {
    let slower = weight.format.is_float() || matches!(weight.format, Format::Q4K | Format::Q5K | Format::Q6K);
    if !slower || Format::Q8_0.row_bytes(weight.cols()).is_none() {
        return weight;
    }
    let mut data = Vec::new();
    in_stripes(
        &weight,
        threads,
        |values, _| values,
        |_, stripe| data.extend_from_slice(stripe),
        |_| weight.cols(),
    );
    Tensor { format: Format::Q8_0, data: data.into(), ..weight }
}

/// `weight` `[out, in]` as `[in, out]` in 8-bit blocks; `None` where rows of `out` values are not whole blocks.
pub(super) fn turned(weight: &Tensor, threads: &Threads) -> Option<Tensor> {
    let (output, input) = (weight.shape[0], weight.cols());
    let bytes = |values: usize| Format::Q8_0.row_bytes(values);
    let row = bytes(output)?;
    let mut data = vec![0u8; input * row];
    let place = |rows: Range<usize>, stripe: &[u8]| {
        let (Some(start), Some(length)) = (bytes(rows.start), bytes(rows.len())) else { return };
        for (row, part) in data.chunks_exact_mut(row).zip(stripe.chunks_exact(length)) {
            row[start..start + length].copy_from_slice(part);
        }
    };
    in_stripes(weight, threads, |values, rows| transpose(&values, rows, input), place, |rows| rows);
    Some(Tensor {
        name: weight.name.clone(),
        format: Format::Q8_0,
        shape: vec![input, output],
        data: data.into(),
    })
}

/// Makes stripes of `weight`'s rows in floats into others by `change(values, rows)`, of rows of `width(rows)` values, and gives each
/// in 8-bit blocks to `place`, in order.
fn in_stripes(
    weight: &Tensor,
    threads: &Threads,
    change: impl Fn(Vec<f32>, usize) -> Vec<f32> + Sync,
    mut place: impl FnMut(Range<usize>, &[u8]),
    width: impl Fn(usize) -> usize + Sync,
) {
    let (output, cols) = (weight.shape[0], weight.cols());
    let row = weight.data.len() / output.max(1);
    let rows = |stripe: usize| stripe * STRIPE..output.min((stripe + 1) * STRIPE);
    let (stripes, at_once) = (output.div_ceil(STRIPE), 4 * threads.count());
    for first in (0..stripes).step_by(at_once) {
        let made: Vec<Mutex<Vec<u8>>> =
            (first..stripes.min(first + at_once)).map(|_| Mutex::default()).collect();
        threads.run(made.len(), |at| {
            let rows = rows(first + at);
            let mut values = vec![0.0; rows.len() * cols];
            dequantize_rows(weight.format, cols, &weight.data[rows.start * row..rows.end * row], &mut values);
            let mut bytes = Vec::new();
            quantize_rows(Format::Q8_0, width(rows.len()), &change(values, rows.len()), &mut bytes);
            *made[at].lock().unwrap_or_else(PoisonError::into_inner) = bytes;
        });
        for (at, stripe) in made.into_iter().enumerate() {
            place(rows(first + at), &stripe.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
    }
}
