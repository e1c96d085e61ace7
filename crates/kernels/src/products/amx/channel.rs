//! Products of many activation rows with per-channel weights: whole rows add up in a tile.
//!
//! Weight rows are the left factors, 32 of them at a time unpacked to signed bytes in their own order; the right ones
//! are the activations, laid out for tiles once for all weight rows. Two times two tiles meet, so that each one that is
//! loaded serves twice, and floats appear at the end of the row.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::tiles::{Sums, Tiles};
use crate::activations::whole::{CHUNK, DEEP};
use crate::products::Tile;
use crate::products::avx2::channel::scales;
use crate::products::avx512::channel::{Codes, Rows};
use crate::products::avx512::lanes;
use crate::quants::channel::GROUP;

/// Weight rows of a tile.
const SIDE: usize = 16;
/// Weight rows that are unpacked together.
const WIDE: usize = 2 * SIDE;
/// Words of a group in the activations' panel: the rows of a right factor.
const WORDS: usize = GROUP / 4;

thread_local! {
    /// Signed codes, `[WIDE, group]`.
    static ROWS: RefCell<Vec<__m512i>> = const { RefCell::new(Vec::new()) };
}

/// Weight rows of a tile times all activation rows.
///
/// # Safety
/// [`super::detect::available`] said yes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn product<K: Codes>(tile: &Tile<'_>) {
    let (weight, form) = (&tile.weight, &tile.x.whole);
    let (groups, count) = (form.stride / GROUP, tile.x.m().div_ceil(DEEP));
    let words = groups * WORDS;
    // SAFETY: the caller's promise; the only one on this thread until this function returns.
    let tiles = unsafe { Tiles::new(SIDE, GROUP, DEEP) };
    let offset = _mm512_set1_epi8(K::TOO_HIGH as i8);
    let mut sums = [Sums::ZERO; 4];
    ROWS.with_borrow_mut(|codes| {
        codes.resize(WIDE * groups, _mm512_setzero_si512());
        for row in (0..weight.rows).step_by(WIDE) {
            let rows = Rows::<WIDE, K>::new(weight, row);
            for (at, code) in codes.iter_mut().enumerate() {
                // SAFETY: rows have as many groups as activations.
                *code = _mm512_sub_epi8(unsafe { rows.group(at / groups, at % groups) }, offset);
            }
            let (upper, lower) = codes.split_at(SIDE * groups);
            let w_scales: [f32; WIDE] = scales(weight, row);
            for pair in (0..count).step_by(2) {
                // An odd last tile meets the weights twice, and the second time is not looked at.
                let pair = [pair, (pair + 1).min(count - 1)];
                // SAFETY: configured for sixteen rows of 64 bytes and sixteen columns; a group is a vector in each
                // of sixteen rows of weights, and sixteen words of sixteen rows of activations.
                unsafe {
                    tiles.clear();
                    for first in (0..words).step_by(CHUNK) {
                        let here = CHUNK.min(words - first);
                        let inputs = &form.deep.words[first * count..][..here * count];
                        let [x, y] = pair.map(|t| inputs[t * here..][..here].as_chunks::<WORDS>().0);
                        for (group, (x, y)) in x.iter().zip(y).enumerate() {
                            let group = first / WORDS + group;
                            let left = [&raw const upper[group], &raw const lower[group]];
                            tiles.add_four(left, groups * GROUP, [x.as_ptr(), y.as_ptr()]);
                        }
                    }
                    tiles.store_four(&mut sums);
                }
                let sums = [[&sums[0], &sums[1]], [&sums[2], &sums[3]]];
                for (side, sums) in sums.into_iter().enumerate() {
                    let first = row + side * SIDE;
                    if first < weight.rows {
                        let some = &w_scales[side * SIDE..][..SIDE.min(weight.rows - first)];
                        for (t, sums) in pair.into_iter().zip(sums).take(1 + usize::from(pair[0] != pair[1]))
                        {
                            store(tile, first, some, t * DEEP, sums);
                        }
                    }
                }
            }
        }
    });
}

/// Stores the outputs of sixteen activation rows from row `i` on; `sums` are `[weight row, activation row]`.
#[target_feature(enable = "avx512f")]
fn store(tile: &Tile<'_>, row: usize, w_scales: &[f32], i: usize, sums: &Sums) {
    let form = &tile.x.whole;
    let mut padded = [0.0; SIDE];
    padded[..w_scales.len()].copy_from_slice(w_scales);
    // SAFETY: sixteen floats, and sixteen integers of each row.
    let (w_scales, rows): (__m512, [__m512i; SIDE]) = unsafe {
        (
            _mm512_loadu_ps(padded.as_ptr()),
            std::array::from_fn(|r| _mm512_load_si512(sums.0[r].as_ptr().cast())),
        )
    };
    let count = SIDE.min(tile.weight.rows - row);
    for (j, codes) in lanes::transpose(&rows).into_iter().enumerate().take(tile.x.m() - i) {
        let scales = _mm512_mul_ps(w_scales, _mm512_set1_ps(form.scales[i + j]));
        let values = lanes::array(_mm512_mul_ps(_mm512_cvtepi32_ps(codes), scales));
        tile.store_some(i + j, row, &values[..count]);
    }
}
