//! [`accumulate`](crate::accumulate()) with AVX-512: tiles of up to twelve rows by 32 columns, whose sums stay in registers.

use std::arch::x86_64::*;

use super::{Block, Factors};

/// Columns of a vector, and vectors of a tile at most.
const LANES: usize = 16;
const MOST: usize = 2;
/// Rows whose factors are found from one pointer: two offsets beside none.
const GROUP: usize = 3;

/// A block of the output.
#[target_feature(enable = "avx512f")]
pub(crate) fn accumulate(block: &Block<'_>) {
    let [left, right] = block.columns;
    for column in (left..right).step_by(MOST * LANES) {
        let columns = (right - column).min(MOST * LANES);
        let mut row = block.rows[0];
        while row < block.rows[1] {
            row += match (block.rows[1] - row, columns > LANES) {
                (12.., true) => tile::<12, 2>(block, row, column, columns),
                (8.., true) => tile::<8, 2>(block, row, column, columns),
                (4.., true) => tile::<4, 2>(block, row, column, columns),
                (2.., true) => tile::<2, 2>(block, row, column, columns),
                (_, true) => tile::<1, 2>(block, row, column, columns),
                (12.., false) => tile::<12, 1>(block, row, column, columns),
                (8.., false) => tile::<8, 1>(block, row, column, columns),
                (4.., false) => tile::<4, 1>(block, row, column, columns),
                (2.., false) => tile::<2, 1>(block, row, column, columns),
                (_, false) => tile::<1, 1>(block, row, column, columns),
            };
        }
    }
}

/// The outputs of `ROWS` rows from `row` on and of `columns` columns from `column` on, in `VECTORS` vectors; the rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn tile<const ROWS: usize, const VECTORS: usize>(
    block: &Block<'_>,
    row: usize,
    column: usize,
    columns: usize,
) -> usize {
    let Factors { values: factors, depth, strides, .. } = block.factors;
    let last = columns - (VECTORS - 1) * LANES;
    let masks: [__mmask16; VECTORS] =
        std::array::from_fn(|v| if v + 1 < VECTORS { !0 } else { ((1u32 << last) - 1) as __mmask16 });
    let out: [*mut f32; ROWS] = std::array::from_fn(|at| {
        // SAFETY: the block of the output belongs to this task alone.
        unsafe { block.out.slice((row + at) * block.width + column, columns) }.as_mut_ptr()
    });
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    for (sums, out) in sums.iter_mut().zip(out) {
        for (v, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the columns in the mask are inside the row's part that was borrowed above.
            *sum = unsafe { _mm512_maskz_loadu_ps(masks[v], out.add(LANES * v)) };
        }
    }
    if depth > 0 {
        let last = (row + ROWS - 1) * strides[0] + (depth - 1) * strides[1];
        assert!(last < factors.len() && (depth - 1) * block.width + column + columns <= block.values.len());
    }
    let mut factors: [*const f32; ROWS] =
        std::array::from_fn(|at| factors.as_ptr().wrapping_add((row + at * GROUP) * strides[0]));
    let mut values = block.values.as_ptr().wrapping_add(column);
    for _ in 0..depth {
        // SAFETY: the columns in the mask are inside a row of V, and the last row was checked.
        let own: [__m512; VECTORS] =
            std::array::from_fn(|v| unsafe { _mm512_maskz_loadu_ps(masks[v], values.add(LANES * v)) });
        for (at, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the largest index was checked.
            let factor = _mm512_set1_ps(unsafe { *factors[at / GROUP].add(at % GROUP * strides[0]) });
            for (sum, value) in sums.iter_mut().zip(own) {
                *sum = _mm512_fmadd_ps(factor, value, *sum);
            }
        }
        values = values.wrapping_add(block.width);
        for factors in &mut factors[..ROWS.div_ceil(GROUP)] {
            *factors = factors.wrapping_add(strides[1]);
        }
    }
    for (sums, out) in sums.iter().zip(out) {
        for (v, sum) in sums.iter().enumerate() {
            // SAFETY: as above.
            unsafe { _mm512_mask_storeu_ps(out.add(LANES * v), masks[v], *sum) };
        }
    }
    ROWS
}
