//! Attention with AVX2, FMA and F16C.
//!
//! Several query rows go together (successive positions of one head, or the heads of one position that share keys and
//! values), so that a key or value read from memory and widened serves all of them. A row's own order never changes
//! with that; `sums` says what it is.
//!
//! The scales of integers stay out of these loops: those of channels go into the query or onto the finished result,
//! those of slots onto the finished score or into the probability. Either way a row is scaled number by number.

pub(super) mod kv;
pub(super) mod sums;

use std::array::from_fn;
use std::ops::Range;

use super::{Head, KvSlice};
use kv::Kv;
use sums::{Eight, Loops};

/// Scores held for a group of query rows: 4 MB. Keys and values are laid out anew for each group, so that few rows together cost more than
/// scores that leave the second-level cache. Eight rows go together however many slots there are.
const SCORES: usize = 1 << 20;
/// Query rows that go on together with values that not all rows of a group see.
const NEAR: usize = 8;
/// Widened values held at a time: 16 KB, half of a first-level cache.
const TILE: usize = 4096;
/// Slots of a tile are a multiple of this.
const KEYS: usize = 16;

/// Query rows of a group, `stride` apart.
#[derive(Clone, Copy)]
struct Queries<'a> {
    values: &'a [f32],
    stride: usize,
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn attend(head: &mut Head<'_, '_>) {
    attend_in::<Eight>(head);
}

/// [`attend`] with the inner loops of `L`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn attend_in<L: Loops>(head: &mut Head<'_, '_>) {
    let mut scratch = std::mem::take(head.scratch);
    // Room for the scores of a group of rows, each over all slots, and for its queries when they get scales.
    let (dim, stride) = (head.shape.dim, stride(head));
    let together = (SCORES / stride).clamp(NEAR, L::TOGETHER);
    let group = together.min(head.rows);
    let scaled = if matches!(head.keys, KvSlice::I8Channels { .. }) { group * dim } else { 0 };
    let tile = TILE.max(KEYS * dim) + if L::TRANSPOSED { KEYS * dim } else { 0 };
    let room = group * stride + scaled + tile;
    if scratch.len() < room {
        // Decoding adds a slot a token, which should not grow it every time.
        scratch.resize(room.next_power_of_two(), 0.0);
    }
    let (p, rest) = scratch.split_at_mut(group * stride);
    let (scaled, rest) = rest.split_at_mut(scaled);
    let tile = &mut rest[..tile];
    for first in (0..head.rows).step_by(together) {
        let rows = first..(first + together).min(head.rows);
        let queries = Queries { values: &head.q[first * head.q_stride..], stride: head.q_stride };
        match head.keys {
            KvSlice::F32(keys) => scores::<L, _>(head, rows.clone(), queries, keys, p, tile),
            KvSlice::F16(keys) => scores::<L, _>(head, rows.clone(), queries, keys, p, tile),
            KvSlice::I8Channels { values, scales } => {
                for j in 0..rows.len() {
                    let scaled = &mut scaled[j * dim..][..dim];
                    scaled.copy_from_slice(&queries.values[j * queries.stride..][..dim]);
                    multiply(scaled, &scales[..dim]);
                }
                scores::<L, _>(head, rows.clone(), Queries { values: scaled, stride: dim }, values, p, tile);
            }
            KvSlice::I8Slots { values, scales } => {
                scores::<L, _>(head, rows.clone(), queries, values, p, tile);
                scale_slots(head, rows.clone(), scales, p);
            }
        }
        for row in rows.clone() {
            let (low, end) = head.seen(row);
            let scores = &mut p[(row - first) * stride..][low..end];
            head.probabilities(row, low, scores, L::softmax);
        }
        match head.values {
            KvSlice::F32(values) => blend::<L, _>(head, rows, values, p, tile),
            KvSlice::F16(values) => blend::<L, _>(head, rows, values, p, tile),
            KvSlice::I8Channels { values, scales } => {
                blend::<L, _>(head, rows.clone(), values, p, tile);
                for row in rows {
                    multiply(&mut head.out[row * head.out_stride..][..dim], &scales[..dim]);
                }
            }
            KvSlice::I8Slots { values, scales } => {
                // The tap has seen the probabilities already.
                scale_slots(head, rows.clone(), scales, p);
                blend::<L, _>(head, rows, values, p, tile);
            }
        }
    }
    *head.scratch = scratch;
}

/// Scores from one row to the next: an odd number of cache lines, so that the scores of a slot in many rows do not share
/// a few places of the first-level cache.
fn stride(head: &Head<'_, '_>) -> usize {
    const LINE: usize = 16;
    (head.slots().div_ceil(LINE) | 1) * LINE
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
        multiply(&mut held[j * stride(head)..][low..end], &scales[low..end]);
    }
}

/// The slots that all of some successive rows see: the first row ends first, the last row begins last.
fn shared(head: &Head<'_, '_>, rows: &Range<usize>) -> Range<usize> {
    let (first, end) = (head.seen(rows.end - 1).0, head.seen(rows.start).1);
    first..end.max(first)
}

/// A row's slots before the shared ones and after them.
fn apart(head: &Head<'_, '_>, row: usize, shared: &Range<usize>) -> [Range<usize>; 2] {
    let (low, end) = head.seen(row);
    [low..shared.start.min(end), shared.end.min(end)..end]
}

/// Parts of `slots` that fit a tile when they are widened.
fn tiles(slots: Range<usize>, dim: usize) -> impl Iterator<Item = Range<usize>> {
    let each = (TILE / dim / KEYS * KEYS).max(KEYS);
    slots.clone().step_by(each).map(move |first| first..(first + each).min(slots.end))
}

/// `(first, count)` of parts of at most [`Loops::ROWS`] of `rows` rows, as even as possible.
fn parts<L: Loops>(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = rows.div_ceil(L::ROWS);
    (0..parts).map(move |part| {
        let first = part * rows / parts;
        (first, (part + 1) * rows / parts - first)
    })
}

/// Scaled products of some query rows with the keys they see, at their slots in rows of `scores`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scores<L: Loops, T: Kv>(
    head: &Head<'_, '_>,
    rows: Range<usize>,
    queries: Queries<'_>,
    keys: &[T],
    scores: &mut [f32],
    tile: &mut [f32],
) {
    let (dim, stride) = (head.shape.dim, stride(head));
    let mut to = Scores { queries, scores, stride, dim, scale: head.shape.scale };
    if (T::NARROW || L::TRANSPOSED) && rows.len() > L::ROWS {
        // What a row does not see is computed with the rest and never read.
        let all = head.seen(rows.start).0..head.seen(rows.end - 1).1;
        for slots in tiles(all, dim) {
            // SAFETY: a tile's slots are not none, and it has room for them; this variant runs where it can.
            unsafe { L::lay_out(&keys[slots.start * dim..slots.end * dim], dim, tile) };
            for part in parts::<L>(rows.len()) {
                let (first, last) = (rows.start + part.0, rows.start + part.0 + part.1 - 1);
                if head.seen(first).0 < slots.end && slots.start < head.seen(last).1 {
                    to.add::<L, f32, true>(part, tile, slots.clone());
                }
            }
        }
        return;
    }
    let shared = shared(head, &rows);
    for (j, row) in rows.clone().enumerate() {
        for slots in apart(head, row, &shared) {
            to.add::<L, _, false>((j, 1), &keys[slots.start * dim..slots.end * dim], slots);
        }
    }
    let keys = &keys[shared.start * dim..shared.end * dim];
    parts::<L>(rows.len()).for_each(|part| to.add::<L, _, false>(part, keys, shared.clone()));
}

/// Where the scores of some rows come from and go.
struct Scores<'a> {
    queries: Queries<'a>,
    /// `[rows, stride]`.
    scores: &'a mut [f32],
    stride: usize,
    dim: usize,
    scale: f32,
}

impl Scores<'_> {
    /// Scores of `(first row, rows)` with the keys of some slots, which may lie in a tile.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn add<L: Loops, T: Kv, const TILED: bool>(
        &mut self,
        (first, count): (usize, usize),
        keys: &[T],
        at: Range<usize>,
    ) {
        let slots = at.len();
        if slots == 0 {
            return;
        }
        let query = |j: usize| self.queries.values[(first + j) * self.queries.stride..][..self.dim].as_ptr();
        let (start, stride) = (first * self.stride + at.start, self.stride);
        let scores = self.scores[start..start + (count - 1) * stride + slots].as_mut_ptr();
        assert!(TILED || keys.len() >= slots * self.dim, "keys of {slots} slots");
        let (dim, scale, keys) = (self.dim, self.scale, keys.as_ptr());
        macro_rules! call {
            ($n:literal) => {{
                let (queries, out) =
                    (from_fn::<_, $n, _>(query), from_fn(|j| scores.wrapping_add(j * stride)));
                match TILED {
                    true => L::tiled(queries, keys.cast(), slots, dim, scale, out),
                    false => L::products(queries, keys, slots, dim, scale, out),
                }
            }};
        }
        // SAFETY: queries, keys and scores were sliced as far as these calls reach; a tile was laid out for them.
        unsafe {
            match count {
                1 => call!(1),
                2 => call!(2),
                3 => call!(3),
                _ => call!(4),
            }
        }
    }
}

/// Sums of values weighted with probabilities.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn blend<L: Loops, T: Kv>(
    head: &mut Head<'_, '_>,
    rows: Range<usize>,
    values: &[T],
    p: &[f32],
    tile: &mut [f32],
) {
    let (dim, stride) = (head.shape.dim, stride(head));
    let shared = shared(head, &rows);
    for row in rows.clone() {
        head.out[row * head.out_stride..][..dim].fill(0.0);
    }
    let some = |slots: &Range<usize>| &values[slots.start * dim..slots.end * dim];
    // Slots in ascending order for every row: those before the shared ones, the shared ones, those after.
    for (j, row) in rows.clone().enumerate() {
        let [slots, _] = apart(head, row, &shared);
        add_weighted::<L, _>(head, &p[j * stride + slots.start..], stride, (row, 1), some(&slots));
    }
    if T::NARROW && rows.len() > L::ROWS {
        for slots in tiles(shared.clone(), dim) {
            let wide = &mut tile[..slots.len() * dim];
            // SAFETY: this variant runs where it can.
            unsafe { L::widen(some(&slots), wide) };
            for (first, count) in parts::<L>(rows.len()) {
                let p = &p[first * stride + slots.start..];
                add_weighted::<L, _>(head, p, stride, (rows.start + first, count), wide);
            }
        }
    } else {
        for (first, count) in parts::<L>(rows.len()) {
            let p = &p[first * stride + shared.start..];
            add_weighted::<L, _>(head, p, stride, (rows.start + first, count), some(&shared));
        }
    }
    for near in rows.clone().step_by(NEAR) {
        let near = near..(near + NEAR).min(rows.end);
        // What all of these rows see, then what a row alone does.
        let slots = shared.end..head.seen(near.start).1.max(shared.end);
        for (first, count) in parts::<L>(near.len()) {
            let row = near.start + first;
            let p = &p[(row - rows.start) * stride + slots.start..];
            add_weighted::<L, _>(head, p, stride, (row, count), some(&slots));
        }
        for row in near {
            let slots = slots.end..head.seen(row).1.max(slots.end);
            add_weighted::<L, _>(
                head,
                &p[(row - rows.start) * stride + slots.start..],
                stride,
                (row, 1),
                some(&slots),
            );
        }
    }
}

/// Adds `values`, `[slots, dim]`, to the results of `(first row, rows)`, weighted with `p`, rows of which are
/// `stride` apart.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_weighted<L: Loops, T: Kv>(
    head: &mut Head<'_, '_>,
    p: &[f32],
    stride: usize,
    (first, count): (usize, usize),
    values: &[T],
) {
    let dim = head.shape.dim;
    let slots = values.len() / dim;
    if slots == 0 {
        return;
    }
    let p = |j: usize| p[j * stride..][..slots].as_ptr();
    let (start, out_stride) = (first * head.out_stride, head.out_stride);
    let out = head.out[start..start + (count - 1) * out_stride + dim].as_mut_ptr();
    let values = values.as_ptr();
    // SAFETY: probabilities, values and results were sliced as far as these calls reach.
    unsafe {
        let out = |j: usize| out.add(j * out_stride);
        match count {
            1 => L::weighted(from_fn::<_, 1, _>(p), values, slots, dim, from_fn(out)),
            2 => L::weighted(from_fn::<_, 2, _>(p), values, slots, dim, from_fn(out)),
            3 => L::weighted(from_fn::<_, 3, _>(p), values, slots, dim, from_fn(out)),
            _ => L::weighted(from_fn::<_, 4, _>(p), values, slots, dim, from_fn(out)),
        }
    }
}
