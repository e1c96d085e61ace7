//! Sixteen activation rows side by side, as AMX takes them: a tile register holds up to sixteen rows of 64 bytes.

use super::{Quantized, grow};
use crate::Threads;
use crate::quants::LARGE;
use crate::threads::Disjoint;

/// Rows of a tile.
pub(crate) const TILE_ROWS: usize = 16;

/// Codes of all rows in tiles of sixteen rows and a chunk of 256 columns, so that the rows of a tile lie close
/// together whatever the width of the matrix. Rows are padded with zeros to whole tiles, columns are not padded.
#[derive(Default)]
pub(crate) struct Tiles {
    pub(super) ready: bool,
    /// `[chunk, tile, TILE_ROWS, columns of the chunk]`.
    codes: Vec<i8>,
    tiles: usize,
    cols: usize,
}

impl Tiles {
    /// Tile `tile` of the chunk that begins at column `256 * chunk`, and how far apart its rows are.
    pub(crate) fn tile(&self, chunk: usize, tile: usize) -> (&[i8], usize) {
        let width = LARGE.min(self.cols - chunk * LARGE);
        let at = (chunk * LARGE * self.tiles + tile * width) * TILE_ROWS;
        (&self.codes[at..at + width * TILE_ROWS], width)
    }
}

impl Quantized {
    /// Lays the codes out in tiles, unless that was done.
    pub(super) fn make_tiles(&mut self, pool: &Threads, m: usize, cols: usize) {
        let tiles = &mut self.tiles;
        if std::mem::replace(&mut tiles.ready, true) {
            return;
        }
        (tiles.tiles, tiles.cols) = (m.div_ceil(TILE_ROWS), cols);
        grow(&mut tiles.codes, tiles.tiles * TILE_ROWS * cols);
        let (count, from) = (tiles.tiles, &self.codes);
        let to = Disjoint::new(&mut tiles.codes);
        pool.run(count, |tile| {
            for column in (0..cols).step_by(LARGE) {
                let width = LARGE.min(cols - column);
                let at = (column * count + tile * width) * TILE_ROWS;
                // SAFETY: a tile's places belong to one task.
                let to = unsafe { to.slice(at, width * TILE_ROWS) };
                for (row, to) in to.chunks_exact_mut(width).enumerate() {
                    let i = tile * TILE_ROWS + row;
                    if i < m {
                        to.copy_from_slice(&from[i * cols + column..][..width]);
                    } else {
                        to.fill(0);
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
    fn every_code_is_in_its_tile() {
        for (m, cols) in [(4, 32), (17, 288), (33, 512)] {
            let codes: Vec<i8> = (0..m * cols).map(|i| (i * 31 % 251) as u8 as i8).collect();
            let mut form = Quantized { codes: codes.clone(), ..Quantized::default() };
            form.make_tiles(&Threads::new(2), m, cols);
            for chunk in 0..cols.div_ceil(LARGE) {
                for tile in 0..m.div_ceil(TILE_ROWS) {
                    let (part, stride) = form.tiles.tile(chunk, tile);
                    assert_eq!(part.len(), TILE_ROWS * stride);
                    for (at, code) in part.iter().enumerate() {
                        let (row, column) = (tile * TILE_ROWS + at / stride, chunk * LARGE + at % stride);
                        let wanted = if row < m { codes[row * cols + column] } else { 0 };
                        assert_eq!(*code, wanted, "row {row}, column {column} of [{m}, {cols}]");
                    }
                }
            }
        }
    }
}
