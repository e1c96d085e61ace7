//! Products of many activation rows with per-channel weights: bound by the multipliers.
//!
//! As in `panels`, sixteen weight rows are unpacked into a panel, a chunk of columns at a time, whose vectors hold
//! neighbouring columns of eight rows, and six activation rows at a time meet it. Integer sums run over the whole row:
//! between chunks they wait as integers, and floats appear once, at the end.
//!
//! Bytes are multiplied as 16-bit numbers: two full bytes' products do not fit the 16 bits in which `maddubs` adds them,
//! and every exact way around that costs as many instructions. Nibbles go through `maddubs`, and eight of its results
//! are added in 16 bits before they are widened.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::by_rows;
use super::channel::{scales, tails};
use super::lanes;
use crate::activations::TILE;
use crate::activations::whole::{CHUNK, Panel, Whole};
use crate::hints::in_order;
use crate::products::Tile;
use crate::quants::channel::{GROUP, SCALE_BYTES};

/// Weight rows of a panel, in two vectors of eight.
const WIDE: usize = 16;
const SIDE: usize = 8;
/// Words multiplied in one go; a group of columns is a whole number of them in both formats.
const GO: usize = 8;

/// Words of a panel: neighbouring columns of two times eight weight rows.
type Pair = [__m256i; 2];
/// Sums of a tile of activation rows and two times eight weight rows.
type Sums = [Pair; TILE];

struct Scratch {
    panel: Vec<Pair>,
    sums: Vec<Sums>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { panel: Vec::new(), sums: Vec::new() }) };
}

/// A per-channel format.
pub(super) trait Codes {
    /// Bytes of a group of [`GROUP`] columns.
    const BYTES: usize;
    /// Words of such a group.
    const WORDS: usize;
    /// Codes are this much too high.
    const OFFSET: i32;

    /// The activations in the same form.
    fn panel(form: &Whole) -> &Panel<TILE>;

    /// One group of eight rows, transposed, becomes half `HALF` of its words.
    ///
    /// # Safety
    /// Each row has a group; the processor has AVX2.
    unsafe fn unpack<const HALF: usize>(rows: [*const u8; SIDE], to: &mut [Pair]);

    /// Adds the products of some words of the tile's first `N` rows.
    ///
    /// # Safety
    /// The processor has AVX2.
    unsafe fn multiply<const N: usize>(w: &[Pair; GO], x: &[[i32; TILE]; GO], sums: &mut [Pair; N]);
}

pub(super) struct W8A8;
pub(super) struct W4A8;

impl Codes for W8A8 {
    const BYTES: usize = GROUP;
    const WORDS: usize = GROUP / 2;
    const OFFSET: i32 = 0;

    fn panel(form: &Whole) -> &Panel<TILE> {
        &form.wide
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn unpack<const HALF: usize>(rows: [*const u8; SIDE], to: &mut [Pair]) {
        for (part, to) in to.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
            // SAFETY: sixteen of 64 bytes.
            let codes = rows.map(|row| unsafe { _mm_loadu_si128(row.add(part * 16).cast()) });
            let columns = lanes::transpose(codes.map(|c| _mm256_cvtepi8_epi16(c)));
            for k in 0..SIDE {
                to[k][HALF] = columns[k];
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn multiply<const N: usize>(w: &[Pair; GO], x: &[[i32; TILE]; GO], sums: &mut [Pair; N]) {
        for (w, x) in w.iter().zip(x) {
            for (sums, x) in sums.iter_mut().zip(x) {
                let x = _mm256_set1_epi32(*x);
                sums[0] = in_order(_mm256_add_epi32(sums[0], _mm256_madd_epi16(w[0], x)));
                sums[1] = in_order(_mm256_add_epi32(sums[1], _mm256_madd_epi16(w[1], x)));
            }
        }
    }
}

impl Codes for W4A8 {
    const BYTES: usize = GROUP / 2;
    const WORDS: usize = GROUP / 4;
    const OFFSET: i32 = 8;

    fn panel(form: &Whole) -> &Panel<TILE> {
        &form.bytes
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn unpack<const HALF: usize>(rows: [*const u8; SIDE], to: &mut [Pair]) {
        let mask = _mm256_set1_epi8(15);
        // SAFETY: 32 bytes.
        let bytes = rows.map(|row| unsafe { _mm256_loadu_si256(row.cast()) });
        let low = lanes::transpose(bytes.map(|b| _mm256_and_si256(b, mask)));
        let high = lanes::transpose(bytes.map(|b| _mm256_and_si256(_mm256_srli_epi16::<4>(b), mask)));
        let (first, second) = to.split_at_mut(SIDE);
        for k in 0..SIDE {
            first[k][HALF] = low[k];
            second[k][HALF] = high[k];
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn multiply<const N: usize>(w: &[Pair; GO], x: &[[i32; TILE]; GO], sums: &mut [Pair; N]) {
        // Eight sums of two products of at most 15 and 127 fit 16 bits.
        let mut own = [[_mm256_setzero_si256(); 2]; N];
        for (w, x) in w.iter().zip(x) {
            for (own, x) in own.iter_mut().zip(x) {
                let x = _mm256_set1_epi32(*x);
                own[0] = in_order(_mm256_add_epi16(own[0], _mm256_maddubs_epi16(w[0], x)));
                own[1] = in_order(_mm256_add_epi16(own[1], _mm256_maddubs_epi16(w[1], x)));
            }
        }
        let one = _mm256_set1_epi16(1);
        for (sum, own) in sums.as_flattened_mut().iter_mut().zip(own.as_flattened()) {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*own, one));
        }
    }
}

/// Weight rows of a tile times all activation rows.
#[target_feature(enable = "avx2")]
pub(super) fn product<K: Codes>(tile: &Tile<'_>) {
    let (weight, form) = (&tile.weight, &tile.x.whole);
    let (m, tiles) = (tile.x.m(), tile.x.m().div_ceil(TILE));
    let words = form.stride / GROUP * K::WORDS;
    let inputs = &K::panel(form).words;
    let zero = _mm256_setzero_si256();
    SCRATCH.with_borrow_mut(|Scratch { panel, sums }| {
        panel.resize(CHUNK, [zero; 2]);
        for row in (0..weight.rows).step_by(WIDE) {
            sums.clear();
            sums.resize(tiles, [[zero; 2]; TILE]);
            let source = Rows::<K>::new(tile, row);
            for first in (0..words).step_by(CHUNK) {
                let here = CHUNK.min(words - first);
                source.pack(first / K::WORDS, &mut panel[..here]);
                let panel = panel[..here].as_chunks::<GO>().0;
                let inputs = inputs[first * tiles..][..here * tiles].chunks_exact(here);
                for (t, (sums, x)) in sums.iter_mut().zip(inputs).enumerate() {
                    let x = x.as_chunks::<GO>().0;
                    by_rows!(m - t * TILE, N => add::<K, N>(panel, x, sums));
                }
            }
            let w_scales: [f32; WIDE] = scales(weight, row);
            // SAFETY: sixteen floats are two vectors.
            let w_scales: [__m256; 2] = unsafe { std::mem::transmute(w_scales) };
            for i in 0..m {
                let codes = sums[i / TILE][i % TILE];
                let high = _mm256_set1_epi32(K::OFFSET * form.sums[i]);
                let scale = _mm256_set1_ps(form.scales[i]);
                let values: [_; 2] = std::array::from_fn(|half| {
                    let code = _mm256_cvtepi32_ps(_mm256_sub_epi32(codes[half], high));
                    lanes::array(_mm256_mul_ps(code, _mm256_mul_ps(w_scales[half], scale)))
                });
                tile.store_some(i, row, &values.as_flattened()[..WIDE.min(weight.rows - row)]);
            }
        }
    });
}

/// Adds a chunk's products of a tile's first `N` rows.
#[inline]
#[target_feature(enable = "avx2")]
fn add<K: Codes, const N: usize>(panel: &[[Pair; GO]], x: &[[[i32; TILE]; GO]], sums: &mut Sums) {
    let (sums, _) = sums.split_first_chunk_mut::<N>().expect("a tile has so many rows");
    let mut own = *sums;
    for (w, x) in panel.iter().zip(x) {
        // SAFETY: this function runs where there is AVX2.
        unsafe { K::multiply(w, x, &mut own) };
    }
    *sums = own;
}

/// Sixteen weight rows; beyond the last, the last again.
struct Rows<K> {
    codes: [*const u8; WIDE],
    /// Groups that are whole in every row.
    whole: usize,
    /// The group behind them, filled up with zeros.
    tails: [[u8; GROUP]; WIDE],
    kind: std::marker::PhantomData<K>,
}

impl<K: Codes> Rows<K> {
    fn new(tile: &Tile<'_>, first: usize) -> Rows<K> {
        let weight = &tile.weight;
        let whole = weight.cols / GROUP;
        Rows {
            codes: std::array::from_fn(|r| {
                weight.row((first + r).min(weight.rows - 1))[SCALE_BYTES..].as_ptr()
            }),
            whole,
            tails: tails(weight, first, whole * K::BYTES),
            kind: std::marker::PhantomData,
        }
    }

    /// Fills a panel from group `first` on.
    #[target_feature(enable = "avx2")]
    fn pack(&self, first: usize, panel: &mut [Pair]) {
        for (group, to) in panel.chunks_exact_mut(K::WORDS).enumerate() {
            let group = first + group;
            let row = |r: usize| match group < self.whole {
                true => self.codes[r].wrapping_add(group * K::BYTES),
                false => self.tails[r].as_ptr(),
            };
            // SAFETY: whole groups lie in the rows, and a tail has room for one.
            unsafe {
                K::unpack::<0>(std::array::from_fn(row), to);
                K::unpack::<1>(std::array::from_fn(|r| row(SIDE + r)), to);
            }
        }
    }
}
