//! The per-channel formats: a row of weights, an output channel, is one f32 scale and then integer codes, and a value is
//! `scale * code`.
//!
//! - [`Format::W8A8`]: a signed byte for each value.
//! - [`Format::W4A8`]: a nibble for each value. 32 neighbours share a step and a low end, bytes both, and nibble `n` of them
//!   stands for the code `low + step * n`. Products so see signed bytes in both formats, and no float appears before the end of
//!   a row (as in QServe, arXiv 2405.04532). Two times 32 values are a group: both steps, both low ends, then 32 bytes, of which
//!   byte `i` holds value `i` in its low and value `i + 32` in its high nibble. The last group of a row may be shorter: of `n`
//!   values it has the first `min(n, 32)` bytes, and a nibble without a value is 0.
//!
//! The scale is little-endian and stands before the codes, so that a row can be read by itself, rows can be reordered
//! and matrices stacked without touching a second table. Nothing is aligned.

use super::nibbles::{self, NibbleGrid};
use super::search;
use crate::Format;

/// Bytes of the scale, and the place of the first code.
pub(crate) const SCALE_BYTES: usize = 4;
/// Values in a group.
pub(crate) const GROUP: usize = 64;
/// Bytes of a group's steps and low ends.
pub(crate) const HEAD: usize = 4;
/// Bytes of a group of nibbles.
pub(crate) const NIBBLES: usize = HEAD + GROUP / 2;

/// Bytes of a row.
pub(crate) const fn row_bytes(format: Format, cols: usize) -> usize {
    let codes = match format {
        Format::W4A8 => {
            let last = match cols % GROUP {
                0 => 0,
                some if some < GROUP / 2 => HEAD + some,
                _ => NIBBLES,
            };
            cols / GROUP * NIBBLES + last
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
            let groups = row[first / GROUP * NIBBLES..].chunks(NIBBLES).zip(out.chunks_mut(GROUP));
            for (group, codes) in groups {
                let (head, bytes) = group.split_at(HEAD);
                let (low, high) = codes.split_at_mut(codes.len().min(GROUP / 2));
                for (code, byte) in low.iter_mut().zip(bytes) {
                    *code = nibbles::code(head[0], head[2], byte & 15);
                }
                for (code, byte) in high.iter_mut().zip(bytes) {
                    *code = nibbles::code(head[1], head[3], byte >> 4);
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
    match format {
        Format::W4A8 => {
            let unit = nibbles::unit(values);
            let grids: Vec<NibbleGrid> =
                values.chunks(nibbles::SHARED).map(|values| NibbleGrid::closest(values, unit)).collect();
            quantize_nibbles(unit, &grids, values, out);
        }
        // Bytes are fine enough that the largest value may fix the scale.
        _ => quantize_bytes(search::largest(values) / 127.0, values, out),
    }
}

/// Appends the row of bytes of `values` with this scale; values beyond the codes are clipped.
pub(super) fn quantize_bytes(scale: f32, values: &[f32], out: &mut Vec<u8>) {
    out.extend(scale.to_le_bytes());
    let inverse = search::inverse(scale);
    out.extend(values.iter().map(|v| search::code(v * inverse, -128, 127).cast_unsigned()));
}

/// Appends the row of nibbles of `values` with this scale and a grid for each 32 of them; values beyond the codes are clipped.
pub(super) fn quantize_nibbles(scale: f32, grids: &[NibbleGrid], values: &[f32], out: &mut Vec<u8>) {
    const NONE: NibbleGrid = NibbleGrid::EMPTY;
    out.extend(scale.to_le_bytes());
    for (group, grids) in values.chunks(GROUP).zip(grids.chunks(2)) {
        let (low, high) = group.split_at(group.len().min(GROUP / 2));
        let [first, second] = [grids[0], grids.get(1).copied().unwrap_or(NONE)];
        out.extend([first.step, second.step, first.low().cast_unsigned(), second.low().cast_unsigned()]);
        let high = high.iter().map(|v| second.nibble(*v, scale)).chain(std::iter::repeat(0));
        out.extend(low.iter().map(|v| first.nibble(*v, scale)).zip(high).map(|(low, high)| low | high << 4));
    }
}
