//! The storage formats: bytes to values and back.
//!
//! One file per block layout, and one for the per-channel formats. A layout says how to take a block apart into integer codes and scales; reading
//! values, portable products and the packing of panels are all built on that, so a layout is written down once.

pub(crate) mod channel;
pub(crate) mod floats;
mod k_scales;
pub mod nibbles;
pub(crate) mod q4_0;
pub(crate) mod q4_1;
pub(crate) mod q4_k;
pub(crate) mod q5_0;
pub(crate) mod q5_1;
pub(crate) mod q5_k;
pub(crate) mod q6_k;
pub(crate) mod q8_0;
mod search;
#[cfg(test)]
mod tests;

use crate::{Format, variant};

/// Values in a small block.
pub(crate) const SMALL: usize = 32;
/// Values in a K-quant's block.
pub(crate) const LARGE: usize = 256;

/// A block of 32 values `scale * code + minimum`.
pub(crate) trait SmallBlock {
    /// Bytes of the block.
    const BYTES: usize;
    /// Whether there is a minimum; without one the term is left out rather than added as zero.
    const HAS_MINIMUM: bool;
    /// The factor of the codes.
    fn scale(block: &[u8]) -> f32;
    /// The value of code 0; 0 for symmetric formats.
    fn minimum(block: &[u8]) -> f32;
    /// The signed codes, in order.
    fn codes(block: &[u8], codes: &mut [i8; SMALL]);
    /// Appends the block that stands for `values`.
    fn quantize(values: &[f32; SMALL], out: &mut Vec<u8>);
}

/// The scales of a block of 256 values: `scale * factors[i] * code - minimum * minimums[i]` in sub-block `i`.
pub(crate) struct LargeScales {
    pub(crate) scale: f32,
    pub(crate) minimum: f32,
    /// One per sub-block; the first `256 / SUB` count.
    pub(crate) factors: [i16; 16],
    pub(crate) minimums: [i16; 16],
}

/// A block of 256 values in sub-blocks that share an integer factor (and minimum).
pub(crate) trait LargeBlock {
    /// Bytes of the block.
    const BYTES: usize;
    /// Values in a sub-block: 16 or 32.
    const SUB: usize;
    /// Whether sub-blocks have minimums.
    const HAS_MINIMUM: bool;
    /// The scales and integer factors.
    fn scales(block: &[u8]) -> LargeScales;
    /// The signed codes, in order.
    fn codes(block: &[u8], codes: &mut [i8; LARGE]);
    /// Appends the block that stands for `values`.
    fn quantize(values: &[f32; LARGE], out: &mut Vec<u8>);
}

/// The little-endian f16 at `at`.
#[inline(always)]
pub(crate) fn half_at(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32_const()
}

fn push_half(value: f32, out: &mut Vec<u8>) {
    out.extend_from_slice(&half::f16::from_f32_const(value).to_le_bytes());
}

/// `value` as it comes back after being stored as f16.
fn through_half(value: f32) -> f32 {
    half::f16::from_f32_const(value).to_f32_const()
}

#[inline(always)]
fn dequantize_small<B: SmallBlock>(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(B::BYTES).zip(out.chunks_exact_mut(SMALL)) {
        let mut codes = [0; SMALL];
        B::codes(block, &mut codes);
        let (scale, minimum) = (B::scale(block), B::minimum(block));
        for (value, code) in out.iter_mut().zip(codes) {
            *value = if B::HAS_MINIMUM { scale * f32::from(code) + minimum } else { scale * f32::from(code) };
        }
    }
}

#[inline(always)]
fn dequantize_large<B: LargeBlock>(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(B::BYTES).zip(out.chunks_exact_mut(LARGE)) {
        let mut codes = [0; LARGE];
        B::codes(block, &mut codes);
        let scales = B::scales(block);
        for (sub, (out, codes)) in out.chunks_exact_mut(B::SUB).zip(codes.chunks_exact(B::SUB)).enumerate() {
            let factor = scales.scale * f32::from(scales.factors[sub]);
            let minimum = scales.minimum * f32::from(scales.minimums[sub]);
            for (value, code) in out.iter_mut().zip(codes) {
                *value = if B::HAS_MINIMUM {
                    factor * f32::from(*code) - minimum
                } else {
                    factor * f32::from(*code)
                };
            }
        }
    }
}

/// The portable reading of whole blocks; vector variants compile this very body for their instruction set.
#[inline(always)]
pub(crate) fn dequantize_portable(format: Format, bytes: &[u8], out: &mut [f32]) {
    match format {
        Format::F32 => floats::read_f32(bytes, out),
        Format::F16 => floats::read_f16(bytes, out),
        Format::BF16 => floats::read_bf16(bytes, out),
        Format::Q8_0 => dequantize_small::<q8_0::Q8_0>(bytes, out),
        Format::Q4_0 => dequantize_small::<q4_0::Q4_0>(bytes, out),
        Format::Q4_1 => dequantize_small::<q4_1::Q4_1>(bytes, out),
        Format::Q5_0 => dequantize_small::<q5_0::Q5_0>(bytes, out),
        Format::Q5_1 => dequantize_small::<q5_1::Q5_1>(bytes, out),
        Format::Q4K => dequantize_large::<q4_k::Q4K>(bytes, out),
        Format::Q5K => dequantize_large::<q5_k::Q5K>(bytes, out),
        Format::Q6K => dequantize_large::<q6_k::Q6K>(bytes, out),
        Format::W8A8 | Format::W4A8 => channel::dequantize(format, bytes, 0, out),
    }
}

/// The values that `bytes` stands for, exactly as GGUF defines them (one rounding to f32 per operation). Of a
/// per-channel format it is one row; [`dequantize_rows`] reads several.
///
/// Panics when `bytes` is not exactly the whole blocks of `out.len()` values.
pub fn dequantize(format: Format, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(Some(bytes.len()), format.row_bytes(out.len()), "{format}: {} values", out.len());
    (variant::chosen().dequantize)(format, bytes, out);
}

/// The values of a matrix, `[rows, cols]`.
///
/// Panics when `bytes` is not exactly that or `cols` is not a valid length of a row in this format.
pub fn dequantize_rows(format: Format, cols: usize, bytes: &[u8], out: &mut [f32]) {
    if !format.is_per_channel() {
        return dequantize(format, bytes, out);
    }
    for (row, out) in rows(format, cols, bytes, out.len()).zip(out.chunks_exact_mut(cols.max(1))) {
        dequantize(format, row, out);
    }
}

/// The rows of a per-channel matrix of `values` values.
fn rows(format: Format, cols: usize, bytes: &[u8], values: usize) -> std::slice::ChunksExact<'_, u8> {
    let row = format.row_bytes(cols).unwrap_or_else(|| panic!("{format} rows of {cols} values"));
    let count = values.checked_div(cols).unwrap_or(0);
    assert!(
        count * cols == values && count * row == bytes.len(),
        "{format}: {values} values in rows of {cols}"
    );
    bytes.chunks_exact(row)
}

fn quantize_small<B: SmallBlock>(values: &[f32], out: &mut Vec<u8>) {
    let (blocks, _) = values.as_chunks::<SMALL>();
    blocks.iter().for_each(|block| B::quantize(block, out));
}

fn quantize_large<B: LargeBlock>(values: &[f32], out: &mut Vec<u8>) {
    let (blocks, _) = values.as_chunks::<LARGE>();
    blocks.iter().for_each(|block| B::quantize(block, out));
}

/// Appends `values` in `format` to `out`. The same values always give the same bytes. A quantised block that
/// holds a NaN or an infinity becomes NaN as a whole, so that a broken weight stays visible. Of a per-channel format
/// `values` is one row; [`quantize_rows`] takes several.
///
/// Panics when `values` is not a whole number of blocks.
pub fn quantize(format: Format, values: &[f32], out: &mut Vec<u8>) {
    let bytes = format.row_bytes(values.len());
    let bytes = bytes.unwrap_or_else(|| panic!("{} values are not whole {format} blocks", values.len()));
    out.reserve(bytes);
    match format {
        Format::F32 => floats::write_f32(values, out),
        Format::F16 => floats::write_f16(values, out),
        Format::BF16 => floats::write_bf16(values, out),
        Format::Q8_0 => quantize_small::<q8_0::Q8_0>(values, out),
        Format::Q4_0 => quantize_small::<q4_0::Q4_0>(values, out),
        Format::Q4_1 => quantize_small::<q4_1::Q4_1>(values, out),
        Format::Q5_0 => quantize_small::<q5_0::Q5_0>(values, out),
        Format::Q5_1 => quantize_small::<q5_1::Q5_1>(values, out),
        Format::Q4K => quantize_large::<q4_k::Q4K>(values, out),
        Format::Q5K => quantize_large::<q5_k::Q5K>(values, out),
        Format::Q6K => quantize_large::<q6_k::Q6K>(values, out),
        Format::W8A8 | Format::W4A8 => channel::quantize(format, values, out),
    }
}

/// Appends a matrix, `[rows, cols]`.
///
/// Panics when `values` are not whole rows or `cols` is not a valid length of a row in this format.
pub fn quantize_rows(format: Format, cols: usize, values: &[f32], out: &mut Vec<u8>) {
    if !format.is_per_channel() {
        return quantize(format, values, out);
    }
    assert!(cols > 0 && values.len().is_multiple_of(cols), "{} values in rows of {cols}", values.len());
    values.chunks_exact(cols).for_each(|row| quantize(format, row, out));
}

/// Appends a matrix, `[rows, cols]`, in [`Format::W8A8`], every row with the scale given for it; what lies beyond the codes is
/// clipped.
///
/// Panics when `values` are not a row for each of `scales`.
pub fn quantize_bytes(cols: usize, values: &[f32], scales: &[f32], out: &mut Vec<u8>) {
    assert_eq!(values.len(), scales.len() * cols, "rows of {cols} values");
    for (row, scale) in values.chunks_exact(cols).zip(scales) {
        channel::quantize_bytes(*scale, row, out);
    }
}

/// Appends a matrix, `[rows, cols]`, in [`Format::W4A8`], every row with the scale given for it and every [`nibbles::SHARED`]
/// neighbours with their grid, `[rows, ceil(cols / SHARED)]`; what lies beyond the codes is clipped.
///
/// Panics when there are not so many values or grids.
pub fn quantize_nibbles(
    cols: usize,
    values: &[f32],
    scales: &[f32],
    grids: &[nibbles::NibbleGrid],
    out: &mut Vec<u8>,
) {
    let each = cols.div_ceil(nibbles::SHARED);
    assert_eq!(values.len(), scales.len() * cols, "rows of {cols} values");
    assert_eq!(grids.len(), scales.len() * each, "grids of rows of {cols} values");
    for ((row, grids), scale) in values.chunks_exact(cols).zip(grids.chunks_exact(each)).zip(scales) {
        channel::quantize_nibbles(*scale, grids, row, out);
    }
}
