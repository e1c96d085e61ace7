//! Attention of one query head over slots of keys and values, with a tap on the probabilities.
//!
//! A row's scores, softmax and weighted sum go over its slots in ascending order whatever rows are computed with
//! it, so that decoding step by step gives the bits of a prefill.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
#[cfg(test)]
mod tests;

use half::f16;

use crate::variant::{self, Variant};

/// Keys or values of one head, `[slots, dim]`.
#[derive(Clone, Copy, Debug)]
pub enum KvSlice<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// Half precision; widened exactly before use.
    F16(&'a [f16]),
    /// Integers with one scale per channel, as suits keys: channels differ in size far more than slots do, and the
    /// scales can move into the query.
    I8Channels {
        /// `[slots, dim]`; each stands for `integer * scales[channel]`.
        values: &'a [i8],
        /// `[dim]`, in the unit of the numbers they stand for.
        scales: &'a [f32],
    },
    /// Integers with one scale per slot, as suits values: a slot can be quantised when it arrives, and its scale
    /// can move into its probability.
    I8Slots {
        /// `[slots, dim]`; each stands for `integer * scales[slot]`.
        values: &'a [i8],
        /// `[slots]`, in the unit of the numbers they stand for.
        scales: &'a [f32],
    },
}

impl KvSlice<'_> {
    /// Number of values, scales not counted.
    pub fn len(&self) -> usize {
        match self {
            KvSlice::F32(values) => values.len(),
            KvSlice::F16(values) => values.len(),
            KvSlice::I8Channels { values, .. } | KvSlice::I8Slots { values, .. } => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Panics when there are fewer than `slots * dim` values, or too few scales for them.
    fn check(&self, what: &str, slots: usize, dim: usize) {
        let needed = slots.checked_mul(dim);
        assert!(needed.is_some_and(|n| n <= self.len()), "{what} for {slots} slots of {dim}");
        match self {
            KvSlice::F32(_) | KvSlice::F16(_) => {}
            KvSlice::I8Channels { scales, .. } => {
                assert!(dim <= scales.len(), "scales of {what} for {dim} channels");
            }
            KvSlice::I8Slots { scales, .. } => {
                assert!(slots <= scales.len(), "scales of {what} for {slots} slots");
            }
        }
    }
}

/// What all query heads of a layer share.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape<'a> {
    /// Width of a head.
    pub dim: usize,
    /// Factor on `q . k`.
    pub scale: f32,
    /// Scores pass through `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Slots a query sees, its own included; at least 1.
    pub window: Option<usize>,
    /// Added to the logit of each slot after scale and cap, `[slots]`: SToRI's log weights.
    pub key_bias: Option<&'a [f32]>,
}

/// Receives `(row, probabilities over slots lo.., lo)`.
pub type Tap<'a> = dyn FnMut(usize, usize, &[f32]) + 'a;

/// One call of [`attend`], checked.
pub(crate) struct Head<'a, 'b> {
    pub(crate) shape: &'a AttentionShape<'a>,
    pub(crate) q: &'a [f32],
    pub(crate) q_stride: usize,
    pub(crate) rows: usize,
    pub(crate) past: usize,
    /// Rows are heads of one position, which see the same slots, instead of successive positions.
    pub(crate) side_by_side: bool,
    pub(crate) keys: KvSlice<'a>,
    pub(crate) values: KvSlice<'a>,
    pub(crate) out: &'a mut [f32],
    pub(crate) out_stride: usize,
    pub(crate) scratch: &'a mut Vec<f32>,
    pub(crate) tap: Option<&'a mut Tap<'b>>,
}

impl Head<'_, '_> {
    /// Slots that the last row sees the end of.
    pub(crate) fn slots(&self) -> usize {
        self.past + if self.side_by_side { 1 } else { self.rows }
    }

    /// The slots row `i` sees: `first..end`.
    pub(crate) fn seen(&self, i: usize) -> (usize, usize) {
        let end = self.past + if self.side_by_side { 1 } else { i + 1 };
        (end.saturating_sub(self.shape.window.unwrap_or(end)), end)
    }

    /// Turns a row's scaled products with slots `first..` into probabilities and shows them to the tap.
    pub(crate) fn probabilities(
        &mut self,
        row: usize,
        first: usize,
        scores: &mut [f32],
        softmax: fn(&mut [f32]),
    ) {
        if let Some(cap) = self.shape.softcap {
            crate::ops::softcap(scores, cap);
        }
        if let Some(bias) = self.shape.key_bias {
            crate::ops::add(scores, &bias[first..first + scores.len()]);
        }
        softmax(scores);
        if let Some(tap) = &mut self.tap {
            tap(row, first, scores);
        }
    }
}

/// Attention of one query head, `[rows, dim]`, over the slots of its key-value head.
///
/// Row `i` of the query is `q[i * q_stride ..][..dim]` and sees slots `lo..=past + i`, where `lo` is 0 or, with a
/// window, `past + i + 1 - window`; row `i` of the result goes to `out[i * out_stride ..][..dim]`. `tap` receives
/// `(i, lo, probabilities)` for each row in ascending order, the probabilities over slots
/// `lo..=past + i`. `scratch` grows to a few rows of scores and queries and can be kept between calls.
///
/// Panics when a slice is too short or the window is 0.
#[expect(clippy::too_many_arguments, reason = "two strided matrices and where they lie")]
pub fn attend(
    shape: &AttentionShape<'_>,
    q: &[f32],
    q_stride: usize,
    rows: usize,
    past: usize,
    keys: KvSlice<'_>,
    values: KvSlice<'_>,
    out: &mut [f32],
    out_stride: usize,
    scratch: &mut Vec<f32>,
    tap: Option<&mut Tap<'_>>,
) {
    let side_by_side = false;
    let head =
        Head { shape, q, q_stride, rows, past, side_by_side, keys, values, out, out_stride, scratch, tap };
    attend_with(variant::chosen(), head);
}

/// Attention of one position of the query heads that share a key-value head, so that its keys and values are read
/// once for all of them: `q` and `out` are `[heads, dim]`, and every head sees `slots` slots, or the last ones when
/// there is a window. A head's result has the bits that [`attend`] gives it.
///
/// `tap` receives `(head, lo, probabilities)` for each head in ascending order.
///
/// Panics when a slice is too short, there is no slot or the window is 0.
#[expect(clippy::too_many_arguments, reason = "as for single heads")]
pub fn attend_heads(
    shape: &AttentionShape<'_>,
    q: &[f32],
    heads: usize,
    slots: usize,
    keys: KvSlice<'_>,
    values: KvSlice<'_>,
    out: &mut [f32],
    scratch: &mut Vec<f32>,
    tap: Option<&mut Tap<'_>>,
) {
    let dim = shape.dim;
    attend_all(shape, q, dim, heads, slots, keys, values, out, dim, scratch, tap);
}

/// Attention of rows that all see the same slots, as those of a picture do, or the last ones when there is a window: rows as
/// in [`attend`], with the bits of [`attend_heads`].
///
/// Panics when a slice is too short, there is no slot or the window is 0.
#[expect(clippy::too_many_arguments, reason = "as for successive positions")]
pub fn attend_all(
    shape: &AttentionShape<'_>,
    q: &[f32],
    q_stride: usize,
    rows: usize,
    slots: usize,
    keys: KvSlice<'_>,
    values: KvSlice<'_>,
    out: &mut [f32],
    out_stride: usize,
    scratch: &mut Vec<f32>,
    tap: Option<&mut Tap<'_>>,
) {
    assert!(slots > 0, "attention to no slots");
    let (past, side_by_side) = (slots - 1, true);
    let head =
        Head { shape, q, q_stride, rows, past, side_by_side, keys, values, out, out_stride, scratch, tap };
    attend_with(variant::chosen(), head);
}

pub(crate) fn attend_with(variant: &Variant, mut head: Head<'_, '_>) {
    if head.rows == 0 {
        return;
    }
    let (dim, last) = (head.shape.dim, head.rows - 1);
    let slots = head.slots();
    head.keys.check("keys", slots, dim);
    head.values.check("values", slots, dim);
    let end = |stride: usize| last.checked_mul(stride).and_then(|at| at.checked_add(dim));
    assert!(end(head.q_stride).is_some_and(|n| n <= head.q.len()), "queries for {} rows", head.rows);
    assert!(end(head.out_stride).is_some_and(|n| n <= head.out.len()), "output for {} rows", head.rows);
    assert!(head.rows == 1 || head.out_stride >= dim, "rows of the output overlap");
    assert!(head.shape.window != Some(0), "a window of no slots");
    assert!(head.shape.key_bias.is_none_or(|bias| bias.len() >= slots), "key bias for {slots} slots");
    (variant.attend)(&mut head);
}
