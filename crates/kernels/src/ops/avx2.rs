//! Activations and exponentials, eight values at a time.

use std::arch::x86_64::*;

use crate::products::sum_lanes;

/// ln 2 in two parts, the first with trailing zeros.
pub(super) const LN2_HIGH: f32 = 0.693_359_4;
pub(super) const LN2_LOW: f32 = -2.121_944_4e-4;
/// The Taylor series to r^7, whose remainder is below 2^-27 on half of ln 2; the highest power first.
pub(super) const SERIES: [f32; 8] =
    [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
/// Below this `e^x` counts as 0. Numbers under the smallest normal one take processors a hundred times as long, so none is
/// made on the way, and what is left stays a normal number when a softmax divides it by a sum of up to 2^17.
pub(super) const LOWEST: f32 = -75.0;
/// Above this it is infinite.
pub(super) const HIGHEST: f32 = 88.722_84;
/// -2 sqrt(2 / pi).
pub(super) const TWICE: f32 = -2.0 * 0.797_884_6;

/// `e^x`, to about two units in the last place; 0 below [`LOWEST`].
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn exp(x: __m256) -> __m256 {
    // Comparisons with NaN are false, so that a NaN stays.
    let low = _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_set1_ps(LOWEST));
    let high = _mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_set1_ps(HIGHEST));
    let x = _mm256_andnot_ps(low, x);
    // x = n ln 2 + r with |r| <= ln 2 / 2.
    let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm256_mul_ps(
        x,
        _mm256_set1_ps(std::f32::consts::LOG2_E),
    ));
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN2_HIGH), x);
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN2_LOW), r);
    let mut p = _mm256_set1_ps(SERIES[0]);
    for c in &SERIES[1..] {
        p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(*c));
    }
    // 2^n in two factors, because n reaches 128 where the result still fits.
    let n = _mm256_cvtps_epi32(n);
    let half = _mm256_srai_epi32::<1>(n);
    let bias = _mm256_set1_epi32(127);
    let power = |k| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(k, bias)));
    let y = _mm256_mul_ps(_mm256_mul_ps(p, power(half)), power(_mm256_sub_epi32(n, half)));
    let y = _mm256_blendv_ps(y, _mm256_set1_ps(f32::INFINITY), high);
    _mm256_andnot_ps(low, y)
}

/// Applies `f` to all values; a last part of less than eight is padded with zeros.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn map(x: &mut [f32], f: impl Fn(__m256) -> __m256) {
    let (eights, tail) = x.as_chunks_mut::<8>();
    let apply = |eight: &mut [f32; 8]| {
        // SAFETY: eight floats.
        unsafe { _mm256_storeu_ps(eight.as_mut_ptr(), f(_mm256_loadu_ps(eight.as_ptr()))) };
    };
    eights.iter_mut().for_each(apply);
    let mut last = [0.0; 8];
    last[..tail.len()].copy_from_slice(tail);
    apply(&mut last);
    tail.copy_from_slice(&last[..tail.len()]);
}

#[target_feature(enable = "avx2,fma")]
pub(crate) fn silu(x: &mut [f32]) {
    map(x, |x| {
        let one = _mm256_set1_ps(1.0);
        _mm256_div_ps(x, _mm256_add_ps(one, exp(_mm256_sub_ps(_mm256_setzero_ps(), x))))
    });
}

#[target_feature(enable = "avx2,fma")]
pub(crate) fn gelu_tanh(x: &mut [f32]) {
    // x/2 (1 + tanh(y)) = x / (1 + e^(-2y)).
    map(x, |x| {
        let one = _mm256_set1_ps(1.0);
        let square = _mm256_mul_ps(x, x);
        let inner = _mm256_mul_ps(x, _mm256_fmadd_ps(square, _mm256_set1_ps(0.044_715), one));
        _mm256_div_ps(x, _mm256_add_ps(one, exp(_mm256_mul_ps(inner, _mm256_set1_ps(TWICE)))))
    });
}

#[target_feature(enable = "avx2,fma")]
pub(crate) fn quick_gelu(x: &mut [f32]) {
    map(x, |x| {
        let (one, steep) = (_mm256_set1_ps(1.0), _mm256_set1_ps(-super::STEEP));
        _mm256_div_ps(x, _mm256_add_ps(one, exp(_mm256_mul_ps(steep, x))))
    });
}

#[target_feature(enable = "avx2,fma")]
pub(crate) fn exp_sum(x: &mut [f32], shift: f32) -> f32 {
    let shift = _mm256_set1_ps(shift);
    let mut sums = _mm256_setzero_ps();
    let (eights, tail) = x.as_chunks_mut::<8>();
    for eight in eights {
        // SAFETY: eight floats.
        unsafe {
            let y = exp(_mm256_sub_ps(_mm256_loadu_ps(eight.as_ptr()), shift));
            _mm256_storeu_ps(eight.as_mut_ptr(), y);
            sums = _mm256_add_ps(sums, y);
        }
    }
    if !tail.is_empty() {
        let mut last = [f32::NEG_INFINITY; 8];
        last[..tail.len()].copy_from_slice(tail);
        // SAFETY: eight floats.
        unsafe {
            let y = exp(_mm256_sub_ps(_mm256_loadu_ps(last.as_ptr()), shift));
            _mm256_storeu_ps(last.as_mut_ptr(), y);
            sums = _mm256_add_ps(sums, y);
        }
        tail.copy_from_slice(&last[..tail.len()]);
    }
    let mut lanes = [0.0; 8];
    // SAFETY: eight floats.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sums) };
    sum_lanes(lanes)
}
