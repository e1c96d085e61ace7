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
use crate::quants::channel::{self, GROUP, SCALE_BYTES};

/// A per-channel format.
pub(super) trait Codes {
    /// Bytes of codes taken at a time from each row.
    const BYTES: usize;
    /// Columns in them.
    const COLS: usize;
    /// So many columns of an activation row, made ready once for eight weight rows.
    type Columns: Copy;

    /// # Safety
    /// `COLS` can be read at `x`; the processor has AVX2.
    unsafe fn columns(x: *const i8) -> Self::Columns;

    /// Products of so many bytes of codes with as many columns, added up in eight lanes.
    ///
    /// # Safety
    /// `BYTES` can be read at `w`; the processor has AVX2.
    unsafe fn dot(w: *const u8, x: Self::Columns) -> __m256i;
}

pub(in crate::products) struct W8A8;
pub(in crate::products) struct W4A8;

impl Codes for W8A8 {
    const BYTES: usize = 32;
    const COLS: usize = 32;
    type Columns = __m256i;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn columns(x: *const i8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_si256(x.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn dot(w: *const u8, x: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        dots::signed(unsafe { _mm256_loadu_si256(w.cast()) }, x)
    }
}

impl Codes for W4A8 {
    const BYTES: usize = channel::NIBBLES;
    const COLS: usize = channel::GROUP;
    /// The codes of 32 columns, and the sum of each four in the upper half of a lane; twice.
    type Columns = [[__m256i; 2]; 2];

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn columns(x: *const i8) -> Self::Columns {
        [0, 32].map(|at| {
            // SAFETY: the caller's promise.
            let codes = unsafe { _mm256_loadu_si256(x.add(at).cast()) };
            let twos = _mm256_maddubs_epi16(_mm256_set1_epi8(1), codes);
            [codes, _mm256_slli_epi32::<16>(_mm256_madd_epi16(twos, _mm256_set1_epi16(1)))]
        })
    }

    /// A code is `low + step * nibble`, so four columns give `step * (nibbles . x) + low * (sum of x)`: the codes themselves never
    /// appear, and one product of two pairs of 16 bits does both.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn dot(w: *const u8, [first, second]: Self::Columns) -> __m256i {
        const UPPER_HALVES: i32 = 0xaa;
        let mask = _mm256_set1_epi8(15);
        // SAFETY: a group's head is four bytes, and 32 bytes of nibbles follow.
        let (head, bytes) = unsafe {
            let head = w.cast::<i32>().read_unaligned();
            (_mm256_set1_epi32(head), _mm256_loadu_si256(w.add(channel::HEAD).cast()))
        };
        // `places` puts a step and a low end into the upper bytes of two 16-bit numbers.
        let term = |nibbles: __m256i, [codes, fours]: [__m256i; 2], places: u32| {
            let grid = _mm256_shuffle_epi8(head, _mm256_set1_epi32(places.cast_signed()));
            let twos = _mm256_maddubs_epi16(nibbles, codes);
            // At most 4 * 15 * 128 in magnitude: the lower half of a lane has room.
            let products = _mm256_madd_epi16(twos, _mm256_set1_epi16(1));
            let pairs = _mm256_blend_epi16::<UPPER_HALVES>(products, fours);
            _mm256_madd_epi16(pairs, _mm256_srai_epi16::<8>(grid))
        };
        let low = term(_mm256_and_si256(bytes, mask), first, 0x0280_0080);
        let high = term(_mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask), second, 0x0380_0180);
        _mm256_add_epi32(low, high)
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
pub(in crate::products) unsafe fn row_scales(rows: &[*const u8; SIDE]) -> __m256 {
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
        let tails: Option<[[u8; GROUP]; SIDE]> =
            (!weight.cols.is_multiple_of(K::COLS)).then(|| tails(weight, first, whole * K::BYTES));
        let mut ahead = tile.ahead(first + SIDE);
        for i in 0..tile.x.m() {
            let x = form.codes[i * form.stride..][..form.stride].as_ptr();
            let mut sums = [_mm256_setzero_si256(); SIDE];
            // SAFETY: each row has `whole` times so many bytes of codes behind its scale, a tail has room for them, and
            // activations are padded to whole groups.
            unsafe {
                for j in 0..whole {
                    if i == 0 {
                        ahead = fetch(ahead, SIDE * K::BYTES);
                    }
                    let (at, x) = (SCALE_BYTES + j * K::BYTES, K::columns(x.add(j * K::COLS)));
                    for (row, sum) in rows.iter().zip(&mut sums) {
                        *sum = _mm256_add_epi32(*sum, K::dot(row.add(at), x));
                    }
                }
                if let Some(tails) = &tails {
                    let x = K::columns(x.add(whole * K::COLS));
                    for (tail, sum) in tails.iter().zip(&mut sums) {
                        *sum = _mm256_add_epi32(*sum, K::dot(tail.as_ptr(), x));
                    }
                }
            }
            let sums = lanes::sums(&sums);
            // SAFETY: each row begins with its scale.
            let scales = _mm256_mul_ps(unsafe { row_scales(&rows) }, _mm256_set1_ps(form.scales[i]));
            store(tile, i, first, _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scales));
        }
    }
}
