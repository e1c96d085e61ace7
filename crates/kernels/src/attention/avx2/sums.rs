//! The two inner loops: products of queries with keys, and sums of values weighted with probabilities.
//!
//! Up to [`Loops::ROWS`] rows meet a key or value while it is in a register. A row's own order never depends on that: a
//! product is summed in eight lanes along the width, a result goes over the slots one by one.

use std::arch::x86_64::*;

use super::kv::{Kv, widen};
use crate::products::sum_lanes;

/// Keys that meet the rows together, so that their sums across lanes are added up together too.
pub(in crate::attention) const KEYS: usize = 4;

/// The loops for one width of vectors. All give the same bits.
pub(in crate::attention) trait Loops {
    /// Query rows that go together at most.
    const TOGETHER: usize;
    /// Rows of one call at most, 3 or 4: with their keys, or vectors of a value, their sums fill the registers.
    const ROWS: usize;
    /// Whether a tile holds keys otherwise than memory does, so that it pays for keys of any format.
    const TRANSPOSED: bool;

    /// [`crate::ops::softmax`].
    fn softmax(x: &mut [f32]);

    /// Widens `from` into `to`, which is as long.
    ///
    /// # Safety
    /// The processor has what the loops use.
    unsafe fn widen<T: Kv>(from: &[T], to: &mut [f32]);

    /// Widens the keys of several slots, `[slots, dim]`, into a tile for [`Loops::tiled`].
    ///
    /// # Safety
    /// There is at least one; the tile has room for a multiple of sixteen keys, and for sixteen more where it is transposed;
    /// the processor has what the loops use.
    unsafe fn lay_out<T: Kv>(keys: &[T], dim: usize, tile: &mut [f32]);

    /// [`Loops::products`] with keys of a tile.
    ///
    /// # Safety
    /// As there; `tile` was laid out from `count` keys.
    unsafe fn tiled<const N: usize>(
        queries: [*const f32; N],
        tile: *const f32,
        count: usize,
        dim: usize,
        scale: f32,
        out: [*mut f32; N],
    );

    /// Scaled products of `N` queries with successive keys.
    ///
    /// # Safety
    /// Each query has `dim` values, `keys` has `count * dim`, each of `out` has room for `count`; the processor has what the
    /// loops use.
    unsafe fn products<T: Kv, const N: usize>(
        queries: [*const f32; N],
        keys: *const T,
        count: usize,
        dim: usize,
        scale: f32,
        out: [*mut f32; N],
    );

    /// Adds `p[slot] * value[slot]` to `N` rows of results, slot by slot.
    ///
    /// # Safety
    /// Each of `p` has `count` probabilities, `values` has `count * dim` values, each of `out` has `dim`; the processor has
    /// what the loops use.
    unsafe fn weighted<T: Kv, const N: usize>(
        p: [*const f32; N],
        values: *const T,
        count: usize,
        dim: usize,
        out: [*mut f32; N],
    );
}

/// Vectors of eight floats.
pub(super) struct Eight;

impl Loops for Eight {
    const TOGETHER: usize = 8;
    const ROWS: usize = 3;
    const TRANSPOSED: bool = false;

    fn softmax(x: &mut [f32]) {
        // SAFETY: these loops run where there is AVX2.
        crate::ops::softmax_with(|x, shift| unsafe { crate::ops::avx2::exp_sum(x, shift) }, x);
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn widen<T: Kv>(from: &[T], to: &mut [f32]) {
        widen(from, to);
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn lay_out<T: Kv>(keys: &[T], _: usize, tile: &mut [f32]) {
        widen(keys, &mut tile[..keys.len()]);
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn tiled<const N: usize>(
        queries: [*const f32; N],
        tile: *const f32,
        count: usize,
        dim: usize,
        scale: f32,
        out: [*mut f32; N],
    ) {
        // SAFETY: the caller's promise.
        unsafe { Self::products(queries, tile, count, dim, scale, out) };
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn products<T: Kv, const N: usize>(
        queries: [*const f32; N],
        keys: *const T,
        count: usize,
        dim: usize,
        scale: f32,
        out: [*mut f32; N],
    ) {
        let fours = if dim.is_multiple_of(8) { count / KEYS * KEYS } else { 0 };
        // SAFETY: the caller's promise.
        unsafe {
            for slot in (0..fours).step_by(KEYS) {
                let keys = keys.add(slot * dim);
                let mut sums = [[_mm256_setzero_ps(); KEYS]; N];
                for at in (0..dim).step_by(8) {
                    let keys: [__m256; KEYS] = std::array::from_fn(|k| T::load(keys.add(k * dim + at)));
                    for (sums, query) in sums.iter_mut().zip(queries) {
                        let query = _mm256_loadu_ps(query.add(at));
                        for (sum, key) in sums.iter_mut().zip(keys) {
                            *sum = _mm256_fmadd_ps(query, key, *sum);
                        }
                    }
                }
                for (sums, out) in sums.into_iter().zip(out) {
                    _mm_storeu_ps(out.add(slot), _mm_mul_ps(four_sums(sums), _mm_set1_ps(scale)));
                }
            }
            for slot in fours..count {
                for (query, out) in queries.into_iter().zip(out) {
                    *out.add(slot) = dot(query, keys.add(slot * dim), dim) * scale;
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn weighted<T: Kv, const N: usize>(
        p: [*const f32; N],
        values: *const T,
        count: usize,
        dim: usize,
        out: [*mut f32; N],
    ) {
        let mut at = 0;
        // A part of the width stays in registers while the slots go by.
        // SAFETY: the caller's promise.
        unsafe {
            if N == 1 {
                while at + 64 <= dim {
                    columns::<T, N, 8>(p, values.add(at), count, dim, out.map(|out| out.add(at)));
                    at += 64;
                }
            }
            while at + 32 <= dim {
                columns::<T, N, 4>(p, values.add(at), count, dim, out.map(|out| out.add(at)));
                at += 32;
            }
            narrow(p, values, count, dim, out, at);
        }
    }
}

/// The sums of four vectors' lanes, each in the order of [`sum_lanes`].
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::attention) fn four_sums(sums: [__m256; KEYS]) -> __m128 {
    // Lane and lane + 4, then lane and lane + 2, then the two that are left.
    let [a, b, c, d] =
        sums.map(|sum| _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum)));
    let ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
    let cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
    _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab))
}

/// The product of a query and a key.
///
/// # Safety
/// Both have `dim` values.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::attention) unsafe fn dot<T: Kv>(query: *const f32, key: *const T, dim: usize) -> f32 {
    let eights = dim / 8 * 8;
    let mut lanes = [0.0; 8];
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = _mm256_setzero_ps();
        for at in (0..eights).step_by(8) {
            sum = _mm256_fmadd_ps(_mm256_loadu_ps(query.add(at)), T::load(key.add(at)), sum);
        }
        _mm256_storeu_ps(lanes.as_mut_ptr(), sum);
        for (lane, at) in lanes.iter_mut().zip(eights..dim) {
            *lane = query.add(at).read().mul_add(key.add(at).read().widen(), *lane);
        }
    }
    sum_lanes(lanes)
}

/// What is left of the width from column `at` on: a vector at a time, then a column.
///
/// # Safety
/// As for [`Loops::weighted`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::attention) unsafe fn narrow<T: Kv, const N: usize>(
    p: [*const f32; N],
    values: *const T,
    count: usize,
    dim: usize,
    out: [*mut f32; N],
    mut at: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        while at + 8 <= dim {
            columns::<T, N, 1>(p, values.add(at), count, dim, out.map(|out| out.add(at)));
            at += 8;
        }
        for at in at..dim {
            for (p, out) in p.into_iter().zip(out) {
                let mut sum = out.add(at).read();
                for slot in 0..count {
                    sum = p.add(slot).read().mul_add(values.add(slot * dim + at).read().widen(), sum);
                }
                out.add(at).write(sum);
            }
        }
    }
}

/// [`Loops::weighted`] for `V` vectors of the width; `values` and `out` point at the first of them.
///
/// # Safety
/// As there, for `8 V` columns.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn columns<T: Kv, const N: usize, const V: usize>(
    p: [*const f32; N],
    values: *const T,
    count: usize,
    dim: usize,
    out: [*mut f32; N],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); V]; N];
        for (sums, out) in sums.iter_mut().zip(out) {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = _mm256_loadu_ps(out.add(8 * v));
            }
        }
        for slot in 0..count {
            let value = values.add(slot * dim);
            let value: [__m256; V] = std::array::from_fn(|v| T::load(value.add(8 * v)));
            for (sums, p) in sums.iter_mut().zip(p) {
                let p = _mm256_broadcast_ss(&*p.add(slot));
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum = _mm256_fmadd_ps(p, value, *sum);
                }
            }
        }
        for (sums, out) in sums.into_iter().zip(out) {
            for (v, sum) in sums.into_iter().enumerate() {
                _mm256_storeu_ps(out.add(8 * v), sum);
            }
        }
    }
}
