//! Products with bfloat16 weights, in either mode and for any number of activation rows.
//!
//! Weight rows are the left factors of tiles, straight from where they lie; the right ones are the activations, cut
//! into three bfloat16 parts whose products are exact ([`crate::activations::Parts`]). An output is three sums in f32,
//! of a part each, over the columns in order, and then `first + (second + third)`: a column of a tile knows nothing of
//! the others, so one row alone gives the bits it gives among many. Against f32 arithmetic only the order of additions
//! differs, and that numbers too small to be normal count as zero.

use std::arch::x86_64::*;

use super::tiles::{Sums, Tiles};
use crate::activations::{Parts, STEP};
use crate::products::Tile;
use crate::products::avx512::lanes;
use crate::{Matrix, Threads};

/// Weight rows of a tile.
const SIDE: usize = 16;
/// Bytes of a step of 32 columns.
const STEP_BYTES: usize = 2 * STEP;

/// The columns after the last whole step, then zeros.
#[repr(align(64))]
struct Tail([[u8; STEP_BYTES]; SIDE]);

/// Any product with bfloat16 weights.
///
/// # Safety
/// [`super::detect::available`] said yes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn product(tile: &Tile<'_>) {
    let own;
    let parts = match tile.x.parts() {
        Some(parts) => parts,
        None => {
            // Nobody prepared them: correct, but every task does it again.
            let mut parts = Parts::default();
            parts.make(&Threads::new(1), tile.x.rows(), tile.x.m(), tile.x.cols());
            own = parts;
            &own
        }
    };
    for first in (0..tile.weight.rows).step_by(SIDE) {
        let weight = tile.weight.rows(first..(first + SIDE).min(tile.weight.rows));
        // SAFETY: the caller's promise; the only one on this thread while this round goes on.
        let tiles = unsafe { Tiles::new(weight.rows, STEP_BYTES, parts.width()) };
        let tail = tail(&weight);
        if parts.one_tile() {
            few(tile, first, &weight, &tail, parts, &tiles);
        } else {
            many(tile, first, &weight, &tail, parts, &tiles);
        }
    }
}

fn tail(weight: &Matrix<'_>) -> Tail {
    let mut tail = Tail([[0; STEP_BYTES]; SIDE]);
    let whole = weight.cols / STEP * STEP_BYTES;
    for (r, tail) in tail.0.iter_mut().enumerate().take(weight.rows) {
        let bytes = &weight.row(r)[whole..];
        tail[..bytes.len()].copy_from_slice(bytes);
    }
    tail
}

/// Where step `step` of the weight rows lies, and how far apart they are.
fn left(weight: &Matrix<'_>, tail: &Tail, step: usize) -> (*const u8, usize) {
    if step < weight.cols / STEP {
        (weight.data[step * STEP_BYTES..].as_ptr(), weight.row_bytes())
    } else {
        (tail.0.as_ptr().cast(), STEP_BYTES)
    }
}

/// All parts of all activation rows in one tile: bound by reading the weights.
#[target_feature(enable = "avx512f")]
fn few(tile: &Tile<'_>, first: usize, weight: &Matrix<'_>, tail: &Tail, parts: &Parts, tiles: &Tiles) {
    let (m, width) = (tile.x.m(), parts.width());
    let mut sums = [Sums::ZERO; 3];
    // SAFETY: configured for these rows and 64 bytes of each; a step has sixteen rows of `width` words. A prefetch
    // may point anywhere.
    unsafe {
        tiles.clear();
        for step in 0..parts.steps() {
            let (from, stride) = left(weight, tail, step);
            for r in 0..SIDE {
                // The same place of the sixteen rows after these.
                _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add((SIDE + r) * stride).cast());
            }
            tiles.add(from, stride, parts.step(0, step).as_ptr(), width);
        }
        tiles.store(&mut sums);
    }
    for (r, sums) in sums[0].0.iter().enumerate().take(weight.rows) {
        for i in 0..m {
            let [a, b, c] = [0, 1, 2].map(|part| f32::from_bits(sums[part * m + i].cast_unsigned()));
            tile.store(i, first + r, a + (b + c));
        }
    }
}

/// Activation rows by sixteen, a tile for each part.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn many(tile: &Tile<'_>, first: usize, weight: &Matrix<'_>, tail: &Tail, parts: &Parts, tiles: &Tiles) {
    let m = tile.x.m();
    let mut sums = [Sums::ZERO; 3];
    for group in 0..m.div_ceil(SIDE) {
        // SAFETY: configured for these rows, 64 bytes of each and sixteen columns; a step has three times sixteen
        // rows of sixteen words.
        unsafe {
            tiles.clear();
            for step in 0..parts.steps() {
                let (from, stride) = left(weight, tail, step);
                tiles.add_three(from, stride, parts.step(group, step).as_ptr());
            }
            tiles.store(&mut sums);
        }
        // From weight rows of sixteen activation rows to the opposite.
        let rows: [__m512i; SIDE] = std::array::from_fn(|r| {
            // SAFETY: sixteen floats each.
            let [a, b, c] = [0, 1, 2].map(|part| unsafe { _mm512_load_ps(sums[part].0[r].as_ptr().cast()) });
            _mm512_castps_si512(_mm512_add_ps(a, _mm512_add_ps(b, c)))
        });
        for (j, outputs) in lanes::transpose(&rows).into_iter().enumerate().take(m - group * SIDE) {
            let outputs = lanes::array(_mm512_castsi512_ps(outputs));
            tile.store_some(group * SIDE + j, first, &outputs[..weight.rows]);
        }
    }
}
