//! Products of many activation rows, as in reading a prompt: bound by the multipliers.
//!
//! Sixteen weight rows are unpacked, 256 columns at a time, into a panel that stays in the first-level cache: a
//! vector of it holds neighbouring columns of eight rows, one row in each 32-bit lane. Six activation rows at a time
//! then meet it, their columns broadcast, so that the sums of a block are complete in their lanes and no sum across
//! lanes is needed.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;

use super::blocks::{Large, Small};
use super::by_rows;
use super::lanes;
use crate::activations::TILE;
use crate::hints::in_order;
use crate::products::Tile;
use crate::quants::{LARGE, LargeBlock, SMALL, SmallBlock};

/// Weight rows of a panel, in two vectors of eight.
const WIDE: usize = 16;
const SIDE: usize = 8;
/// Blocks of 32 in a chunk of columns.
const BLOCKS: usize = LARGE / SMALL;

/// One chunk of sixteen weight rows.
struct Panel {
    /// `[block of 32, step, 2]`: a step is four columns of bytes or two of 16-bit numbers.
    codes: [__m256i; BLOCKS * 16 * 2],
    /// Large blocks: `[sub-block, 2]`, a row's factor in both 16-bit halves of its lane.
    factors: [__m256i; 16 * 2],
    /// Large blocks: `[pair of sixteen columns, 2]`, what their two sums are multiplied with.
    offsets: [__m256i; BLOCKS * 2],
    /// `[block, 2]`.
    scales: [__m256; BLOCKS * 2],
    minimums: [__m256; BLOCKS * 2],
}

thread_local! {
    static PANEL: RefCell<Option<Box<Panel>>> = const { RefCell::new(None) };
    /// Running sums, `[activation row, 2]` vectors.
    static SUMS: RefCell<Vec<[[__m256; 2]; TILE]>> = const { RefCell::new(Vec::new()) };
}

/// Goes over a tile by sixteen weight rows and 256 columns; `pack` fills the panel with blocks
/// `first .. first + here` of the rows, `multiply` adds its products to the sums of all activation rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn over_panels(
    tile: &Tile<'_>,
    pack: impl Fn(&mut Panel, &[*const u8; WIDE], usize, usize),
    multiply: impl Fn(&Panel, usize, usize, &mut [[[__m256; 2]; TILE]]),
) {
    let weight = &tile.weight;
    let (m, blocks) = (tile.x.m(), weight.cols / SMALL);
    PANEL.with_borrow_mut(|panel| {
        let zero = (_mm256_setzero_si256(), _mm256_setzero_ps());
        let panel = panel.get_or_insert_with(|| {
            Box::new(Panel {
                codes: [zero.0; _],
                factors: [zero.0; _],
                offsets: [zero.0; _],
                scales: [zero.1; _],
                minimums: [zero.1; _],
            })
        });
        SUMS.with_borrow_mut(|sums| {
            for row in (0..weight.rows).step_by(WIDE) {
                sums.clear();
                sums.resize(m.div_ceil(TILE), [[zero.1; 2]; TILE]);
                let rows = std::array::from_fn(|r| weight.row((row + r).min(weight.rows - 1)).as_ptr());
                for first in (0..blocks).step_by(BLOCKS) {
                    let here = (blocks - first).min(BLOCKS);
                    pack(panel, &rows, first, here);
                    multiply(panel, first, here, sums);
                }
                for i in 0..m {
                    let both = sums[i / TILE][i % TILE].map(|v| lanes::array(v));
                    tile.store_up_to(i, row, both.as_flattened());
                }
            }
        });
    });
}

/// The eight row pointers of one half of a panel.
fn side(rows: &[*const u8; WIDE], half: usize) -> [*const u8; SIDE] {
    std::array::from_fn(|r| rows[half * SIDE + r])
}

/// Scales and minimums of small blocks.
///
/// # Safety
/// Each row has a block at byte `at`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn pack_scales<K: Small>(panel: &mut Panel, rows: &[*const u8; SIDE], at: usize, place: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        panel.scales[place] = lanes::halves(rows, at);
        if K::Block::HAS_MINIMUM {
            panel.minimums[place] = lanes::halves(rows, at + 2);
        }
    }
}

/// The four bytes at `from + AT` in all lanes. As assembly, because the compiler would load and then shuffle, and there
/// is less room for shuffles than for loads.
///
/// # Safety
/// They can be read; the processor has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn broadcast<const AT: usize, T>(from: *const T) -> __m256i {
    let lanes;
    // SAFETY: reads four bytes, by the caller's promise.
    unsafe {
        asm!("vpbroadcastd {0}, dword ptr [{1} + {2}]", lateout(ymm_reg) lanes, in(reg) from, const AT,
            options(pure, readonly, nostack, preserves_flags));
    }
    lanes
}

const _: () = assert!(TILE == 6, "steps are written out for six activation rows");

/// Sums of `N` activation rows and two times eight weight rows.
type Sums<const N: usize> = [[__m256i; 2]; N];

/// One step of four bytes' columns: products of two times eight weight rows with the first `N` rows of a tile, whose
/// codes are [`SMALL`] apart, added in 16 bits.
///
/// # Safety
/// Two vectors at `w`; four bytes at each of the `N` places of `x`; the processor has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn step<const N: usize>(w: *const __m256i, x: *const i8, sums: &mut Sums<N>) {
    // SAFETY: the caller's promise.
    unsafe {
        let (a, b) = (w.read(), w.add(1).read());
        let add = |sums: &mut [__m256i; 2], x| {
            sums[0] = in_order(_mm256_add_epi16(sums[0], _mm256_maddubs_epi16(a, x)));
            sums[1] = in_order(_mm256_add_epi16(sums[1], _mm256_maddubs_epi16(b, x)));
        };
        add(&mut sums[0], broadcast::<0, _>(x));
        add(&mut sums[1], broadcast::<SMALL, _>(x));
        if N > 2 {
            add(&mut sums[2], broadcast::<{ 2 * SMALL }, _>(x));
            add(&mut sums[3], broadcast::<{ 3 * SMALL }, _>(x));
        }
        if N > 4 {
            add(&mut sums[4], broadcast::<{ 4 * SMALL }, _>(x));
            add(&mut sums[5], broadcast::<{ 5 * SMALL }, _>(x));
        }
    }
}

/// The same for two columns of 16-bit numbers, added in 32 bits.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn wide_step<const N: usize>(w: *const __m256i, x: *const i16, sums: &mut Sums<N>) {
    // SAFETY: the caller's promise.
    unsafe {
        let (a, b) = (w.read(), w.add(1).read());
        let add = |sums: &mut [__m256i; 2], x| {
            sums[0] = in_order(_mm256_add_epi32(sums[0], _mm256_madd_epi16(a, x)));
            sums[1] = in_order(_mm256_add_epi32(sums[1], _mm256_madd_epi16(b, x)));
        };
        add(&mut sums[0], broadcast::<0, _>(x));
        add(&mut sums[1], broadcast::<{ 2 * SMALL }, _>(x));
        if N > 2 {
            add(&mut sums[2], broadcast::<{ 4 * SMALL }, _>(x));
            add(&mut sums[3], broadcast::<{ 6 * SMALL }, _>(x));
        }
        if N > 4 {
            add(&mut sums[4], broadcast::<{ 8 * SMALL }, _>(x));
            add(&mut sums[5], broadcast::<{ 10 * SMALL }, _>(x));
        }
    }
}

/// Weights in blocks of 32 with unsigned codes.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn small<K: Small>(tile: &Tile<'_>) {
    let x = &tile.x.small.panel;
    let m = tile.x.m();
    let tiles = m.div_ceil(TILE);
    let pack = |panel: &mut Panel, rows: &[*const u8; WIDE], first: usize, here: usize| {
        for block in 0..here {
            let at = (first + block) * K::Block::BYTES;
            for half in 0..2 {
                let rows = side(rows, half);
                // SAFETY: each row has a block at `at`.
                unsafe {
                    pack_scales::<K>(panel, &rows, at, block * 2 + half);
                    let columns = lanes::transpose(rows.map(|row| K::codes(row.add(at))));
                    for (step, column) in columns.into_iter().enumerate() {
                        panel.codes[(block * 8 + step) * 2 + half] = column;
                    }
                }
            }
        }
    };
    let multiply = |panel: &Panel, first: usize, here: usize, sums: &mut [[[__m256; 2]; TILE]]| {
        let places = first * tiles * TILE..(first + here) * tiles * TILE;
        let codes = x.bytes[places.start * SMALL..places.end * SMALL].chunks_exact(here * TILE * SMALL);
        let scales = x.scales[places.clone()].chunks_exact(here * TILE);
        let x_sums = x.sums[places].chunks_exact(here * TILE);
        for (t, (((codes, scales), x_sums), sums)) in codes.zip(scales).zip(x_sums).zip(sums).enumerate() {
            by_rows!(m - t * TILE, N => small_tile::<K, N>(panel, codes, scales, x_sums, sums));
        }
    };
    over_panels(tile, pack, multiply);
}

/// The blocks of a panel and the first `N` rows of a tile.
#[inline]
#[target_feature(enable = "avx2")]
fn small_tile<K: Small, const N: usize>(
    panel: &Panel,
    codes: &[i8],
    scales: &[f32],
    x_sums: &[i16],
    sums: &mut [[__m256; 2]; TILE],
) {
    let x = codes.as_chunks::<{ TILE * SMALL }>().0.iter();
    let x = x.zip(scales.as_chunks::<TILE>().0).zip(x_sums.as_chunks::<TILE>().0);
    for (block, ((codes, scales), x_sums)) in x.enumerate() {
        // SAFETY: a tile of 32 codes a row.
        let totals = unsafe {
            small_block::<K, N>(panel.codes[block * 16..(block + 1) * 16].as_ptr(), codes.as_ptr(), x_sums)
        };
        finish::<K, N>(panel, block, totals, scales, x_sums, sums);
    }
}

/// Integer sums of one block: `N` activation rows, two times eight weight rows.
///
/// # Safety
/// `w` points at 16 vectors, `x` at `N` rows of 32 codes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn small_block<K: Small, const N: usize>(
    w: *const __m256i,
    x: *const i8,
    x_sums: &[i16; TILE],
) -> Sums<N> {
    let zero = _mm256_setzero_si256();
    let one = _mm256_set1_epi16(1);
    // What codes too high by `OFFSET` add is taken off before it comes.
    let mut totals: Sums<N> =
        std::array::from_fn(|j| [_mm256_set1_epi32(-K::OFFSET * i32::from(x_sums[j])); 2]);
    for group in 0..8 / K::GROUP {
        let mut sums = [[zero; 2]; N];
        for at in group * K::GROUP..(group + 1) * K::GROUP {
            // SAFETY: the caller's promise.
            unsafe { step(w.add(at * 2), x.add(at * 4), &mut sums) };
        }
        for (totals, sums) in totals.iter_mut().zip(sums) {
            totals[0] = _mm256_add_epi32(totals[0], _mm256_madd_epi16(sums[0], one));
            totals[1] = _mm256_add_epi32(totals[1], _mm256_madd_epi16(sums[1], one));
        }
    }
    totals
}

/// Scales the integer sums of a small block and adds them to the running sums, in the order `rows` uses.
#[inline]
#[target_feature(enable = "avx2")]
fn finish<K: Small, const N: usize>(
    panel: &Panel,
    block: usize,
    totals: Sums<N>,
    scales: &[f32; TILE],
    x_sums: &[i16; TILE],
    sums: &mut [[__m256; 2]; TILE],
) {
    for j in 0..N {
        let scale = _mm256_set1_ps(scales[j]);
        let x_sum = i32::from(x_sums[j]);
        for half in 0..2 {
            let place = block * 2 + half;
            let codes = _mm256_cvtepi32_ps(totals[j][half]);
            let mut term = _mm256_mul_ps(codes, _mm256_mul_ps(panel.scales[place], scale));
            if K::Block::HAS_MINIMUM {
                let minimum = _mm256_mul_ps(panel.minimums[place], scale);
                term = _mm256_add_ps(term, _mm256_mul_ps(_mm256_set1_ps(x_sum as f32), minimum));
            }
            sums[j][half] = _mm256_add_ps(sums[j][half], term);
        }
    }
}

/// Weights in blocks of 32 with signed bytes: both sides as 16-bit numbers, because products of two full bytes do
/// not fit the 16 bits in which `maddubs` adds them.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn wide<K: Small>(tile: &Tile<'_>) {
    let x = &tile.x.small.panel;
    let m = tile.x.m();
    let tiles = m.div_ceil(TILE);
    let pack = |panel: &mut Panel, rows: &[*const u8; WIDE], first: usize, here: usize| {
        for block in 0..here {
            let at = (first + block) * K::Block::BYTES;
            for half in 0..2 {
                let rows = side(rows, half);
                // SAFETY: each row has a block at `at`.
                let codes = unsafe {
                    pack_scales::<K>(panel, &rows, at, block * 2 + half);
                    rows.map(|row| K::codes(row.add(at)))
                };
                let low = codes.map(|c| _mm256_cvtepi8_epi16(_mm256_castsi256_si128(c)));
                let high = codes.map(|c| _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(c)));
                let columns = lanes::transpose(low).into_iter().chain(lanes::transpose(high));
                for (step, column) in columns.enumerate() {
                    panel.codes[(block * 16 + step) * 2 + half] = column;
                }
            }
        }
    };
    let multiply = |panel: &Panel, first: usize, here: usize, sums: &mut [[[__m256; 2]; TILE]]| {
        let places = first * tiles * TILE..(first + here) * tiles * TILE;
        let codes = x.wide[places.start * SMALL..places.end * SMALL].chunks_exact(here * TILE * SMALL);
        let scales = x.scales[places].chunks_exact(here * TILE);
        for (t, ((codes, scales), sums)) in codes.zip(scales).zip(sums).enumerate() {
            by_rows!(m - t * TILE, N => wide_tile::<K, N>(panel, codes, scales, sums));
        }
    };
    over_panels(tile, pack, multiply);
}

/// The blocks of a panel and the first `N` rows of a tile.
#[inline]
#[target_feature(enable = "avx2")]
fn wide_tile<K: Small, const N: usize>(
    panel: &Panel,
    codes: &[i16],
    scales: &[f32],
    sums: &mut [[__m256; 2]; TILE],
) {
    const { assert!(!K::Block::HAS_MINIMUM) };
    let x = codes.as_chunks::<{ TILE * SMALL }>().0.iter().zip(scales.as_chunks::<TILE>().0);
    for (block, (codes, scales)) in x.enumerate() {
        // SAFETY: a tile of 32 codes a row.
        let totals =
            unsafe { wide_block::<N>(panel.codes[block * 32..(block + 1) * 32].as_ptr(), codes.as_ptr()) };
        finish::<K, N>(panel, block, totals, scales, &[0; TILE], sums);
    }
}

/// As [`small_block`], with 16-bit numbers on both sides.
///
/// # Safety
/// `w` points at 32 vectors, `x` at `N` rows of 32 codes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn wide_block<const N: usize>(w: *const __m256i, x: *const i16) -> Sums<N> {
    let mut totals = [[_mm256_setzero_si256(); 2]; N];
    for at in 0..16 {
        // SAFETY: the caller's promise.
        unsafe { wide_step(w.add(at * 2), x.add(at * 2), &mut totals) };
    }
    totals
}

/// Weights in blocks of 256.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn large<K: Large>(tile: &Tile<'_>) {
    let x = &tile.x.large.panel;
    let m = tile.x.m();
    let tiles = m.div_ceil(TILE);
    let pack = |panel: &mut Panel, rows: &[*const u8; WIDE], first: usize, _: usize| {
        let at = first / BLOCKS * K::Block::BYTES;
        for half in 0..2 {
            let rows = side(rows, half);
            // SAFETY: each row has a block at `at`.
            unsafe { pack_large::<K>(panel, &rows, at, half) };
        }
    };
    let multiply = |panel: &Panel, first: usize, _: usize, sums: &mut [[[__m256; 2]; TILE]]| {
        let (from, here) = (first / BLOCKS * tiles, tiles * TILE);
        let codes = x.bytes[from * TILE * LARGE..][..here * LARGE].as_chunks::<{ TILE * LARGE }>().0;
        let scales = x.scales[from * TILE..][..here].as_chunks::<TILE>().0;
        let x_sums = x.sums[from * TILE * 16..][..here * 16].as_chunks::<{ TILE * 16 }>().0;
        for (t, (((codes, scales), x_sums), sums)) in
            codes.iter().zip(scales).zip(x_sums).zip(sums).enumerate()
        {
            by_rows!(m - t * TILE, N => large_tile::<K, N>(panel, codes, scales, x_sums, sums));
        }
    };
    over_panels(tile, pack, multiply);
}

/// A panel and the first `N` rows of a tile.
#[inline]
#[target_feature(enable = "avx2")]
fn large_tile<K: Large, const N: usize>(
    panel: &Panel,
    codes: &[i8; TILE * LARGE],
    scales: &[f32; TILE],
    x_sums: &[i16; TILE * 16],
    sums: &mut [[__m256; 2]; TILE],
) {
    // SAFETY: a tile of 256 codes a row in blocks of 32, and of 16 sums.
    let (codes, offsets) = unsafe { large_block::<K, N>(panel, codes.as_ptr(), x_sums.as_ptr()) };
    for j in 0..N {
        let scale = _mm256_set1_ps(scales[j]);
        for half in 0..2 {
            let mut codes = codes[j][half];
            if K::OFFSET != 0 {
                codes = _mm256_sub_epi32(codes, _mm256_slli_epi32::<5>(offsets[j][half]));
            }
            let mut term = _mm256_mul_ps(_mm256_cvtepi32_ps(codes), _mm256_mul_ps(panel.scales[half], scale));
            if K::Block::HAS_MINIMUM {
                let minimum = _mm256_mul_ps(panel.minimums[half], scale);
                term = _mm256_sub_ps(term, _mm256_mul_ps(_mm256_cvtepi32_ps(offsets[j][half]), minimum));
            }
            sums[j][half] = _mm256_add_ps(sums[j][half], term);
        }
    }
}

/// One half of a panel from eight rows' blocks.
///
/// # Safety
/// Each row has a block at byte `at`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn pack_large<K: Large>(panel: &mut Panel, rows: &[*const u8; SIDE], at: usize, half: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        panel.scales[half] = lanes::halves(rows, at + K::SCALE_AT);
        panel.minimums[half] = lanes::halves(rows, at + K::MINIMUM_AT);
        for pair in 0..4 {
            let codes = rows.map(|row| K::codes(row.add(at), pair));
            for k in 0..2 {
                let columns = lanes::transpose(codes.map(|c| c[k]));
                for (step, column) in columns.into_iter().enumerate() {
                    panel.codes[((2 * pair + k) * 8 + step) * 2 + half] = column;
                }
            }
        }
        // Rows of sixteen 16-bit numbers, transposed in pairs of neighbours: pair `k` of row `r` in lane `r`.
        let factors = rows.map(|row| K::factors(row.add(at)));
        if K::Block::SUB == 32 {
            // Doubled before the transposition, so that a pair is the same factor twice.
            let doubled = |v: __m128i| _mm256_set_m128i(_mm_unpackhi_epi16(v, v), _mm_unpacklo_epi16(v, v));
            let columns = lanes::transpose(std::array::from_fn(|r| {
                doubled(_mm256_castsi256_si128(factors[r].factors))
            }));
            let offsets = lanes::transpose(std::array::from_fn(|r| doubled(factors[r].minimums)));
            for k in 0..8 {
                panel.factors[k * 2 + half] = columns[k];
                panel.offsets[k * 2 + half] = offsets[k];
            }
        } else {
            let columns = lanes::transpose(std::array::from_fn(|r| factors[r].factors));
            for (k, column) in columns.into_iter().enumerate() {
                panel.offsets[k * 2 + half] = column;
                let low = _mm256_and_si256(column, _mm256_set1_epi32(0xffff));
                let high = _mm256_srli_epi32::<16>(column);
                panel.factors[2 * k * 2 + half] = _mm256_or_si256(low, _mm256_slli_epi32::<16>(low));
                panel.factors[(2 * k + 1) * 2 + half] = _mm256_or_si256(high, _mm256_slli_epi32::<16>(high));
            }
        }
    }
}

/// Factors times codes and offsets times sums, for `N` activation rows and two times eight weight rows.
///
/// # Safety
/// `x` points at eight blocks of a tile of 32 codes a row, `x_sums` at `N` rows of 16 sums.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn large_block<K: Large, const N: usize>(
    panel: &Panel,
    x: *const i8,
    x_sums: *const i16,
) -> (Sums<N>, Sums<N>) {
    let zero = _mm256_setzero_si256();
    let (mut totals, mut offsets) = ([[zero; 2]; N], [[zero; 2]; N]);
    for block in 0..BLOCKS {
        for group in 0..8 / K::GROUP {
            let mut sums = [[zero; 2]; N];
            for at in group * K::GROUP..(group + 1) * K::GROUP {
                let codes = panel.codes[(block * 8 + at) * 2..][..2].as_ptr();
                // SAFETY: the caller's promise.
                unsafe { step(codes, x.add(block * TILE * SMALL + at * 4), &mut sums) };
            }
            let sub = (block * SMALL + group * K::GROUP * 4) / K::Block::SUB;
            let factors = [panel.factors[sub * 2], panel.factors[sub * 2 + 1]];
            for (totals, sums) in totals.iter_mut().zip(sums) {
                totals[0] = _mm256_add_epi32(totals[0], _mm256_madd_epi16(sums[0], factors[0]));
                totals[1] = _mm256_add_epi32(totals[1], _mm256_madd_epi16(sums[1], factors[1]));
            }
        }
        for (j, offsets) in offsets.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let x = unsafe { broadcast::<0, _>(x_sums.add(j * 16 + block * 2)) };
            offsets[0] = _mm256_add_epi32(offsets[0], _mm256_madd_epi16(panel.offsets[block * 2], x));
            offsets[1] = _mm256_add_epi32(offsets[1], _mm256_madd_epi16(panel.offsets[block * 2 + 1], x));
        }
    }
    (totals, offsets)
}
