//! Products with weights that were laid out before, [`crate::packed`].
//!
//! As in `panels`, four columns of an activation row are broadcast to the lanes of two vectors of weight rows; blocks lie one
//! behind another as they are multiplied, so that nothing is left to do but that.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::panels::broadcast;
use crate::hints::fetch;
use crate::packed::{Block, Inputs, STEPS, TILE, Task};

/// Blocks of a panel that stay in the first-level cache while all rows meet them.
const CHUNK: usize = 24;

/// Sums of a tile of activation rows, in two vectors of weight rows.
type Sums = [[__m512; 2]; TILE];

thread_local! {
    /// Of the panels of a task, between chunks.
    static SUMS: RefCell<Vec<Sums>> = const { RefCell::new(Vec::new()) };
}

/// The panels of a task.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn product(task: &Task<'_>) {
    match task.tile() {
        4 => by_tiles::<4>(task),
        5 => by_tiles::<5>(task),
        _ => by_tiles::<TILE>(task),
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn by_tiles<const N: usize>(task: &Task<'_>) {
    let (blocks, tiles, near) = (task.blocks(), task.tiles(), task.near());
    SUMS.with_borrow_mut(|sums| {
        sums.resize(tiles * task.panels.len(), [[_mm512_setzero_ps(); 2]; TILE]);
        for part in (0..blocks).step_by(near) {
            for (panel, sums) in task.panels.clone().zip(sums.chunks_exact_mut(tiles)) {
                let end = blocks.min(part + near);
                for first in (part..end).step_by(CHUNK) {
                    let chunk = first..end.min(first + CHUNK);
                    let weights = task.weights(panel, chunk.clone());
                    // What lies behind is asked for meanwhile, a share of it by each tile.
                    let lines = (size_of::<Block>() / 64).div_ceil(tiles);
                    let mut ahead = weights.as_ptr_range().end.cast();
                    for (tile, sums) in sums.iter_mut().enumerate() {
                        let inputs = task.inputs(tile, chunk.clone());
                        add::<N>(weights, inputs, sums, first == 0, &mut ahead, lines);
                        if chunk.end == blocks {
                            store::<N>(task, tile, panel, sums);
                        }
                    }
                }
            }
        }
    });
}

/// Adds the products of some blocks to the sums of a tile, or begins with them; asks for `lines` lines from `ahead` on with
/// every block.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn add<const N: usize>(
    weights: &[Block],
    inputs: &[Inputs],
    sums: &mut Sums,
    begin: bool,
    ahead: &mut *const u8,
    lines: usize,
) {
    let mut own = [[_mm512_setzero_ps(); 2]; N];
    if !begin {
        own.copy_from_slice(&sums[..N]);
    }
    for (weights, inputs) in weights.iter().zip(inputs) {
        *ahead = fetch(*ahead, 64 * lines);
        let mut codes: [[__m512i; 2]; N] = std::array::from_fn(|j| [_mm512_set1_epi32(inputs.before[j]); 2]);
        for step in 0..STEPS {
            let w = halves(&weights.codes[step]);
            for (codes, x) in codes.iter_mut().zip(&inputs.codes) {
                // SAFETY: four of the 32 columns.
                let x = unsafe { broadcast(x.as_ptr().add(4 * step)) };
                codes[0] = _mm512_dpbusd_epi32(codes[0], w[0], x);
                codes[1] = _mm512_dpbusd_epi32(codes[1], w[1], x);
            }
        }
        let w_scales = halves(&weights.scales).map(|scales| _mm512_castsi512_ps(scales));
        for j in 0..N {
            let scale = _mm512_set1_ps(inputs.scales[j]);
            for s in 0..2 {
                let factor = _mm512_mul_ps(w_scales[s], scale);
                let term = _mm512_mul_ps(_mm512_cvtepi32_ps(codes[j][s]), factor);
                own[j][s] = _mm512_add_ps(own[j][s], term);
            }
        }
    }
    sums[..N].copy_from_slice(&own);
}

/// 128 bytes as two vectors.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves<T, const LEN: usize>(from: &[T; LEN]) -> [__m512i; 2] {
    const { assert!(size_of::<T>() * LEN == 128) };
    let from = from.as_ptr().cast::<u8>();
    // SAFETY: there are so many, as was just seen.
    unsafe { [_mm512_loadu_si512(from.cast()), _mm512_loadu_si512(from.add(64).cast())] }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store<const N: usize>(task: &Task<'_>, tile: usize, panel: usize, sums: &Sums) {
    for (j, sums) in sums.iter().enumerate().take(N) {
        // SAFETY: a panel of this task; the outputs of the row before are done with.
        let Some(out) = (unsafe { task.out(tile * N + j, panel) }) else { return };
        for (s, sum) in sums.iter().enumerate() {
            let Some(out) = out.get_mut(16 * s..) else { break };
            let mask = ((1u32 << out.len().min(16)) - 1) as __mmask16;
            // SAFETY: as many outputs as there are.
            unsafe {
                let mut sum = *sum;
                if task.add {
                    sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out.as_ptr()), sum);
                }
                _mm512_mask_storeu_ps(out.as_mut_ptr(), mask, sum);
            }
        }
    }
}
