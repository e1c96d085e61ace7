//! Quantising activations with AVX2: the bits of the plain loops.

use std::arch::x86_64::*;

use super::CodesMut;
use crate::Rounding;
use crate::products::avx2::lanes;

/// Codes of a vector.
const WIDE: usize = 32;

/// The largest magnitude of some values, and zero, or NaN when one of them is not finite.
#[inline]
#[target_feature(enable = "avx2")]
fn largest(values: &[f32]) -> (f32, f32) {
    let no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MAX));
    let zero = _mm256_setzero_ps();
    let (mut most, mut poison) = (zero, zero);
    let mut see = |v: __m256| {
        // Where a value is NaN the second operand stays.
        most = _mm256_max_ps(_mm256_and_ps(v, no_sign), most);
        poison = _mm256_add_ps(poison, _mm256_mul_ps(v, zero));
    };
    let (eights, tail) = values.as_chunks::<8>();
    for eight in eights {
        // SAFETY: eight floats.
        see(unsafe { _mm256_loadu_ps(eight.as_ptr()) });
    }
    if !tail.is_empty() {
        let mut last = [0.0; 8];
        last[..tail.len()].copy_from_slice(tail);
        // SAFETY: as above.
        see(unsafe { _mm256_loadu_ps(last.as_ptr()) });
    }
    let (most, poison) = (lanes::array(most), lanes::array(poison));
    (most.iter().fold(0.0f32, |a, b| a.max(*b)), poison.iter().sum())
}

/// What a value is multiplied with; 0 where that would not be finite.
#[inline]
fn inverse(largest: f32) -> f32 {
    let inverse = 127.0 / largest;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The codes of 32 values, rounded half to even.
#[inline]
#[target_feature(enable = "avx2")]
fn codes(values: &[f32; WIDE], inverse: __m256) -> __m256i {
    let part = |i: usize| {
        // SAFETY: eight of 32 floats.
        let v = unsafe { _mm256_loadu_ps(values.as_ptr().add(8 * i)) };
        _mm256_cvtps_epi32(_mm256_mul_ps(v, inverse))
    };
    let low = _mm256_packs_epi32(part(0), part(1));
    let high = _mm256_packs_epi32(part(2), part(3));
    // Packing works within halves.
    _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

/// The sums of each eight of 32 codes, each 1024 too high.
#[inline]
#[target_feature(enable = "avx2")]
fn sums(codes: __m256i) -> [u64; 4] {
    let sums = _mm256_sad_epu8(_mm256_xor_si256(codes, _mm256_set1_epi8(i8::MIN)), _mm256_setzero_si256());
    // SAFETY: both are 32 bytes of integers.
    unsafe { std::mem::transmute(sums) }
}

/// [`super::quantize_row`] in blocks of 32 with a sum for each, or of 256 with a sum for every 16.
#[target_feature(enable = "avx2")]
pub(crate) fn quantize_row<const BLOCK: usize, const SUM: usize>(row: &[f32], to: CodesMut<'_>) {
    const { assert!(BLOCK.is_multiple_of(WIDE) && (SUM == WIDE || SUM == WIDE / 2)) };
    let blocks = row.as_chunks::<BLOCK>().0.iter().zip(to.codes.as_chunks_mut::<BLOCK>().0).zip(to.scales);
    for (((values, to_codes), scale), to_sums) in blocks.zip(to.sums.chunks_mut(BLOCK / SUM)) {
        let (largest, poison) = largest(values);
        *scale = largest / 127.0 + poison;
        let inverse = _mm256_set1_ps(inverse(largest));
        let parts = values.as_chunks::<WIDE>().0.iter().zip(to_codes.as_chunks_mut::<WIDE>().0);
        for ((values, to_codes), to_sums) in parts.zip(to_sums.chunks_mut(WIDE / SUM)) {
            let codes = codes(values, inverse);
            // SAFETY: 32 bytes.
            unsafe { _mm256_storeu_si256(to_codes.as_mut_ptr().cast(), codes) };
            let sums = sums(codes);
            for (to, sums) in to_sums.iter_mut().zip(sums.chunks(SUM / 8)) {
                *to = (sums.iter().sum::<u64>() as i64 - 1024 * (SUM as i64 / 8)) as i16;
            }
        }
    }
}

/// [`super::whole::quantize_row`].
#[target_feature(enable = "avx2")]
pub(crate) fn quantize_whole(row: &[f32], to: &mut [i8]) -> (f32, i32) {
    let (largest, poison) = largest(row);
    let inverse = _mm256_set1_ps(inverse(largest));
    let (to, padding) = to.split_at_mut(row.len());
    let mut sum = 0;
    let (whole, tail) = row.as_chunks::<WIDE>();
    let (to, to_tail) = to.as_chunks_mut::<WIDE>();
    let mut count = |codes: __m256i| sum += sums(codes).iter().sum::<u64>() as i64 - 4 * 1024;
    for (values, to) in whole.iter().zip(to) {
        let codes = codes(values, inverse);
        // SAFETY: 32 bytes.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), codes) };
        count(codes);
    }
    if !tail.is_empty() {
        let mut last = [0.0; WIDE];
        last[..tail.len()].copy_from_slice(tail);
        let codes = codes(&last, inverse);
        count(codes);
        // SAFETY: both are 32 bytes of integers.
        let codes: [i8; WIDE] = unsafe { std::mem::transmute(codes) };
        to_tail.copy_from_slice(&codes[..tail.len()]);
    }
    padding.fill(0);
    (largest / 127.0 + poison, sum as i32)
}

/// The plain loop, which the compiler turns into vectors.
#[target_feature(enable = "avx2")]
pub(crate) fn quantize_as(rounding: Rounding, row: &[f32], to: &mut [i8]) -> (f32, i32) {
    rounding.quantize(row, to)
}
