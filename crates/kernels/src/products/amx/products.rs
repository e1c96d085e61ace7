//! Products of many activation rows in tiles: sixteen activation rows meet sixteen weight rows.
//!
//! As for AVX-512, weight rows are unpacked 256 columns at a time into a panel that stays in the first-level cache,
//! here with signed codes, because both sides of a product may be signed.
//!
//! Blocks of 32 need their sums after every 32 columns, half of what a tile holds. In blocks of 256 the integer
//! factors of sub-blocks go into the codes, so that all 256 columns add up in the tile: a code times its factor is
//! `128 * high + low` with both parts bytes, and the two parts are multiplied apart.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::tiles::{Sums, Tiles};
use crate::activations::TILE_ROWS;
use crate::products::Tile;
use crate::products::avx512::blocks::{Large, Small, join};
use crate::products::avx512::lanes;
use crate::products::avx512::panels::{
    BLOCKS, SIDE, STEPS, Scales, WIDE, large_term, offsets, pointers, small_term, store, unpack_scales,
    unpack_small,
};
use crate::quants::{LARGE, LargeBlock, SMALL};

/// Blocks of 32 whose sums are made before they are used.
const AHEAD: usize = 4;

/// One chunk of sixteen weight rows.
struct Panel {
    /// `[block of 32, step]`: the codes, or the low parts of codes times factors.
    low: [__m512i; BLOCKS * STEPS],
    /// The high parts.
    high: [__m512i; BLOCKS * STEPS],
    scales: Scales,
    /// What the tiles gave.
    sums: [Sums; AHEAD],
}

thread_local! {
    static PANEL: RefCell<Option<Box<Panel>>> = const { RefCell::new(None) };
    /// Running sums, `[activation row, 2]` vectors.
    static SUMS: RefCell<Vec<[__m512; 2]>> = const { RefCell::new(Vec::new()) };
}

/// Goes over a tile by sixteen weight rows and 256 columns; `pack` fills the panel with blocks
/// `first .. first + here` of sixteen rows, `multiply` adds its products to one side of the sums of all activation
/// rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn over_panels(
    tile: &Tile<'_>,
    pack: impl Fn(&mut Panel, &[*const u8; SIDE], usize, usize),
    multiply: impl Fn(&mut Panel, usize, usize, usize, &mut [[__m512; 2]]),
) {
    let weight = &tile.weight;
    let blocks = weight.cols / SMALL;
    PANEL.with_borrow_mut(|panel| {
        let panel = panel.get_or_insert_with(|| {
            let zero = _mm512_setzero_si512();
            Box::new(Panel { low: [zero; _], high: [zero; _], scales: Scales::new(), sums: [Sums::ZERO; _] })
        });
        SUMS.with_borrow_mut(|sums| {
            for row in (0..weight.rows).step_by(WIDE) {
                sums.clear();
                sums.resize(tile.x.m(), [_mm512_setzero_ps(); 2]);
                let sides = (weight.rows - row).div_ceil(SIDE).min(2);
                for first in (0..blocks).step_by(BLOCKS) {
                    let here = (blocks - first).min(BLOCKS);
                    for side in 0..sides {
                        pack(panel, &pointers(tile, row + side * SIDE), first, here);
                        multiply(panel, side, first, here, sums);
                    }
                }
                store(tile, row, sums);
            }
        });
    });
}

/// Weights in blocks of 32.
///
/// # Safety
/// [`super::detect::available`] said yes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn small<K: Small>(tile: &Tile<'_>) {
    // SAFETY: the caller's promise; the only one on this thread until this function returns.
    let tiles = unsafe { Tiles::new(16, SMALL, 16) };
    let (form, all) = (&tile.x.small, tile.weight.cols / SMALL);
    let pack = |panel: &mut Panel, rows: &[*const u8; SIDE], first: usize, here: usize| {
        let Panel { low, scales, .. } = panel;
        let offset = _mm512_set1_epi8(K::TOO_HIGH as i8);
        unpack_small::<K>(scales, rows, 0, first, here, |block, step, column| {
            low[block * STEPS + step] = _mm512_sub_epi8(column, offset);
        });
    };
    let multiply = |panel: &mut Panel, side: usize, first: usize, here: usize, sums: &mut [[__m512; 2]]| {
        let Panel { low, scales, sums: parts, .. } = panel;
        for (t, sums) in sums.chunks_mut(TILE_ROWS).enumerate() {
            let (x, stride) = form.tiles.tile(first / BLOCKS, t);
            for block in (0..here).step_by(AHEAD) {
                let count = (here - block).min(AHEAD);
                for (k, out) in parts.iter_mut().enumerate().take(count) {
                    let x = x[(block + k) * SMALL..].as_ptr();
                    let w = low[(block + k) * STEPS..].as_ptr();
                    // SAFETY: configured for 32 columns; sixteen rows of a chunk, `stride` apart, with block
                    // `block + k`, and its eight vectors.
                    unsafe {
                        match k {
                            0 => tiles.dots::<0>(x, stride, w, out),
                            1 => tiles.dots::<1>(x, stride, w, out),
                            2 => tiles.dots::<2>(x, stride, w, out),
                            _ => tiles.dots::<3>(x, stride, w, out),
                        }
                    }
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let at = (t * TILE_ROWS + r) * all + first + block;
                    for (k, part) in parts[..count].iter().enumerate() {
                        // SAFETY: sixteen integers.
                        let codes = unsafe { _mm512_load_si512(part.0[r].as_ptr().cast()) };
                        let (scale, x_sum) = (form.scales[at + k], f32::from(form.sums[at + k]));
                        let (w_scale, w_minimum) =
                            (scales.scales[block + k][0], scales.minimums[block + k][0]);
                        let term = small_term::<K>(w_scale, w_minimum, codes, scale, x_sum);
                        sums[side] = _mm512_add_ps(sums[side], term);
                    }
                }
            }
        }
    };
    over_panels(tile, pack, multiply);
}

/// Weights in blocks of 256.
///
/// # Safety
/// [`super::detect::available`] said yes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn large<K: Large>(tile: &Tile<'_>) {
    // SAFETY: the caller's promise; the only one on this thread until this function returns.
    let tiles = unsafe { Tiles::new(16, 2 * SMALL, 16) };
    let (form, chunks) = (&tile.x.large, tile.weight.cols / LARGE);
    let pack = |panel: &mut Panel, rows: &[*const u8; SIDE], first: usize, _: usize| {
        let at = first / BLOCKS * K::Block::BYTES;
        // SAFETY: each row has a block at `at`.
        unsafe {
            unpack_scales::<K>(&mut panel.scales, rows, 0, at);
            unpack_codes::<K>(panel, rows, at);
        }
    };
    let multiply = |panel: &mut Panel, side: usize, first: usize, _: usize, sums: &mut [[__m512; 2]]| {
        let chunk = first / BLOCKS;
        let Panel { low, high, scales, sums: parts } = panel;
        let w = [low.as_ptr(), high.as_ptr()];
        for (t, sums) in sums.chunks_mut(TILE_ROWS).enumerate() {
            let (x, stride) = form.tiles.tile(chunk, t);
            // Other registers every time, so that a tile need not wait for the one before.
            let parts = &mut parts.as_chunks_mut::<2>().0[t % 2];
            // SAFETY: configured for 64 columns; sixteen rows of a chunk of 256 columns, and their 64 vectors.
            unsafe {
                match t % 2 {
                    0 => tiles.two_dots::<0>(x.as_ptr(), stride, w, parts),
                    _ => tiles.two_dots::<2>(x.as_ptr(), stride, w, parts),
                }
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let at = (t * TILE_ROWS + r) * chunks + chunk;
                // SAFETY: sixteen integers each.
                let [low, high] = [0, 1].map(|k| unsafe { _mm512_load_si512(parts[k].0[r].as_ptr().cast()) });
                let codes = _mm512_add_epi32(_mm512_slli_epi32::<BITS>(high), low);
                let offsets = match form.sums[at * 16..].split_first_chunk::<16>() {
                    Some((x_sums, _)) if K::Block::HAS_MINIMUM => offsets(scales, 0, x_sums),
                    _ => _mm512_setzero_si512(),
                };
                let term = large_term::<K>(scales, 0, codes, offsets, form.scales[at]);
                sums[side] = _mm512_add_ps(sums[side], term);
            }
        }
    };
    over_panels(tile, pack, multiply);
}

/// Bits of the low part of a code times its factor.
const BITS: u32 = 7;

/// Codes times factors, in two bytes each: `128 * high + low` with `low` from -64 to 63. Products lie between
/// -4096 (Q6_K: -32 to 31 times -128 to 127) and 4096, so `high` lies between -32 and 32.
///
/// # Safety
/// Each row has a block at byte `at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn unpack_codes<K: Large>(panel: &mut Panel, rows: &[*const u8; SIDE], at: usize) {
    let patterns = const { factor_patterns::<K>() };
    let zero = _mm512_setzero_si512();
    for half in 0..2 {
        let (mut low, mut high) = ([[zero; SIDE]; 2], [[zero; SIDE]; 2]);
        for (r, row) in rows.iter().enumerate() {
            // SAFETY: the caller's promise.
            let (codes, factors) = unsafe {
                let block = row.add(at);
                (K::half(block, half), _mm512_castsi256_si512(K::factors(block).factors))
            };
            for k in 0..2 {
                let parts = [_mm512_castsi512_si256(codes[k]), _mm512_extracti64x4_epi64::<1>(codes[k])];
                let [a, b] = [0, 1].map(|side| {
                    // SAFETY: 64 bytes.
                    let pattern =
                        unsafe { _mm512_loadu_si512(patterns[K::SUBS[half][k][side]].as_ptr().cast()) };
                    let factor = _mm512_permutexvar_epi16(pattern, factors);
                    let codes = _mm512_cvtepu8_epi16(parts[side]);
                    let codes = _mm512_sub_epi16(codes, _mm512_set1_epi16(K::OFFSET as i16));
                    split(_mm512_mullo_epi16(codes, factor))
                });
                low[k][r] = join(a[0], b[0]);
                high[k][r] = join(a[1], b[1]);
            }
        }
        for k in 0..2 {
            let columns = lanes::transpose(&low[k]).into_iter().zip(lanes::transpose(&high[k]));
            for (step, (low, high)) in columns.enumerate() {
                let place = K::SUBS[half][k][step / STEPS] * STEPS + step % STEPS;
                panel.low[place] = low;
                panel.high[place] = high;
            }
        }
    }
}

/// Low and high parts of 32 numbers, as bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn split(v: __m512i) -> [__m256i; 2] {
    let high = _mm512_srai_epi16::<BITS>(_mm512_add_epi16(v, _mm512_set1_epi16(1 << (BITS - 1))));
    let low = _mm512_sub_epi16(v, _mm512_slli_epi16::<BITS>(high));
    [_mm512_cvtepi16_epi8(low), _mm512_cvtepi16_epi8(high)]
}

/// For each part of 32 codes, the number of the factor that belongs to each of them.
const fn factor_patterns<K: Large>() -> [[i16; SMALL]; BLOCKS] {
    let mut patterns = [[0; SMALL]; BLOCKS];
    let mut at = 0;
    while at < BLOCKS * SMALL {
        patterns[at / SMALL][at % SMALL] = (at / K::Block::SUB) as i16;
        at += 1;
    }
    patterns
}
