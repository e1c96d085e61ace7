//! Products of many activation rows, as in reading a prompt: bound by the multipliers.
//!
//! 32 weight rows are unpacked, 256 columns at a time, into a panel that stays in the first-level cache: a vector
//! of it holds four neighbouring columns of sixteen rows, one row in each 32-bit lane. Six activation rows at a time
//! (four with blocks of 256) then meet it, four of their columns broadcast to all lanes, so that the sums of a block are complete in their
//! lanes and no sum across lanes is needed.

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::hint::black_box;
use std::ops::Range;

use super::blocks::{Large, Small};
use super::lanes;
use crate::hints::Streams;
use crate::products::Tile;
use crate::quants::{LARGE, LargeBlock, SMALL, SmallBlock};

/// Weight rows of a panel, in two vectors of sixteen.
pub(in crate::products) const WIDE: usize = 2 * SIDE;
pub(in crate::products) const SIDE: usize = 16;
/// Blocks of 32 in a chunk of columns.
pub(in crate::products) const BLOCKS: usize = LARGE / SMALL;
/// Vectors of four columns in such a block.
pub(in crate::products) const STEPS: usize = SMALL / 4;
/// Activation rows that meet the panel together, of many in blocks of 32 and of any number in blocks of 256.
const TOGETHER: usize = 6;
const LARGE_TOGETHER: usize = 4;

/// One chunk of 32 weight rows.
struct Panel {
    /// `[block of 32, step, 2]`, unsigned.
    codes: [[__m512i; 2]; BLOCKS * STEPS],
    scales: Scales,
}

/// What belongs to the codes of a chunk of 32 weight rows, one row in each lane of two vectors.
pub(in crate::products) struct Scales {
    /// Large blocks: `[sub-block, 2]`, integers.
    factors: [[__m512i; 2]; 16],
    /// Large blocks: `[pair of sixteen columns, 2]`, what their two sums are multiplied with.
    offsets: [[__m512i; 2]; BLOCKS],
    /// `[block, 2]`.
    pub(in crate::products) scales: [[__m512; 2]; BLOCKS],
    pub(in crate::products) minimums: [[__m512; 2]; BLOCKS],
}

impl Scales {
    #[target_feature(enable = "avx512f")]
    pub(in crate::products) fn new() -> Scales {
        let zero = (_mm512_setzero_si512(), _mm512_setzero_ps());
        Scales {
            factors: [[zero.0; 2]; _],
            offsets: [[zero.0; 2]; _],
            scales: [[zero.1; 2]; _],
            minimums: [[zero.1; 2]; _],
        }
    }
}

thread_local! {
    static PANEL: RefCell<Option<Box<Panel>>> = const { RefCell::new(None) };
    /// Running sums, `[activation row, 2]` vectors.
    static SUMS: RefCell<Vec<[__m512; 2]>> = const { RefCell::new(Vec::new()) };
}

/// Pointers to sixteen rows from `first` on; beyond the last row, the last row again.
pub(in crate::products) fn pointers(tile: &Tile<'_>, first: usize) -> [*const u8; SIDE] {
    std::array::from_fn(|r| tile.weight.row((first + r).min(tile.weight.rows - 1)).as_ptr())
}

/// Stores the sums of all activation rows for the weight rows from `row` on.
#[target_feature(enable = "avx512f")]
pub(in crate::products) fn store(tile: &Tile<'_>, row: usize, sums: &[[__m512; 2]]) {
    for (i, sums) in sums.iter().enumerate().take(tile.x.m()) {
        lanes::store(tile, i, row, *sums);
    }
}

/// Goes over a tile by 32 weight rows and 256 columns; `pack` fills a side of the panel with blocks
/// `first .. first + here` of sixteen rows, `multiply` adds the products with some sides to the sums of up to `N` activation
/// rows, from the given one on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn over_panels<const N: usize>(
    tile: &Tile<'_>,
    pack: impl Fn(&mut Panel, &[*const u8; SIDE], usize, usize, usize),
    multiply: impl Fn(&Panel, usize, usize, usize, usize, &mut [[__m512; 2]]),
) {
    let weight = &tile.weight;
    let blocks = weight.cols / SMALL;
    PANEL.with_borrow_mut(|panel| {
        let panel = panel.get_or_insert_with(|| {
            Box::new(Panel { codes: [[_mm512_setzero_si512(); 2]; _], scales: Scales::new() })
        });
        SUMS.with_borrow_mut(|sums| {
            for i in row_blocks::<N>(tile.x.m(), weight.cols) {
                for row in (0..weight.rows).step_by(WIDE) {
                    sums.clear();
                    sums.resize(i.len(), [_mm512_setzero_ps(); 2]);
                    let sides = (weight.rows - row).div_ceil(SIDE).min(2);
                    let mut ahead = Streams::new(tile, row, WIDE);
                    for first in (0..blocks).step_by(BLOCKS) {
                        let here = (blocks - first).min(BLOCKS);
                        for side in 0..sides {
                            pack(panel, &pointers(tile, row + side * SIDE), side, first, here);
                            ahead.fetch(SIDE * weight.row_bytes() * here / blocks);
                        }
                        for (i, sums) in i.clone().step_by(N).zip(sums.chunks_mut(N)) {
                            multiply(panel, sides, first, here, i, sums);
                            if first + here == blocks {
                                // At once: memory takes the outputs while the next rows are multiplied.
                                for (j, sums) in sums.iter().enumerate() {
                                    lanes::store(tile, i + j, row, *sums);
                                }
                            }
                        }
                    }
                }
            }
        });
    });
}

/// The activation rows that meet the weights of a tile before others do: as many as a second-level cache holds beside them.
/// Every panel meets all of them, and unpacking the weights once more costs less than fetching codes from further away.
pub(super) fn row_blocks<const N: usize>(m: usize, cols: usize) -> impl Iterator<Item = Range<usize>> {
    const CODES: usize = 768 << 10;
    // Of very long rows, such as gradients of a vocabulary, fewer than these would be unpacked for too little.
    const LEAST: usize = 48;
    let most = (CODES / cols.max(1)).max(LEAST);
    let each = m.div_ceil(m.div_ceil(most).max(1)).next_multiple_of(N);
    (0..m).step_by(each).map(move |first| first..(first + each).min(m))
}

/// Four columns broadcast to all lanes.
///
/// # Safety
/// Four bytes can be read.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn broadcast<T>(from: *const T) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_set1_epi32(unsafe { from.cast::<i32>().read_unaligned() })
}

/// Takes blocks `first .. first + here` of sixteen rows apart: `put(block, step, vector)` gets the unsigned codes,
/// the scales go to their place.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(in crate::products) fn unpack_small<K: Small>(
    scales: &mut Scales,
    rows: &[*const u8; SIDE],
    side: usize,
    first: usize,
    here: usize,
    mut put: impl FnMut(usize, usize, __m512i),
) {
    for block in (0..here).step_by(2) {
        let at = (first + block) * K::Block::BYTES;
        let two = block + 1 < here;
        let mut codes = [_mm512_setzero_si512(); SIDE];
        for (codes, row) in codes.iter_mut().zip(rows) {
            // SAFETY: each row has one block at `at`, or two.
            *codes = unsafe { if two { K::two(row.add(at)) } else { K::one(row.add(at)) } };
        }
        for (step, column) in lanes::transpose(&codes).into_iter().enumerate().take(if two { 16 } else { 8 })
        {
            put(block + step / STEPS, step % STEPS, column);
        }
    }
    for block in 0..here {
        let at = (first + block) * K::Block::BYTES;
        // SAFETY: each row has a block at `at`.
        unsafe {
            scales.scales[block][side] = lanes::halves(rows, at);
            if K::Block::HAS_MINIMUM {
                scales.minimums[block][side] = lanes::halves(rows, at + 2);
            }
        }
    }
}

/// What a small block's exact sums `codes` add to sixteen outputs of one activation row, in the order `rows` uses, with the
/// block's scales and minimums in these sixteen weight rows.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::products) fn small_term<K: Small>(
    w_scale: __m512,
    w_minimum: __m512,
    codes: __m512i,
    scale: f32,
    x_sum: f32,
) -> __m512 {
    let scale = _mm512_set1_ps(scale);
    let mut term = _mm512_mul_ps(_mm512_cvtepi32_ps(codes), _mm512_mul_ps(w_scale, scale));
    if K::Block::HAS_MINIMUM {
        let minimum = _mm512_mul_ps(w_minimum, scale);
        term = _mm512_add_ps(term, _mm512_mul_ps(_mm512_set1_ps(x_sum), minimum));
    }
    term
}

/// Weights in blocks of 32. Of few activation rows, as when several people are answered at once, as many go together as leave no gaps.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn small<K: Small>(tile: &Tile<'_>) {
    match tile.x.m() {
        ..=4 | 7 | 8 => small_by::<K, 4>(tile),
        _ => small_by::<K, TOGETHER>(tile),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn small_by<K: Small, const N: usize>(tile: &Tile<'_>) {
    let pack = |panel: &mut Panel, rows: &[*const u8; SIDE], side: usize, first: usize, here: usize| {
        let Panel { codes, scales } = panel;
        unpack_small::<K>(scales, rows, side, first, here, |block, step, column| {
            codes[block * STEPS + step][side] = column;
        });
    };
    let multiply = |panel: &Panel, sides: usize, first: usize, here: usize, i, sums: &mut [[__m512; 2]]| {
        if sides == 2 {
            small_rows::<K, N, 2>(tile, panel, first, here, i, sums);
        } else {
            small_rows::<K, N, 1>(tile, panel, first, here, i, sums);
        }
    };
    over_panels::<N>(tile, pack, multiply);
}

/// The activation rows from row `i` on whose sums are given, and `S` sides of the panel; beyond the last row, the last row
/// again.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn small_rows<K: Small, const N: usize, const S: usize>(
    tile: &Tile<'_>,
    panel: &Panel,
    first: usize,
    here: usize,
    i: usize,
    sums: &mut [[__m512; 2]],
) {
    let (form, blocks) = (&tile.x.small, tile.weight.cols / SMALL);
    let last = sums.len() - 1;
    let row = |j: usize| (i + j.min(last)) * blocks + first;
    let mut x = [std::ptr::null(); N];
    let mut scales = [std::ptr::null(); N];
    // What unsigned codes will make too much, taken off beforehand; and the sums as floats, for minimums.
    let mut before = [[0i32; BLOCKS]; N];
    let mut x_sums = [[0f32; BLOCKS]; N];
    let mut own = [[_mm512_setzero_ps(); S]; N];
    for j in 0..N {
        x[j] = form.codes[row(j) * SMALL..][..here * SMALL].as_ptr();
        scales[j] = form.scales[row(j)..][..here].as_ptr();
        let from = &form.sums[row(j)..][..here];
        // SAFETY: as many sums as there are, and eight numbers each.
        unsafe {
            let from = _mm_maskz_loadu_epi16(((1u32 << here) - 1) as __mmask8, from.as_ptr());
            let from = _mm256_cvtepi16_epi32(from);
            let too_high = _mm256_mullo_epi32(from, _mm256_set1_epi32(-K::TOO_HIGH));
            _mm256_storeu_si256(before[j].as_mut_ptr().cast(), too_high);
            _mm256_storeu_ps(x_sums[j].as_mut_ptr(), _mm256_cvtepi32_ps(from));
        }
        own[j].copy_from_slice(&sums[j.min(last)][..S]);
    }
    // The compiler is not to know that these are eight at most: unrolled, the loop leaves the instruction cache.
    let w = black_box(&panel.codes[..here * STEPS]).as_chunks::<STEPS>().0;
    let (w_scales, w_minimums) = black_box((&panel.scales.scales[..], &panel.scales.minimums[..]));
    let (before, x_sums) = black_box((before.as_flattened(), x_sums.as_flattened()));
    for (block, ((w, w_scale), w_minimum)) in w.iter().zip(w_scales).zip(w_minimums).enumerate() {
        let mut codes = [[_mm512_setzero_si512(); S]; N];
        if K::TOO_HIGH != 0 {
            for (j, codes) in codes.iter_mut().enumerate() {
                *codes = [_mm512_set1_epi32(before[j * BLOCKS + block]); S];
            }
        }
        for (step, w) in w.iter().enumerate() {
            for (codes, x) in codes.iter_mut().zip(x) {
                // SAFETY: the four columns lie in the row's part of this chunk.
                let x = unsafe { broadcast(x.add(block * SMALL + step * 4)) };
                for s in 0..S {
                    codes[s] = _mm512_dpbusd_epi32(codes[s], w[s], x);
                }
            }
        }
        for j in 0..N {
            // SAFETY: the chunk has this block.
            let (scale, x_sum) = (unsafe { *scales[j].add(block) }, x_sums[j * BLOCKS + block]);
            for s in 0..S {
                let term = small_term::<K>(w_scale[s], w_minimum[s], codes[j][s], scale, x_sum);
                own[j][s] = _mm512_add_ps(own[j][s], term);
            }
        }
    }
    for (sums, own) in sums.iter_mut().zip(own) {
        sums[..S].copy_from_slice(&own);
    }
}

/// Takes the scales, factors and minimums of block `first / 8` of sixteen rows apart.
///
/// # Safety
/// Each row has a block at byte `at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(in crate::products) unsafe fn unpack_scales<K: Large>(
    scales: &mut Scales,
    rows: &[*const u8; SIDE],
    side: usize,
    at: usize,
) {
    // SAFETY: the caller's promise.
    let factors = unsafe {
        scales.scales[0][side] = lanes::halves(rows, at + K::SCALE_AT);
        scales.minimums[0][side] = lanes::halves(rows, at + K::MINIMUM_AT);
        rows.map(|row| K::factors(row.add(at)))
    };
    let columns: [__m512i; 16] = std::array::from_fn(|r| _mm512_cvtepi16_epi32(factors[r].factors));
    for (k, column) in lanes::transpose(&columns).into_iter().enumerate() {
        scales.factors[k][side] = column;
    }
    // Pairs of 16-bit numbers: a minimum twice, because a part of 32 has two sums of sixteen, or two factors.
    let pairs: [__m512i; 16] = std::array::from_fn(|r| {
        let pairs = if K::Block::SUB == 32 {
            let minimums = _mm256_cvtepi16_epi32(factors[r].minimums);
            _mm256_or_si256(minimums, _mm256_slli_epi32::<16>(minimums))
        } else {
            factors[r].factors
        };
        _mm512_zextsi256_si512(pairs)
    });
    for (k, column) in lanes::transpose(&pairs).into_iter().enumerate().take(BLOCKS) {
        scales.offsets[k][side] = column;
    }
}

/// Products of the sixteen sums of an activation row's codes with the offsets of sixteen weight rows.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
pub(in crate::products) fn offsets(scales: &Scales, side: usize, x_sums: &[i16; 16]) -> __m512i {
    let mut offsets = _mm512_setzero_si512();
    for (k, factor) in scales.offsets.iter().enumerate() {
        // SAFETY: two of the sixteen sums.
        let x = unsafe { broadcast(x_sums.as_ptr().add(2 * k)) };
        offsets = _mm512_dpwssd_epi32(offsets, factor[side], x);
    }
    offsets
}

/// What a large block's exact sums add to sixteen outputs of one activation row, in the order `rows` uses.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::products) fn large_term<K: Large>(
    scales: &Scales,
    side: usize,
    codes: __m512i,
    offsets: __m512i,
    scale: f32,
) -> __m512 {
    let scale = _mm512_set1_ps(scale);
    let mut term = _mm512_mul_ps(_mm512_cvtepi32_ps(codes), _mm512_mul_ps(scales.scales[0][side], scale));
    if K::Block::HAS_MINIMUM {
        let minimum = _mm512_mul_ps(scales.minimums[0][side], scale);
        term = _mm512_sub_ps(term, _mm512_mul_ps(_mm512_cvtepi32_ps(offsets), minimum));
    }
    term
}

/// Weights in blocks of 256.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn large<K: Large>(tile: &Tile<'_>) {
    let pack = |panel: &mut Panel, rows: &[*const u8; SIDE], side: usize, first: usize, _: usize| {
        let at = first / BLOCKS * K::Block::BYTES;
        // SAFETY: each row has a block at `at`.
        unsafe {
            unpack_scales::<K>(&mut panel.scales, rows, side, at);
            for half in 0..2 {
                let mut codes = [[_mm512_setzero_si512(); SIDE]; 2];
                for (r, row) in rows.iter().enumerate() {
                    let [a, b] = K::half(row.add(at), half);
                    (codes[0][r], codes[1][r]) = (a, b);
                }
                for (k, codes) in codes.iter().enumerate() {
                    let columns = lanes::transpose(codes);
                    for (step, column) in columns.into_iter().enumerate() {
                        let part = K::SUBS[half][k][step / STEPS];
                        panel.codes[part * STEPS + step % STEPS][side] = column;
                    }
                }
            }
        }
    };
    let multiply = |panel: &Panel, sides: usize, first: usize, _: usize, i, sums: &mut [[__m512; 2]]| {
        if sides == 2 {
            large_rows::<K, 2>(tile, panel, first / BLOCKS, i, sums);
        } else {
            large_rows::<K, 1>(tile, panel, first / BLOCKS, i, sums);
        }
    };
    over_panels::<LARGE_TOGETHER>(tile, pack, multiply);
}

/// As [`small_rows`], for block `chunk`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
fn large_rows<K: Large, const S: usize>(
    tile: &Tile<'_>,
    panel: &Panel,
    chunk: usize,
    i: usize,
    sums: &mut [[__m512; 2]],
) {
    let (form, chunks) = (&tile.x.large, tile.weight.cols / LARGE);
    let last = sums.len() - 1;
    let row = |j: usize| (i + j.min(last)) * chunks + chunk;
    let x: [&[i8]; LARGE_TOGETHER] = std::array::from_fn(|j| &form.codes[row(j) * LARGE..][..LARGE]);
    let zero = _mm512_setzero_si512();
    let mut totals = [[zero; S]; LARGE_TOGETHER];
    // Steps of four columns that share a factor.
    let group = K::Block::SUB / 4;
    // As in `small_rows`, the loop is to stay one.
    let (w, factors) = black_box((&panel.codes[..], &panel.scales.factors[..LARGE / K::Block::SUB]));
    for (sub, (w, factors)) in w.chunks_exact(group).zip(factors).enumerate() {
        let mut codes = [[zero; S]; LARGE_TOGETHER];
        for (step, w) in w.iter().enumerate() {
            for (codes, x) in codes.iter_mut().zip(x) {
                // SAFETY: four of the row's 256 columns in this chunk.
                let x = unsafe { broadcast(x.as_ptr().add((sub * group + step) * 4)) };
                for s in 0..S {
                    codes[s] = _mm512_dpbusd_epi32(codes[s], w[s], x);
                }
            }
        }
        for (totals, codes) in totals.iter_mut().zip(codes) {
            for s in 0..S {
                totals[s] = _mm512_add_epi32(totals[s], _mm512_mullo_epi32(codes[s], factors[s]));
            }
        }
    }
    for (j, totals) in totals.into_iter().enumerate().take(sums.len()) {
        let Some((x_sums, _)) = form.sums[row(j) * 16..].split_first_chunk::<16>() else { return };
        for (s, mut codes) in totals.into_iter().enumerate() {
            let offsets = offsets(&panel.scales, s, x_sums);
            if K::OFFSET != 0 {
                // Codes were 32 too high.
                codes = _mm512_sub_epi32(codes, _mm512_slli_epi32::<5>(offsets));
            }
            let term = large_term::<K>(&panel.scales, s, codes, offsets, form.scales[row(j)]);
            sums[j][s] = _mm512_add_ps(sums[j][s], term);
        }
    }
}
