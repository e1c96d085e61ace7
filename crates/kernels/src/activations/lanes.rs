//! Activations in the order in which products of many rows in f32 take them: of a tile's rows the columns of one lane
//! after another, so that what an inner loop reads lies together and stays in the first-level cache.

use super::{TILE, grow};
use crate::Threads;
use crate::threads::Disjoint;

/// Lanes of an output's vector of sums: column `c` belongs to lane `c % LANES`.
pub(crate) const LANES: usize = 8;
/// Columns of a chunk, a multiple of every block length: long enough that sums rarely move, and a panel of sixteen weight
/// rows, 64 KB, stays in the second-level cache.
pub(crate) const CHUNK: usize = 1024;

/// The rows of all tiles. Rows and columns beyond the last are zero.
#[derive(Default)]
pub(crate) struct Lanes {
    pub(super) ready: bool,
    /// `[chunk, tile, lane, column of the lane, TILE]`; the last chunk may be shorter.
    values: Vec<f32>,
    tiles: usize,
    cols: usize,
}

impl Lanes {
    /// Columns of each lane in the chunk that begins at `column`.
    fn columns(&self, column: usize) -> usize {
        CHUNK.min(self.cols - column).div_ceil(LANES)
    }

    /// Where tile `tile` of the chunk that begins at `column` lies, and its length.
    fn place(&self, tile: usize, column: usize) -> (usize, usize) {
        let len = self.columns(column) * LANES * TILE;
        (column * self.tiles * TILE + tile * len, len)
    }

    /// Lane after lane, [`TILE`] values for each column of tile `tile` in the chunk that begins at `column`.
    pub(crate) fn tile(&self, tile: usize, column: usize) -> impl Iterator<Item = &[[f32; TILE]]> {
        let (at, len) = self.place(tile, column);
        self.values[at..at + len].as_chunks::<TILE>().0.chunks_exact(len / TILE / LANES)
    }

    /// One lane of [`Lanes::tile`].
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn lane(&self, tile: usize, column: usize, lane: usize) -> &[[f32; TILE]] {
        let ((at, len), columns) = (self.place(tile, column), self.columns(column));
        &self.values[at..at + len].as_chunks::<TILE>().0[lane * columns..(lane + 1) * columns]
    }

    /// Reorders rows `[m, cols]`, unless that was done.
    pub(crate) fn make(&mut self, pool: &Threads, rows: &[f32], m: usize, cols: usize) {
        if std::mem::replace(&mut self.ready, true) {
            return;
        }
        (self.tiles, self.cols) = (m.div_ceil(TILE), cols);
        let mut values = std::mem::take(&mut self.values);
        grow(&mut values, self.tiles * TILE * cols.next_multiple_of(LANES));
        let parts = Disjoint::new(&mut values);
        pool.run(self.tiles, |tile| {
            for first in (0..cols).step_by(CHUNK) {
                let (at, len) = self.place(tile, first);
                // SAFETY: a tile's part of a chunk belongs to one task.
                let part = unsafe { parts.slice(at, len) };
                let columns = self.columns(first);
                // In the order of what is written: the rows of a chunk stay in the first-level cache.
                let from: [&[f32]; TILE] = std::array::from_fn(|r| match tile * TILE + r {
                    i if i < m => &rows[i * cols + first..][..CHUNK.min(cols - first)],
                    _ => &[],
                });
                for (lane, to) in part.chunks_exact_mut(columns * TILE).enumerate() {
                    for (k, to) in to.as_chunks_mut::<TILE>().0.iter_mut().enumerate() {
                        *to = from.map(|row| row.get(k * LANES + lane).copied().unwrap_or(0.0));
                    }
                }
            }
        });
        self.values = values;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_its_lane() {
        for (m, cols) in [(1, 7), (6, 64), (7, 1024), (13, 2085)] {
            let rows: Vec<f32> = (0..m * cols).map(|i| 1.0 + i as f32).collect();
            let mut lanes = Lanes::default();
            lanes.make(&Threads::new(2), &rows, m, cols);
            for i in 0..m.next_multiple_of(TILE) {
                for first in (0..cols).step_by(CHUNK) {
                    for (lane, columns) in lanes.tile(i / TILE, first).enumerate() {
                        for (k, tile) in columns.iter().enumerate() {
                            let column = first + k * LANES + lane;
                            let wanted = if i < m && column < cols { rows[i * cols + column] } else { 0.0 };
                            assert_eq!(tile[i % TILE], wanted, "row {i}, column {column} of [{m}, {cols}]");
                        }
                    }
                }
            }
        }
    }
}
