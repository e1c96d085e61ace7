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
use crate::products::Tile;
use crate::products::avx2::{self, by_rows};

/// Weight rows of a panel, in two vectors of sixteen.
const WIDE: usize = 2 * SIDE;
const SIDE: usize = 16;
/// Activation rows that meet a panel before the next chunk.
const BATCH: usize = 96 * TILE;

/// One column of two times sixteen weight rows, or its sums.
type Pair = [__m512; 2];
/// Of one lane: the sums of a tile of activation rows.
type Sums = [Pair; TILE];

#[derive(Default)]
struct Scratch {
    /// `[WIDE]` rows of a chunk, for weights that are not f32.
    rows: Vec<[f32; CHUNK]>,
    /// `[lane, CHUNK / LANES]`: columns that belong to the same lane lie together.
    panel: Vec<Pair>,
    /// `[lane, tile]`.
    sums: Vec<Sums>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
pub(super) fn product(tile: &Tile<'_>) {
    if tile.weight.format.is_float() && tile.x.m() <= avx2::float::FEW {
        return avx2::float::product(tile);
    }
    let zero = _mm512_setzero_ps();
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
        rows.resize(WIDE, [0.0; CHUNK]);
        panel.resize(CHUNK, [zero; 2]);
        for first in (0..tile.weight.rows).step_by(WIDE) {
            let weight = tile.weight.rows(first..(first + WIDE).min(tile.weight.rows));
            for start in (0..m).step_by(BATCH) {
                let end = (start + BATCH).min(m);
                let tiles = (end - start).div_ceil(TILE);
                sums.clear();
                sums.resize(LANES * tiles, [[zero; 2]; TILE]);
                for column in (0..weight.cols).step_by(CHUNK) {
                    let width = CHUNK.min(weight.cols - column);
                    pack(&weight, column, width, rows, panel);
                    // A lane of the panel stays in the first-level cache while all rows meet it.
                    let lanes = panel.chunks_exact(CHUNK / LANES).zip(sums.chunks_exact_mut(tiles));
                    for (lane, (panel, sums)) in lanes.enumerate().take(width) {
                        let panel = &panel[..(width - lane).div_ceil(LANES)];
                        for (t, sums) in sums.iter_mut().enumerate() {
                            let i = start + t * TILE;
                            let x = x.lane(i / TILE, column, lane);
                            by_rows!(end - i, N => add::<N>(x, panel, sums));
                        }
                    }
                }
                for i in start..end {
                    let values = outputs(sums, tiles, i - start);
                    tile.store_some(i, first, &values.as_flattened()[..weight.rows]);
                }
            }
        }
    });
}

/// The outputs of one activation row, added as [`crate::products::sum_lanes`] does.
#[inline]
#[target_feature(enable = "avx512f")]
fn outputs(sums: &[Sums], tiles: usize, row: usize) -> [[f32; SIDE]; 2] {
    let add = |a: Pair, b: Pair| [_mm512_add_ps(a[0], b[0]), _mm512_add_ps(a[1], b[1])];
    let lane = |lane: usize| sums[lane * tiles + row / TILE][row % TILE];
    let even = add(add(lane(0), lane(4)), add(lane(2), lane(6)));
    let odd = add(add(lane(1), lane(5)), add(lane(3), lane(7)));
    add(even, odd).map(|v| lanes::array(v))
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

/// Adds the products of one lane of a chunk, the first `N` activation rows of a tile.
#[inline]
#[target_feature(enable = "avx512f")]
fn add<const N: usize>(x: &[[f32; TILE]], panel: &[Pair], sums: &mut Sums) {
    let (sums, _) = sums.split_first_chunk_mut::<N>().expect("a tile has so many rows");
    let mut own = *sums;
    for (x, w) in x.iter().zip(panel) {
        for (own, x) in own.iter_mut().zip(x) {
            let x = _mm512_set1_ps(*x);
            own[0] = _mm512_fmadd_ps(w[0], x, own[0]);
            own[1] = _mm512_fmadd_ps(w[1], x, own[1]);
        }
    }
    *sums = own;
}
