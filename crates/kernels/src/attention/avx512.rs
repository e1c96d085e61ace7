//! Attention with AVX-512: that of AVX2 with wider inner loops, and the same bits.
//!
//! For a few rows a vector holds the same columns of two keys in its halves, so that a product is still summed in eight
//! lanes; for many, one column of sixteen keys. Of a value it holds sixteen columns, which do not meet.

use std::arch::x86_64::*;

use super::Head;
use super::avx2::attend_in;
use super::avx2::kv::{Kv, widen};
use super::avx2::sums::{self, Loops, dot};
use crate::hints::{Streams, fetch};

/// Vectors of sixteen floats.
struct Sixteen;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
pub(crate) fn attend(head: &mut Head<'_, '_>) {
    attend_in::<Sixteen>(head);
}

/// Keys whose sums across lanes are added up together, two in a vector.
const KEYS: usize = 8;
/// Vectors of these.
const PAIRS: usize = KEYS / 2;
/// The first key of each vector; the second is two later. So the sums come out in order.
const FIRST: [usize; PAIRS] = [0, 4, 1, 5];

/// Where eight keys are.
struct Keys<T>([*const T; KEYS]);

impl<T: Kv> Keys<T> {
    /// The keys from `first` on; beyond the last of `count`, the last again.
    ///
    /// # Safety
    /// They are behind the pointer.
    unsafe fn new(keys: *const T, first: usize, count: usize, dim: usize) -> Keys<T> {
        // SAFETY: the caller's promise.
        Keys(std::array::from_fn(|k| unsafe { keys.add((first + k).min(count - 1) * dim) }))
    }

    /// Columns `at..at + 8` of keys `FIRST[pair]` and `FIRST[pair] + 2`.
    ///
    /// # Safety
    /// They exist; the processor has AVX-512 F.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    unsafe fn pair(&self, pair: usize, at: usize) -> __m512 {
        let first = FIRST[pair];
        // SAFETY: the caller's promise.
        unsafe { T::load_two(self.0[first].add(at), self.0[first + 2].add(at)) }
    }
}

/// Scaled products of `N` queries with up to eight keys, `left` of which are stored.
///
/// # Safety
/// `dim` is a multiple of eight and the width of all; there is room for as many products as are stored.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
unsafe fn eight<T: Kv, const N: usize>(
    queries: [*const f32; N],
    keys: &Keys<T>,
    left: usize,
    dim: usize,
    scale: f32,
    out: [*mut f32; N],
) {
    let mut sums = [[_mm512_setzero_ps(); PAIRS]; N];
    // SAFETY: the caller's promise.
    unsafe {
        for at in (0..dim).step_by(8) {
            let mut rows = [_mm512_setzero_pd(); N];
            for (row, query) in rows.iter_mut().zip(queries) {
                *row = _mm512_broadcast_f64x4(_mm256_loadu_pd(query.add(at).cast()));
            }
            for pair in 0..PAIRS {
                let key = keys.pair(pair, at);
                for (sums, row) in sums.iter_mut().zip(rows) {
                    sums[pair] = _mm512_fmadd_ps(_mm512_castpd_ps(row), key, sums[pair]);
                }
            }
        }
        let mask = ((1u32 << left.min(KEYS)) - 1) as __mmask8;
        for (sums, out) in sums.iter().zip(out) {
            _mm256_mask_storeu_ps(out, mask, _mm256_mul_ps(eight_sums(sums), _mm256_set1_ps(scale)));
        }
    }
}

/// The sums of the eight halves of four vectors, each in the order of [`crate::products::sum_lanes`], by their keys.
#[inline]
#[target_feature(enable = "avx512f")]
fn eight_sums(&[a, b, c, d]: &[__m512; PAIRS]) -> __m256 {
    // Lane and lane + 4, then lane and lane + 2, then the two that are left.
    let halves = |a, b| {
        let (even, odd) =
            (_mm512_shuffle_f32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b));
        _mm512_add_ps(even, odd)
    };
    let (ab, cd) = (halves(a, b), halves(c, d));
    let quarters = _mm512_add_ps(_mm512_unpacklo_ps(ab, cd), _mm512_unpackhi_ps(ab, cd));
    let sums = _mm512_add_ps(quarters, _mm512_permute_ps::<0b01_00_11_10>(quarters));
    // The first two lanes of each part.
    let order = _mm512_setr_epi64(0, 2, 4, 6, 0, 2, 4, 6);
    _mm512_castps512_ps256(_mm512_castpd_ps(_mm512_permutexvar_pd(order, _mm512_castps_pd(sums))))
}

/// Keys of a tile's vector, one in each lane.
const SIDE: usize = 16;

/// Lays sixteen keys, `[16, dim]`, out as `[dim, 16]`.
///
/// # Safety
/// The keys can be read, `dim` is a multiple of four, and there is room.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
unsafe fn transpose(keys: *const f32, dim: usize, to: *mut f32) {
    for at in (0..dim).step_by(4) {
        // Four columns of keys `g`, `4 + g`, `8 + g` and `12 + g` in the parts of a vector, so that the four vectors'
        // parts need only be transposed in themselves.
        let [a, b, c, d]: [__m512; 4] = std::array::from_fn(|g| {
            // SAFETY: the caller's promise.
            let part = |p: usize| unsafe { _mm_loadu_ps(keys.add((4 * p + g) * dim + at)) };
            let vector = _mm512_castps128_ps512(part(0));
            let vector = _mm512_insertf32x4::<1>(vector, part(1));
            let vector = _mm512_insertf32x4::<2>(vector, part(2));
            _mm512_insertf32x4::<3>(vector, part(3))
        });
        let low = |a, b| _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
        let high = |a, b| _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
        let columns = [
            _mm512_unpacklo_pd(low(a, b), low(c, d)),
            _mm512_unpackhi_pd(low(a, b), low(c, d)),
            _mm512_unpacklo_pd(high(a, b), high(c, d)),
            _mm512_unpackhi_pd(high(a, b), high(c, d)),
        ];
        for (c, column) in columns.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(to.add((at + c) * SIDE), _mm512_castpd_ps(column)) };
        }
    }
}

/// Scaled products of `N` queries with up to `16 V` keys of a tile, `left` of which are stored.
///
/// A lane of the sums is a key's own, so none is summed across; its eight sums along the width are made one after the other
/// and join as in [`crate::products::sum_lanes`].
///
/// # Safety
/// `dim` is a multiple of eight and the width of all; the tile has as many keys, and there is room for as many products as
/// are stored.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
unsafe fn side_by_side<const N: usize, const V: usize>(
    queries: [*const f32; N],
    tile: *const f32,
    left: usize,
    dim: usize,
    scale: f32,
    out: [*mut f32; N],
) {
    // Sums over the columns of one lane.
    let lane = |lane: usize| {
        let mut sums = [[_mm512_setzero_ps(); V]; N];
        for at in (lane..dim).step_by(8) {
            // SAFETY: the caller's promise.
            unsafe {
                let keys: [__m512; V] =
                    std::array::from_fn(|v| _mm512_loadu_ps(tile.add((v * dim + at) * SIDE)));
                for (sums, query) in sums.iter_mut().zip(queries) {
                    let query = _mm512_set1_ps(*query.add(at));
                    for (sum, key) in sums.iter_mut().zip(keys) {
                        *sum = _mm512_fmadd_ps(query, key, *sum);
                    }
                }
            }
        }
        sums
    };
    let add = |mut a: [[__m512; V]; N], b: [[__m512; V]; N]| {
        for (a, b) in a.as_flattened_mut().iter_mut().zip(b.as_flattened()) {
            *a = _mm512_add_ps(*a, *b);
        }
        a
    };
    let even = add(add(lane(0), lane(4)), add(lane(2), lane(6)));
    let sums = add(even, add(add(lane(1), lane(5)), add(lane(3), lane(7))));
    for (sums, out) in sums.into_iter().zip(out) {
        for (v, sum) in sums.into_iter().enumerate() {
            let here = left.saturating_sub(v * SIDE).min(SIDE);
            let mask = ((1u32 << here) - 1) as __mmask16;
            // SAFETY: as many as are left.
            unsafe {
                _mm512_mask_storeu_ps(
                    out.wrapping_add(v * SIDE),
                    mask,
                    _mm512_mul_ps(sum, _mm512_set1_ps(scale)),
                );
            }
        }
    }
}

impl Loops for Sixteen {
    const TOGETHER: usize = 64;
    const ROWS: usize = 4;
    const TRANSPOSED: bool = true;

    fn softmax(x: &mut [f32]) {
        // SAFETY: these loops run where there is AVX-512.
        unsafe { crate::ops::avx512::softmax(x) };
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    unsafe fn widen<T: Kv>(from: &[T], to: &mut [f32]) {
        let (sixteens, tail) = from.as_chunks::<16>();
        let (to, to_tail) = to.as_chunks_mut::<16>();
        for (from, to) in sixteens.iter().zip(to) {
            // The processor's own guesses end with each page.
            fetch(from.as_ptr().cast::<u8>().wrapping_add(4096), size_of_val(from));
            // SAFETY: sixteen values on both sides.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), T::load_sixteen(from.as_ptr())) };
        }
        widen(tail, to_tail);
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    unsafe fn lay_out<T: Kv>(keys: &[T], dim: usize, tile: &mut [f32]) {
        if !dim.is_multiple_of(8) {
            return widen(keys, &mut tile[..keys.len()]);
        }
        // Memory operands spare the transposition half of its shuffles, so keys are widened before it.
        let (tile, wide) = tile.split_at_mut(tile.len() - SIDE * dim);
        for (keys, to) in keys.chunks(SIDE * dim).zip(tile.chunks_exact_mut(SIDE * dim)) {
            // Behind the last key stands what was there before: no product of it is stored.
            let wide = &mut wide[..keys.len()];
            // SAFETY: sixteen keys on both sides.
            unsafe {
                Self::widen(keys, wide);
                transpose(wide.as_ptr(), dim, to.as_mut_ptr());
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    unsafe fn tiled<const N: usize>(
        queries: [*const f32; N],
        tile: *const f32,
        count: usize,
        dim: usize,
        scale: f32,
        out: [*mut f32; N],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if !dim.is_multiple_of(8) {
                return Self::products(queries, tile, count, dim, scale, out);
            }
            for slot in (0..count).step_by(2 * SIDE) {
                let (tile, left, out) = (tile.add(slot * dim), count - slot, out.map(|out| out.add(slot)));
                if left > SIDE {
                    side_by_side::<N, 2>(queries, tile, left, dim, scale, out);
                } else {
                    side_by_side::<N, 1>(queries, tile, left, dim, scale, out);
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    unsafe fn products<T: Kv, const N: usize>(
        queries: [*const f32; N],
        keys: *const T,
        count: usize,
        dim: usize,
        scale: f32,
        out: [*mut f32; N],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if !dim.is_multiple_of(8) {
                for slot in 0..count {
                    for (query, out) in queries.into_iter().zip(out) {
                        *out.add(slot) = dot(query, keys.add(slot * dim), dim) * scale;
                    }
                }
                return;
            }
            let mut ahead = Streams::along(keys.cast(), count * dim * size_of::<T>());
            for slot in (0..count).step_by(KEYS) {
                ahead.advance(KEYS * dim * size_of::<T>());
                let keys = Keys::new(keys, slot, count, dim);
                eight(queries, &keys, count - slot, dim, scale, out.map(|out| out.add(slot)));
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
        // Floats are mostly those of a tile, which is at hand.
        let mut ahead =
            Streams::along(values.cast(), if T::NARROW { count * dim * size_of::<T>() } else { 0 });
        for slot in 0..count {
            let value = values.add(slot * dim);
            if T::NARROW {
                ahead.advance(dim * size_of::<T>());
            }
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
