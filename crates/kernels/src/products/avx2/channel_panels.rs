//! Products of many activation rows with per-channel weights: bound by the multipliers.
//!
//! As in `panels`, sixteen weight rows are unpacked into a panel, a chunk of columns at a time, whose vectors hold
//! neighbouring columns of eight rows, and six activation rows at a time meet it. Integer sums run over the whole row:
//! between chunks they wait as integers, and floats appear once, at the end.
//!
//! Bytes are multiplied as 16-bit numbers: two full bytes' products do not fit the 16 bits in which `maddubs` adds them,
//! and every exact way around that costs as many instructions. Nibbles become bytes first.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::by_rows;
use super::channel::{scales, signed_codes, tails};
use super::lanes;
use crate::activations::TILE;
use crate::activations::whole::CHUNK;
use crate::hints::in_order;
use crate::products::Tile;
use crate::quants::channel::{GROUP, NIBBLES, SCALE_BYTES};

/// Weight rows of a panel, in two vectors of eight.
const WIDE: usize = 16;
const SIDE: usize = 8;
/// Words multiplied in one go; a group of columns is a whole number of them.
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

/// Words of a group of columns.
const WORDS: usize = GROUP / 2;

/// A per-channel format.
pub(super) trait Codes {
    /// Bytes of a group of [`GROUP`] columns.
    const BYTES: usize;

    /// One group of eight rows, transposed, becomes half `HALF` of its words.
    ///
    /// # Safety
    /// Each row has a group; the processor has AVX2.
    unsafe fn unpack<const HALF: usize>(rows: [*const u8; SIDE], to: &mut [Pair]);
}

pub(super) struct W8A8;
pub(super) struct W4A8;

impl Codes for W8A8 {
    const BYTES: usize = GROUP;

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
}

impl Codes for W4A8 {
    const BYTES: usize = NIBBLES;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn unpack<const HALF: usize>(rows: [*const u8; SIDE], to: &mut [Pair]) {
        // SAFETY: each row has a group, and two vectors are its bytes.
        unsafe {
            let codes = rows.map(|row| signed_codes(row));
            W8A8::unpack::<HALF>(std::array::from_fn(|r| (&raw const codes[r]).cast()), to);
        }
    }
}

/// Adds the products of some words of a tile's first `N` rows.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply<const N: usize>(w: &[Pair; GO], x: &[[i32; TILE]; GO], sums: &mut [Pair; N]) {
    for (w, x) in w.iter().zip(x) {
        for (sums, x) in sums.iter_mut().zip(x) {
            let x = _mm256_set1_epi32(*x);
            sums[0] = in_order(_mm256_add_epi32(sums[0], _mm256_madd_epi16(w[0], x)));
            sums[1] = in_order(_mm256_add_epi32(sums[1], _mm256_madd_epi16(w[1], x)));
        }
    }
}

/// Weight rows of a tile times all activation rows.
#[target_feature(enable = "avx2")]
pub(super) fn product<K: Codes>(tile: &Tile<'_>) {
    let (weight, form) = (&tile.weight, &tile.x.whole);
    let (m, tiles) = (tile.x.m(), tile.x.m().div_ceil(TILE));
    let words = form.stride / GROUP * WORDS;
    let inputs = &form.wide.words;
    let zero = _mm256_setzero_si256();
    SCRATCH.with_borrow_mut(|Scratch { panel, sums }| {
        panel.resize(CHUNK, [zero; 2]);
        for row in (0..weight.rows).step_by(WIDE) {
            sums.clear();
            sums.resize(tiles, [[zero; 2]; TILE]);
            let source = Rows::<K>::new(tile, row);
            for first in (0..words).step_by(CHUNK) {
                let here = CHUNK.min(words - first);
                source.pack(first / WORDS, &mut panel[..here]);
                let panel = panel[..here].as_chunks::<GO>().0;
                let inputs = inputs[first * tiles..][..here * tiles].chunks_exact(here);
                for (t, (sums, x)) in sums.iter_mut().zip(inputs).enumerate() {
                    let x = x.as_chunks::<GO>().0;
                    by_rows!(m - t * TILE, N => add::<N>(panel, x, sums));
                }
            }
            let w_scales: [f32; WIDE] = scales(weight, row);
            // SAFETY: sixteen floats are two vectors.
            let w_scales: [__m256; 2] = unsafe { std::mem::transmute(w_scales) };
            for i in 0..m {
                let codes = sums[i / TILE][i % TILE];
                let scale = _mm256_set1_ps(form.scales[i]);
                let values: [_; 2] = std::array::from_fn(|half| {
                    lanes::array(_mm256_mul_ps(
                        _mm256_cvtepi32_ps(codes[half]),
                        _mm256_mul_ps(w_scales[half], scale),
                    ))
                });
                tile.store_some(i, row, &values.as_flattened()[..WIDE.min(weight.rows - row)]);
            }
        }
    });
}

/// Adds a chunk's products of a tile's first `N` rows.
#[inline]
#[target_feature(enable = "avx2")]
fn add<const N: usize>(panel: &[[Pair; GO]], x: &[[[i32; TILE]; GO]], sums: &mut Sums) {
    let (sums, _) = sums.split_first_chunk_mut::<N>().expect("a tile has so many rows");
    let mut own = *sums;
    for (w, x) in panel.iter().zip(x) {
        multiply(w, x, &mut own);
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
        for (group, to) in panel.chunks_exact_mut(WORDS).enumerate() {
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
