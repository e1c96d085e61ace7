//! Products of a few activation rows with per-channel weights: bound by reading the weights.
//!
//! Eight weight rows are walked side by side, as in `rows`; integer sums run over the whole row, so that scales apply
//! once at its end. Meanwhile the next eight are asked for in the order in which they lie in memory, each line once.

use std::arch::x86_64::*;

use super::rows::{SIDE, pointers, store};
use super::{dots, lanes};
use crate::Matrix;
use crate::hints::fetch;
use crate::products::Tile;
use crate::quants::channel::{self, SCALE_BYTES};

/// Bytes of codes taken at a time from each.
const BYTES: usize = 32;

/// A per-channel format.
pub(super) trait Codes {
    /// Columns in 32 bytes.
    const COLS: usize;
    /// Codes are this much too high.
    const OFFSET: i32;

    /// Products of 32 bytes of codes with as many columns of `x`, added up in eight lanes.
    ///
    /// # Safety
    /// 32 bytes can be read at `w` and `COLS` at `x`; the processor has AVX2.
    unsafe fn dot(w: *const u8, x: *const i8) -> __m256i;
}

pub(in crate::products) struct W8A8;
pub(in crate::products) struct W4A8;

impl Codes for W8A8 {
    const COLS: usize = 32;
    const OFFSET: i32 = 0;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn dot(w: *const u8, x: *const i8) -> __m256i {
        // SAFETY: the caller's promise.
        let (w, x) = unsafe { (_mm256_loadu_si256(w.cast()), _mm256_loadu_si256(x.cast())) };
        dots::signed(w, x)
    }
}

impl Codes for W4A8 {
    const COLS: usize = channel::GROUP;
    const OFFSET: i32 = 8;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn dot(w: *const u8, x: *const i8) -> __m256i {
        let mask = _mm256_set1_epi8(15);
        // SAFETY: the caller's promise.
        let (w, low, high) = unsafe {
            (_mm256_loadu_si256(w.cast()), _mm256_loadu_si256(x.cast()), _mm256_loadu_si256(x.add(32).cast()))
        };
        let low = _mm256_maddubs_epi16(_mm256_and_si256(w, mask), low);
        let high = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16::<4>(w), mask), high);
        _mm256_madd_epi16(_mm256_add_epi16(low, high), _mm256_set1_epi16(1))
    }
}

/// The scales of some rows.
pub(in crate::products) fn scales<const N: usize>(weight: &Matrix<'_>, first: usize) -> [f32; N] {
    std::array::from_fn(|r| channel::scale(weight.row((first + r).min(weight.rows - 1))))
}

/// The codes behind the first `skip` bytes of codes of some rows, followed by zeros.
pub(in crate::products) fn tails<const N: usize, const LEN: usize>(
    weight: &Matrix<'_>,
    first: usize,
    skip: usize,
) -> [[u8; LEN]; N] {
    let mut tails = [[0; LEN]; N];
    for (r, tail) in tails.iter_mut().enumerate() {
        let codes = &weight.row((first + r).min(weight.rows - 1))[SCALE_BYTES + skip..];
        tail[..codes.len()].copy_from_slice(codes);
    }
    tails
}

/// The scales of eight rows.
///
/// # Safety
/// Each row has one.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn row_scales(rows: &[*const u8; SIDE]) -> __m256 {
    let mut scales = [0f32; SIDE];
    for (scale, row) in scales.iter_mut().zip(rows) {
        // SAFETY: the caller's promise; it stands first and little-endian, as this processor reads.
        *scale = unsafe { row.cast::<f32>().read_unaligned() };
    }
    // SAFETY: eight floats.
    unsafe { _mm256_loadu_ps(scales.as_ptr()) }
}

/// Weight rows of a tile times each activation row.
#[target_feature(enable = "avx2")]
pub(super) fn product<K: Codes>(tile: &Tile<'_>) {
    let (weight, form) = (&tile.weight, &tile.x.whole);
    let whole = weight.cols / K::COLS;
    for first in (0..weight.rows).step_by(SIDE) {
        let rows = pointers(weight, first);
        let tails: Option<[[u8; BYTES]; SIDE]> =
            (!weight.cols.is_multiple_of(K::COLS)).then(|| tails(weight, first, whole * BYTES));
        let mut ahead = tile.ahead(first + SIDE);
        for i in 0..tile.x.m() {
            let x = form.codes[i * form.stride..][..form.stride].as_ptr();
            let mut sums = [_mm256_setzero_si256(); SIDE];
            // SAFETY: each row has `whole` times 32 bytes of codes behind its scale, a tail is 32 bytes, and activations
            // are padded to whole groups.
            unsafe {
                for j in 0..whole {
                    if i == 0 {
                        ahead = fetch(ahead, SIDE * BYTES);
                    }
                    let at = SCALE_BYTES + j * BYTES;
                    for (row, sum) in rows.iter().zip(&mut sums) {
                        *sum = _mm256_add_epi32(*sum, K::dot(row.add(at), x.add(j * K::COLS)));
                    }
                }
                if let Some(tails) = &tails {
                    for (tail, sum) in tails.iter().zip(&mut sums) {
                        *sum = _mm256_add_epi32(*sum, K::dot(tail.as_ptr(), x.add(whole * K::COLS)));
                    }
                }
            }
            let mut sums = lanes::sums(&sums);
            if K::OFFSET != 0 {
                sums = _mm256_sub_epi32(sums, _mm256_set1_epi32(K::OFFSET * form.sums[i]));
            }
            // SAFETY: each row begins with its scale.
            let scales = _mm256_mul_ps(unsafe { row_scales(&rows) }, _mm256_set1_ps(form.scales[i]));
            store(tile, i, first, _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scales));
        }
    }
}
