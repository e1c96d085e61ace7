//! Activations with one scale for a row, which products with per-channel weights read.
//!
//! The scale of a token is its largest magnitude over 127, unless a [`Rounding`] says otherwise. A row's codes are padded with zeros to whole groups of
//! [`GROUP`], so that products need no second loop for the columns that are left over.

use super::{Panels, TILE, TILE_ROWS, grow};
use crate::quants::channel::GROUP;
use crate::quants::nibbles::SHARED;
use crate::threads::Disjoint;
use crate::variant::Variant;
use crate::{Format, Rounding, Threads};

/// Rows side by side in the panel that tile registers read.
pub(crate) const DEEP: usize = TILE_ROWS;

/// The form and its panels.
#[derive(Default)]
pub(crate) struct Whole {
    pub(super) ready: bool,
    /// How rows are rounded, where it is said.
    pub(super) rounding: Option<Rounding>,
    /// `[m, stride]`.
    pub(crate) codes: Vec<i8>,
    /// Columns, padded.
    pub(crate) stride: usize,
    /// `[m]`.
    pub(crate) scales: Vec<f32>,
    /// Sums of codes, `[m]`.
    pub(crate) sums: Vec<i32>,
    /// For nibbles: eight words of four columns of bytes, then a word with the 16 bits of their sum.
    pub(crate) nibbles: Panel<TILE>,
    /// For bytes: a word is two columns of 16-bit numbers.
    pub(crate) wide: Panel<TILE>,
    /// For tile registers: a word is four columns of bytes.
    pub(crate) deep: Panel<DEEP>,
}

/// Rows side by side, a 32-bit word with neighbouring columns of each. All inputs that a tile of outputs needs in a chunk
/// of columns lie together. Rows are padded with zeros to a multiple of `SIDE`.
pub(crate) struct Panel<const SIDE: usize> {
    ready: bool,
    /// `[chunk, tile, word of a row, SIDE]`; the last chunk may be shorter.
    pub(crate) words: Vec<[i32; SIDE]>,
}

impl<const SIDE: usize> Default for Panel<SIDE> {
    fn default() -> Panel<SIDE> {
        Panel { ready: false, words: Vec::new() }
    }
}

/// Words of a row in a chunk: sixteen rows of weights in the same form take 16 KB.
pub(crate) const CHUNK: usize = 256;

/// Words that 32 columns become for nibbles, and words of a chunk of them.
pub(crate) const NIBBLE_WORDS: usize = SHARED / 4 + 1;
pub(crate) const NIBBLE_CHUNK: usize = 28 * NIBBLE_WORDS;

/// Quantises a row; its scale and the sum of its codes. `codes` is padded with zeros.
#[inline(always)]
pub(crate) fn quantize_row(row: &[f32], codes: &mut [i8]) -> (f32, i32) {
    let mut lanes = [0.0f32; 8];
    let mut poison = [0.0f32; 8];
    let mut see = |lane: usize, value: f32| {
        let size = value.abs();
        lanes[lane] = if size > lanes[lane] { size } else { lanes[lane] };
        // Stays zero for finite values, else becomes NaN.
        poison[lane] += value * 0.0;
    };
    let (eights, tail) = row.as_chunks::<8>();
    for eight in eights {
        for (lane, value) in eight.iter().enumerate() {
            see(lane, *value);
        }
    }
    for (lane, value) in tail.iter().enumerate() {
        see(lane, *value);
    }
    let largest = lanes.iter().fold(0.0f32, |a, b| a.max(*b));
    let scale = largest / 127.0 + poison.iter().sum::<f32>();
    let inverse = 127.0 / largest;
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    let (codes, padding) = codes.split_at_mut(row.len());
    let mut sum = 0i32;
    for (code, value) in codes.iter_mut().zip(row) {
        // The product is at most 127 and a rounding; what a NaN becomes does not matter, its scale is NaN.
        *code = (value * inverse).round_ties_even() as i32 as i8;
        sum += i32::from(*code);
    }
    padding.fill(0);
    (scale, sum)
}

impl Whole {
    pub(super) fn forget(&mut self) {
        self.rounding = None;
        (self.ready, self.nibbles.ready, self.wide.ready, self.deep.ready) = (false, false, false, false);
    }

    /// Whether products with this format can read the form, laid out as `panels` says.
    pub(super) fn ready(&self, format: Format, panels: Panels) -> bool {
        self.ready
            && match panels {
                Panels::None => true,
                Panels::Narrow if format == Format::W4A8 => self.nibbles.ready,
                Panels::Narrow => self.wide.ready,
                Panels::Sixteen => self.deep.ready,
            }
    }

    /// Quantises rows `x`, `[m, cols]`, if that was not done yet, and makes the panel for `format`.
    pub(super) fn prepare(
        &mut self,
        variant: &Variant,
        pool: &Threads,
        x: &[f32],
        m: usize,
        format: Format,
        panels: Panels,
    ) {
        let cols = x.len().checked_div(m).unwrap_or(0);
        if !std::mem::replace(&mut self.ready, true) {
            self.quantize(variant, pool, x, m, cols);
        }
        let bytes = |codes: &[i8; 4]| [i32::from_le_bytes(codes.map(i8::cast_unsigned))];
        let wide = |&[low, high]: &[i8; 2]| [i32::from(high) << 16 | i32::from(low) & 0xffff];
        let nibbles = |codes: &[i8; SHARED]| {
            let mut words = [0; NIBBLE_WORDS];
            for (word, codes) in words.iter_mut().zip(codes.as_chunks().0) {
                *word = i32::from_le_bytes(codes.map(i8::cast_unsigned));
            }
            words[NIBBLE_WORDS - 1] = codes.iter().map(|code| i32::from(*code)).sum::<i32>() & 0xffff;
            words
        };
        match panels {
            Panels::None => {}
            Panels::Narrow if format == Format::W4A8 => {
                self.nibbles.fill(pool, &self.codes, m, self.stride, NIBBLE_CHUNK, nibbles);
            }
            Panels::Narrow => self.wide.fill(pool, &self.codes, m, self.stride, CHUNK, wide),
            Panels::Sixteen => self.deep.fill(pool, &self.codes, m, self.stride, CHUNK, bytes),
        }
    }

    fn quantize(&mut self, variant: &Variant, pool: &Threads, x: &[f32], m: usize, cols: usize) {
        let (stride, rounding) = (cols.next_multiple_of(GROUP), self.rounding);
        self.stride = stride;
        grow(&mut self.codes, m * stride);
        grow(&mut self.scales, m);
        grow(&mut self.sums, m);
        let codes = Disjoint::new(&mut self.codes);
        let scales = Disjoint::new(&mut self.scales);
        let sums = Disjoint::new(&mut self.sums);
        pool.run(m.div_ceil(TILE), |tile| {
            for i in tile * TILE..((tile + 1) * TILE).min(m) {
                // SAFETY: each row's places belong to one task.
                let (codes, scale, sum) =
                    unsafe { (codes.slice(i * stride, stride), scales.slice(i, 1), sums.slice(i, 1)) };
                let x = &x[i * cols..(i + 1) * cols];
                (scale[0], sum[0]) = match rounding {
                    None | Some(Rounding::DEFAULT) => (variant.quantize_whole)(x, codes),
                    Some(rounding) => (variant.quantize_as)(rounding, x, codes),
                };
            }
        });
    }
}

impl<const SIDE: usize> Panel<SIDE> {
    /// Of codes `[m, stride]`; `join` makes words of neighbouring columns. A chunk has so many words of a row, which `join`'s divide.
    fn fill<const STEP: usize, const MADE: usize>(
        &mut self,
        pool: &Threads,
        codes: &[i8],
        m: usize,
        stride: usize,
        chunk: usize,
        join: fn(&[i8; STEP]) -> [i32; MADE],
    ) {
        if std::mem::replace(&mut self.ready, true) {
            return;
        }
        let (tiles, words) = (m.div_ceil(SIDE), stride / STEP * MADE);
        if self.words.len() < tiles * words {
            self.words.resize(tiles * words, [0; SIDE]);
        }
        let all = Disjoint::new(&mut self.words);
        pool.run(tiles, |tile| {
            for first in (0..words).step_by(chunk) {
                let here = chunk.min(words - first);
                // SAFETY: a tile's part of a chunk belongs to one task.
                let to = unsafe { all.slice(first * tiles + tile * here, here) };
                for row in 0..SIDE {
                    let i = tile * SIDE + row;
                    if i >= m {
                        to.iter_mut().for_each(|to| to[row] = 0);
                        continue;
                    }
                    let from = &codes[i * stride + first / MADE * STEP..][..here / MADE * STEP];
                    for (to, from) in to.as_chunks_mut::<MADE>().0.iter_mut().zip(from.as_chunks::<STEP>().0)
                    {
                        to.iter_mut().zip(join(from)).for_each(|(to, word)| to[row] = word);
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activations, Mode, variant};

    #[test]
    fn one_scale_a_row_and_padding() {
        let mut row = vec![0.0f32; 70];
        (row[0], row[1], row[68], row[69]) = (-127.0, 63.5, 2.5, 3.5);
        let broken: Vec<f32> = row.iter().map(|v| if *v == 2.5 { f32::INFINITY } else { *v }).collect();
        let mut x = Activations::new();
        x.set(&[row, broken].concat(), 2, 70);
        x.prepare(&Threads::new(1), [Format::W8A8].into_iter(), Mode::Fast);
        let form = &x.whole;
        assert_eq!(form.stride, 128);
        assert_eq!((form.codes[0], form.codes[1]), (-127, 64));
        // Half to even, then zeros.
        assert_eq!(form.codes[68..71], [2, 4, 0]);
        assert!(form.codes[70..128].iter().all(|code| *code == 0));
        assert_eq!((form.scales[0], form.sums[0]), (1.0, -127 + 64 + 2 + 4));
        assert!(form.scales[1].is_nan());
    }

    #[test]
    fn a_panel_holds_its_rows_side_by_side() {
        let (m, cols) = (8, 1100);
        let values: Vec<f32> = (0..m * cols).map(|i| ((i * 7919) % 255) as f32 - 127.0).collect();
        let pool = Threads::new(2);
        let mut form = Whole::default();
        form.prepare(&variant::PORTABLE, &pool, &values, m, Format::W8A8, Panels::Narrow);
        form.prepare(&variant::PORTABLE, &pool, &values, m, Format::W4A8, Panels::Narrow);
        let (tiles, words) = (m.div_ceil(TILE), form.stride / 2);
        for (i, column) in [(0, 0), (1, 7), (3, 513), (4, 1099), (4, 1100), (7, 600), (9, 3)] {
            let first = column / 2 / CHUNK * CHUNK;
            let here = CHUNK.min(words - first);
            let word = form.wide.words[first * tiles + i / TILE * here + column / 2 - first][i % TILE];
            let code = (word >> (16 * (column % 2))) as i16;
            let expected = if i < m { form.codes[i * form.stride + column] } else { 0 };
            assert_eq!(code, i16::from(expected), "row {i}, column {column}");
        }
        let words = form.stride / SHARED * NIBBLE_WORDS;
        for (i, group) in [(0, 0), (3, 5), (1, 27), (7, 28), (2, 34), (9, 3)] {
            let first = group * NIBBLE_WORDS / NIBBLE_CHUNK * NIBBLE_CHUNK;
            let here = NIBBLE_CHUNK.min(words - first);
            let at = first * tiles + i / TILE * here + group * NIBBLE_WORDS - first;
            let found: Vec<i32> =
                form.nibbles.words[at..at + NIBBLE_WORDS].iter().map(|w| w[i % TILE]).collect();
            let codes: Vec<i8> = (0..SHARED)
                .map(|k| if i < m { form.codes[i * form.stride + group * SHARED + k] } else { 0 })
                .collect();
            let bytes: Vec<i8> =
                found[..8].iter().flat_map(|word| word.to_le_bytes().map(u8::cast_signed)).collect();
            assert_eq!(bytes, codes, "row {i}, group {group}");
            assert_eq!(found[8] as i16, codes.iter().map(|c| i16::from(*c)).sum::<i16>());
        }
    }

    #[test]
    fn all_variants_quantise_alike() {
        for cols in [1, 7, 8, 9, 64, 300] {
            let row: Vec<f32> = (0..cols).map(|i| ((i * 7919) % 1000) as f32 * 0.013 - 6.5).collect();
            for variant in variant::ALL.iter().filter(|v| (v.available)()) {
                for tiny in [1.0, 1e-38, 1e-45, 1e30, 0.0] {
                    let row: Vec<f32> = row.iter().map(|v| v * tiny).collect();
                    let (mut a, mut b) = (vec![1; 320], vec![2; 320]);
                    let found = (variant.quantize_whole)(&row, &mut a);
                    assert_eq!(found, quantize_row(&row, &mut b), "{} {cols}", variant.name);
                    assert_eq!(a, b);
                    for rounding in [Rounding::Row { bits: 6 }, Rounding::fixed(8, -2.0, 5.0)] {
                        let found = (variant.quantize_as)(rounding, &row, &mut a);
                        assert_eq!(found, rounding.quantize(&row, &mut b), "{} {cols}", variant.name);
                        assert_eq!(a, b);
                    }
                }
            }
        }
    }
}
