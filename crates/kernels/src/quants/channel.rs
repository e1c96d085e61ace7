//! The per-channel formats: a row of weights, an output channel, is one f32 scale and then integer codes, and a value is
//! `scale * code`.
//!
//! - [`Format::W8A8`]: a signed byte for each value.
//! - [`Format::W4A8`]: codes from -8 to 7, stored 8 higher, in groups of 64: byte `i` of a group holds value `i` in its
//!   low and value `i + 32` in its high nibble. The last group of a row may be shorter: of `n` values it has the first
//!   `min(n, 32)` bytes, and a nibble without a value is 8.
//!
//! The scale is little-endian and stands before the codes, so that a row can be read by itself, rows can be reordered
//! and matrices stacked without touching a second table. Nothing is aligned.

use super::search;
use crate::Format;

/// Bytes of the scale, and the place of the first code.
pub(crate) const SCALE_BYTES: usize = 4;
/// Values in a group of nibbles.
pub(crate) const GROUP: usize = 64;

/// Bytes of a row.
pub(crate) const fn row_bytes(format: Format, cols: usize) -> usize {
    let codes = match format {
        Format::W4A8 => {
            let last = cols % GROUP;
            cols / GROUP * (GROUP / 2) + if last < GROUP / 2 { last } else { GROUP / 2 }
        }
        _ => cols,
    };
    SCALE_BYTES + codes
}

/// The scale of a row.
#[inline(always)]
pub(crate) fn scale(row: &[u8]) -> f32 {
    f32::from_le_bytes([row[0], row[1], row[2], row[3]])
}

/// The codes of values `first..`, where `first` begins a group.
#[inline(always)]
pub(crate) fn codes(format: Format, row: &[u8], first: usize, out: &mut [i8]) {
    debug_assert!(first.is_multiple_of(GROUP));
    let row = &row[SCALE_BYTES..];
    match format {
        Format::W4A8 => {
            let groups = row[first / 2..].chunks(GROUP / 2).zip(out.chunks_mut(GROUP));
            for (bytes, codes) in groups {
                let (low, high) = codes.split_at_mut(codes.len().min(GROUP / 2));
                for (code, byte) in low.iter_mut().zip(bytes) {
                    *code = (byte & 15).cast_signed() - 8;
                }
                for (code, byte) in high.iter_mut().zip(bytes) {
                    *code = (byte >> 4).cast_signed() - 8;
                }
            }
        }
        _ => {
            for (code, byte) in out.iter_mut().zip(&row[first..]) {
                *code = byte.cast_signed();
            }
        }
    }
}

/// The values `first..` of a row, where `first` begins a group.
#[inline(always)]
pub(crate) fn dequantize(format: Format, row: &[u8], first: usize, out: &mut [f32]) {
    let scale = scale(row);
    let mut some = [0; GROUP];
    for (group, out) in out.chunks_mut(GROUP).enumerate() {
        codes(format, row, first + group * GROUP, &mut some[..out.len()]);
        for (value, code) in out.iter_mut().zip(some) {
            *value = scale * f32::from(code);
        }
    }
}

/// Appends the row that stands for `values`. One NaN or infinity makes it NaN as a whole.
pub(super) fn quantize(format: Format, values: &[f32], out: &mut Vec<u8>) {
    let largest = search::largest(values);
    let scale = match format {
        Format::W4A8 => nibble_scale(values, largest),
        // Bytes are fine enough that the largest value may fix the scale.
        _ => largest / 127.0,
    };
    quantize_by(format, scale, values, out);
}

/// Appends the row of `values` with this scale; values beyond the codes are clipped.
pub(super) fn quantize_by(format: Format, scale: f32, values: &[f32], out: &mut Vec<u8>) {
    out.extend(scale.to_le_bytes());
    let inverse = search::inverse(scale);
    match format {
        Format::W4A8 => {
            let code = |v: &f32| (search::code(v * inverse, -8, 7) + 8).cast_unsigned();
            for group in values.chunks(GROUP) {
                let (low, high) = group.split_at(group.len().min(GROUP / 2));
                let high = high.iter().map(code).chain(std::iter::repeat(8));
                out.extend(low.iter().map(code).zip(high).map(|(low, high)| low | high << 4));
            }
        }
        _ => out.extend(values.iter().map(|v| search::code(v * inverse, -128, 127).cast_unsigned())),
    }
}

/// The scale with which codes from -8 to 7 lose least, by squared error. A few thousand values share it and the
/// largest of them lies far outside the rest, so clipping it pays: scales from the largest value over 7 down to a third
/// of that are tried, each made the best one for the codes it leads to.
fn nibble_scale(values: &[f32], largest: f32) -> f32 {
    const CANDIDATES: i32 = 20;
    // In units of the largest value, so that squares neither overflow nor vanish.
    let unit = search::inverse(largest);
    if unit == 0.0 {
        // All zero (or too small to divide by), or not finite.
        return largest * 0.0;
    }
    let (mut best, mut best_gain) = (0.0, -1.0);
    for candidate in 0..CANDIDATES {
        let steps = 7.0 * 1.06f32.powi(candidate);
        let (cross, square) = cross_and_square(values, unit, steps);
        // With the best scale cross / square, the error is a constant less this gain.
        let gain = if square > 0.0 { cross * cross / square } else { 0.0 };
        if gain > best_gain {
            (best, best_gain) = (if square > 0.0 { cross / square } else { 0.0 }, gain);
        }
    }
    best * largest
}

/// Sums of value times code and of squared codes, where `steps` is the code of the largest value before clipping.
fn cross_and_square(values: &[f32], unit: f32, steps: f32) -> (f32, f32) {
    /// Adding and taking it away again rounds numbers of this size to integers, ties to even, without a branch.
    const ROUND: f32 = 12_582_912.0;
    let (mut cross, mut square) = ([0.0f32; 8], [0.0f32; 8]);
    let mut add = |lane: usize, value: f32| {
        let value = value * unit;
        let code = (value * steps + ROUND - ROUND).clamp(-8.0, 7.0);
        cross[lane] += value * code;
        square[lane] += code * code;
    };
    let (eights, tail) = values.as_chunks::<8>();
    for eight in eights {
        for (lane, value) in eight.iter().enumerate() {
            add(lane, *value);
        }
    }
    for (lane, value) in tail.iter().enumerate() {
        add(lane, *value);
    }
    (cross.iter().sum(), square.iter().sum())
}
