//! Activations as sums of three bfloat16 numbers, for multipliers that take bfloat16 and add in f32.
//!
//! Cutting the 24 bits of an f32's mantissa into three times eight loses nothing, so products with bfloat16 weights
//! are exact before they are added up. Numbers below about 1e-31 lose their last part, which such multipliers take
//! for zero.

use super::grow;
use crate::Threads;
use crate::threads::Disjoint;

/// Parts of a number.
const PARTS: usize = 3;
/// Columns of a step: 16 rows of pairs.
pub(crate) const STEP: usize = 32;
const PAIRS: usize = STEP / 2;
/// Columns of a full tile.
const FULL: usize = 16;

/// All rows in tiles: a tile's row holds two neighbouring columns of the activations, its columns are parts of
/// activation rows. Up to five rows share one tile with all their parts; more go by sixteen, a tile for each part.
#[derive(Default)]
pub(crate) struct Parts {
    pub(super) ready: bool,
    /// `[group, step, part, PAIRS, rows of the group]`, or `[step, PAIRS, (part, row)]` for few rows; pairs of
    /// bfloat16.
    words: Vec<u32>,
    m: usize,
    steps: usize,
}

/// `x` as a sum of three bfloat16 numbers: its first eight bits, the next eight, the rest.
fn split(x: f32) -> [u16; PARTS] {
    let cut = |x: f32| f32::from_bits(x.to_bits() & 0xffff_0000);
    let half = |x: f32| (x.to_bits() >> 16) as u16;
    if !x.is_finite() {
        // The bits of a NaN that a bfloat16 keeps might be an infinity's.
        return [half(if x.is_nan() { f32::NAN } else { x }), 0, 0];
    }
    let rest = x - cut(x);
    [half(x), half(rest), half(rest - cut(rest))]
}

impl Parts {
    /// Bytes its buffer takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<u32>() * self.words.capacity()
    }

    /// Whether all parts of all rows are columns of one tile.
    pub(crate) fn one_tile(&self) -> bool {
        PARTS * self.m <= FULL
    }

    /// Columns of a tile.
    pub(crate) fn width(&self) -> usize {
        if self.one_tile() { PARTS * self.m } else { FULL }
    }

    /// Steps of 32 columns; the last is padded with zeros.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// Tiles of step `step`: one with all rows, or three with sixteen of them.
    pub(crate) fn step(&self, group: usize, step: usize) -> &[u32] {
        let len = PAIRS * if self.one_tile() { self.width() } else { PARTS * FULL };
        &self.words[(group * self.steps + step) * len..][..len]
    }

    /// Splits rows `[m, cols]`, unless that was done.
    pub(crate) fn make(&mut self, pool: &Threads, rows: &[f32], m: usize, cols: usize) {
        if std::mem::replace(&mut self.ready, true) {
            return;
        }
        (self.m, self.steps) = (m, cols.div_ceil(STEP));
        let (width, one_tile) = (self.width(), self.one_tile());
        let (groups, together) = if one_tile { (m.min(1), m) } else { (m.div_ceil(FULL), FULL) };
        let len = PAIRS * if one_tile { width } else { PARTS * FULL };
        grow(&mut self.words, groups * self.steps * len);
        let steps = self.steps;
        let words = Disjoint::new(&mut self.words);
        pool.run(groups * steps, |task| {
            let (group, step) = (task / steps, task % steps);
            // SAFETY: a step of a group belongs to one task.
            let words = unsafe { words.slice(task * len, len) };
            words.fill(0);
            for j in 0..together.min(m - group * together) {
                let row = &rows[(group * together + j) * cols..][..cols];
                let columns = &row[step * STEP..cols.min((step + 1) * STEP)];
                for (pair, columns) in columns.chunks(2).enumerate() {
                    let first = split(columns[0]);
                    let second = columns.get(1).map_or([0; PARTS], |x| split(*x));
                    for part in 0..PARTS {
                        let word = u32::from(second[part]) << 16 | u32::from(first[part]);
                        let place = if one_tile {
                            pair * width + part * m + j
                        } else {
                            (part * PAIRS + pair) * FULL + j
                        };
                        words[place] = word;
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_exactly() {
        let widen = |half: u16| f32::from_bits(u32::from(half) << 16);
        for x in [0.0, -0.0, 1.0, -1.1, 3.3e7, f32::MAX, f32::MIN, 1e-20, 0.1, std::f32::consts::PI] {
            let [a, b, c] = split(x).map(widen);
            assert_eq!(a + (b + c), x);
            assert!(b.abs() <= x.abs() / 128.0 && c.abs() <= x.abs() / 32768.0, "{x}: {a} {b} {c}");
        }
        assert_eq!(split(f32::NEG_INFINITY).map(widen), [f32::NEG_INFINITY, 0.0, 0.0]);
        // A NaN whose bits lie all in the lower half.
        assert!(widen(split(f32::from_bits(0x7f80_0001))[0]).is_nan());
    }

    #[test]
    fn every_number_is_in_its_tile() {
        for (m, cols) in [(1, 7), (5, 64), (6, 33), (17, 100)] {
            let rows: Vec<f32> = (0..m * cols).map(|i| i as f32 * 1.234 - 50.0).collect();
            let mut parts = Parts::default();
            parts.make(&Threads::new(2), &rows, m, cols);
            let half =
                |word: u32, odd: bool| f32::from_bits(if odd { word & 0xffff_0000 } else { word << 16 });
            for (i, row) in rows.chunks(cols).enumerate() {
                for column in 0..parts.steps() * STEP {
                    let (group, j) = if parts.one_tile() { (0, i) } else { (i / FULL, i % FULL) };
                    let words = parts.step(group, column / STEP);
                    let pair = column % STEP / 2;
                    let sum: f64 = (0..PARTS)
                        .map(|part| {
                            let place = if parts.one_tile() {
                                pair * parts.width() + part * m + j
                            } else {
                                (part * PAIRS + pair) * FULL + j
                            };
                            f64::from(half(words[place], column % 2 == 1))
                        })
                        .sum();
                    let wanted = row.get(column).copied().unwrap_or(0.0);
                    assert_eq!(sum, f64::from(wanted), "row {i}, column {column} of [{m}, {cols}]");
                }
            }
        }
    }
}
