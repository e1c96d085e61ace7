//! Attention in plain loops, one row at a time.

use super::{Head, KvSlice};
use crate::ops;

pub(crate) fn attend(head: &mut Head<'_, '_>) {
    let dim = head.shape.dim;
    let mut scratch = std::mem::take(head.scratch);
    for row in 0..head.rows {
        // One loop a format: the choice within the loop would be made for every number.
        match head.keys {
            KvSlice::F32(keys) => scores(head, row, &mut scratch, |slot, i| keys[slot * dim + i]),
            KvSlice::F16(keys) => scores(head, row, &mut scratch, |slot, i| keys[slot * dim + i].to_f32()),
            KvSlice::I8Channels { values, scales } => {
                scores(head, row, &mut scratch, |slot, i| f32::from(values[slot * dim + i]) * scales[i]);
            }
            KvSlice::I8Slots { values, scales } => {
                scores(head, row, &mut scratch, |slot, i| f32::from(values[slot * dim + i]) * scales[slot]);
            }
        }
        head.probabilities(row, head.seen(row).0, &mut scratch, ops::portable::softmax);
        match head.values {
            KvSlice::F32(values) => blend(head, row, &scratch, |slot, i| values[slot * dim + i]),
            KvSlice::F16(values) => blend(head, row, &scratch, |slot, i| values[slot * dim + i].to_f32()),
            KvSlice::I8Channels { values, scales } => {
                blend(head, row, &scratch, |slot, i| f32::from(values[slot * dim + i]) * scales[i]);
            }
            KvSlice::I8Slots { values, scales } => {
                blend(head, row, &scratch, |slot, i| f32::from(values[slot * dim + i]) * scales[slot]);
            }
        }
    }
    *head.scratch = scratch;
}

/// Scaled products of a query row with the keys it sees; `key` reads one number, by slot and channel.
fn scores(head: &Head<'_, '_>, row: usize, scores: &mut Vec<f32>, key: impl Fn(usize, usize) -> f32) {
    let (first, end) = head.seen(row);
    let q = &head.q[row * head.q_stride..][..head.shape.dim];
    scores.clear();
    scores.extend((first..end).map(|slot| {
        let products = q.iter().enumerate().map(|(i, q)| q * key(slot, i));
        products.sum::<f32>() * head.shape.scale
    }));
}

/// The sum of the values a row sees, weighted with its probabilities; `value` reads one number likewise.
fn blend(head: &mut Head<'_, '_>, row: usize, probabilities: &[f32], value: impl Fn(usize, usize) -> f32) {
    let (first, end) = head.seen(row);
    let out = &mut head.out[row * head.out_stride..][..head.shape.dim];
    out.fill(0.0);
    for (slot, p) in (first..end).zip(probabilities) {
        for (i, out) in out.iter_mut().enumerate() {
            *out += p * value(slot, i);
        }
    }
}
