//! Attention of the rows of one sequence over the slots of its keys and values.
//!
//! A decoder's rows look back ([`Sight::Causal`]) over a [`KvMemory`](crate::KvMemory). Rows that all see each other, such as the
//! patches of a picture ([`Sight::All`]), need no memory: [`split_heads`] brings k and v into the order of a [`HeadView`].

use std::cell::RefCell;

use crayon_kernels::{AttentionShape, Tap, Threads, attend, attend_all, attend_heads};

use crate::linear::some_rows;
use crate::memory::HeadView;

thread_local! {
    /// Scores of the head a thread works on, kept from call to call.
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Which slots a row sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Rows are the newest slots, and each sees those up to its own: all, or the last `window`.
    Causal {
        /// Slots a row sees, its own included; at least 1.
        window: Option<usize>,
    },
    /// Every row sees every slot.
    All,
}

/// Receives query head, row, first slot and the probabilities of the slots from there on. Called from several threads at once,
/// for different heads.
pub type HeadTap<'a> = dyn Fn(usize, usize, usize, &[f32]) + Sync + 'a;

/// One attention: `softmax(scale * q kᵀ) v` for every query head.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub dim: usize,
    /// Factor on q.k before softmax.
    pub scale: f32,
    /// Scores pass through `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Which slots a row sees.
    pub sight: Sight,
    /// Sees the probabilities.
    pub tap: Option<&'a HeadTap<'a>>,
}

impl Attention<'_> {
    /// Mixes values for `rows` rows: `q` and `out` are `[rows, heads, dim]`; `kv` gives what a key-value head holds, the rows
    /// themselves included. `by_head` is a buffer that grows to the size of `out`.
    ///
    /// # Panics
    /// When a size is wrong, or there is no slot to see.
    pub fn mix<'k>(
        &self,
        threads: &Threads,
        q: &[f32],
        rows: usize,
        kv: &(impl Fn(usize) -> HeadView<'k> + Sync),
        by_head: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        assert_eq!(q.len(), rows * self.heads * self.dim, "queries of {rows} rows");
        assert_eq!(out.len(), q.len(), "outputs of {rows} rows");
        if rows == 1 {
            return self.mix_heads(threads, q, rows, kv, out);
        }
        by_head.resize(out.len(), 0.0);
        self.mix_heads(threads, q, rows, kv, by_head);
        join_heads(threads, by_head, self.heads, self.dim, out);
    }

    /// The same with `out` `[heads, rows, dim]`.
    fn mix_heads<'k>(
        &self,
        threads: &Threads,
        q: &[f32],
        rows: usize,
        kv: &(impl Fn(usize) -> HeadView<'k> + Sync),
        out: &mut [f32],
    ) {
        let dim = self.dim;
        let group = self.heads / self.kv_heads;
        // A single row's heads go together where they share keys and values, as long as every thread has work.
        let together = match rows {
            1 => heads_together(group, self.kv_heads, threads.count()),
            _ => 1,
        };
        threads.for_each_chunk(out, together * rows * dim, |task, out| {
            let head = task * together;
            let kv = kv(head / group);
            if together == 1 {
                return self.mix_head(head, q, rows, &kv, out, dim);
            }
            let mut report = self
                .tap
                .map(|tap| move |index: usize, first: usize, p: &[f32]| tap(head + index, 0, first, p));
            let tap = report.as_mut().map(|report| report as &mut Tap<'_>);
            SCORES.with_borrow_mut(|scores| {
                let shape = self.shape(&kv);
                let q = &q[head * dim..];
                attend_heads(&shape, q, together, kv.slots, kv.keys, kv.values, out, scores, tap);
            });
        });
    }

    /// As [`mix`](Self::mix) on the calling thread alone: for a task of many, each with rows of its own.
    ///
    /// # Panics
    /// As [`mix`](Self::mix).
    pub fn mix_alone<'k>(
        &self,
        q: &[f32],
        rows: usize,
        kv: &impl Fn(usize) -> HeadView<'k>,
        out: &mut [f32],
    ) {
        assert_eq!(q.len(), rows * self.heads * self.dim, "queries of {rows} rows");
        assert_eq!(out.len(), q.len(), "outputs of {rows} rows");
        let group = self.heads / self.kv_heads;
        for head in 0..self.heads {
            let out = &mut out[head * self.dim..];
            self.mix_head(head, q, rows, &kv(head / group), out, self.heads * self.dim);
        }
    }

    /// One head of all rows; row `i` of the result goes to `out[i * out_stride ..][..dim]`.
    fn mix_head(
        &self,
        head: usize,
        q: &[f32],
        rows: usize,
        kv: &HeadView<'_>,
        out: &mut [f32],
        out_stride: usize,
    ) {
        let (shape, stride) = (self.shape(kv), self.heads * self.dim);
        let q = &q[head * self.dim..];
        let mut report =
            self.tap.map(|tap| move |row: usize, first: usize, p: &[f32]| tap(head, row, first, p));
        let tap = report.as_mut().map(|report| report as &mut Tap<'_>);
        let HeadView { keys, values, slots, .. } = *kv;
        SCORES.with_borrow_mut(|scores| match self.sight {
            Sight::All => {
                attend_all(&shape, q, stride, rows, slots, keys, values, out, out_stride, scores, tap)
            }
            Sight::Causal { .. } => {
                attend(&shape, q, stride, rows, slots - rows, keys, values, out, out_stride, scores, tap);
            }
        });
    }

    fn shape<'k>(&self, kv: &HeadView<'k>) -> AttentionShape<'k> {
        let window = match self.sight {
            Sight::Causal { window } => window,
            Sight::All => None,
        };
        let (dim, scale, softcap) = (self.dim, self.scale, self.softcap);
        AttentionShape { dim, scale, softcap, window, key_bias: kv.key_bias }
    }
}

/// How many heads of a group of `group` go together: the most that divide the group and leave each thread a task.
fn heads_together(group: usize, groups: usize, threads: usize) -> usize {
    let fits = |heads: &usize| group.is_multiple_of(*heads) && groups * (group / heads) >= threads;
    (1..=group).rev().find(fits).unwrap_or(1)
}

/// `[heads, rows, dim]` to `[rows, heads, dim]`.
fn join_heads(threads: &Threads, by_head: &[f32], heads: usize, dim: usize, out: &mut [f32]) {
    let width = heads * dim;
    let (rows, each) = (by_head.len() / width, some_rows(width));
    threads.for_each_chunk(out, each, |i, out| {
        for (row, out) in (i * each / width..).zip(out.chunks_exact_mut(width)) {
            for (head, out) in out.chunks_exact_mut(dim).enumerate() {
                out.copy_from_slice(&by_head[(head * rows + row) * dim..][..dim]);
            }
        }
    });
}

/// `[rows, heads, dim]` to `[heads, rows, dim]`: keys or values as [`HeadView`] has them, `rows * dim` for each head.
///
/// # Panics
/// When the sizes differ.
pub fn split_heads(threads: &Threads, x: &[f32], heads: usize, dim: usize, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "heads before and after they are split");
    let width = heads * dim;
    let rows = x.len() / width;
    threads.for_each_chunk(out, (rows * dim).max(1), |head, out| {
        for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(dim)) {
            out.copy_from_slice(&row[head * dim..][..dim]);
        }
    });
}
