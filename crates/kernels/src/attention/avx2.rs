//! Attention with AVX2, FMA and F16C.
//!
//! Four query rows go together, so that a key or value read from memory serves all four. A row's own order never
//! changes with that: a score is summed in eight lanes along the width, a result goes over the slots one by one.
//!
//! The scales of integers stay out of these loops: those of channels go into the query or onto the finished result,
//! those of slots onto the finished score or into the probability. Either way a row is scaled number by number.

use std::arch::x86_64::*;

use half::f16;

use super::{Head, KvSlice};
use crate::ops;
use crate::products::sum_lanes;

/// Query rows that go together.
pub(super) const TOGETHER: usize = 4;

/// A format of keys and values.
trait Kv: Copy {
    /// Eight values.
    ///
    /// # Safety
    /// They can be read; the processor has AVX2 and F16C.
    unsafe fn load(from: *const Self) -> __m256;
    fn widen(self) -> f32;
}

impl Kv for f32 {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Kv for f16 {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(from: *const f16) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32_const()
    }
}

impl Kv for i8 {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(from: *const i8) -> __m256 {
        // SAFETY: the caller's promise; the load is of eight bytes.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from(self)
    }
}

/// Query rows of a group, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Queries<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

#[target_feature(enable = "avx2,fma,f16c")]
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
            // SAFETY: this variant runs where its instructions are available.
            head.probabilities(row, low, scores, |x, shift| ops::avx2::exp_sum(x, shift));
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

/// `x *= y`, elementwise.
pub(super) fn multiply(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x *= y;
    }
}

/// Multiplies what some query rows hold for each slot they see with its scale.
pub(super) fn scale_slots(
    head: &Head<'_, '_>,
    rows: std::ops::Range<usize>,
    scales: &[f32],
    held: &mut [f32],
    stride: usize,
) {
    for (j, row) in rows.enumerate() {
        let (low, end) = head.seen(row);
        multiply(&mut held[j * stride..][low..end], &scales[low..end]);
    }
}

/// Scaled products of some query rows with the keys they see, at their slots in rows of `scores`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scores<T: Kv>(
    head: &Head<'_, '_>,
    rows: std::ops::Range<usize>,
    queries: Queries<'_>,
    keys: &[T],
    scores: &mut [f32],
    stride: usize,
) {
    let (dim, scale) = (head.shape.dim, head.shape.scale);
    let q = |j: usize| &queries.values[j * queries.stride..][..dim];
    // Slots that all rows see; the first row ends first, the last row begins last.
    let common = (head.seen(rows.end - 1).0, head.seen(rows.start).1);
    let shared = if rows.len() == TOGETHER && common.0 < common.1 { common } else { (0, 0) };
    for slot in shared.0..shared.1 {
        let key = &keys[slot * dim..][..dim];
        let dots = dot(std::array::from_fn::<_, TOGETHER, _>(q), key);
        for (j, dot) in dots.into_iter().enumerate() {
            scores[j * stride + slot] = dot * scale;
        }
    }
    for (j, row) in rows.enumerate() {
        let (low, end) = head.seen(row);
        let slots = if shared.0 < shared.1 { (low..shared.0, shared.1..end) } else { (low..end, 0..0) };
        for slot in slots.0.chain(slots.1) {
            let [dot] = dot([q(j)], &keys[slot * dim..][..dim]);
            scores[j * stride + slot] = dot * scale;
        }
    }
}

/// Products of `N` query rows with a key.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot<T: Kv, const N: usize>(q: [&[f32]; N], key: &[T]) -> [f32; N] {
    let mut sums = [_mm256_setzero_ps(); N];
    let eights = key.len() / 8;
    for k in 0..eights {
        // SAFETY: column `8 k + 7` exists in all of them.
        unsafe {
            let key = T::load(key.as_ptr().add(k * 8));
            for (sum, q) in sums.iter_mut().zip(q) {
                *sum = _mm256_fmadd_ps(_mm256_loadu_ps(q.as_ptr().add(k * 8)), key, *sum);
            }
        }
    }
    let mut dots = [0.0; N];
    for j in 0..N {
        let mut lanes = [0.0; 8];
        // SAFETY: eight floats.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sums[j]) };
        for (lane, at) in lanes.iter_mut().zip(eights * 8..key.len()) {
            *lane = q[j][at].mul_add(key[at].widen(), *lane);
        }
        dots[j] = sum_lanes(lanes);
    }
    dots
}

/// Sums of values weighted with probabilities.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn blend<T: Kv>(
    head: &mut Head<'_, '_>,
    rows: std::ops::Range<usize>,
    values: &[T],
    scores: &[f32],
    stride: usize,
) {
    let dim = head.shape.dim;
    let common = (head.seen(rows.end - 1).0, head.seen(rows.start).1);
    let together = rows.len() == TOGETHER && common.0 < common.1;
    for row in rows.clone() {
        head.out[row * head.out_stride..][..dim].fill(0.0);
    }
    // Each row: slots before the shared ones, the shared ones, those after.
    let part = |head: &mut Head<'_, '_>, row: usize, slots: std::ops::Range<usize>| {
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
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn weighted<T: Kv, const N: usize>(
    p: [*const f32; N],
    values: &[T],
    slots: std::ops::Range<usize>,
    dim: usize,
    out: [*mut f32; N],
) {
    assert!(slots.is_empty() || slots.end * dim <= values.len());
    let mut at = 0;
    // A part of the width stays in registers while the slots go by.
    // SAFETY: the caller's promise.
    unsafe {
        if N == 1 {
            while at + 64 <= dim {
                columns::<T, N, 8>(&p, values, slots.clone(), dim, at, &out);
                at += 64;
            }
        }
        while at + 16 <= dim {
            columns::<T, N, 2>(&p, values, slots.clone(), dim, at, &out);
            at += 16;
        }
        while at + 8 <= dim {
            columns::<T, N, 1>(&p, values, slots.clone(), dim, at, &out);
            at += 8;
        }
        for at in at..dim {
            for j in 0..N {
                let mut sum = out[j].add(at).read();
                for slot in slots.clone() {
                    sum = p[j].add(slot).read().mul_add(values[slot * dim + at].widen(), sum);
                }
                out[j].add(at).write(sum);
            }
        }
    }
}

/// [`weighted`] for `V` vectors of the width, from column `at`.
///
/// # Safety
/// As there; `at + 8 V <= dim`, and `values` has all the slots.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn columns<T: Kv, const N: usize, const V: usize>(
    p: &[*const f32; N],
    values: &[T],
    slots: std::ops::Range<usize>,
    dim: usize,
    at: usize,
    out: &[*mut f32; N],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); V]; N];
        for (sums, out) in sums.iter_mut().zip(out) {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = _mm256_loadu_ps(out.add(at + 8 * v));
            }
        }
        for slot in slots {
            let value = values.as_ptr().add(slot * dim + at);
            let value: [__m256; V] = std::array::from_fn(|v| T::load(value.add(8 * v)));
            for (sums, p) in sums.iter_mut().zip(p) {
                let p = _mm256_broadcast_ss(&*p.add(slot));
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum = _mm256_fmadd_ps(p, value, *sum);
                }
            }
        }
        for (sums, out) in sums.iter().zip(out) {
            for (v, sum) in sums.iter().enumerate() {
                _mm256_storeu_ps(out.add(at + 8 * v), *sum);
            }
        }
    }
}
