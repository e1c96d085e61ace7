//! Activations and exponentials, sixteen values at a time, to the bits of AVX2.

use std::arch::x86_64::*;

use super::avx2;
use crate::products::{avx512::lanes, sum_lanes};

/// `e^x` as [`avx2::exp`] computes it.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp(x: __m512) -> __m512 {
    const ROUND: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    // Comparisons with NaN are false, so that a NaN stays.
    let low = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_set1_ps(avx2::LOWEST));
    let high = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_set1_ps(avx2::HIGHEST));
    let x = _mm512_maskz_mov_ps(!low, x);
    let n = _mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E));
    let n = _mm512_roundscale_ps::<ROUND>(n);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(avx2::LN2_HIGH), x);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(avx2::LN2_LOW), r);
    let mut p = _mm512_set1_ps(avx2::SERIES[0]);
    for c in &avx2::SERIES[1..] {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(*c));
    }
    // Times 2^n, in one rounding.
    let y = _mm512_scalef_ps(p, n);
    let y = _mm512_mask_mov_ps(y, high, _mm512_set1_ps(f32::INFINITY));
    _mm512_maskz_mov_ps(!low, y)
}

/// The lanes of a last part of `len` values.
fn mask(len: usize) -> __mmask16 {
    (1 << len) - 1
}

/// Applies `f` to all values.
#[inline]
#[target_feature(enable = "avx512f")]
fn map(x: &mut [f32], f: impl Fn(__m512) -> __m512) {
    let (sixteens, tail) = x.as_chunks_mut::<16>();
    for x in sixteens {
        // SAFETY: sixteen floats.
        unsafe { _mm512_storeu_ps(x.as_mut_ptr(), f(_mm512_loadu_ps(x.as_ptr()))) };
    }
    let mask = mask(tail.len());
    // SAFETY: only the values in the mask are read and written.
    unsafe { _mm512_mask_storeu_ps(tail.as_mut_ptr(), mask, f(_mm512_maskz_loadu_ps(mask, tail.as_ptr()))) };
}

#[target_feature(enable = "avx512f")]
pub(crate) fn silu(x: &mut [f32]) {
    map(x, |x| {
        let one = _mm512_set1_ps(1.0);
        _mm512_div_ps(x, _mm512_add_ps(one, exp(_mm512_sub_ps(_mm512_setzero_ps(), x))))
    });
}

#[target_feature(enable = "avx512f")]
pub(crate) fn gelu_tanh(x: &mut [f32]) {
    // As in AVX2: x/2 (1 + tanh(y)) = x / (1 + e^(-2y)).
    map(x, |x| {
        let one = _mm512_set1_ps(1.0);
        let square = _mm512_mul_ps(x, x);
        let inner = _mm512_mul_ps(x, _mm512_fmadd_ps(square, _mm512_set1_ps(0.044_715), one));
        _mm512_div_ps(x, _mm512_add_ps(one, exp(_mm512_mul_ps(inner, _mm512_set1_ps(avx2::TWICE)))))
    });
}

#[target_feature(enable = "avx512f")]
pub(crate) fn quick_gelu(x: &mut [f32]) {
    map(x, |x| {
        let (one, steep) = (_mm512_set1_ps(1.0), _mm512_set1_ps(-super::STEEP));
        _mm512_div_ps(x, _mm512_add_ps(one, exp(_mm512_mul_ps(steep, x))))
    });
}

#[target_feature(enable = "avx512f,avx2")]
pub(crate) fn exp_sum(x: &mut [f32], shift: f32) -> f32 {
    let shift = _mm512_set1_ps(shift);
    let mut sums = _mm256_setzero_ps();
    // Eight lanes: the low half goes into the sums before the high one.
    let mut add = |y: __m512| {
        let [low, high] = lanes::split(y);
        sums = _mm256_add_ps(_mm256_add_ps(sums, low), high);
    };
    let (sixteens, tail) = x.as_chunks_mut::<16>();
    for x in sixteens {
        // SAFETY: sixteen floats.
        unsafe {
            let y = exp(_mm512_sub_ps(_mm512_loadu_ps(x.as_ptr()), shift));
            _mm512_storeu_ps(x.as_mut_ptr(), y);
            add(y);
        }
    }
    if !tail.is_empty() {
        let mask = mask(tail.len());
        // SAFETY: only the values in the mask are read and written.
        unsafe {
            let y = exp(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, tail.as_ptr()), shift));
            _mm512_mask_storeu_ps(tail.as_mut_ptr(), mask, y);
            add(_mm512_maskz_mov_ps(mask, y));
        }
    }
    let mut lanes = [0.0; 8];
    // SAFETY: eight floats.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sums) };
    sum_lanes(lanes)
}

/// [`super::softmax`].
#[target_feature(enable = "avx512f,avx2")]
pub(crate) fn softmax(x: &mut [f32]) {
    let sum = exp_sum(x, largest(x));
    let factor = _mm512_set1_ps(1.0 / sum);
    map(x, |x| _mm512_mul_ps(x, factor));
}

/// [`super::largest`].
#[inline]
#[target_feature(enable = "avx512f")]
fn largest(x: &[f32]) -> f32 {
    let low = _mm512_set1_ps(f32::NEG_INFINITY);
    let (sixteens, tail) = x.as_chunks::<16>();
    let mask = mask(tail.len());
    // Where a value is NaN the second operand stays.
    // SAFETY: only the values in the mask are read.
    let mut most = unsafe { _mm512_max_ps(_mm512_mask_loadu_ps(low, mask, tail.as_ptr()), low) };
    for x in sixteens {
        // SAFETY: sixteen floats.
        most = unsafe { _mm512_max_ps(_mm512_loadu_ps(x.as_ptr()), most) };
    }
    _mm512_reduce_max_ps(most)
}
