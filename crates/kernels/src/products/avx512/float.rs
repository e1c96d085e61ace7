//! Products in f32: float weights in either mode, and quantised weights in `Mode::Exact`.
//!
//! The eight sums of an output lie in as many vectors, one after another, as in AVX2's loop, which makes it AVX2's to the
//! bit. A few activation rows against float weights are left to that loop, which memory bounds.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::lanes;
use crate::Matrix;
use crate::activations::TILE;
use crate::activations::lanes::{CHUNK, LANES};
use crate::hints::Ahead;
use crate::products::Tile;
use crate::products::avx2::{self, by_rows};

/// Weight rows of a panel, in two vectors of sixteen.
const WIDE: usize = 2 * SIDE;
const SIDE: usize = 16;
/// Tiles of activation rows that meet a lane of the panel, 16 KB, while it is in the first-level cache.
const GROUP: usize = 2;
/// Columns of a lane in one round of the innermost loop: few rounds, so that the processor foresees the last.
const ROUND: usize = 4;

/// One column of two times sixteen weight rows, or its sums.
type Pair = [__m512; 2];
/// Sums of a tile of activation rows in one lane.
type Sums = [Pair; TILE];
/// Those of a group of tiles in all lanes.
type Group = [[Sums; GROUP]; LANES];

#[derive(Default)]
struct Scratch {
    /// `[WIDE]` rows of a chunk, for weights that are not f32.
    rows: Vec<[f32; CHUNK]>,
    /// `[lane, CHUNK / LANES]`: columns that belong to the same lane lie together.
    panel: Vec<Pair>,
    /// Of all groups, between the chunks of a row; with a single chunk of one group.
    sums: Vec<Group>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
pub(super) fn product(tile: &Tile<'_>) {
    if tile.weight.format.is_float() && tile.x.m() <= avx2::float::FEW {
        return avx2::float::product(tile);
    }
    let m = tile.x.m();
    let own;
    let x = match tile.x.lanes() {
        Some(lanes) => lanes,
        None => {
            own = avx2::float::unprepared(tile);
            &own
        }
    };
    SCRATCH.with_borrow_mut(|Scratch { rows, panel, sums }| {
        let zero = [_mm512_setzero_ps(); 2];
        rows.resize(WIDE, [0.0; CHUNK]);
        panel.resize(CHUNK, zero);
        let (cols, one_chunk) = (tile.weight.cols, tile.weight.cols <= CHUNK);
        let groups = m.div_ceil(GROUP * TILE);
        sums.resize(if one_chunk { 1 } else { groups }, [[[zero; TILE]; GROUP]; LANES]);
        for first in (0..tile.weight.rows).step_by(WIDE) {
            let weight = tile.weight.rows(first..(first + WIDE).min(tile.weight.rows));
            let mut ahead = Ahead::new(tile, first + WIDE, WIDE, groups * LANES * cols.div_ceil(CHUNK));
            for column in (0..cols).step_by(CHUNK) {
                let width = CHUNK.min(cols - column);
                pack(&weight, column, width, rows, panel);
                for group in 0..groups {
                    let sums = &mut sums[if one_chunk { 0 } else { group }];
                    let i = group * GROUP * TILE;
                    for (lane, (panel, sums)) in panel.chunks_exact(CHUNK / LANES).zip(&mut *sums).enumerate()
                    {
                        ahead.fetch();
                        let panel = &panel[..(width + LANES - 1 - lane) / LANES];
                        for (t, sums) in sums.iter_mut().enumerate().take((m - i).div_ceil(TILE)) {
                            let x = x.lane(i / TILE + t, column, lane);
                            by_rows!(m - i - t * TILE, N => add::<N>(x, panel, sums, column == 0));
                        }
                    }
                    if column + width == cols {
                        for row in 0..(m - i).min(GROUP * TILE) {
                            lanes::store(tile, i + row, first, outputs(sums, row));
                        }
                    }
                }
            }
        }
    });
}

/// The outputs of one activation row, added as [`crate::products::sum_lanes`] does.
#[inline]
#[target_feature(enable = "avx512f")]
fn outputs(sums: &Group, row: usize) -> Pair {
    let add = |a: Pair, b: Pair| [_mm512_add_ps(a[0], b[0]), _mm512_add_ps(a[1], b[1])];
    let lane = |lane: usize| sums[lane][row / TILE][row % TILE];
    let even = add(add(lane(0), lane(4)), add(lane(2), lane(6)));
    let odd = add(add(lane(1), lane(5)), add(lane(3), lane(7)));
    add(even, odd)
}

/// Fills the panel with `width` columns of up to 32 rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn pack(weight: &Matrix<'_>, column: usize, width: usize, rows: &mut [[f32; CHUNK]], panel: &mut [Pair]) {
    let pointers = avx2::float::as_floats::<WIDE, SIDE>(weight, column, width, rows);
    for (half, rows) in pointers.as_chunks::<SIDE>().0.iter().enumerate() {
        for k in 0..width.div_ceil(SIDE) {
            // SAFETY: sixteen values of each row: of a whole vector of columns, or of a row that ends with zeros.
            let values = std::array::from_fn(|r| unsafe { _mm512_loadu_si512(rows[r].add(k * SIDE).cast()) });
            for (at, column) in lanes::transpose(&values).into_iter().enumerate() {
                let place = at % LANES * (CHUNK / LANES) + k * (SIDE / LANES) + at / LANES;
                panel[place][half] = _mm512_castsi512_ps(column);
            }
        }
    }
}

/// Adds the products of one lane of a chunk to the sums of the first `N` activation rows of a tile, or begins with them.
#[inline]
#[target_feature(enable = "avx512f")]
fn add<const N: usize>(x: &[[f32; TILE]], panel: &[Pair], sums: &mut Sums, begin: bool) {
    let (sums, _) = sums.split_first_chunk_mut::<N>().expect("a tile has so many rows");
    let mut own = if begin { [[_mm512_setzero_ps(); 2]; N] } else { *sums };
    let mut step = |x: &[f32; TILE], w: &Pair| {
        for (own, x) in own.iter_mut().zip(x) {
            let x = _mm512_set1_ps(*x);
            own[0] = _mm512_fmadd_ps(w[0], x, own[0]);
            own[1] = _mm512_fmadd_ps(w[1], x, own[1]);
        }
    };
    let x = &x[..panel.len()];
    let ((x, x_rest), (w, w_rest)) = (x.as_chunks::<ROUND>(), panel.as_chunks::<ROUND>());
    for (x, w) in x.iter().zip(w) {
        for (x, w) in x.iter().zip(w) {
            step(x, w);
        }
    }
    for (x, w) in x_rest.iter().zip(w_rest) {
        step(x, w);
    }
    *sums = own;
}
