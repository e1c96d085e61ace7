//! Values of quantised blocks, with the roundings of the portable reading.

use std::arch::x86_64::*;

use super::blocks::{Large, Small};
use crate::quants::{LARGE, LargeBlock, SMALL, SmallBlock, half_at};

/// Eight signed bytes, starting at byte `8 * k`, as floats.
#[inline]
#[target_feature(enable = "avx2")]
fn eight(codes: __m256i, k: usize) -> __m256 {
    let half = if k < 2 { _mm256_castsi256_si128(codes) } else { _mm256_extracti128_si256::<1>(codes) };
    let bytes = if k.is_multiple_of(2) { half } else { _mm_srli_si128::<8>(half) };
    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
}

/// Blocks of 32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn small<K: Small>(bytes: &[u8], out: &mut [f32]) {
    let offset = _mm256_set1_epi8(K::OFFSET as i8);
    for (block, out) in bytes.chunks_exact(K::Block::BYTES).zip(out.as_chunks_mut::<SMALL>().0) {
        // SAFETY: a whole block.
        let codes = _mm256_sub_epi8(unsafe { K::codes(block.as_ptr()) }, offset);
        let scale = _mm256_set1_ps(half_at(block, 0));
        for (k, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let mut values = _mm256_mul_ps(scale, eight(codes, k));
            if K::Block::HAS_MINIMUM {
                values = _mm256_add_ps(values, _mm256_set1_ps(half_at(block, 2)));
            }
            // SAFETY: eight floats.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), values) };
        }
    }
}

/// Blocks of 256.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn large<K: Large>(bytes: &[u8], out: &mut [f32]) {
    let offset = _mm256_set1_epi8(K::OFFSET as i8);
    for (block, out) in bytes.chunks_exact(K::Block::BYTES).zip(out.as_chunks_mut::<LARGE>().0) {
        let scales = K::Block::scales(block);
        for (part, out) in out.as_chunks_mut::<SMALL>().0.iter_mut().enumerate() {
            // SAFETY: a whole block, and `part / 2 < 4`.
            let codes = unsafe { K::codes(block.as_ptr(), part / 2) }[part % 2];
            let codes = _mm256_sub_epi8(codes, offset);
            for (k, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let sub = (part * SMALL + k * 8) / K::Block::SUB;
                let factor = _mm256_set1_ps(scales.scale * f32::from(scales.factors[sub]));
                let mut values = _mm256_mul_ps(factor, eight(codes, k));
                if K::Block::HAS_MINIMUM {
                    let minimum = _mm256_set1_ps(scales.minimum * f32::from(scales.minimums[sub]));
                    values = _mm256_sub_ps(values, minimum);
                }
                // SAFETY: eight floats.
                unsafe { _mm256_storeu_ps(out.as_mut_ptr(), values) };
            }
        }
    }
}
