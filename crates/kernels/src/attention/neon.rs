//! Attention with NEON.
//!
//! Several query rows go together (successive positions of one head, or the heads of one position that share keys and
//! values): they meet the slots a tile at a time, so that keys and values are widened once for all of them and are
//! read again from the first-level cache. A row's own order never changes with that: a product is summed in eight
//! lanes along the width, a result goes over the slots one by one.
//!
//! The scales of integers stay out of these loops: those of channels go into the query or onto the finished result,
//! those of slots onto the finished score or into the probability. Either way a row is scaled number by number.

use std::arch::aarch64::*;
use std::ops::Range;

use super::{Head, KvSlice};
use crate::ops;
use crate::products::neon::load::{Load, add_products, array, four_sums};

/// Query rows that go together.
const TOGETHER: usize = 8;
/// Keys that meet a query together.
const KEYS: usize = 4;
/// Values of a tile: 16 KB as f32.
const TILE: usize = 4096;

#[target_feature(enable = "neon")]
pub(crate) fn attend(head: &mut Head<'_, '_>) {
    let mut scratch = std::mem::take(head.scratch);
    // Room for the scores of a group of rows, each over all slots, for its queries, and for a tile.
    let (dim, stride, group) = (head.shape.dim, head.slots(), TOGETHER.min(head.rows));
    let room = group * (stride + dim) + TILE.max(dim);
    if scratch.len() < room {
        // Decoding adds a slot a token, which should not grow it every time.
        scratch.resize(room.next_power_of_two(), 0.0);
    }
    let (p, rest) = scratch.split_at_mut(group * stride);
    let (queries, tile) = rest.split_at_mut(group * dim);
    for first in (0..head.rows).step_by(TOGETHER) {
        let rows = first..(first + TOGETHER).min(head.rows);
        for row in rows.clone() {
            let query = &mut queries[(row - first) * dim..][..dim];
            query.copy_from_slice(&head.q[row * head.q_stride..][..dim]);
            if let KvSlice::I8Channels { scales, .. } = head.keys {
                multiply(query, scales);
            }
        }
        match head.keys {
            KvSlice::F32(keys) => scores(head, rows.clone(), queries, keys, p, tile),
            KvSlice::F16(keys) => scores(head, rows.clone(), queries, keys, p, tile),
            KvSlice::I8Channels { values, .. } => scores(head, rows.clone(), queries, values, p, tile),
            KvSlice::I8Slots { values, scales } => {
                scores(head, rows.clone(), queries, values, p, tile);
                scale_slots(head, rows.clone(), scales, p);
            }
        }
        for row in rows.clone() {
            let (low, end) = head.seen(row);
            let scores = &mut p[(row - first) * stride..][low..end];
            head.probabilities(row, low, scores, ops::portable::softmax);
        }
        match head.values {
            KvSlice::F32(values) => blend(head, rows, values, p, tile),
            KvSlice::F16(values) => blend(head, rows, values, p, tile),
            KvSlice::I8Channels { values, scales } => {
                blend(head, rows.clone(), values, p, tile);
                for row in rows {
                    multiply(&mut head.out[row * head.out_stride..][..dim], scales);
                }
            }
            KvSlice::I8Slots { values, scales } => {
                // The tap has seen the probabilities already.
                scale_slots(head, rows.clone(), scales, p);
                blend(head, rows, values, p, tile);
            }
        }
    }
    *head.scratch = scratch;
}

/// `x *= y`, elementwise.
fn multiply(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x *= y;
    }
}

/// Multiplies what some query rows hold for each slot they see with its scale.
fn scale_slots(head: &Head<'_, '_>, rows: Range<usize>, scales: &[f32], held: &mut [f32]) {
    for (j, row) in rows.enumerate() {
        let (low, end) = head.seen(row);
        multiply(&mut held[j * head.slots()..][low..end], &scales[low..end]);
    }
}

/// The slots that some successive rows see, in parts that fit a tile.
fn tiles(head: &Head<'_, '_>, rows: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let (first, end) = (head.seen(rows.start).0, head.seen(rows.end - 1).1);
    let each = (TILE / head.shape.dim).max(1);
    (first..end).step_by(each).map(move |first| first..(first + each).min(end))
}

/// The slots of a tile that a row sees.
fn within(head: &Head<'_, '_>, row: usize, tile: &Range<usize>) -> Range<usize> {
    let (low, end) = head.seen(row);
    low.max(tile.start)..end.min(tile.end)
}

/// Scaled products of some query rows with the keys they see, at their slots in rows of `scores`.
#[target_feature(enable = "neon")]
fn scores<T: Load>(
    head: &Head<'_, '_>,
    rows: Range<usize>,
    queries: &[f32],
    keys: &[T],
    scores: &mut [f32],
    room: &mut [f32],
) {
    let (dim, stride) = (head.shape.dim, head.slots());
    for tile in tiles(head, &rows) {
        // SAFETY: NEON is enabled here.
        let keys = unsafe { T::all(&keys[tile.start * dim..tile.end * dim], room) };
        for (j, row) in rows.clone().enumerate() {
            let query = &queries[j * dim..][..dim];
            let slots = within(head, row, &tile);
            for slot in slots.clone().step_by(KEYS) {
                // Beyond the last key, the last again.
                let key =
                    |k: usize| keys[((slot + k).min(slots.end - 1) - tile.start) * dim..][..dim].as_ptr();
                let mut sums = [[[vdupq_n_f32(0.0); 2]; KEYS]];
                // SAFETY: query and keys have `dim` values.
                unsafe { add_products([query.as_ptr()], std::array::from_fn(key), dim, &mut sums) };
                let products = array(vmulq_n_f32(four_sums(sums[0]), head.shape.scale));
                let here = KEYS.min(slots.end - slot);
                scores[j * stride + slot..][..here].copy_from_slice(&products[..here]);
            }
        }
    }
}

/// Sums of the values that some rows see, weighted with their probabilities.
#[target_feature(enable = "neon")]
fn blend<T: Load>(head: &mut Head<'_, '_>, rows: Range<usize>, values: &[T], p: &[f32], room: &mut [f32]) {
    let (dim, stride) = (head.shape.dim, head.slots());
    for row in rows.clone() {
        head.out[row * head.out_stride..][..dim].fill(0.0);
    }
    for tile in tiles(head, &rows) {
        // SAFETY: NEON is enabled here.
        let values = unsafe { T::all(&values[tile.start * dim..tile.end * dim], room) };
        for (j, row) in rows.clone().enumerate() {
            let slots = within(head, row, &tile);
            if slots.is_empty() {
                continue;
            }
            let values = &values[(slots.start - tile.start) * dim..(slots.end - tile.start) * dim];
            weighted(&p[j * stride..][slots], values, &mut head.out[row * head.out_stride..][..dim]);
        }
    }
}

/// Adds `p[slot] * values[slot]` to a result, slot by slot.
#[target_feature(enable = "neon")]
fn weighted(p: &[f32], values: &[f32], out: &mut [f32]) {
    let dim = out.len();
    assert_eq!(values.len(), p.len() * dim, "values of {} slots", p.len());
    let mut at = 0;
    // A part of the width stays in registers while the slots go by.
    // SAFETY: these columns exist.
    unsafe {
        while at + 32 <= dim {
            columns::<8>(p, values.as_ptr().add(at), dim, out.as_mut_ptr().add(at));
            at += 32;
        }
        while at + 4 <= dim {
            columns::<1>(p, values.as_ptr().add(at), dim, out.as_mut_ptr().add(at));
            at += 4;
        }
    }
    for at in at..dim {
        out[at] = p.iter().zip(values.chunks(dim)).fold(out[at], |sum, (p, value)| p.mul_add(value[at], sum));
    }
}

/// [`weighted`] for `V` vectors of the width.
///
/// # Safety
/// There are `4 V` columns at `out`, and at `values` as many for each of `p`, `dim` apart.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn columns<const V: usize>(p: &[f32], values: *const f32, dim: usize, out: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums: [float32x4_t; V] = std::array::from_fn(|v| vld1q_f32(out.add(4 * v)));
        for (slot, p) in p.iter().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = vfmaq_n_f32(*sum, vld1q_f32(values.add(slot * dim + 4 * v)), *p);
            }
        }
        for (v, sum) in sums.into_iter().enumerate() {
            vst1q_f32(out.add(4 * v), sum);
        }
    }
}
