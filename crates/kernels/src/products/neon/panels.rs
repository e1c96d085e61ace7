//! Products of many activation rows, as in reading a prompt: bound by the multipliers.
//!
//! Sixteen weight rows are unpacked, 256 columns at a time, into panels that stay in the first-level cache, arranged as
//! the instruction wants them. Four activation rows at a time then meet eight weight rows.

use std::arch::aarch64::*;
use std::cell::RefCell;
use std::ops::Range;
use std::thread::LocalKey;

use super::blocks::{Large, Small};
use super::lanes::{halves, transpose, wide};
use super::multiply::{Four, Multiply, Sums};
use super::rows::{SIDE, large_term, pairs, pointers, small_term, store};
use crate::products::Tile;
use crate::quants::{LARGE, SMALL};

/// Weight rows of a panel, two sides of four.
pub(super) const EIGHT: usize = 2 * SIDE;
/// Panels that activation rows meet one after the other while their codes are near.
const PANELS: usize = 2;
/// Weight rows of all of them.
pub(super) const WIDE: usize = PANELS * EIGHT;
/// Activation rows that meet a panel together.
pub(super) const TOGETHER: usize = 4;
/// Columns of a step.
pub(super) const STEP: usize = 16;

/// One chunk of 256 columns of eight weight rows.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    /// `[step, 2]`.
    pub(super) codes: [[Four; 2]; LARGE / STEP],
    /// Large blocks: `[sub-block, 2]`, for even and odd vectors of sums.
    factors: [[[int32x4_t; 2]; 2]; 16],
    /// Large blocks: `[sub-block of 32, 2]`, the integers of their minimums.
    offsets: [[int32x4_t; 2]; LARGE / SMALL],
    /// `[block, 2]`.
    scales: [[float32x4_t; 2]; LARGE / SMALL],
    minimums: [[float32x4_t; 2]; LARGE / SMALL],
}

/// Four activation rows, by their numbers.
pub(super) type Rows = [usize; TOGETHER];
/// Something for two sides of weight rows and four activation rows.
pub(super) type Outputs<V> = [[V; TOGETHER]; 2];

/// What a thread needs to compute one tile after the other.
pub(super) struct Scratch<V> {
    panels: Vec<Panel>,
    /// Running sums, `[four activation rows, panel]`.
    sums: Vec<Outputs<V>>,
}

impl<V> Scratch<V> {
    pub(super) const fn new() -> RefCell<Scratch<V>> {
        RefCell::new(Scratch { panels: Vec::new(), sums: Vec::new() })
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch<float32x4_t>> = const { Scratch::new() };
}

/// Goes over a tile by sixteen weight rows and 256 of `cols` columns. `pack(panel, row, columns)` fills a panel with
/// the eight weight rows from `row` on, `multiply(panel, rows, columns, sums)` adds their products with four activation
/// rows, `finish(sums, row, rows)` makes outputs of them. Beyond the last activation row comes the last again.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn over_panels<V: Copy>(
    tile: &Tile<'_>,
    scratch: &'static LocalKey<RefCell<Scratch<V>>>,
    (cols, zero): (usize, V),
    pack: impl Fn(&mut Panel, usize, Range<usize>),
    multiply: impl Fn(&Panel, Rows, Range<usize>, &mut Outputs<V>),
    finish: impl Fn(&Outputs<V>, usize, Rows) -> Outputs<float32x4_t>,
) {
    let (weight, m) = (&tile.weight, tile.x.m());
    let together = |i: usize| std::array::from_fn(|j| (i + j).min(m - 1));
    scratch.with_borrow_mut(|Scratch { panels, sums }| {
        // SAFETY: zeros are vectors.
        panels.resize_with(PANELS, || unsafe { std::mem::zeroed() });
        for row in (0..weight.rows).step_by(WIDE) {
            let firsts = (row..weight.rows.min(row + WIDE)).step_by(EIGHT);
            sums.clear();
            sums.resize(m.div_ceil(TOGETHER) * PANELS, [[zero; TOGETHER]; 2]);
            for column in (0..cols).step_by(LARGE) {
                let columns = column..cols.min(column + LARGE);
                for (panel, row) in panels.iter_mut().zip(firsts.clone()) {
                    pack(panel, row, columns.clone());
                }
                for (sums, i) in sums.chunks_exact_mut(PANELS).zip((0..m).step_by(TOGETHER)) {
                    for ((panel, sums), _) in panels.iter().zip(sums).zip(firsts.clone()) {
                        multiply(panel, together(i), columns.clone(), sums);
                    }
                }
            }
            for (sums, i) in sums.chunks_exact(PANELS).zip((0..m).step_by(TOGETHER)) {
                for (sums, row) in sums.iter().zip(firsts.clone()) {
                    let outputs = finish(sums, row, together(i));
                    for (side, row) in (row..weight.rows).step_by(SIDE).enumerate().take(2) {
                        for (i, values) in (i..m).zip(outputs[side]) {
                            store(tile, i, row, values);
                        }
                    }
                }
            }
        }
    });
}

/// Adds the products of some steps' columns with four activation rows.
///
/// # Safety
/// Each of `x` has the steps' columns; the processor has the instruction.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn steps<I: Multiply>(
    codes: &[[Four; 2]],
    x: [*const i8; TOGETHER],
    sums: &mut Outputs<int32x4_t>,
) {
    for (step, w) in codes.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let x = x.map(|x| vld1q_s8(x.add(STEP * step)));
            I::step(&w[0], x, &mut sums[0]);
            I::step(&w[1], x, &mut sums[1]);
        }
    }
}

/// Pointers to both sides of eight rows.
fn sides(tile: &Tile<'_>, row: usize) -> [[*const u8; SIDE]; 2] {
    let [a, b, c, d, e, f, g, h] = pointers(&tile.weight, row);
    [[a, b, c, d], [e, f, g, h]]
}

/// Weights in blocks of 32.
///
/// # Safety
/// The processor has the instruction.
#[target_feature(enable = "neon")]
pub(super) unsafe fn small<K: Small, I: Multiply>(tile: &Tile<'_>) {
    let (form, cols) = (&tile.x.small, tile.weight.cols);
    let pack = |panel: &mut Panel, row: usize, columns: Range<usize>| {
        for (side, rows) in sides(tile, row).iter().enumerate() {
            for block in 0..columns.len() / SMALL {
                let at = (columns.start / SMALL + block) * K::BYTES;
                // SAFETY: each row has a block at `at`; the caller's promise.
                unsafe {
                    let codes = rows.map(|row| K::unpack(row.add(at)));
                    for k in 0..2 {
                        panel.codes[2 * block + k][side] = I::pack(codes.map(|codes| codes[k]));
                    }
                    panel.scales[block][side] = halves(rows, at);
                    if K::HAS_MINIMUM {
                        panel.minimums[block][side] = halves(rows, at + 2);
                    }
                }
            }
        }
    };
    let multiply = |panel: &Panel, x: Rows, columns: Range<usize>, sums: &mut Outputs<float32x4_t>| {
        let (place, blocks) = (x.map(|i| (i * cols + columns.start) / SMALL), columns.len() / SMALL);
        let x = place.map(|at| form.codes[at * SMALL..][..columns.len()].as_ptr());
        let scales = place.map(|at| &form.scales[at..][..blocks]);
        let x_sums = place.map(|at| &form.sums[at..][..blocks]);
        let mut own = *sums;
        for block in 0..blocks {
            let mut codes = [[vdupq_n_s32(0); TOGETHER]; 2];
            // SAFETY: two steps are a block, and `x` has all of them; the caller's promise.
            unsafe {
                let w = &panel.codes[2 * block..2 * block + 2];
                steps::<I>(w, x.map(|x| x.add(block * SMALL)), &mut codes);
            }
            for side in 0..2 {
                // SAFETY: the caller's promise.
                let codes = unsafe { I::in_order(codes[side]) };
                let (w_scale, minimum) = (panel.scales[block][side], panel.minimums[block][side]);
                for j in 0..TOGETHER {
                    let (scale, x_sum) = (scales[j][block], x_sums[j][block]);
                    let term = small_term::<K>(codes[j], w_scale, minimum, scale, x_sum);
                    own[side][j] = vaddq_f32(own[side][j], term);
                }
            }
        }
        *sums = own;
    };
    over_panels(tile, &SCRATCH, (cols, vdupq_n_f32(0.0)), pack, multiply, |sums, _, _| *sums);
}

/// Weights in blocks of 256.
///
/// # Safety
/// The processor has the instruction.
#[target_feature(enable = "neon")]
pub(super) unsafe fn large<K: Large, I: Multiply>(tile: &Tile<'_>) {
    let (form, cols) = (&tile.x.large, tile.weight.cols);
    let pack = |panel: &mut Panel, row: usize, columns: Range<usize>| {
        let at = columns.start / LARGE * K::BYTES;
        for (side, rows) in sides(tile, row).iter().enumerate() {
            // SAFETY: each row has a block at `at`; the caller's promise.
            unsafe { pack_block::<K, I>(panel, side, rows, at) };
        }
    };
    let multiply = |panel: &Panel, x: Rows, columns: Range<usize>, sums: &mut Outputs<float32x4_t>| {
        let place = x.map(|i| (i * cols + columns.start) / LARGE);
        let x = place.map(|at| form.codes[at * LARGE..][..LARGE].as_ptr());
        let zero = vdupq_n_s32(0);
        let mut totals: Outputs<int32x4_t> = [[zero; TOGETHER]; 2];
        // Steps that share a factor.
        let each = K::SUB / STEP;
        for (sub, w) in panel.codes.chunks_exact(each).enumerate() {
            let mut codes = [[zero; TOGETHER]; 2];
            // SAFETY: `x` has all steps of the block; the caller's promise.
            unsafe { steps::<I>(w, x.map(|x| x.add(sub * K::SUB)), &mut codes) };
            for side in 0..2 {
                let factors = panel.factors[sub][side];
                for j in 0..TOGETHER {
                    totals[side][j] = vmlaq_s32(totals[side][j], codes[side][j], factors[j % 2]);
                }
            }
        }
        // SAFETY: the caller's promise.
        let totals = totals.map(|sums: Sums| unsafe { I::in_order(sums) });
        for j in 0..TOGETHER {
            let mut offsets = [zero; 2];
            if K::HAS_MINIMUM {
                let x_sums =
                    pairs(form.sums[place[j] * 16..].first_chunk().expect("sixteen sums of a block"));
                // SAFETY: a vector is eight integers.
                let x_sums: [i16; 8] = unsafe { std::mem::transmute(x_sums) };
                for (w, x_sum) in panel.offsets.iter().zip(x_sums) {
                    offsets[0] = vmlaq_n_s32(offsets[0], w[0], i32::from(x_sum));
                    offsets[1] = vmlaq_n_s32(offsets[1], w[1], i32::from(x_sum));
                }
            }
            for side in 0..2 {
                let (w_scale, minimum) = (panel.scales[0][side], panel.minimums[0][side]);
                let scale = form.scales[place[j]];
                let term = large_term::<K>(totals[side][j], offsets[side], w_scale, minimum, scale);
                sums[side][j] = vaddq_f32(sums[side][j], term);
            }
        }
    };
    over_panels(tile, &SCRATCH, (cols, vdupq_n_f32(0.0)), pack, multiply, |sums, _, _| *sums);
}

/// One block of four rows into one side of a panel.
///
/// # Safety
/// Each row has a block at byte `at`; the processor has the instruction.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn pack_block<K: Large, I: Multiply>(
    panel: &mut Panel,
    side: usize,
    rows: &[*const u8; SIDE],
    at: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for half in 0..2 {
            let codes = rows.map(|row| K::unpack(row.add(at), half));
            for k in 0..8 {
                panel.codes[8 * half + k][side] = I::pack(codes.map(|codes| codes[k]));
            }
        }
        panel.scales[0][side] = halves(rows, at + K::SCALE_AT);
        panel.minimums[0][side] = halves(rows, at + K::MINIMUM_AT);
        let factors = rows.map(|row| K::factors(row.add(at)));
        for k in 0..LARGE / K::SUB / 4 {
            let columns = transpose(std::array::from_fn(|r| factors[r].factors[k]));
            for (to, column) in panel.factors[4 * k..].iter_mut().zip(columns) {
                to[side] = I::spread(column);
            }
        }
        for k in 0..2 {
            let columns = transpose(std::array::from_fn(|r| wide(factors[r].minimums)[k]));
            for (to, column) in panel.offsets[4 * k..].iter_mut().zip(columns) {
                to[side] = column;
            }
        }
    }
}
