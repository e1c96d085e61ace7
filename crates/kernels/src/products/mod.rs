//! Products of activations with weight matrices, `y = x W^T`.
//!
//! How an output is accumulated is fixed, so that thread counts, batches and variants agree:
//! - [`Mode::Exact`] and float weights: eight f32 lanes along the columns (column `c` in lane `c % 8`), added up as
//!   [`sum_lanes`] does. Variants may fuse multiply and add, so they agree to rounding only.
//! - [`Mode::Fast`] and quantised weights: the codes of a block meet in exact integer arithmetic; blocks are then
//!   added one after the other in f32, without fused operations. All variants agree bit for bit.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod portable;
#[cfg(test)]
pub(crate) mod tests;

use std::marker::PhantomData;

use crate::variant::{self, Variant};
use crate::{Activations, Matrix, Pool};

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
    out: *mut f32,
    stride: usize,
    life: PhantomData<&'a mut [f32]>,
}

impl Tile<'_> {
    /// Stores the output of activation row `i` and weight row `row` (of this tile).
    #[inline(always)]
    pub(crate) fn store(&self, i: usize, row: usize, value: f32) {
        debug_assert!(i < self.x.m() && row < self.weight.rows);
        // SAFETY: the tile's columns of the output belong to this task alone, and the indices are inside.
        unsafe { *self.out.add(i * self.stride + row) = value };
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
/// A task's work, in weight bytes times activation rows.
const TASK_WORK: usize = 96 << 10;

#[derive(Clone, Copy)]
struct Part<'a> {
    weight: Matrix<'a>,
    out: *mut f32,
    rows_each: usize,
    tasks: usize,
}

/// Shared with the tasks of one section, which write separate columns of the outputs.
struct Parts<'a>([Option<Part<'a>>; AT_ONCE]);

// SAFETY: the pointers lead into outputs that `matmul` borrows exclusively, and tasks write separate parts.
unsafe impl Sync for Parts<'_> {}

/// `out = x W^T` for several weights that share the input `x`, in one parallel section.
///
/// A result depends neither on the number of threads nor on the other rows of `x`. NaNs go through.
///
/// Panics when shapes disagree, or when `mode` is [`Mode::Fast`] and [`Activations::prepare`] was not called for a
/// weight's format: mistakes of the calling code, never of a file.
pub fn matmul(pool: &Pool, x: &Activations, products: &mut [Product<'_>], mode: Mode) {
    matmul_with(variant::chosen(), pool, x, products, mode);
}

pub(crate) fn matmul_with(
    variant: &Variant,
    pool: &Pool,
    x: &Activations,
    products: &mut [Product<'_>],
    mode: Mode,
) {
    let m = x.m();
    for group in products.chunks_mut(AT_ONCE) {
        let mut parts = Parts([None; AT_ONCE]);
        let mut tasks = 0;
        for (part, product) in parts.0.iter_mut().zip(group) {
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
            let rows_each = (TASK_WORK / per_row / variant.rows).max(1) * variant.rows;
            let count = weight.rows.div_ceil(rows_each);
            *part = Some(Part { weight, out: product.out.as_mut_ptr(), rows_each, tasks: count });
            tasks += count;
        }
        let parts = &parts;
        pool.run(tasks, |mut task| {
            for part in parts.0.iter().flatten() {
                if task >= part.tasks {
                    task -= part.tasks;
                    continue;
                }
                let first = task * part.rows_each;
                let last = (first + part.rows_each).min(part.weight.rows);
                (variant.product)(&Tile {
                    weight: part.weight.rows(first..last),
                    x,
                    mode,
                    // SAFETY: `first` is a column of the output.
                    out: unsafe { part.out.add(first) },
                    stride: part.weight.rows,
                    life: PhantomData,
                });
                return;
            }
        });
    }
}
