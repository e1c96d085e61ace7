//! Products of a few activation rows, as in decoding: bound by reading the weights.
//!
//! Eight weight rows are walked side by side. That is eight streams for the memory to serve, and their sums end up
//! in the eight lanes of one vector, so that scales apply to all of them at once. Meanwhile the next eight rows are
//! asked for in the order in which they lie in memory, each line once: one long stream that crosses a page at a time.

use std::arch::x86_64::*;

use super::blocks::{Large, Small};
use super::lanes;
use crate::Matrix;
use crate::hints::fetch;
use crate::products::Tile;
use crate::quants::{LARGE, LargeBlock, SMALL, SmallBlock};

/// Weight rows walked side by side.
pub(super) const SIDE: usize = 8;

/// Pointers to eight rows; beyond the last row, the last row again.
#[inline(always)]
pub(super) fn pointers(weight: &Matrix<'_>, first: usize) -> [*const u8; SIDE] {
    let row = weight.row_bytes();
    // One check for all: the last row lies inside.
    assert!(first < weight.rows && weight.data.len() == weight.rows * row);
    std::array::from_fn(|r| weight.data.as_ptr().wrapping_add((first + r).min(weight.rows - 1) * row))
}

/// Stores the outputs of activation row `i` and up to eight weight rows.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store(tile: &Tile<'_>, i: usize, first: usize, sums: __m256) {
    tile.store_up_to(i, first, &lanes::array(sums));
}

/// Weights in blocks of 32.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn small<K: Small>(tile: &Tile<'_>) {
    let (weight, form) = (&tile.weight, &tile.x.small);
    let blocks = weight.cols / SMALL;
    for first in (0..weight.rows).step_by(SIDE) {
        let rows = pointers(weight, first);
        let mut ahead = tile.ahead(first + SIDE);
        for i in 0..tile.x.m() {
            let x = &form.codes[i * weight.cols..(i + 1) * weight.cols];
            let scales = &form.scales[i * blocks..(i + 1) * blocks];
            let x_sums = &form.sums[i * blocks..(i + 1) * blocks];
            let mut sums = _mm256_setzero_ps();
            for (j, ((x, scale), x_sum)) in
                x.as_chunks::<SMALL>().0.iter().zip(scales).zip(x_sums).enumerate()
            {
                let at = j * K::Block::BYTES;
                // SAFETY: `x` is 32 bytes; each row has a block at `at`.
                unsafe {
                    if i == 0 {
                        ahead = fetch(ahead, SIDE * K::Block::BYTES);
                    }
                    let mut codes = K::dots(&rows.map(|row| row.add(at)), x.as_ptr());
                    let x_sum = i32::from(*x_sum);
                    if K::OFFSET != 0 {
                        codes = _mm256_sub_epi32(codes, _mm256_set1_epi32(K::OFFSET * x_sum));
                    }
                    let scale = _mm256_set1_ps(*scale);
                    let w_scale = lanes::halves(&rows, at);
                    let mut term = _mm256_mul_ps(_mm256_cvtepi32_ps(codes), _mm256_mul_ps(w_scale, scale));
                    if K::Block::HAS_MINIMUM {
                        let minimum = _mm256_mul_ps(lanes::halves(&rows, at + 2), scale);
                        term = _mm256_add_ps(term, _mm256_mul_ps(_mm256_set1_ps(x_sum as f32), minimum));
                    }
                    sums = _mm256_add_ps(sums, term);
                }
            }
            store(tile, i, first, sums);
        }
    }
}

/// Patterns that spread factor `k` over a vector of 16-bit lanes, for sub-blocks of 32.
#[inline]
#[target_feature(enable = "avx2")]
fn spread(factors: __m256i, k: usize) -> __m256i {
    _mm256_shuffle_epi8(factors, _mm256_set1_epi16(0x0100 + 0x0202 * k as i16))
}

/// The same for sub-blocks of 16: factor `2k` in the low half, `2k + 1` in the high.
#[inline]
#[target_feature(enable = "avx2")]
fn spread_two(factors: __m256i, k: usize) -> __m256i {
    let half = if k < 4 {
        _mm256_permute4x64_epi64::<0b01_00_01_00>(factors)
    } else {
        _mm256_permute4x64_epi64::<0b11_10_11_10>(factors)
    };
    let low = 0x0100 + 0x0404 * (k % 4) as i16;
    _mm256_shuffle_epi8(half, _mm256_set_m128i(_mm_set1_epi16(low + 0x0202), _mm_set1_epi16(low)))
}

/// Weights in blocks of 256.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn large<K: Large>(tile: &Tile<'_>) {
    let (weight, form) = (&tile.weight, &tile.x.large);
    let blocks = weight.cols / LARGE;
    for first in (0..weight.rows).step_by(SIDE) {
        let rows = pointers(weight, first);
        let mut ahead = tile.ahead(first + SIDE);
        for i in 0..tile.x.m() {
            let x = &form.codes[i * weight.cols..(i + 1) * weight.cols];
            let scales = &form.scales[i * blocks..(i + 1) * blocks];
            let x_sums = &form.sums[i * blocks * 16..(i + 1) * blocks * 16];
            let mut sums = _mm256_setzero_ps();
            let inputs = x.as_chunks::<LARGE>().0.iter().zip(x_sums.as_chunks::<16>().0).zip(scales);
            for (j, ((x, x_sums), scale)) in inputs.enumerate() {
                let at = j * K::Block::BYTES;
                // SAFETY: each row has a block at `at`.
                let (codes, minimums) = unsafe {
                    if i == 0 {
                        ahead = fetch(ahead, SIDE * K::Block::BYTES);
                    }
                    products::<K>(&rows, at, x, x_sums)
                };
                let scale = _mm256_set1_ps(*scale);
                // SAFETY: as above.
                let w_scale = unsafe { lanes::halves(&rows, at + K::SCALE_AT) };
                let mut term = _mm256_mul_ps(_mm256_cvtepi32_ps(codes), _mm256_mul_ps(w_scale, scale));
                if K::Block::HAS_MINIMUM {
                    // SAFETY: as above.
                    let w_minimum = unsafe { lanes::halves(&rows, at + K::MINIMUM_AT) };
                    let minimum =
                        _mm256_mul_ps(_mm256_cvtepi32_ps(minimums), _mm256_mul_ps(w_minimum, scale));
                    term = _mm256_sub_ps(term, minimum);
                }
                sums = _mm256_add_ps(sums, term);
            }
            store(tile, i, first, sums);
        }
    }
}

/// The integer parts of one block in eight rows: factors times codes, and minimums times sums.
///
/// # Safety
/// Each row has a block at `at`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn products<K: Large>(
    rows: &[*const u8; SIDE],
    at: usize,
    x: &[i8; LARGE],
    x_sums: &[i16; 16],
) -> (__m256i, __m256i) {
    let zero = _mm256_setzero_si256();
    let (mut codes, mut minimums) = ([zero; SIDE], [zero; SIDE / 2]);
    // SAFETY: sixteen 16-bit sums.
    let x_sums = unsafe { _mm256_loadu_si256(x_sums.as_ptr().cast()) };
    // Sums of 32: neighbours added, back in order.
    let pairs = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi16(x_sums, x_sums));
    let pairs = _mm256_castsi256_si128(pairs);
    for r in 0..SIDE {
        // SAFETY: the caller's promise, and 256 activation codes.
        unsafe {
            let block = rows[r].add(at);
            let factors = K::factors(block);
            let mut sum = zero;
            for pair in 0..4 {
                let w = K::codes(block, pair);
                for (k, w) in w.into_iter().enumerate() {
                    let sub = 2 * pair + k;
                    let x = _mm256_loadu_si256(x.as_ptr().add(32 * sub).cast());
                    let factor = if K::Block::SUB == 32 {
                        spread(factors.factors, sub)
                    } else {
                        spread_two(factors.factors, sub)
                    };
                    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), factor));
                }
            }
            if K::OFFSET != 0 {
                // Codes were 32 too high.
                const { assert!(K::OFFSET == 0 || K::OFFSET == 32) };
                let high = _mm256_slli_epi32::<5>(_mm256_madd_epi16(factors.factors, x_sums));
                sum = _mm256_sub_epi32(sum, high);
            }
            codes[r] = sum;
            if K::Block::HAS_MINIMUM {
                let products = _mm_madd_epi16(factors.minimums, pairs);
                minimums[r % 4] = if r < 4 {
                    _mm256_castsi128_si256(products)
                } else {
                    _mm256_inserti128_si256::<1>(minimums[r % 4], products)
                };
            }
        }
    }
    (lanes::sums(&codes), lanes::half_sums(&minimums))
}
