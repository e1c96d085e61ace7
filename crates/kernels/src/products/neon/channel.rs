//! Products with per-channel weights: integer sums run over the whole row, and floats appear once, at its end.

use std::arch::aarch64::*;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use super::blocks::nibbles;
use super::lanes;
use super::multiply::{Multiply, sdot};
use super::panels::{self, EIGHT, Outputs, Panel, STEP, Scratch, over_panels, steps};
use super::rows::{SIDE, pointers, store};
use crate::Matrix;
use crate::products::Tile;
use crate::quants::channel::{self, GROUP, HEAD, NIBBLES, SCALE_BYTES};
use crate::quants::nibbles::MULTIPLES;

/// A per-channel format.
pub(super) trait Codes {
    /// Bytes of a group of 64 columns.
    const BYTES: usize;

    /// The codes of a group, in order.
    ///
    /// # Safety
    /// `w` points at a whole group.
    unsafe fn group(w: *const u8) -> [int8x16_t; 4];
}

pub(super) struct W8A8;
pub(super) struct W4A8;

impl Codes for W8A8 {
    const BYTES: usize = GROUP;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn group(w: *const u8) -> [int8x16_t; 4] {
        // SAFETY: 64 bytes.
        [0, 16, 32, 48].map(|at| unsafe { vld1q_s8(w.add(at).cast()) })
    }
}

impl Codes for W4A8 {
    const BYTES: usize = NIBBLES;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn group(w: *const u8) -> [int8x16_t; 4] {
        // SAFETY: a group, and sixteen bytes of a table for each step.
        unsafe {
            let head: [u8; HEAD] = w.cast::<[u8; HEAD]>().read();
            let [[a, c], [b, d]] = [HEAD, HEAD + 16].map(|at| nibbles(w.add(at)));
            let code = |half: usize, nibble| {
                let multiples = vld1q_u8(MULTIPLES[usize::from(head[half])].as_ptr());
                vreinterpretq_s8_u8(vaddq_u8(vqtbl1q_u8(multiples, nibble), vdupq_n_u8(head[2 + half])))
            };
            [code(0, a), code(0, b), code(1, c), code(1, d)]
        }
    }
}

/// The codes of `N` weight rows, group by group.
struct Rows<const N: usize, K> {
    starts: [*const u8; N],
    /// Groups that are whole.
    whole: usize,
    /// The group behind them, filled up with zeros. What they stand for does not matter: activations are zero there.
    tails: [[u8; GROUP]; N],
    kind: PhantomData<K>,
}

impl<const N: usize, K: Codes> Rows<N, K> {
    /// The rows from `first` on; beyond the last, the last again.
    fn new(weight: &Matrix<'_>, first: usize) -> Rows<N, K> {
        let whole = weight.cols / GROUP;
        let mut tails = [[0; GROUP]; N];
        if !weight.cols.is_multiple_of(GROUP) {
            for (r, tail) in tails.iter_mut().enumerate() {
                let codes = &weight.row((first + r).min(weight.rows - 1))[SCALE_BYTES + whole * K::BYTES..];
                tail[..codes.len()].copy_from_slice(codes);
            }
        }
        let starts = pointers(weight, first).map(|row| row.wrapping_add(SCALE_BYTES));
        Rows { starts, whole, tails, kind: PhantomData }
    }

    /// Group `group` of row `r`.
    ///
    /// # Safety
    /// The group begins inside the row.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn group(&self, r: usize, group: usize) -> [int8x16_t; 4] {
        let from = if group < self.whole {
            self.starts[r].wrapping_add(group * K::BYTES)
        } else {
            self.tails[r].as_ptr()
        };
        // SAFETY: whole groups lie in the rows, and a tail has room for one.
        unsafe { K::group(from) }
    }
}

/// What the exact sums of activation row `i` mean for the four weight rows from `first` on.
#[inline]
#[target_feature(enable = "neon")]
fn outputs(tile: &Tile<'_>, i: usize, first: usize, codes: int32x4_t) -> float32x4_t {
    let weight = &tile.weight;
    let scales: [f32; SIDE] =
        std::array::from_fn(|r| channel::scale(weight.row((first + r).min(weight.rows - 1))));
    // SAFETY: four floats.
    let scales = unsafe { vld1q_f32(scales.as_ptr()) };
    vmulq_f32(vcvtq_f32_s32(codes), vmulq_n_f32(scales, tile.x.whole.scales[i]))
}

/// Weight rows of a tile times each of a few activation rows, four side by side as in `rows`.
///
/// # Safety
/// The processor has `dotprod`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn few<K: Codes>(tile: &Tile<'_>) {
    let form = &tile.x.whole;
    for first in (0..tile.weight.rows).step_by(SIDE) {
        let rows = Rows::<SIDE, K>::new(&tile.weight, first);
        for i in 0..tile.x.m() {
            let x = form.codes[i * form.stride..][..form.stride].as_chunks::<GROUP>().0;
            let mut sums = [vdupq_n_s32(0); SIDE];
            for (group, x) in x.iter().enumerate() {
                // SAFETY: 64 codes; activations have as many groups as the rows; the caller's promise.
                unsafe {
                    let x = [0, 16, 32, 48].map(|at| vld1q_s8(x.as_ptr().add(at)));
                    for (r, sum) in sums.iter_mut().enumerate() {
                        for (w, x) in rows.group(r, group).into_iter().zip(x) {
                            *sum = sdot(*sum, w, x);
                        }
                    }
                }
            }
            store(tile, i, first, outputs(tile, i, first, lanes::sums(sums)));
        }
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch<int32x4_t>> = const { Scratch::new() };
}

/// Weight rows of a tile times many activation rows, as in `panels`. Between chunks of columns sums wait as integers.
///
/// # Safety
/// The processor has the instruction.
#[target_feature(enable = "neon")]
pub(super) unsafe fn many<K: Codes, I: Multiply>(tile: &Tile<'_>) {
    let form = &tile.x.whole;
    let pack = |panel: &mut Panel, row: usize, columns: Range<usize>| {
        let rows = Rows::<EIGHT, K>::new(&tile.weight, row);
        for group in 0..columns.len() / GROUP {
            for side in 0..2 {
                let codes: [_; SIDE] = std::array::from_fn(|r| {
                    // SAFETY: rows have as many groups as activations.
                    unsafe { rows.group(side * SIDE + r, columns.start / GROUP + group) }
                });
                for (k, to) in panel.codes[group * (GROUP / STEP)..][..GROUP / STEP].iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    to[side] = unsafe { I::pack(codes.map(|codes| codes[k])) };
                }
            }
        }
    };
    let multiply = |panel: &Panel, x: panels::Rows, columns: Range<usize>, sums: &mut Outputs<int32x4_t>| {
        let x = x.map(|i| form.codes[i * form.stride + columns.start..][..columns.len()].as_ptr());
        let mut own = *sums;
        // SAFETY: `x` has these columns; the caller's promise.
        unsafe { steps::<I>(&panel.codes[..columns.len() / STEP], x, &mut own) };
        *sums = own;
    };
    let finish = |sums: &Outputs<int32x4_t>, row: usize, x: panels::Rows| {
        std::array::from_fn(|side| {
            // SAFETY: the caller's promise.
            let codes = unsafe { I::in_order(sums[side]) };
            std::array::from_fn(|j| outputs(tile, x[j], row + side * SIDE, codes[j]))
        })
    };
    over_panels(tile, &SCRATCH, (form.stride, vdupq_n_s32(0)), pack, multiply, finish);
}
