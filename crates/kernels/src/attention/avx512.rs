//! Attention with AVX-512: that of AVX2 with wider inner loops, and the same bits.
//!
//! A vector holds the same columns of two keys in its halves, so that a product is still summed in eight lanes; of a value
//! it holds sixteen columns, which do not meet.

use std::arch::x86_64::*;

use super::Head;
use super::avx2::attend_in;
use super::avx2::kv::Kv;
use super::avx2::sums::{self, KEYS, Loops, ROWS, dot, four_sums};

/// Vectors of sixteen floats.
struct Sixteen;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
pub(crate) fn attend(head: &mut Head<'_, '_>) {
    attend_in::<Sixteen>(head);
}

impl Loops for Sixteen {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    unsafe fn products<T: Kv, const N: usize>(
        queries: [*const f32; N],
        keys: *const T,
        count: usize,
        dim: usize,
        scale: f32,
        out: [*mut f32; N],
    ) {
        const { assert!(N <= ROWS) };
        // Two vectors of sums' halves, `KEYS` of them.
        const TOGETHER: usize = 2 * KEYS;
        let whole = if dim.is_multiple_of(8) { count / TOGETHER * TOGETHER } else { 0 };
        // SAFETY: the caller's promise.
        unsafe {
            for slot in (0..whole).step_by(TOGETHER) {
                let keys = keys.add(slot * dim);
                let mut sums = [[_mm512_setzero_ps(); KEYS]; N];
                for at in (0..dim).step_by(8) {
                    // Keys `k` and `k + 4`.
                    let pair = |k: usize| {
                        join(T::load(keys.add(k * dim + at)), T::load(keys.add((k + KEYS) * dim + at)))
                    };
                    let keys: [__m512; KEYS] = std::array::from_fn(pair);
                    for (sums, query) in sums.iter_mut().zip(queries) {
                        let query = _mm256_loadu_pd(query.add(at).cast());
                        let query = _mm512_castpd_ps(_mm512_broadcast_f64x4(query));
                        for (sum, key) in sums.iter_mut().zip(keys) {
                            *sum = _mm512_fmadd_ps(query, key, *sum);
                        }
                    }
                }
                for (sums, out) in sums.into_iter().zip(out) {
                    let low = four_sums(sums.map(|sum| _mm512_castps512_ps256(sum)));
                    let high = four_sums(sums.map(|sum| upper(sum)));
                    _mm_storeu_ps(out.add(slot), _mm_mul_ps(low, _mm_set1_ps(scale)));
                    _mm_storeu_ps(out.add(slot + KEYS), _mm_mul_ps(high, _mm_set1_ps(scale)));
                }
            }
            for slot in whole..count {
                for (query, out) in queries.into_iter().zip(out) {
                    *out.add(slot) = dot(query, keys.add(slot * dim), dim) * scale;
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    unsafe fn weighted<T: Kv, const N: usize>(
        p: [*const f32; N],
        values: *const T,
        count: usize,
        dim: usize,
        out: [*mut f32; N],
    ) {
        const { assert!(N <= ROWS) };
        let mut at = 0;
        // SAFETY: the caller's promise.
        unsafe {
            if N == 1 {
                while at + 128 <= dim {
                    columns::<T, N, 8>(p, values.add(at), count, dim, out.map(|out| out.add(at)));
                    at += 128;
                }
            }
            while at + 64 <= dim {
                columns::<T, N, 4>(p, values.add(at), count, dim, out.map(|out| out.add(at)));
                at += 64;
            }
            while at + 16 <= dim {
                columns::<T, N, 1>(p, values.add(at), count, dim, out.map(|out| out.add(at)));
                at += 16;
            }
            sums::narrow(p, values, count, dim, out, at);
        }
    }
}

/// Two halves.
#[inline]
#[target_feature(enable = "avx512f")]
fn join(low: __m256, high: __m256) -> __m512 {
    let low = _mm512_castps_pd(_mm512_castps256_ps512(low));
    _mm512_castpd_ps(_mm512_insertf64x4::<1>(low, _mm256_castps_pd(high)))
}

/// The upper half.
#[inline]
#[target_feature(enable = "avx512f")]
fn upper(v: __m512) -> __m256 {
    _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v)))
}

/// [`Loops::weighted`] for `V` vectors of the width; `values` and `out` point at the first of them.
///
/// # Safety
/// As there, for `16 V` columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
unsafe fn columns<T: Kv, const N: usize, const V: usize>(
    p: [*const f32; N],
    values: *const T,
    count: usize,
    dim: usize,
    out: [*mut f32; N],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); V]; N];
        for (sums, out) in sums.iter_mut().zip(out) {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_loadu_ps(out.add(16 * v));
            }
        }
        for slot in 0..count {
            let value = values.add(slot * dim);
            let value: [__m512; V] = std::array::from_fn(|v| T::load_sixteen(value.add(16 * v)));
            for (sums, p) in sums.iter_mut().zip(p) {
                let p = _mm512_set1_ps(*p.add(slot));
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum = _mm512_fmadd_ps(p, value, *sum);
                }
            }
        }
        for (sums, out) in sums.into_iter().zip(out) {
            for (v, sum) in sums.into_iter().enumerate() {
                _mm512_storeu_ps(out.add(16 * v), sum);
            }
        }
    }
}
