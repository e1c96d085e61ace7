//! Attention with AVX-512.
//!
//! Four query rows go together, so that a key or value read from memory serves all four. A row's own order never
//! changes with that: a score is summed in sixteen lanes along the width, which are then added up in one fixed tree,
//! and a result goes over the slots one by one. Sixteen scores at a time share the tree: those of four rows with four
//! slots, or of one row with sixteen.

use std::arch::x86_64::*;
use std::ops::Range;

use half::f16;

use super::avx2::{Queries, TOGETHER, multiply, scale_slots};
use super::{Head, KvSlice};
use crate::ops;

/// A format of keys and values.
trait Kv: Copy {
    /// Sixteen values.
    ///
    /// # Safety
    /// They can be read; the processor has AVX-512 F, BW and VL.
    unsafe fn load(from: *const Self) -> __m512;
    /// The values in the mask, and zeros.
    ///
    /// # Safety
    /// Likewise for those in the mask.
    unsafe fn load_part(from: *const Self, mask: __mmask16) -> __m512;
}

impl Kv for f32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_part(from: *const f32, mask: __mmask16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
}

impl Kv for f16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load(from: *const f16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_part(from: *const f16, mask: __mmask16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, from.cast())) }
    }
}

impl Kv for i8 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load(from: *const i8) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_part(from: *const i8, mask: __mmask16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, from))) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
pub(crate) fn attend(head: &mut Head<'_, '_>) {
    let mut scratch = std::mem::take(head.scratch);
    // Room for the scores of a group of rows, each over all slots, and for its queries when they get scales.
    let (dim, stride, group) = (head.shape.dim, head.past + head.rows, TOGETHER.min(head.rows));
    let scaled = if matches!(head.keys, KvSlice::I8Channels { .. }) { group * dim } else { 0 };
    if scratch.len() < group * stride + scaled {
        scratch.resize(group * stride + scaled, 0.0);
    }
    let (p, scaled) = scratch.split_at_mut(group * stride);
    for first in (0..head.rows).step_by(TOGETHER) {
        let rows = first..(first + TOGETHER).min(head.rows);
        let queries = Queries { values: &head.q[first * head.q_stride..], stride: head.q_stride };
        match head.keys {
            KvSlice::F32(keys) => scores(head, rows.clone(), queries, keys, p, stride),
            KvSlice::F16(keys) => scores(head, rows.clone(), queries, keys, p, stride),
            KvSlice::I8Channels { values, scales } => {
                for j in 0..rows.len() {
                    let scaled = &mut scaled[j * dim..][..dim];
                    scaled.copy_from_slice(&queries.values[j * queries.stride..][..dim]);
                    multiply(scaled, &scales[..dim]);
                }
                scores(head, rows.clone(), Queries { values: scaled, stride: dim }, values, p, stride);
            }
            KvSlice::I8Slots { values, scales } => {
                scores(head, rows.clone(), queries, values, p, stride);
                scale_slots(head, rows.clone(), scales, p, stride);
            }
        }
        for row in rows.clone() {
            let (low, end) = head.seen(row);
            let scores = &mut p[(row - first) * stride..][low..end];
            head.probabilities(row, low, scores, |x, shift| ops::avx512::exp_sum(x, shift));
        }
        match head.values {
            KvSlice::F32(values) => blend(head, rows, values, p, stride),
            KvSlice::F16(values) => blend(head, rows, values, p, stride),
            KvSlice::I8Channels { values, scales } => {
                blend(head, rows.clone(), values, p, stride);
                for row in rows {
                    multiply(&mut head.out[row * head.out_stride..][..dim], &scales[..dim]);
                }
            }
            KvSlice::I8Slots { values, scales } => {
                // The tap has seen the probabilities already.
                scale_slots(head, rows.clone(), scales, p, stride);
                blend(head, rows, values, p, stride);
            }
        }
    }
    *head.scratch = scratch;
}

/// Scaled products of some query rows with the keys they see, at their slots in rows of `scores`. Rows that go
/// together also get those that only others of them see; nobody reads these.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn scores<T: Kv>(
    head: &Head<'_, '_>,
    rows: Range<usize>,
    queries: Queries<'_>,
    keys: &[T],
    scores: &mut [f32],
    stride: usize,
) {
    let (dim, scale) = (head.shape.dim, head.shape.scale);
    let q = |j: usize| &queries.values[j * queries.stride..][..dim];
    if rows.len() == TOGETHER {
        // The first row begins first, the last ends last.
        let slots = head.seen(rows.start).0..head.seen(rows.end - 1).1;
        dots::<T, TOGETHER, 4>(std::array::from_fn(q), keys, slots, scale, scores, stride);
    } else {
        for (j, row) in rows.enumerate() {
            let (low, end) = head.seen(row);
            dots::<T, 1, 16>([q(j)], keys, low..end, scale, &mut scores[j * stride..], stride);
        }
    }
}

/// Products of `R` query rows with the keys of all `slots`, `S` at a time, where `R * S` is 16; scaled, row `j`'s at
/// `out[j * stride + slot]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn dots<T: Kv, const R: usize, const S: usize>(
    q: [&[f32]; R],
    keys: &[T],
    slots: Range<usize>,
    scale: f32,
    out: &mut [f32],
    stride: usize,
) {
    const { assert!(R * S == 16) };
    let dim = q[0].len();
    let (full, mask) = (dim / 16 * 16, (1u16 << (dim % 16)) - 1);
    assert!(keys.len() >= slots.end * dim && out.len() >= (R - 1) * stride + slots.end);
    for slot in slots.clone().step_by(S) {
        let here = (slots.end - slot).min(S);
        // Beyond the last slot, the last slot again.
        let key: [*const T; S] = std::array::from_fn(|s| keys[(slot + s.min(here - 1)) * dim..].as_ptr());
        let mut sums = [_mm512_setzero_ps(); 16];
        for at in (0..full).step_by(16) {
            for s in 0..S {
                // SAFETY: columns `at .. at + 16` exist in all of them.
                unsafe {
                    let key = T::load(key[s].add(at));
                    for (j, q) in q.iter().enumerate() {
                        let sum = &mut sums[j * S + s];
                        *sum = _mm512_fmadd_ps(_mm512_loadu_ps(q.as_ptr().add(at)), key, *sum);
                    }
                }
            }
        }
        if mask != 0 {
            for s in 0..S {
                // SAFETY: the columns in the mask exist in all of them.
                unsafe {
                    let key = T::load_part(key[s].add(full), mask);
                    for (j, q) in q.iter().enumerate() {
                        let sum = &mut sums[j * S + s];
                        let q = _mm512_maskz_loadu_ps(mask, q.as_ptr().add(full));
                        *sum = _mm512_fmadd_ps(q, key, *sum);
                    }
                }
            }
        }
        let mut scores = [0.0f32; 16];
        // SAFETY: sixteen floats.
        unsafe {
            _mm512_storeu_ps(scores.as_mut_ptr(), _mm512_mul_ps(sum_all(&sums), _mm512_set1_ps(scale)))
        };
        for (j, scores) in scores.chunks_exact(S).enumerate() {
            out[j * stride + slot..][..here].copy_from_slice(&scores[..here]);
        }
    }
}

/// The sums of sixteen vectors, in order; each is added up in the same tree.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_all(v: &[__m512; 16]) -> __m512 {
    let add = |a, b| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    let add_pairs = |a, b| {
        let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
        let (low, high) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
        _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high))
    };
    let add_parts = |a, b| {
        let even = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
        _mm512_add_ps(even, _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b))
    };
    // Each 128-bit part: sums over that part of four vectors.
    let four = |i: usize| add_pairs(add(v[i], v[i + 1]), add(v[i + 2], v[i + 3]));
    add_parts(add_parts(four(0), four(4)), add_parts(four(8), four(12)))
}

/// Sums of values weighted with probabilities.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn blend<T: Kv>(head: &mut Head<'_, '_>, rows: Range<usize>, values: &[T], scores: &[f32], stride: usize) {
    let dim = head.shape.dim;
    // Slots that all rows see; the first row ends first, the last row begins last.
    let common = (head.seen(rows.end - 1).0, head.seen(rows.start).1);
    let together = rows.len() == TOGETHER && common.0 < common.1;
    for row in rows.clone() {
        head.out[row * head.out_stride..][..dim].fill(0.0);
    }
    // Each row: slots before the shared ones, the shared ones, those after.
    let part = |head: &mut Head<'_, '_>, row: usize, slots: Range<usize>| {
        let p = &scores[(row - rows.start) * stride..][..stride];
        let out = head.out[row * head.out_stride..][..dim].as_mut_ptr();
        // SAFETY: one row of the output; the probabilities and values of its slots.
        unsafe { weighted::<T, 1>([p.as_ptr()], values, slots, dim, [out]) };
    };
    if !together {
        for row in rows.clone() {
            let (low, end) = head.seen(row);
            part(head, row, low..end);
        }
        return;
    }
    for row in rows.clone() {
        part(head, row, head.seen(row).0..common.0);
    }
    let p = std::array::from_fn::<_, TOGETHER, _>(|j| scores[j * stride..][..stride].as_ptr());
    let out = head.out.as_mut_ptr();
    // SAFETY: four rows of the output that do not overlap; all see the shared slots.
    unsafe {
        let out = std::array::from_fn(|j| out.add((rows.start + j) * head.out_stride));
        weighted::<T, TOGETHER>(p, values, common.0..common.1, dim, out);
    }
    for row in rows.clone() {
        part(head, row, common.1..head.seen(row).1);
    }
}

/// Adds `p[slot] * value[slot]` to `N` rows of results, slot by slot.
///
/// # Safety
/// Each of `p` covers `slots`, each of `out` has `dim` values.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
unsafe fn weighted<T: Kv, const N: usize>(
    p: [*const f32; N],
    values: &[T],
    slots: Range<usize>,
    dim: usize,
    out: [*mut f32; N],
) {
    assert!(slots.is_empty() || slots.end * dim <= values.len());
    let mut at = 0;
    // A part of the width stays in registers while the slots go by.
    // SAFETY: the caller's promise.
    unsafe {
        if N == 1 {
            while at + 128 <= dim {
                columns::<T, N, 8>(&p, values, slots.clone(), dim, at, &out);
                at += 128;
            }
        }
        while at + 64 <= dim {
            columns::<T, N, 4>(&p, values, slots.clone(), dim, at, &out);
            at += 64;
        }
        while at + 16 <= dim {
            columns::<T, N, 1>(&p, values, slots.clone(), dim, at, &out);
            at += 16;
        }
        if at < dim {
            let mask = (1 << (dim - at)) - 1;
            for (out, p) in out.into_iter().zip(p) {
                let mut sum = _mm512_maskz_loadu_ps(mask, out.add(at));
                for slot in slots.clone() {
                    let value = T::load_part(values.as_ptr().add(slot * dim + at), mask);
                    sum = _mm512_fmadd_ps(_mm512_set1_ps(*p.add(slot)), value, sum);
                }
                _mm512_mask_storeu_ps(out.add(at), mask, sum);
            }
        }
    }
}

/// [`weighted`] for `V` vectors of the width, from column `at`.
///
/// # Safety
/// As there; `at + 16 V <= dim`, and `values` has all the slots.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
unsafe fn columns<T: Kv, const N: usize, const V: usize>(
    p: &[*const f32; N],
    values: &[T],
    slots: Range<usize>,
    dim: usize,
    at: usize,
    out: &[*mut f32; N],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); V]; N];
        for (sums, out) in sums.iter_mut().zip(out) {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_loadu_ps(out.add(at + 16 * v));
            }
        }
        for slot in slots {
            let value = values.as_ptr().add(slot * dim + at);
            let value: [__m512; V] = std::array::from_fn(|v| T::load(value.add(16 * v)));
            for (sums, p) in sums.iter_mut().zip(p) {
                let p = _mm512_set1_ps(*p.add(slot));
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum = _mm512_fmadd_ps(p, value, *sum);
                }
            }
        }
        for (sums, out) in sums.iter().zip(out) {
            for (v, sum) in sums.iter().enumerate() {
                _mm512_storeu_ps(out.add(at + 16 * v), *sum);
            }
        }
    }
}
