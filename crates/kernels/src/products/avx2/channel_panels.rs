//! Products of many activation rows with per-channel weights: bound by the multipliers.
//!
//! As in `panels`, sixteen weight rows are unpacked into a panel, a chunk of columns at a time, whose vectors hold
//! neighbouring columns of eight rows, and six activation rows at a time meet it. Integer sums run over the whole row:
//! between chunks they wait as integers, and floats appear once, at the end.
//!
//! Bytes are multiplied as 16-bit numbers: two full bytes' products do not fit the 16 bits in which `maddubs` adds them,
//! and every exact way around that costs as many instructions. Nibbles go through `maddubs`; the eight results of 32 columns
//! are added in 16 bits, widened by their step instead of by 1, and their low end meets the sum of the activations.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::by_rows;
use super::channel::{scales, tails};
use super::lanes;
use crate::activations::TILE;
use crate::activations::whole::{CHUNK, NIBBLE_CHUNK, NIBBLE_WORDS, Panel, Whole};
use crate::hints::in_order;
use crate::products::Tile;
use crate::quants::channel::{GROUP, HEAD, NIBBLES, SCALE_BYTES};

/// Weight rows of a panel, in two vectors of eight.
const WIDE: usize = 16;
const SIDE: usize = 8;
/// Words of codes multiplied in one go.
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

/// A per-channel format. Its panels are made of parts, what is multiplied in one go.
pub(super) trait Codes {
    /// Bytes of a group of [`GROUP`] columns.
    const BYTES: usize;
    /// Parts of such a group.
    const PARTS: usize;
    /// Words of a part.
    const WORDS: usize;
    /// Words of an activation row that meet a part.
    const INPUTS: usize;
    /// Words of an activation row in a chunk.
    const CHUNK: usize;

    /// The activations in the same form.
    fn inputs(form: &Whole) -> &Panel<TILE>;

    /// One group of eight rows, transposed, becomes half `HALF` of its parts.
    ///
    /// # Safety
    /// Each row has a group; the processor has AVX2.
    unsafe fn unpack<const HALF: usize>(rows: [*const u8; SIDE], to: &mut [Pair]);

    /// Adds the products of a chunk with the tile's first `N` rows.
    ///
    /// # Safety
    /// The processor has AVX2.
    unsafe fn add<const N: usize>(panel: &[Pair], x: &[[i32; TILE]], sums: &mut [Pair; N]);
}

pub(super) struct W8A8;
pub(super) struct W4A8;

impl Codes for W8A8 {
    const BYTES: usize = GROUP;
    const PARTS: usize = GROUP / 2 / GO;
    const WORDS: usize = GO;
    const INPUTS: usize = GO;
    const CHUNK: usize = CHUNK;

    fn inputs(form: &Whole) -> &Panel<TILE> {
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
    unsafe fn add<const N: usize>(panel: &[Pair], x: &[[i32; TILE]], sums: &mut [Pair; N]) {
        let mut own = *sums;
        for (w, x) in panel.as_chunks::<GO>().0.iter().zip(x.as_chunks::<GO>().0) {
            for (w, x) in w.iter().zip(x) {
                for (sums, x) in own.iter_mut().zip(x) {
                    let x = _mm256_set1_epi32(*x);
                    sums[0] = in_order(_mm256_add_epi32(sums[0], _mm256_madd_epi16(w[0], x)));
                    sums[1] = in_order(_mm256_add_epi32(sums[1], _mm256_madd_epi16(w[1], x)));
                }
            }
        }
        *sums = own;
    }
}

/// Eight words of nibbles, the steps twice as 16-bit numbers, the low ends.
const NIBBLE_PART: usize = GO + 2;

impl Codes for W4A8 {
    const BYTES: usize = NIBBLES;
    const PARTS: usize = 2;
    const WORDS: usize = NIBBLE_PART;
    const INPUTS: usize = NIBBLE_WORDS;
    const CHUNK: usize = NIBBLE_CHUNK;

    fn inputs(form: &Whole) -> &Panel<TILE> {
        &form.nibbles
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn unpack<const HALF: usize>(rows: [*const u8; SIDE], to: &mut [Pair]) {
        let mask = _mm256_set1_epi8(15);
        // SAFETY: a group is its head and 32 bytes.
        let (bytes, heads) = unsafe {
            (
                rows.map(|row| _mm256_loadu_si256(row.add(HEAD).cast())),
                rows.map(|row| row.cast::<i32>().read_unaligned()),
            )
        };
        // SAFETY: eight words.
        let heads = unsafe { _mm256_loadu_si256(heads.as_ptr().cast()) };
        let low = lanes::transpose(bytes.map(|b| _mm256_and_si256(b, mask)));
        let high = lanes::transpose(bytes.map(|b| _mm256_and_si256(_mm256_srli_epi16::<4>(b), mask)));
        let byte = _mm256_set1_epi32(255);
        let steps = [_mm256_and_si256(heads, byte), _mm256_and_si256(_mm256_srli_epi32::<8>(heads), byte)];
        let lows = [_mm256_srai_epi32::<24>(_mm256_slli_epi32::<8>(heads)), _mm256_srai_epi32::<24>(heads)];
        let parts = to.as_chunks_mut::<NIBBLE_PART>().0;
        for (((part, columns), step), low) in parts.iter_mut().zip([low, high]).zip(steps).zip(lows) {
            for k in 0..GO {
                part[k][HALF] = columns[k];
            }
            part[GO][HALF] = _mm256_or_si256(step, _mm256_slli_epi32::<16>(step));
            part[GO + 1][HALF] = low;
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn add<const N: usize>(panel: &[Pair], x: &[[i32; TILE]], sums: &mut [Pair; N]) {
        for (w, x) in panel.as_chunks::<NIBBLE_PART>().0.iter().zip(x.as_chunks::<NIBBLE_WORDS>().0) {
            // Eight sums of two products of at most 15 and 127 fit 16 bits.
            let mut own = [[_mm256_setzero_si256(); 2]; N];
            for (w, x) in w[..GO].iter().zip(x) {
                for (own, x) in own.iter_mut().zip(x) {
                    let x = _mm256_set1_epi32(*x);
                    own[0] = in_order(_mm256_add_epi16(own[0], _mm256_maddubs_epi16(w[0], x)));
                    own[1] = in_order(_mm256_add_epi16(own[1], _mm256_maddubs_epi16(w[1], x)));
                }
            }
            let (step, low) = (w[GO], w[GO + 1]);
            for ((sums, own), x) in sums.iter_mut().zip(own).zip(x[GO]) {
                // The sum is 16 bits, with nothing above them for the sign of the low end to meet.
                let x = _mm256_set1_epi32(x);
                for half in 0..2 {
                    let steps = _mm256_madd_epi16(own[half], step[half]);
                    let lows = _mm256_madd_epi16(low[half], x);
                    sums[half] = _mm256_add_epi32(sums[half], _mm256_add_epi32(steps, lows));
                }
            }
        }
    }
}

/// Weight rows of a tile times all activation rows.
#[target_feature(enable = "avx2")]
pub(super) fn product<K: Codes>(tile: &Tile<'_>) {
    let (weight, form) = (&tile.weight, &tile.x.whole);
    let (m, tiles) = (tile.x.m(), tile.x.m().div_ceil(TILE));
    let words = form.stride / GROUP * K::PARTS * K::INPUTS;
    let inputs = &K::inputs(form).words;
    let zero = _mm256_setzero_si256();
    SCRATCH.with_borrow_mut(|Scratch { panel, sums }| {
        panel.resize(K::CHUNK / K::INPUTS * K::WORDS, [zero; 2]);
        for row in (0..weight.rows).step_by(WIDE) {
            sums.clear();
            sums.resize(tiles, [[zero; 2]; TILE]);
            let source = Rows::<K>::new(tile, row);
            for first in (0..words).step_by(K::CHUNK) {
                let here = K::CHUNK.min(words - first);
                let panel = &mut panel[..here / K::INPUTS * K::WORDS];
                source.pack(first / K::INPUTS / K::PARTS, panel);
                let inputs = inputs[first * tiles..][..here * tiles].chunks_exact(here);
                for (t, (sums, x)) in sums.iter_mut().zip(inputs).enumerate() {
                    by_rows!(m - t * TILE, N => add::<K, N>(panel, x, sums));
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
                tile.store_up_to(i, row, values.as_flattened());
            }
        }
    });
}

/// Adds a chunk's products of a tile's first `N` rows.
#[inline]
#[target_feature(enable = "avx2")]
fn add<K: Codes, const N: usize>(panel: &[Pair], x: &[[i32; TILE]], sums: &mut Sums) {
    let (sums, _) = sums.split_first_chunk_mut::<N>().expect("a tile has so many rows");
    // SAFETY: this function runs where there is AVX2.
    unsafe { K::add(panel, x, sums) };
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
        for (group, to) in panel.chunks_exact_mut(K::PARTS * K::WORDS).enumerate() {
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
