//! Products in f32: float weights in either mode, and quantised weights in `Mode::Exact`.
//!
//! A vector holds eight columns of two weight rows; an output still has eight sums along the columns, which makes
//! it AVX2's to the bit. A few activation rows against float weights are left to AVX2's loop, which memory bounds.

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;

use super::lanes;
use crate::Matrix;
use crate::products::avx2;
use crate::products::{Tile, sum_lanes};
use crate::quants::channel;

/// Columns of a chunk, a multiple of every block length.
const CHUNK: usize = 256;
/// Weight rows whose chunks are held as f32 together: 16 KB.
const WIDE: usize = 16;
const PAIRS: usize = WIDE / 2;
/// Activation rows that meet them before the next chunk: their sums take 48 KB.
const BATCH: usize = 96;
/// Activation rows and pairs of weight rows whose sums are in registers: 24 of them.
const TOGETHER: usize = 6;
const SIDE: usize = 4;

#[derive(Default)]
struct Scratch {
    /// `[CHUNK / 8, PAIRS]`: columns `8 k ..` of an even row, then of the odd row after it.
    weights: Vec<[__m512; PAIRS]>,
    /// `[BATCH, PAIRS]`.
    sums: Vec<[__m512; PAIRS]>,
    /// One row of a chunk.
    row: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
pub(super) fn product(tile: &Tile<'_>) {
    if tile.weight.format.is_float() && tile.x.m() <= avx2::float::FEW {
        return avx2::float::product(tile);
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.weights.resize(CHUNK / 8, [_mm512_setzero_ps(); PAIRS]);
        scratch.sums.resize(BATCH, [_mm512_setzero_ps(); PAIRS]);
        scratch.row.resize(CHUNK, 0.0);
        for first in (0..tile.weight.rows).step_by(WIDE) {
            let weight = tile.weight.rows(first..(first + WIDE).min(tile.weight.rows));
            for start in (0..tile.x.m()).step_by(BATCH) {
                let batch = start..(start + BATCH).min(tile.x.m());
                scratch.sums[..batch.len()].fill([_mm512_setzero_ps(); PAIRS]);
                for column in (0..weight.cols).step_by(CHUNK) {
                    unpack(scratch, &weight, column);
                    chunk(scratch, tile, batch.clone(), column);
                }
                for i in batch.clone() {
                    for r in 0..weight.rows {
                        let lanes = lanes::split(scratch.sums[i - start][r / 2])[r % 2];
                        tile.store(i, first + r, sum_lanes(avx2::lanes::array(lanes)));
                    }
                }
            }
        }
    });
}

/// Widens one chunk of columns of up to sixteen rows; what is missing at the right becomes zeros, missing rows
/// repeat the last, and their sums are not stored.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn unpack(scratch: &mut Scratch, weight: &Matrix<'_>, column: usize) {
    let width = CHUNK.min(weight.cols - column);
    let (len, size) = (weight.format.block_len(), weight.format.block_bytes());
    let (at, bytes) = (column / len * size, width / len * size);
    for r in 0..WIDE {
        let (row, to) = (weight.row(r.min(weight.rows - 1)), &mut scratch.row[..width]);
        match weight.format.is_per_channel() {
            true => channel::dequantize(weight.format, row, column, to),
            false => avx2::dequantize(weight.format, &row[at..at + bytes], to),
        }
        scratch.row[width..].fill(0.0);
        for (eight, to) in scratch.row.as_chunks::<8>().0.iter().zip(&mut scratch.weights) {
            // SAFETY: eight floats in, and half of a vector out.
            unsafe {
                let to = to[r / 2..].as_mut_ptr().cast::<f32>().add(r % 2 * 8);
                _mm256_storeu_ps(to, _mm256_loadu_ps(eight.as_ptr()));
            }
        }
    }
}

/// Adds the products of one chunk of columns to the sums.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn chunk(scratch: &mut Scratch, tile: &Tile<'_>, batch: Range<usize>, column: usize) {
    let width = CHUNK.min(tile.weight.cols - column);
    let weights = &scratch.weights[..width.div_ceil(8)];
    for (sums, start) in scratch.sums[..batch.len()].chunks_mut(TOGETHER).zip(batch.clone().step_by(TOGETHER))
    {
        for side in (0..PAIRS).step_by(SIDE) {
            let x = |j: usize| &tile.x.row(start + j)[column..column + width];
            match sums.len() {
                1 => block::<1>(weights, side, std::array::from_fn(x), sums),
                2 => block::<2>(weights, side, std::array::from_fn(x), sums),
                3 => block::<3>(weights, side, std::array::from_fn(x), sums),
                4 => block::<4>(weights, side, std::array::from_fn(x), sums),
                5 => block::<5>(weights, side, std::array::from_fn(x), sums),
                _ => block::<TOGETHER>(weights, side, std::array::from_fn(x), sums),
            }
        }
    }
}

/// Eight columns in both halves.
#[inline]
#[target_feature(enable = "avx512f")]
fn twice(x: __m256) -> __m512 {
    _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_castps_pd(x)))
}

/// `N` activation rows and four pairs of weight rows from pair `side` on.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
fn block<const N: usize>(
    weights: &[[__m512; PAIRS]],
    side: usize,
    x: [&[f32]; N],
    sums: &mut [[__m512; PAIRS]],
) {
    let mut own: [[__m512; SIDE]; N] = std::array::from_fn(|j| std::array::from_fn(|p| sums[j][side + p]));
    let width = x[0].len();
    let full = width / 8;
    for (k, weights) in weights[..full].iter().enumerate() {
        for (own, x) in own.iter_mut().zip(x) {
            // SAFETY: column `8 k + 7` exists.
            let x = twice(unsafe { _mm256_loadu_ps(x.as_ptr().add(8 * k)) });
            for (p, own) in own.iter_mut().enumerate() {
                *own = _mm512_fmadd_ps(weights[side + p], x, *own);
            }
        }
    }
    if let Some(weights) = weights.get(full) {
        let mask = (1u8 << (width % 8)) - 1;
        for (own, x) in own.iter_mut().zip(x) {
            // SAFETY: only the columns in the mask are read.
            let x = twice(unsafe { _mm256_maskz_loadu_ps(mask, x.as_ptr().add(8 * full)) });
            for (p, own) in own.iter_mut().enumerate() {
                *own = _mm512_fmadd_ps(weights[side + p], x, *own);
            }
        }
    }
    for (sums, own) in sums.iter_mut().zip(own) {
        sums[side..side + SIDE].copy_from_slice(&own);
    }
}
