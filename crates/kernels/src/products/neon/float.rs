//! Products in f32: float weights in either mode, and quantised weights in `Mode::Exact`.
//!
//! Each output has eight sums along the columns, whichever loop computes it.

use std::arch::aarch64::*;
use std::cell::RefCell;
use std::ops::Range;

use half::{bf16, f16};

use super::load::{Eight, Load, add_products, four_sums};
use super::rows::{SIDE, pointers, store};
use crate::products::Tile;
use crate::quants::channel;
use crate::{Format, Matrix};

/// Columns of a chunk, a multiple of every block length.
const CHUNK: usize = 256;
/// Weight rows whose chunks are held as f32 together: 16 KB.
const WIDE: usize = 16;
/// Activation rows that meet them before the next chunk: their sums take 48 KB.
const BATCH: usize = 96;
/// Activation rows that meet four weight rows together: their sums take half of the registers.
const TOGETHER: usize = 2;

#[derive(Default)]
struct Scratch {
    /// `[WIDE]`.
    weights: Vec<[f32; CHUNK]>,
    /// `[BATCH, WIDE / 4]`.
    sums: Vec<[[Eight; SIDE]; WIDE / SIDE]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[target_feature(enable = "neon")]
pub(super) fn product(tile: &Tile<'_>) {
    match tile.weight.format {
        Format::F32 if tile.x.m() <= TOGETHER => few::<f32>(tile),
        Format::F16 if tile.x.m() <= TOGETHER => few::<f16>(tile),
        Format::BF16 if tile.x.m() <= TOGETHER => few::<bf16>(tile),
        _ => many(tile),
    }
}

/// Four weight rows side by side, read in place.
#[target_feature(enable = "neon")]
fn few<T: Load>(tile: &Tile<'_>) {
    let weight = &tile.weight;
    for first in (0..weight.rows).step_by(SIDE) {
        let rows: [_; SIDE] = pointers(weight, first);
        for i in 0..tile.x.m() {
            let mut sums = [[[vdupq_n_f32(0.0); 2]; SIDE]];
            // SAFETY: rows of `cols` values on both sides.
            unsafe {
                add_products(
                    [tile.x.row(i).as_ptr()],
                    rows.map(|row| row.cast::<T>()),
                    weight.cols,
                    &mut sums,
                );
            }
            store(tile, i, first, four_sums(sums[0]));
        }
    }
}

/// Any weights: chunks of sixteen rows are widened to f32 and met by batches of activation rows.
#[target_feature(enable = "neon")]
fn many(tile: &Tile<'_>) {
    let zero = [[[vdupq_n_f32(0.0); 2]; SIDE]; WIDE / SIDE];
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.weights.resize(WIDE, [0.0; CHUNK]);
        scratch.sums.resize(BATCH, zero);
        for first in (0..tile.weight.rows).step_by(WIDE) {
            let weight = tile.weight.rows(first..(first + WIDE).min(tile.weight.rows));
            for start in (0..tile.x.m()).step_by(BATCH) {
                let batch = start..(start + BATCH).min(tile.x.m());
                scratch.sums[..batch.len()].fill(zero);
                for column in (0..weight.cols).step_by(CHUNK) {
                    chunk(scratch, tile, &weight, batch.clone(), column);
                }
                for (i, sums) in batch.zip(&scratch.sums) {
                    for (row, sums) in (0..weight.rows).step_by(SIDE).zip(sums) {
                        store(tile, i, first + row, four_sums(*sums));
                    }
                }
            }
        }
    });
}

/// Adds the products of one chunk of columns to the sums.
#[target_feature(enable = "neon")]
fn chunk(scratch: &mut Scratch, tile: &Tile<'_>, weight: &Matrix<'_>, batch: Range<usize>, column: usize) {
    let width = CHUNK.min(weight.cols - column);
    let (len, size) = (weight.format.block_len(), weight.format.block_bytes());
    // Of a per-channel row both are 0: it is read by its columns.
    let (at, bytes) = (column / len * size, width / len * size);
    for (r, to) in scratch.weights.iter_mut().enumerate() {
        // Missing rows repeat the last; their sums are not stored.
        let (row, to) = (weight.row(r.min(weight.rows - 1)), &mut to[..width]);
        match weight.format.is_per_channel() {
            true => channel::dequantize(weight.format, row, column, to),
            false => super::dequantize(weight.format, &row[at..at + bytes], to),
        }
    }
    let x = |i: usize| tile.x.row(i)[column..column + width].as_ptr();
    for (sums, i) in scratch.sums[..batch.len()].chunks_mut(TOGETHER).zip(batch.step_by(TOGETHER)) {
        for (four, w) in scratch.weights.as_chunks::<SIDE>().0.iter().enumerate() {
            let w = w.each_ref().map(|row| row.as_ptr());
            // SAFETY: rows of `width` values on both sides.
            unsafe {
                if let [first, second] = sums {
                    let mut both = [first[four], second[four]];
                    add_products([x(i), x(i + 1)], w, width, &mut both);
                    [first[four], second[four]] = both;
                } else {
                    let mut one = [sums[0][four]];
                    add_products([x(i)], w, width, &mut one);
                    [sums[0][four]] = one;
                }
            }
        }
    }
}
