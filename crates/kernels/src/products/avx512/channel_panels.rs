//! Products of many activation rows with per-channel weights: bound by the multipliers.
//!
//! As in `panels`, 32 weight rows are unpacked into a panel, a chunk of columns at a time. Integer sums run over the whole
//! row: between chunks they wait as integers, and floats appear once, at the end.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::channel::{Codes, Rows};
use super::lanes;
use super::panels::{SIDE, WIDE, broadcast, row_blocks};
use crate::hints::Streams;
use crate::products::Tile;
use crate::products::avx2::channel::scales;
use crate::quants::channel::GROUP;

/// Groups of columns in a chunk: 16 KB of panel.
const CHUNK: usize = 8;
/// Vectors of four columns in a group.
const STEPS: usize = GROUP / 4;
/// Activation rows that meet the panel together.
const TOGETHER: usize = 8;

/// Integers of two times sixteen weight rows.
type Pair = [__m512i; 2];

struct Scratch {
    /// `[group, step, 2]`, unsigned.
    panel: [Pair; CHUNK * STEPS],
    /// `[activation row, 2]`.
    sums: Vec<Pair>,
}

thread_local! {
    static SCRATCH: RefCell<Option<Box<Scratch>>> = const { RefCell::new(None) };
}

/// Weight rows of a tile times all activation rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn product<K: Codes>(tile: &Tile<'_>) {
    let (weight, m) = (&tile.weight, tile.x.m());
    let groups = tile.x.whole.stride / GROUP;
    let zero = _mm512_setzero_si512();
    SCRATCH.with_borrow_mut(|scratch| {
        let Scratch { panel, sums } = &mut **scratch
            .get_or_insert_with(|| Box::new(Scratch { panel: [[zero; 2]; _], sums: Vec::new() }));
        for i in row_blocks::<TOGETHER>(m, tile.x.whole.stride) {
            for row in (0..weight.rows).step_by(WIDE) {
                sums.clear();
                sums.resize(i.len(), [zero; 2]);
                let rows = Rows::<WIDE, K>::new(weight, row);
                let w_scales: [f32; WIDE] = scales(weight, row);
                // SAFETY: 32 floats are two vectors.
                let w_scales: [__m512; 2] = unsafe { std::mem::transmute(w_scales) };
                let sides = (weight.rows - row).div_ceil(SIDE).min(2);
                let mut ahead = Streams::new(tile, row, WIDE);
                for first in (0..groups).step_by(CHUNK) {
                    let here = CHUNK.min(groups - first);
                    for side in 0..sides {
                        for (group, panel) in panel.chunks_exact_mut(STEPS).take(here).enumerate() {
                            let mut codes = [zero; SIDE];
                            for (r, codes) in codes.iter_mut().enumerate() {
                                // SAFETY: rows have as many groups as activations.
                                *codes = unsafe { rows.group(side * SIDE + r, first + group) };
                            }
                            for (to, column) in panel.iter_mut().zip(lanes::transpose(&codes)) {
                                to[side] = column;
                            }
                            ahead.fetch(SIDE * weight.row_bytes() / groups);
                        }
                    }
                    let panel = &panel[..here * STEPS];
                    for (i, sums) in i.clone().step_by(TOGETHER).zip(sums.chunks_mut(TOGETHER)) {
                        match sides {
                            1 => multiply::<1>(tile, panel, first, i, sums),
                            _ => multiply::<2>(tile, panel, first, i, sums),
                        }
                        if first + here == groups {
                            // At once: memory takes the outputs while the next rows are multiplied.
                            store::<K>(tile, row, i, w_scales, sums);
                        }
                    }
                }
            }
        }
    });
}

/// The activation rows from row `i` on whose sums are given, and `S` sides of the panel, whose columns begin with group
/// `first`; beyond the last row, the last row again.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn multiply<const S: usize>(tile: &Tile<'_>, panel: &[Pair], first: usize, i: usize, sums: &mut [Pair]) {
    let (form, last) = (&tile.x.whole, sums.len() - 1);
    let mut x = [std::ptr::null(); TOGETHER];
    let mut own = [[_mm512_setzero_si512(); S]; TOGETHER];
    for j in 0..TOGETHER {
        let from = (i + j.min(last)) * form.stride + first * GROUP;
        x[j] = form.codes[from..][..4 * panel.len()].as_ptr();
        own[j].copy_from_slice(&sums[j.min(last)][..S]);
    }
    for (step, w) in panel.iter().enumerate() {
        for (own, x) in own.iter_mut().zip(x) {
            // SAFETY: a step is four columns of the row's part of this chunk.
            let x = unsafe { broadcast(x.add(4 * step)) };
            for s in 0..S {
                own[s] = _mm512_dpbusd_epi32(own[s], w[s], x);
            }
        }
    }
    for (sums, own) in sums.iter_mut().zip(own) {
        sums[..S].copy_from_slice(&own);
    }
}

/// Stores what the integers of the activation rows from `i` on mean for the weight rows from `row` on.
#[inline]
#[target_feature(enable = "avx512f")]
fn store<K: Codes>(tile: &Tile<'_>, row: usize, i: usize, w_scales: [__m512; 2], sums: &[Pair]) {
    let form = &tile.x.whole;
    for (i, sums) in (i..).zip(sums) {
        let high = _mm512_set1_epi32(K::TOO_HIGH.wrapping_mul(form.sums[i]));
        let scale = _mm512_set1_ps(form.scales[i]);
        let value = |s: usize| {
            let codes = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums[s], high));
            _mm512_mul_ps(codes, _mm512_mul_ps(w_scales[s], scale))
        };
        lanes::store(tile, i, row, [value(0), value(1)]);
    }
}
