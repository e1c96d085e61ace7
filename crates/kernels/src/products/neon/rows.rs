//! Products of a few activation rows, as in decoding: bound by reading the weights.
//!
//! Four weight rows are walked side by side, straight from their blocks; their sums end up in the four lanes of one
//! vector, so that scales apply to all of them at once.

use std::arch::aarch64::*;

use super::blocks::{Large, Small};
use super::lanes::{self, halves};
use super::load::array;
use super::multiply::sdot;
use crate::Matrix;
use crate::products::Tile;
use crate::quants::{LARGE, SMALL};

/// Weight rows walked side by side.
pub(super) const SIDE: usize = 4;

/// Pointers to some rows from `first` on; beyond the last row, the last row again.
#[inline]
pub(super) fn pointers<const N: usize>(weight: &Matrix<'_>, first: usize) -> [*const u8; N] {
    let row = weight.row_bytes();
    // One check for all: the last row lies inside.
    assert!(first < weight.rows && weight.data.len() == weight.rows * row);
    std::array::from_fn(|r| weight.data.as_ptr().wrapping_add((first + r).min(weight.rows - 1) * row))
}

/// Stores the outputs of activation row `i` and up to four weight rows.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store(tile: &Tile<'_>, i: usize, first: usize, values: float32x4_t) {
    tile.store_up_to(i, first, &array(values));
}

/// What a small block's exact sums `codes` add to four outputs.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn small_term<K: Small>(
    codes: int32x4_t,
    w_scale: float32x4_t,
    minimum: float32x4_t,
    scale: f32,
    x_sum: i16,
) -> float32x4_t {
    let scale = vdupq_n_f32(scale);
    let term = vmulq_f32(vcvtq_f32_s32(codes), vmulq_f32(w_scale, scale));
    if !K::HAS_MINIMUM {
        return term;
    }
    vaddq_f32(term, vmulq_f32(vdupq_n_f32(f32::from(x_sum)), vmulq_f32(minimum, scale)))
}

/// What a large block's exact sums `codes` and `offsets` add to four outputs.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn large_term<K: Large>(
    codes: int32x4_t,
    offsets: int32x4_t,
    w_scale: float32x4_t,
    minimum: float32x4_t,
    scale: f32,
) -> float32x4_t {
    let scale = vdupq_n_f32(scale);
    let term = vmulq_f32(vcvtq_f32_s32(codes), vmulq_f32(w_scale, scale));
    if !K::HAS_MINIMUM {
        return term;
    }
    vsubq_f32(term, vmulq_f32(vcvtq_f32_s32(offsets), vmulq_f32(minimum, scale)))
}

/// Weights in blocks of 32.
///
/// # Safety
/// The processor has `dotprod`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn small<K: Small>(tile: &Tile<'_>) {
    let (weight, form) = (&tile.weight, &tile.x.small);
    let blocks = weight.cols / SMALL;
    for first in (0..weight.rows).step_by(SIDE) {
        let rows: [_; SIDE] = pointers(weight, first);
        for i in 0..tile.x.m() {
            let x = form.codes[i * weight.cols..(i + 1) * weight.cols].as_chunks::<SMALL>().0;
            let scales = &form.scales[i * blocks..(i + 1) * blocks];
            let x_sums = &form.sums[i * blocks..(i + 1) * blocks];
            let mut sums = vdupq_n_f32(0.0);
            for (j, ((x, scale), x_sum)) in x.iter().zip(scales).zip(x_sums).enumerate() {
                let at = j * K::BYTES;
                // SAFETY: `x` is 32 bytes; each row has a block at `at`.
                let (codes, w_scale, minimum) = unsafe {
                    let x = [vld1q_s8(x.as_ptr()), vld1q_s8(x.as_ptr().add(16))];
                    let mut codes = [vdupq_n_s32(0); SIDE];
                    for (code, row) in codes.iter_mut().zip(rows) {
                        let w = K::unpack(row.add(at));
                        *code = sdot(sdot(*code, w[0], x[0]), w[1], x[1]);
                    }
                    let low = if K::HAS_MINIMUM { halves(&rows, at + 2) } else { vdupq_n_f32(0.0) };
                    (lanes::sums(codes), halves(&rows, at), low)
                };
                sums = vaddq_f32(sums, small_term::<K>(codes, w_scale, minimum, *scale, *x_sum));
            }
            store(tile, i, first, sums);
        }
    }
}

/// Weights in blocks of 256.
///
/// # Safety
/// The processor has `dotprod`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn large<K: Large>(tile: &Tile<'_>) {
    let (weight, form) = (&tile.weight, &tile.x.large);
    let blocks = weight.cols / LARGE;
    for first in (0..weight.rows).step_by(SIDE) {
        let rows: [_; SIDE] = pointers(weight, first);
        for i in 0..tile.x.m() {
            let x = form.codes[i * weight.cols..(i + 1) * weight.cols].as_chunks::<LARGE>().0;
            let scales = &form.scales[i * blocks..(i + 1) * blocks];
            let x_sums = form.sums[i * blocks * 16..(i + 1) * blocks * 16].as_chunks::<16>().0;
            let mut sums = vdupq_n_f32(0.0);
            for (j, ((x, x_sums), scale)) in x.iter().zip(x_sums).zip(scales).enumerate() {
                let at = j * K::BYTES;
                // SAFETY: each row has a block at `at`, and the scales lie in it.
                let (codes, offsets, w_scale, minimum) = unsafe {
                    let (codes, offsets) = products::<K>(rows.map(|row| row.add(at)), x, x_sums);
                    (codes, offsets, halves(&rows, at + K::SCALE_AT), halves(&rows, at + K::MINIMUM_AT))
                };
                sums = vaddq_f32(sums, large_term::<K>(codes, offsets, w_scale, minimum, *scale));
            }
            store(tile, i, first, sums);
        }
    }
}

/// The sums of 32 codes each, of sixteen sums of sixteen.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn pairs(x_sums: &[i16; 16]) -> int16x8_t {
    // SAFETY: two vectors of eight.
    unsafe { vpaddq_s16(vld1q_s16(x_sums.as_ptr()), vld1q_s16(x_sums.as_ptr().add(8))) }
}

/// The integer parts of one block in four rows: factors times codes, and minimums times sums.
///
/// # Safety
/// Each points at a whole block; the processor has `dotprod`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn products<K: Large>(
    blocks: [*const u8; SIDE],
    x: &[i8; LARGE],
    x_sums: &[i16; 16],
) -> (int32x4_t, int32x4_t) {
    let zero = vdupq_n_s32(0);
    // SAFETY: the caller's promise.
    let factors = blocks.map(|block| unsafe { K::factors(block) });
    let mut codes = [zero; SIDE];
    for (half, x) in x.as_chunks::<{ LARGE / 2 }>().0.iter().enumerate() {
        // SAFETY: 128 codes.
        let x: [_; 8] = std::array::from_fn(|k| unsafe { vld1q_s8(x.as_ptr().add(16 * k)) });
        for r in 0..SIDE {
            // SAFETY: the caller's promise; four vectors are sixteen integers.
            let (w, factors) = unsafe {
                let integers = std::mem::transmute::<[int32x4_t; 4], [i32; 16]>(factors[r].factors);
                (K::unpack(blocks[r], half), integers)
            };
            // Vectors of sixteen codes that share a factor.
            let each = K::SUB / 16;
            for sub in 0..8 / each {
                let mut dot = zero;
                for k in sub * each..(sub + 1) * each {
                    // SAFETY: the caller's promise.
                    dot = unsafe { sdot(dot, w[k], x[k]) };
                }
                codes[r] = vmlaq_n_s32(codes[r], dot, factors[half * (8 / each) + sub]);
            }
        }
    }
    if !K::HAS_MINIMUM {
        return (lanes::sums(codes), zero);
    }
    let x_sums = pairs(x_sums);
    let offsets = factors.map(|f| {
        let low = vmull_s16(vget_low_s16(f.minimums), vget_low_s16(x_sums));
        vmlal_high_s16(low, f.minimums, x_sums)
    });
    (lanes::sums(codes), lanes::sums(offsets))
}
