//! Reading keys and values of any format as f32.

use std::arch::x86_64::*;

use half::f16;

/// A format of keys and values.
pub(in crate::attention) trait Kv: Copy {
    /// Whether reading is more than loading.
    const NARROW: bool;

    /// Eight values.
    ///
    /// # Safety
    /// They can be read; the processor has AVX2 and F16C.
    unsafe fn load(from: *const Self) -> __m256;
    /// Sixteen values.
    ///
    /// # Safety
    /// They can be read; the processor has AVX-512 F too.
    unsafe fn load_sixteen(from: *const Self) -> __m512;
    /// Eight values from each of two places.
    ///
    /// # Safety
    /// As above.
    unsafe fn load_two(low: *const Self, high: *const Self) -> __m512;
    fn widen(self) -> f32;
}

impl Kv for f32 {
    const NARROW: bool = false;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx2,f16c")]
    unsafe fn load_sixteen(from: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx2,f16c")]
    unsafe fn load_two(low: *const f32, high: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        let (low, high) = unsafe { (_mm256_loadu_pd(low.cast()), _mm256_loadu_pd(high.cast())) };
        _mm512_castpd_ps(_mm512_insertf64x4::<1>(_mm512_castpd256_pd512(low), high))
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Kv for f16 {
    const NARROW: bool = true;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(from: *const f16) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx2,f16c")]
    unsafe fn load_sixteen(from: *const f16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx2,f16c")]
    unsafe fn load_two(low: *const f16, high: *const f16) -> __m512 {
        // SAFETY: the caller's promise.
        let (low, high) = unsafe { (_mm_loadu_si128(low.cast()), _mm_loadu_si128(high.cast())) };
        _mm512_cvtph_ps(_mm256_set_m128i(high, low))
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32_const()
    }
}

impl Kv for i8 {
    const NARROW: bool = true;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(from: *const i8) -> __m256 {
        // SAFETY: the caller's promise; the load is of eight bytes.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx2,f16c")]
    unsafe fn load_sixteen(from: *const i8) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx2,f16c")]
    unsafe fn load_two(low: *const i8, high: *const i8) -> __m512 {
        // SAFETY: the caller's promise; the loads are of eight bytes.
        let (low, high) = unsafe { (_mm_loadl_epi64(low.cast()), _mm_loadl_epi64(high.cast())) };
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_unpacklo_epi64(low, high)))
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from(self)
    }
}

/// Widens `from` into `to`.
///
/// Panics when they differ in length.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in crate::attention) fn widen<T: Kv>(from: &[T], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "room for the widened values");
    let (eights, tail) = from.as_chunks::<8>();
    let (to, to_tail) = to.as_chunks_mut::<8>();
    for (from, to) in eights.iter().zip(to) {
        // SAFETY: eight values on both sides.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), T::load(from.as_ptr())) };
    }
    for (from, to) in tail.iter().zip(to_tail) {
        *to = from.widen();
    }
}
