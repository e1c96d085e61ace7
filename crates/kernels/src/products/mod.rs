//! Products of activations with weight matrices, `y = x W^T`.
//!
//! How an output is accumulated is fixed, so that thread counts, batches and variants agree:
//! - [`Mode::Exact`] and float weights: eight f32 lanes along the columns (column `c` in lane `c % 8`), added up as
//!   [`sum_lanes`] does. Variants may fuse multiply and add, so they agree to rounding only.
//! - [`Mode::Fast`] and quantised weights: the codes of a block meet in exact integer arithmetic; blocks are then
//!   added one after the other in f32, without fused operations. In a per-channel format the whole row is one such
//!   block. All variants agree bit for bit.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(test)]
mod channel_tests;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
#[cfg(test)]
pub(crate) mod tests;

use std::marker::PhantomData;
use std::ops::Range;

use crate::variant::{self, Variant};
use crate::{Activations, Matrix, Threads};

/// How quantised weights are multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// f32 activations times exactly dequantised weights.
    Exact,
    /// int8 activations times quantised weights, as llama.cpp does. The same as `Exact` for float weights.
    #[default]
    Fast,
}

/// One weight and where its product goes.
pub struct Product<'a> {
    /// `[rows, cols]`.
    pub weight: Matrix<'a>,
    /// `[m, weight.rows]`, overwritten.
    pub out: &'a mut [f32],
}

/// Some rows of one product, the work of one task.
pub(crate) struct Tile<'a> {
    pub(crate) weight: Matrix<'a>,
    pub(crate) x: &'a Activations,
    pub(crate) mode: Mode,
    /// What this thread probably reads next; never more than a hint.
    next: *const u8,
    out: *mut f32,
    stride: usize,
    life: PhantomData<&'a mut [f32]>,
}

impl Tile<'_> {
    /// Where weight row `row` of this tile lies, or after the last row what this thread probably reads next. To be
    /// asked for ahead of time, not to be read.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "plain loops leave it to the processor")
    )]
    #[inline]
    pub(crate) fn ahead(&self, row: usize) -> *const u8 {
        if row < self.weight.rows { self.weight.row(row).as_ptr() } else { self.next }
    }

    /// Stores the output of activation row `i` and weight row `row` (of this tile).
    #[inline(always)]
    pub(crate) fn store(&self, i: usize, row: usize, value: f32) {
        debug_assert!(i < self.x.m() && row < self.weight.rows);
        // SAFETY: the tile's columns of the output belong to this task alone, and the indices are inside.
        unsafe { *self.out.add(i * self.stride + row) = value };
    }

    /// Where the outputs of activation row `i` and the weight rows from `row` on lie, and how many these are.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn place(&self, i: usize, row: usize) -> (*mut f32, usize) {
        debug_assert!(i < self.x.m() && row < self.weight.rows);
        (self.out.wrapping_add(i * self.stride + row), self.weight.rows - row)
    }

    /// Stores the outputs of activation row `i` and the weight rows from `row` on, as many as there are.
    #[inline(always)]
    pub(crate) fn store_up_to(&self, i: usize, row: usize, values: &[f32]) {
        // Apart, because a copy of known size needs no call.
        match self.weight.rows - row {
            there if there < values.len() => self.store_some(i, row, &values[..there]),
            _ => self.store_some(i, row, values),
        }
    }

    /// Stores the outputs of activation row `i` and the weight rows from `row` on.
    #[inline(always)]
    pub(crate) fn store_some(&self, i: usize, row: usize, values: &[f32]) {
        debug_assert!(i < self.x.m() && row + values.len() <= self.weight.rows);
        // SAFETY: as above; outputs of neighbouring weight rows are neighbours.
        unsafe {
            let to = self.out.add(i * self.stride + row);
            to.copy_from_nonoverlapping(values.as_ptr(), values.len());
        }
    }
}

/// The fixed order in which eight lanes become a sum.
#[inline(always)]
pub(crate) fn sum_lanes(lanes: [f32; 8]) -> f32 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// Products whose outputs are listed at once; more are done in turns.
const AT_ONCE: usize = 8;
/// The least work of a task, in weight bytes times activation rows.
const TASK_WORK: usize = 48 << 10;

#[derive(Clone, Copy)]
struct Part<'a> {
    weight: Matrix<'a>,
    out: *mut f32,
    /// Work of a weight row.
    per_row: usize,
}

/// Shared with the tasks of one section, which write separate columns of the outputs.
///
/// Tasks start large and shrink: long stretches of memory are read fastest, and the small ones at the end let all
/// threads finish together.
struct Parts<'a> {
    parts: [Option<Part<'a>>; AT_ONCE],
    /// Work of all parts.
    work: usize,
    threads: usize,
    /// Rows of a task are a multiple of this.
    rows: usize,
}

// SAFETY: the pointers lead into outputs that `matmul` borrows exclusively, and tasks write separate parts.
unsafe impl Sync for Parts<'_> {}

impl<'a> Parts<'a> {
    /// All tasks: a product and some of its weight rows.
    fn tasks(&self) -> impl Iterator<Item = (&Part<'a>, Range<usize>)> {
        let mut left = self.work;
        self.parts.iter().flatten().flat_map(move |part| {
            let rows = part.weight.rows;
            let mut first = 0;
            let mut at_start = left;
            left = left.saturating_sub(rows.saturating_mul(part.per_row));
            std::iter::from_fn(move || {
                let work = (at_start / (2 * self.threads)).max(TASK_WORK);
                let last = (first + (work / part.per_row / self.rows).max(1) * self.rows).min(rows);
                let task = first..last;
                at_start = at_start.saturating_sub(task.len() * part.per_row);
                first = last;
                (!task.is_empty()).then_some((part, task))
            })
        })
    }
}

/// `out = x W^T` for several weights that share the input `x`, in one parallel section.
///
/// A result depends neither on the number of threads nor on the other rows of `x`. NaNs go through.
///
/// Panics when shapes disagree, or when `mode` is [`Mode::Fast`] and [`Activations::prepare`] was not called for a
/// weight's format: mistakes of the calling code, never of a file.
pub fn matmul(pool: &Threads, x: &Activations, products: &mut [Product<'_>], mode: Mode) {
    matmul_with(variant::chosen(), pool, x, products, mode);
}

pub(crate) fn matmul_with(
    variant: &Variant,
    pool: &Threads,
    x: &Activations,
    products: &mut [Product<'_>],
    mode: Mode,
) {
    let m = x.m();
    for group in products.chunks_mut(AT_ONCE) {
        let mut parts = Parts { parts: [None; AT_ONCE], work: 0, threads: pool.count(), rows: variant.rows };
        for (part, product) in parts.parts.iter_mut().zip(group) {
            let weight = product.weight;
            assert_eq!(weight.cols, x.cols(), "columns of {weight:?} and activations");
            assert_eq!(
                Some(product.out.len()),
                m.checked_mul(weight.rows),
                "output of {weight:?} for {m} rows"
            );
            let bytes = weight.format.row_bytes(weight.cols).and_then(|row| row.checked_mul(weight.rows));
            assert_eq!(Some(weight.data.len()), bytes, "bytes of {weight:?}");
            assert!(
                mode == Mode::Exact || x.ready(variant, weight.format),
                "activations not prepared for {weight:?}"
            );
            if weight.rows == 0 || m == 0 {
                continue;
            }
            let per_row = weight.row_bytes().saturating_mul(m).max(1);
            parts.work = parts.work.saturating_add(weight.rows.saturating_mul(per_row));
            *part = Some(Part { weight, out: product.out.as_mut_ptr(), per_row });
        }
        let parts = &parts;
        pool.run(parts.tasks().count(), |task| {
            let mut tasks = parts.tasks().skip(task);
            let Some((part, rows)) = tasks.next() else { return };
            // Threads claim tasks in turns.
            let next = tasks.nth(parts.threads - 1);
            (variant.product)(&Tile {
                weight: part.weight.rows(rows.clone()),
                x,
                mode,
                next: next.map_or(std::ptr::null(), |(part, rows)| part.weight.row(rows.start).as_ptr()),
                // SAFETY: the row is a column of the output.
                out: unsafe { part.out.add(rows.start) },
                stride: part.weight.rows,
                life: PhantomData,
            });
        });
    }
}
