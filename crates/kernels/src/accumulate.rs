//! `out += C V`, with rows of `V` and `out` along the columns: what training needs beside `x Wᵀ`.
//!
//! Every output adds its products in the order of C's columns. Variants may fuse multiply and add, so they agree to rounding
//! only.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;

use std::ops::Range;

use crate::Threads;
use crate::threads::Disjoint;
use crate::variant::{self, Variant};

/// The factors C `[rows, depth]` of [`accumulate`].
#[derive(Clone, Copy, Debug)]
pub struct Factors<'a> {
    values: &'a [f32],
    rows: usize,
    depth: usize,
    /// Distance of neighbours in a column and in a row.
    strides: [usize; 2],
}

impl<'a> Factors<'a> {
    /// `values` are `[rows, depth]`.
    ///
    /// # Panics
    /// When `values` has another size.
    pub fn new(values: &'a [f32], rows: usize, depth: usize) -> Factors<'a> {
        assert_eq!(values.len(), rows * depth, "[{rows}, {depth}]");
        Factors { values, rows, depth, strides: [depth, 1] }
    }

    /// `values` are `[depth, rows]`.
    ///
    /// # Panics
    /// When `values` has another size.
    pub fn transposed(values: &'a [f32], rows: usize, depth: usize) -> Factors<'a> {
        assert_eq!(values.len(), rows * depth, "[{depth}, {rows}]");
        Factors { values, rows, depth, strides: [1, rows] }
    }

    /// Of these factors the columns in `part`.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn columns(self, part: Range<usize>) -> Factors<'a> {
        assert!(part.start <= part.end && part.end <= self.depth, "columns {part:?} of {}", self.depth);
        let values = self.values.get(part.start * self.strides[1]..).unwrap_or_default();
        Factors { values, depth: part.len(), ..self }
    }
}

/// Rows and columns of a task's block.
const BLOCK: [usize; 2] = [24, 128];
/// A task: a block of the output.
pub(crate) struct Block<'a> {
    factors: Factors<'a>,
    values: &'a [f32],
    width: usize,
    rows: [usize; 2],
    columns: [usize; 2],
    out: &'a Disjoint<'a, f32>,
}

/// `out += C V` for `out` `[rows, width]` and V `[depth, width]`; the same on any number of threads.
///
/// # Panics
/// When a slice does not have the size its shape says.
pub fn accumulate(pool: &Threads, factors: Factors<'_>, values: &[f32], width: usize, out: &mut [f32]) {
    accumulate_with(variant::chosen(), pool, factors, values, width, out);
}

fn accumulate_with(
    variant: &Variant,
    pool: &Threads,
    factors: Factors<'_>,
    values: &[f32],
    width: usize,
    out: &mut [f32],
) {
    assert_eq!(values.len(), factors.depth * width, "[{}, {width}]", factors.depth);
    assert_eq!(out.len(), factors.rows * width, "[{}, {width}]", factors.rows);
    let (down, across) = (factors.rows.div_ceil(BLOCK[0]), width.div_ceil(BLOCK[1]));
    let out = &Disjoint::new(out);
    pool.run(down * across, |task| {
        let ends = |number: usize, size: usize, all: usize| [number * size, all.min((number + 1) * size)];
        (variant.accumulate)(&Block {
            factors,
            values,
            width,
            rows: ends(task / across, BLOCK[0], factors.rows),
            columns: ends(task % across, BLOCK[1], width),
            out,
        });
    });
}

/// The plain twin.
pub(crate) fn portable(block: &Block<'_>) {
    let Factors { values: factors, depth, strides, .. } = block.factors;
    let [left, right] = block.columns;
    for row in block.rows[0]..block.rows[1] {
        // SAFETY: the block of the output belongs to this task alone.
        let out = unsafe { block.out.slice(row * block.width + left, right - left) };
        for at in 0..depth {
            let factor = factors[row * strides[0] + at * strides[1]];
            let values = &block.values[at * block.width + left..at * block.width + right];
            for (out, value) in out.iter_mut().zip(values) {
                *out += factor * value;
            }
        }
    }
}

/// With AVX2 and fused multiply and add: tiles of six rows by sixteen or eight columns, whose sums stay in registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn avx2(block: &Block<'_>) {
    let [mut left, right] = block.columns;
    while right - left >= 8 {
        let vectors = ((right - left) / 8).min(2);
        for row in (block.rows[0]..block.rows[1]).step_by(6) {
            match ((block.rows[1] - row).min(6), vectors) {
                (6, 2) => tile::<6, 2>(block, row, left),
                (5, 2) => tile::<5, 2>(block, row, left),
                (4, 2) => tile::<4, 2>(block, row, left),
                (3, 2) => tile::<3, 2>(block, row, left),
                (2, 2) => tile::<2, 2>(block, row, left),
                (_, 2) => tile::<1, 2>(block, row, left),
                (6, _) => tile::<6, 1>(block, row, left),
                (5, _) => tile::<5, 1>(block, row, left),
                (4, _) => tile::<4, 1>(block, row, left),
                (3, _) => tile::<3, 1>(block, row, left),
                (2, _) => tile::<2, 1>(block, row, left),
                _ => tile::<1, 1>(block, row, left),
            }
        }
        left += 8 * vectors;
    }
    if left < right {
        portable(&Block { columns: [left, right], ..*block });
    }
}

/// The outputs of `ROWS` rows from `row` on and of `8 * VECTORS` columns from `column` on.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,fma")]
fn tile<const ROWS: usize, const VECTORS: usize>(block: &Block<'_>, row: usize, column: usize) {
    use std::arch::x86_64::*;

    let Factors { values: factors, depth, strides, .. } = block.factors;
    let out: [*mut f32; ROWS] = std::array::from_fn(|at| {
        // SAFETY: the block of the output belongs to this task alone.
        unsafe { block.out.slice((row + at) * block.width + column, 8 * VECTORS) }.as_mut_ptr()
    });
    let zero = _mm256_setzero_ps();
    let mut sums = [[zero; VECTORS]; ROWS];
    for (sums, out) in sums.iter_mut().zip(out) {
        for (at, sum) in sums.iter_mut().enumerate() {
            // SAFETY: inside the row's part that was borrowed above.
            *sum = unsafe { _mm256_loadu_ps(out.add(8 * at)) };
        }
    }
    if depth > 0 {
        let last = (row + ROWS - 1) * strides[0] + (depth - 1) * strides[1];
        assert!(
            last < factors.len() && (depth - 1) * block.width + column + 8 * VECTORS <= block.values.len()
        );
    }
    let (factors, values) = (factors.as_ptr(), block.values.as_ptr());
    for at in 0..depth {
        let mut own = [zero; VECTORS];
        for (i, value) in own.iter_mut().enumerate() {
            // SAFETY: `column + 8 * VECTORS` is inside a row of V, and the last row was checked.
            *value = unsafe { _mm256_loadu_ps(values.add(at * block.width + column + 8 * i)) };
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the largest index was checked.
            let factor =
                unsafe { _mm256_broadcast_ss(&*factors.add((row + i) * strides[0] + at * strides[1])) };
            for (sum, value) in sums.iter_mut().zip(own) {
                *sum = _mm256_fmadd_ps(factor, value, *sum);
            }
        }
    }
    for (sums, out) in sums.iter().zip(out) {
        for (at, sum) in sums.iter().enumerate() {
            // SAFETY: as above.
            unsafe { _mm256_storeu_ps(out.add(8 * at), *sum) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::ALL;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + seed * 101) % 113) as f32 / 113.0 - 0.5).collect()
    }

    #[test]
    fn sums_are_those_of_the_definition_in_every_variant() {
        for (rows, depth, width) in [
            (1, 1, 1),
            (5, 3, 17),
            (7, 8, 33),
            (50, 9, 300),
            (13, 70, 16),
            (2, 0, 5),
            (9, 4, 8),
            (100, 20, 7),
        ] {
            let (factors, values) = (numbers(rows * depth, 1), numbers(depth * width, 2));
            let start = numbers(rows * width, 3);
            let mut expected = start.clone();
            for row in 0..rows {
                for at in 0..depth {
                    for column in 0..width {
                        expected[row * width + column] +=
                            factors[row * depth + at] * values[at * width + column];
                    }
                }
            }
            let turned: Vec<f32> =
                (0..depth * rows).map(|i| factors[i % rows.max(1) * depth + i / rows.max(1)]).collect();
            for variant in ALL.iter().filter(|variant| (variant.available)()) {
                for threads in [1, 3] {
                    let pool = Threads::new(threads);
                    let both =
                        [Factors::new(&factors, rows, depth), Factors::transposed(&turned, rows, depth)];
                    for factors in both {
                        let mut out = start.clone();
                        accumulate_with(variant, &pool, factors, &values, width, &mut out);
                        for (found, expected) in out.iter().zip(&expected) {
                            assert!(
                                (found - expected).abs() < 1e-5,
                                "{} {rows} {depth} {width}",
                                variant.name
                            );
                        }
                    }
                }
            }
        }
    }
}
