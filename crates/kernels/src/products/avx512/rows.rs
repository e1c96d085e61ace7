//! Products of a few activation rows, as in decoding: bound by reading the weights.
//!
//! Eight weight rows are walked side by side, and what lies behind them is asked for meanwhile, each line once. A vector
//! holds the codes of two blocks of 32 of one row; the sums of eight such vectors end up as eight sums of the first and
//! eight of the second blocks. Of nibbles sixteen rows go side by side, four in a vector, which takes half as many sums
//! across lanes; their scales fill a vector, too.

use std::arch::x86_64::*;

use super::blocks::{Heads, Large, Nibbles, Small, join};
use super::lanes;
use crate::Matrix;
use crate::hints::Streams;
use crate::products::Tile;
use crate::quants::{LARGE, LargeBlock, SMALL, SmallBlock};

/// Weight rows walked side by side.
const SIDE: usize = 8;
/// Weight rows of nibbles in blocks of 32 walked side by side: a lane of a vector for each.
const NIBBLES_SIDE: usize = 16;

/// Pointers to some rows; beyond the last row, the last row again.
#[inline]
pub(super) fn pointers<const N: usize>(weight: &Matrix<'_>, first: usize) -> [*const u8; N] {
    let row = weight.row_bytes();
    // One check for all: the last row lies inside.
    assert!(first < weight.rows && weight.data.len() == weight.rows * row);
    std::array::from_fn(|r| weight.data.as_ptr().wrapping_add((first + r).min(weight.rows - 1) * row))
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(tile: &Tile<'_>, i: usize, first: usize, sums: __m256) {
    // SAFETY: eight floats.
    let sums: [f32; SIDE] = unsafe { std::mem::transmute(sums) };
    for (r, sum) in sums.into_iter().enumerate().take(tile.weight.rows - first) {
        tile.store(i, first + r, sum);
    }
}

/// Weights in blocks of 32.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn small<K: Small>(tile: &Tile<'_>) {
    let (weight, form) = (&tile.weight, &tile.x.small);
    let blocks = weight.cols / SMALL;
    for first in (0..weight.rows).step_by(SIDE) {
        let rows = pointers::<SIDE>(weight, first);
        let mut ahead = Streams::new(tile, first, SIDE);
        for i in 0..tile.x.m() {
            let x = &form.codes[i * weight.cols..(i + 1) * weight.cols];
            let scales = &form.scales[i * blocks..(i + 1) * blocks];
            let x_sums = &form.sums[i * blocks..(i + 1) * blocks];
            let mut sums = _mm256_setzero_ps();
            let (pairs, last) = x.as_chunks::<{ 2 * SMALL }>();
            for (pair, x) in pairs.iter().enumerate() {
                let (j, at) = (2 * pair, 2 * pair * K::Block::BYTES);
                if i == 0 {
                    ahead.fetch(2 * SIDE * K::Block::BYTES);
                }
                // SAFETY: `x` is 64 bytes; each row has two blocks at `at`.
                let [low, high] = unsafe {
                    let x = _mm512_loadu_si512(x.as_ptr().cast());
                    let mut codes = [_mm512_setzero_si512(); SIDE];
                    for (codes, row) in codes.iter_mut().zip(rows) {
                        *codes = _mm512_dpbusd_epi32(*codes, K::two(row.add(at)), x);
                    }
                    let (scales, x_sums) = ([scales[j], scales[j + 1]], [x_sums[j], x_sums[j + 1]]);
                    terms::<K>(&rows, [at, at + K::Block::BYTES], &codes, scales, x_sums)
                };
                sums = _mm256_add_ps(_mm256_add_ps(sums, low), high);
            }
            if let Some((x, _)) = last.split_first_chunk::<SMALL>() {
                let (j, at) = (blocks - 1, (blocks - 1) * K::Block::BYTES);
                // SAFETY: `x` is 32 bytes; each row has a block at `at`.
                let [low, _] = unsafe {
                    let x = _mm512_zextsi256_si512(_mm256_loadu_si256(x.as_ptr().cast()));
                    let mut codes = [_mm512_setzero_si512(); SIDE];
                    for (codes, row) in codes.iter_mut().zip(rows) {
                        *codes = _mm512_dpbusd_epi32(*codes, K::one(row.add(at)), x);
                    }
                    terms::<K>(&rows, [at; 2], &codes, [scales[j]; 2], [x_sums[j]; 2])
                };
                sums = _mm256_add_ps(sums, low);
            }
            store(tile, i, first, sums);
        }
    }
}

/// Weights in blocks of 32 nibbles.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn nibbles<K: Nibbles>(tile: &Tile<'_>) {
    let (weight, form) = (&tile.weight, &tile.x.small);
    let blocks = weight.cols / SMALL;
    for first in (0..weight.rows).step_by(NIBBLES_SIDE) {
        let rows = pointers::<NIBBLES_SIDE>(weight, first);
        let mut ahead = Streams::new(tile, first, NIBBLES_SIDE);
        for i in 0..tile.x.m() {
            let x = &form.codes[i * weight.cols..(i + 1) * weight.cols];
            let scales = &form.scales[i * blocks..(i + 1) * blocks];
            let x_sums = &form.sums[i * blocks..(i + 1) * blocks];
            let mut sums = _mm512_setzero_ps();
            let inputs = x.as_chunks::<SMALL>().0.iter().zip(scales).zip(x_sums);
            for (j, ((x, scale), x_sum)) in inputs.enumerate() {
                let at = j * K::Block::BYTES;
                if i == 0 {
                    ahead.fetch(NIBBLES_SIDE * K::Block::BYTES);
                }
                // SAFETY: each row has a block at `at`.
                sums = unsafe { _mm512_add_ps(sums, nibbles_term::<K>(&rows, at, x, *scale, *x_sum)) };
            }
            let (to, left) = tile.place(i, first);
            let mask = ((1u32 << left.min(NIBBLES_SIDE)) - 1) as __mmask16;
            // SAFETY: the tile's outputs from there on, as many as are left of them.
            unsafe { _mm512_mask_storeu_ps(to, mask, sums) };
        }
    }
}

/// What a block of nibbles adds to sixteen outputs.
///
/// A vector holds the bytes of rows `g`, `4 + g`, `8 + g` and `12 + g`, whose sums over four lanes then meet those of the
/// other three vectors in the order of the rows.
///
/// # Safety
/// Each row has a block at `at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn nibbles_term<K: Nibbles>(
    rows: &[*const u8; NIBBLES_SIDE],
    at: usize,
    x: &[i8; SMALL],
    scale: f32,
    x_sum: i16,
) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let part = |at: usize| _mm512_broadcast_i32x4(_mm_loadu_si128(x.as_ptr().add(at).cast()));
        let (low, high) = (part(0), part(16));
        let mut four = [_mm512_setzero_si512(); 4];
        for (g, sums) in four.iter_mut().enumerate() {
            let blocks = [0, 4, 8, 12].map(|r| rows[r + g].add(at));
            let [w_low, w_high] = K::codes_of_four(blocks);
            *sums = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(*sums, w_low, low), w_high, high);
        }
        let [a, b, c, d] = four;
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        let mut codes = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        if K::TOO_HIGH != 0 {
            codes = _mm512_sub_epi32(codes, _mm512_set1_epi32(K::TOO_HIGH * i32::from(x_sum)));
        }
        let scale = _mm512_set1_ps(scale);
        let term = _mm512_mul_ps(_mm512_cvtepi32_ps(codes), _mm512_mul_ps(lanes::halves(rows, at), scale));
        if !K::Block::HAS_MINIMUM {
            return term;
        }
        let minimum = _mm512_mul_ps(lanes::halves(rows, at + 2), scale);
        _mm512_add_ps(term, _mm512_mul_ps(_mm512_set1_ps(f32::from(x_sum)), minimum))
    }
}

/// What the blocks at two places add to eight outputs.
///
/// # Safety
/// Each row has a block at both places.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn terms<K: Small>(
    rows: &[*const u8; SIDE],
    at: [usize; 2],
    codes: &[__m512i; SIDE],
    scales: [f32; 2],
    x_sums: [i16; 2],
) -> [__m256; 2] {
    let [a, b] = x_sums.map(i32::from);
    let mut codes = lanes::half_sums(codes);
    if K::TOO_HIGH != 0 {
        codes = _mm512_sub_epi32(codes, lanes::both_integers(K::TOO_HIGH * a, K::TOO_HIGH * b));
    }
    let scale = lanes::both(scales[0], scales[1]);
    // SAFETY: the caller's promise.
    let w_scale = unsafe { lanes::halves_twice(rows, at[0], at[1]) };
    let mut term = _mm512_mul_ps(_mm512_cvtepi32_ps(codes), _mm512_mul_ps(w_scale, scale));
    if K::Block::HAS_MINIMUM {
        // SAFETY: as above.
        let minimum = unsafe { lanes::halves_twice(rows, at[0] + 2, at[1] + 2) };
        let minimum = _mm512_mul_ps(minimum, scale);
        term = _mm512_add_ps(term, _mm512_mul_ps(lanes::both(a as f32, b as f32), minimum));
    }
    lanes::split(term)
}

/// Weights in blocks of 256.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn large<K: Large>(tile: &Tile<'_>) {
    let (weight, form) = (&tile.weight, &tile.x.large);
    let blocks = weight.cols / LARGE;
    for first in (0..weight.rows).step_by(SIDE) {
        let rows = pointers::<SIDE>(weight, first);
        let mut ahead = Streams::new(tile, first, SIDE);
        for i in 0..tile.x.m() {
            let x = &form.codes[i * weight.cols..(i + 1) * weight.cols];
            let scales = &form.scales[i * blocks..(i + 1) * blocks];
            let x_sums = &form.sums[i * blocks * 16..(i + 1) * blocks * 16];
            let mut sums = _mm256_setzero_ps();
            let inputs = x.as_chunks::<LARGE>().0.iter().zip(x_sums.as_chunks::<16>().0).zip(scales);
            for (j, ((x, x_sums), scale)) in inputs.enumerate() {
                if i == 0 {
                    ahead.fetch(SIDE * K::Block::BYTES);
                }
                // SAFETY: each row has a block there.
                let (codes, heads) = unsafe { products::<K>(&rows, j * K::Block::BYTES, x, x_sums) };
                let scale = _mm256_set1_ps(*scale);
                let mut term = _mm256_mul_ps(_mm256_cvtepi32_ps(codes), _mm256_mul_ps(heads.scales, scale));
                if K::Block::HAS_MINIMUM {
                    let minimum = _mm256_mul_ps(heads.minimums, scale);
                    term = _mm256_sub_ps(term, _mm256_mul_ps(_mm256_cvtepi32_ps(heads.offsets), minimum));
                }
                sums = _mm256_add_ps(sums, term);
            }
            store(tile, i, first, sums);
        }
    }
}

/// The integer parts of one block in eight rows, factors times codes, and what belongs to them.
///
/// Pairs of products fit 16 bits (63 * 127 * 2 at most), and `vpdpwssd` takes them times their factor into the sum.
///
/// # Safety
/// Each row has a block at `at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn products<K: Large>(
    rows: &[*const u8; SIDE],
    at: usize,
    x: &[i8; LARGE],
    x_sums: &[i16; 16],
) -> (__m256i, Heads) {
    // SAFETY: the caller's promise; the activations are parts of 32 codes and sixteen sums.
    unsafe {
        let part = |part: usize| _mm256_loadu_si256(x.as_ptr().add(SMALL * part).cast());
        let mut inputs = [[_mm512_setzero_si512(); 2]; 2];
        for (half, inputs) in inputs.iter_mut().enumerate() {
            for (k, input) in inputs.iter_mut().enumerate() {
                let [low, high] = K::SUBS[half][k];
                *input = join(part(low), part(high));
            }
        }
        let heads = K::heads(rows, at, _mm256_loadu_si256(x_sums.as_ptr().cast()));
        let mut codes = [_mm512_setzero_si512(); SIDE];
        for (r, codes) in codes.iter_mut().enumerate() {
            let block = rows[r].add(at);
            for (half, inputs) in inputs.iter().enumerate() {
                let (w, factors) = (K::half(block, half), K::spread_factors(&heads, block, r, half));
                for k in 0..2 {
                    *codes = _mm512_dpwssd_epi32(*codes, _mm512_maddubs_epi16(w[k], inputs[k]), factors[k]);
                }
            }
        }
        let mut codes = lanes::sums(&codes);
        if K::OFFSET != 0 {
            // Codes were 32 too high.
            const { assert!(K::OFFSET == 0 || K::OFFSET == 32) };
            codes = _mm256_sub_epi32(codes, _mm256_slli_epi32::<5>(heads.offsets));
        }
        (codes, heads)
    }
}
