//! Sums across lanes and transpositions of sixteen lanes.

use std::arch::x86_64::*;

use super::blocks::join;
use crate::products::Tile;

/// From the 128-bit parts of two vectors: parts 0 of both and 2 of both, then parts 1 of both and 3 of both.
#[inline]
#[target_feature(enable = "avx512f")]
fn deal(a: __m512i, b: __m512i) -> [__m512i; 2] {
    let even = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    let odd = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    [_mm512_permutex2var_epi64(a, even, b), _mm512_permutex2var_epi64(a, odd, b)]
}

/// The sums of the halves of eight vectors of sixteen integers: eight sums of low halves, then of high ones.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn half_sums(v: &[__m512i; 8]) -> __m512i {
    let add = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let add_pairs = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    // Each 128-bit part: sums over that part of four vectors.
    let low = add_pairs(add(v[0], v[1]), add(v[2], v[3]));
    let high = add_pairs(add(v[4], v[5]), add(v[6], v[7]));
    let [even, odd] = deal(low, high);
    _mm512_add_epi32(even, odd)
}

/// The sums of eight vectors of sixteen integers, in order.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
pub(super) fn sums(v: &[__m512i; 8]) -> __m256i {
    let halves = half_sums(v);
    _mm256_add_epi32(_mm512_castsi512_si256(halves), _mm512_extracti64x4_epi64::<1>(halves))
}

/// Sixteen rows of sixteen 32-bit lanes, transposed.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::products) fn transpose(rows: &[__m512i; 16]) -> [__m512i; 16] {
    let zero = _mm512_setzero_si512();
    // Columns 4 p + c of rows 4 g to 4 g + 3, in part p of `fours[g][c]`.
    let mut fours = [[zero; 4]; 4];
    for (g, four) in fours.iter_mut().enumerate() {
        let [a, b, c, d] = [rows[4 * g], rows[4 * g + 1], rows[4 * g + 2], rows[4 * g + 3]];
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        *four = [
            _mm512_unpacklo_epi64(ab_low, cd_low),
            _mm512_unpackhi_epi64(ab_low, cd_low),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    let mut columns = [zero; 16];
    for c in 0..4 {
        let [a, b, d, e] = [fours[0][c], fours[1][c], fours[2][c], fours[3][c]];
        // Parts 0 and 1 of the first two and of the last two; then parts 2 and 3.
        let (ab, de) =
            (_mm512_shuffle_i32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_i32x4::<0b01_00_01_00>(d, e));
        columns[c] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab, de);
        columns[4 + c] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab, de);
        let (ab, de) =
            (_mm512_shuffle_i32x4::<0b11_10_11_10>(a, b), _mm512_shuffle_i32x4::<0b11_10_11_10>(d, e));
        columns[8 + c] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab, de);
        columns[12 + c] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab, de);
    }
    columns
}

/// The f16 numbers at eight places, in 16-bit lanes.
///
/// # Safety
/// Two bytes can be read at byte `at` of each row.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn half_bits(rows: &[*const u8], at: usize) -> __m128i {
    // SAFETY: the caller's promise.
    let half = |i: usize| unsafe { i32::from(rows[i].add(at).cast::<i16>().read_unaligned()) };
    let mut bits = _mm_cvtsi32_si128(half(0));
    bits = _mm_insert_epi16::<1>(bits, half(1));
    bits = _mm_insert_epi16::<2>(bits, half(2));
    bits = _mm_insert_epi16::<3>(bits, half(3));
    bits = _mm_insert_epi16::<4>(bits, half(4));
    bits = _mm_insert_epi16::<5>(bits, half(5));
    bits = _mm_insert_epi16::<6>(bits, half(6));
    _mm_insert_epi16::<7>(bits, half(7))
}

/// The f16 numbers at byte `first` of eight rows, then those at byte `second`, widened.
///
/// # Safety
/// Two bytes can be read at each of these places.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
pub(super) unsafe fn halves_twice(rows: &[*const u8; 8], first: usize, second: usize) -> __m512 {
    // SAFETY: the caller's promise.
    let (low, high) = unsafe { (half_bits(rows, first), half_bits(rows, second)) };
    _mm512_cvtph_ps(_mm256_set_m128i(high, low))
}

/// The f16 numbers at byte `at` of sixteen rows, widened.
///
/// # Safety
/// Two bytes can be read at each of these places.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
pub(super) unsafe fn halves(rows: &[*const u8; 16], at: usize) -> __m512 {
    // SAFETY: the caller's promise.
    let (low, high) = unsafe { (half_bits(&rows[..8], at), half_bits(&rows[8..], at)) };
    _mm512_cvtph_ps(_mm256_set_m128i(high, low))
}

/// One number in the low and another in the high half.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn both(low: f32, high: f32) -> __m512 {
    let join =
        |a, b| _mm512_insertf64x4::<1>(_mm512_castps_pd(_mm512_castps256_ps512(a)), _mm256_castps_pd(b));
    _mm512_castpd_ps(join(_mm256_set1_ps(low), _mm256_set1_ps(high)))
}

/// The same with integers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn both_integers(low: i32, high: i32) -> __m512i {
    join(_mm256_set1_epi32(low), _mm256_set1_epi32(high))
}

/// The low and the high eight floats.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn split(v: __m512) -> [__m256; 2] {
    [_mm512_castps512_ps256(v), _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v)))]
}

/// Stores the outputs of activation row `i` and up to 32 weight rows from `row` on.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::products) fn store(tile: &Tile<'_>, i: usize, row: usize, values: [__m512; 2]) {
    let (to, left) = tile.place(i, row);
    let mask = |first: usize| ((1u32 << left.saturating_sub(first).min(16)) - 1) as __mmask16;
    // SAFETY: the tile's outputs from there on, as many as are left of them.
    unsafe {
        _mm512_mask_storeu_ps(to, mask(0), values[0]);
        _mm512_mask_storeu_ps(to.wrapping_add(16), mask(16), values[1]);
    }
}

/// The lanes as an array.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::products) fn array(v: __m512) -> [f32; 16] {
    // SAFETY: both are 64 bytes of floats.
    unsafe { std::mem::transmute(v) }
}
