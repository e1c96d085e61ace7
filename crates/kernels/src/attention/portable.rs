//! Attention in plain loops, one row at a time.

use super::{Head, KvSlice};
use crate::ops;

fn at(slice: KvSlice<'_>, i: usize) -> f32 {
    match slice {
        KvSlice::F32(values) => values[i],
        KvSlice::F16(values) => values[i].to_f32(),
    }
}

pub(crate) fn attend(head: &mut Head<'_, '_>) {
    let dim = head.shape.dim;
    let mut scores = std::mem::take(head.scratch);
    for row in 0..head.rows {
        let (first, end) = head.seen(row);
        let q = &head.q[row * head.q_stride..][..dim];
        scores.clear();
        scores.extend((first..end).map(|slot| {
            let products = q.iter().enumerate().map(|(i, q)| q * at(head.keys, slot * dim + i));
            products.sum::<f32>() * head.shape.scale
        }));
        head.probabilities(row, first, &mut scores, ops::portable::exp_sum);
        let out = &mut head.out[row * head.out_stride..][..dim];
        out.fill(0.0);
        for (slot, p) in (first..end).zip(&scores) {
            for (i, out) in out.iter_mut().enumerate() {
                *out += p * at(head.values, slot * dim + i);
            }
        }
    }
    *head.scratch = scores;
}
