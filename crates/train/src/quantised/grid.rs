//! The grids that weights are rounded to.
//!
//! Learning, GPTQ and what is written share them, so that what is learned is what is kept.

use crayon_kernels::{NibbleGrid, Rounding, nibbles};

/// Which values of a weight `[out, in]` share a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// All of them.
    Tensor,
    /// Those of an output channel.
    Channel,
    /// So many neighbours in an output channel.
    Of(usize),
}

/// What a grid looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GridKind {
    /// Zero is the middle code.
    Symmetric,
    /// Zero is any code.
    Asymmetric,
    /// Zero is any code, and a step is a whole multiple of the output channel's scale: nibbles that integer products take.
    Nibbles,
}

/// How the weights of linear layers are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightRounding {
    /// 2 to 8; 4 for nibbles.
    pub bits: u8,
    /// What grids look like.
    pub kind: GridKind,
    /// Who shares one.
    pub groups: Groups,
}

/// Lengths of what lies in one piece and of its groups; a piece's last group may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    piece: usize,
    group: usize,
}

impl Cut {
    /// Pieces of one group each.
    pub fn whole(piece: usize) -> Cut {
        Cut { piece, group: piece }
    }

    /// Groups of so many values.
    pub fn count(self, values: usize) -> usize {
        values / self.piece * self.piece.div_ceil(self.group)
    }

    /// The group of the value at `at`.
    pub fn group_of(self, at: usize) -> usize {
        at / self.piece * self.piece.div_ceil(self.group) + at % self.piece / self.group
    }

    /// The pieces of `values`, each with its groups.
    pub fn pieces<T>(self, values: &[T]) -> impl Iterator<Item = (&[T], std::slice::Chunks<'_, T>)> {
        values.chunks_exact(self.piece).map(move |piece| (piece, piece.chunks(self.group)))
    }

    /// All groups of `values`.
    pub fn groups_mut<T>(self, values: &mut [T]) -> impl Iterator<Item = &mut [T]> {
        values.chunks_exact_mut(self.piece).flat_map(move |piece| piece.chunks_mut(self.group))
    }
}

/// Values `unit * step * (code - zero)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// The scale of the output channel where steps are multiples of it, else 1.
    pub unit: f32,
    /// Width of a step in units.
    pub step: f32,
    /// The code of zero.
    pub zero: f32,
    /// The least and the greatest code.
    pub codes: [f32; 2],
}

impl Grid {
    /// From `low` to `high`, both widened to hold 0, in codes of `bits` bits.
    pub fn asymmetric(bits: u8, low: f32, high: f32) -> Grid {
        let half = (1u32 << (bits - 1)) as f32;
        let (step, zero) = match Rounding::fixed(bits, low, high) {
            Rounding::Fixed { scale, zero, .. } => (scale, f32::from(zero)),
            Rounding::Row { .. } => (1.0, 0.0),
        };
        Grid { unit: 1.0, step, zero, codes: [-half, half - 1.0] }
    }

    /// Of which `largest` is the greatest code of `bits` bits.
    pub fn symmetric(bits: u8, largest: f32) -> Grid {
        let half = (1u32 << (bits - 1)) as f32;
        let step = largest / (half - 1.0);
        Grid { unit: 1.0, step: if step > 0.0 { step } else { 1.0 }, zero: 0.0, codes: [-half, half - 1.0] }
    }

    fn nibbles(unit: f32, low: f32, high: f32) -> Grid {
        let grid = NibbleGrid::new(unit, low, high);
        let unit = if unit > 0.0 { unit } else { 1.0 };
        let codes = [0.0, f32::from(grid.most())];
        Grid { unit, step: f32::from(grid.step), zero: f32::from(grid.zero), codes }
    }

    /// Width of a step.
    pub fn scale(self) -> f32 {
        self.unit * self.step
    }

    /// The value that stands for `x`, and where it lies: below the grid, inside, above. `inverse` is that of [`Grid::scale`].
    #[inline(always)]
    pub fn round(self, x: f32, inverse: f32) -> (f32, i8) {
        /// Adding and taking it away again rounds to integers, ties to even, on every processor.
        const ROUND: f32 = 12_582_912.0;
        let code = (x * inverse).clamp(-1e6, 1e6) + ROUND - ROUND + self.zero;
        let side = i8::from(code > self.codes[1]) - i8::from(code < self.codes[0]);
        (self.scale() * (code.max(self.codes[0]).min(self.codes[1]) - self.zero), side)
    }

    /// Rounds all of `values`.
    pub fn apply(self, values: &mut [f32]) {
        let inverse = 1.0 / self.scale();
        values.iter_mut().for_each(|value| *value = self.round(*value, inverse).0);
    }

    /// Steps between the ends: what the width of a range is divided by.
    pub(super) fn count(self, kind: GridKind) -> f32 {
        match kind {
            GridKind::Symmetric => self.codes[1],
            // A nibble that no byte has room for is part of the range all the same.
            GridKind::Nibbles => 15.0,
            GridKind::Asymmetric => self.codes[1] - self.codes[0],
        }
    }
}

/// The least and the greatest of `values` and 0, and where they lie.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) low: (f32, usize),
    pub(super) high: (f32, usize),
}

impl Ends {
    pub(super) fn of(values: &[f32]) -> Ends {
        let mut ends = Ends { low: (0.0, 0), high: (0.0, 0) };
        for (at, &value) in values.iter().enumerate() {
            if value < ends.low.0 {
                ends.low = (value, at);
            }
            if value > ends.high.0 {
                ends.high = (value, at);
            }
        }
        ends
    }
}

impl WeightRounding {
    /// How a weight `[rows, cols]` is cut into groups.
    pub fn cut(self, rows: usize, cols: usize) -> Cut {
        match self.groups {
            Groups::Tensor => Cut::whole(rows * cols),
            Groups::Channel => Cut::whole(cols),
            Groups::Of(group) => Cut { piece: cols, group },
        }
    }

    /// What the steps in a piece are multiples of; 0 where they are not.
    pub(super) fn unit(self, piece: &[f32]) -> f32 {
        if self.kind == GridKind::Nibbles { nibbles::unit(piece) } else { 0.0 }
    }

    /// The grid of a group with these ends in a piece with this unit, `share` of whose range it covers.
    pub(super) fn grid(self, ends: Ends, unit: f32, share: f32) -> Grid {
        let (low, high) = (share * ends.low.0, share * ends.high.0);
        match self.kind {
            GridKind::Symmetric => Grid::symmetric(self.bits, high.max(-low)),
            GridKind::Asymmetric => Grid::asymmetric(self.bits, low, high),
            GridKind::Nibbles => Grid::nibbles(unit, low, high),
        }
    }

    /// The grids of the groups of `values`, each of its own range times its share.
    pub fn grids(self, values: &[f32], cut: Cut, shares: &[f32]) -> Vec<Grid> {
        let mut shares = shares.iter();
        let mut grids = Vec::new();
        for (piece, groups) in cut.pieces(values) {
            let unit = self.unit(piece);
            grids.extend(
                groups.zip(&mut shares).map(|(group, share)| self.grid(Ends::of(group), unit, *share)),
            );
        }
        grids
    }

    /// For each group the share of its range that loses least by squared error, from the whole down to a third.
    pub fn best_shares(self, values: &[f32], cut: Cut) -> Vec<f32> {
        const CANDIDATES: i32 = 20;
        let mut shares = Vec::new();
        for (piece, groups) in cut.pieces(values) {
            let unit = self.unit(piece);
            shares.extend(groups.map(|group| {
                let ends = Ends::of(group);
                let mut best = (f64::INFINITY, 1.0);
                for candidate in 0..CANDIDATES {
                    let share = 1.06f32.powi(-candidate);
                    let grid = self.grid(ends, unit, share);
                    let inverse = 1.0 / grid.scale();
                    let error = |value: &f32| {
                        let error = grid.round(*value, inverse).0 - value;
                        f64::from(error * error)
                    };
                    let error = group.iter().map(error).sum();
                    if error < best.0 {
                        best = (error, share);
                    }
                }
                best.1
            }));
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: WeightRounding =
        WeightRounding { bits: 4, kind: GridKind::Symmetric, groups: Groups::Channel };

    #[test]
    fn few_bits_clip_what_stands_out() {
        let mut values: Vec<f32> = (0..256).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        values[7] = 9.0;
        let share = PLAIN.best_shares(&values, Cut::whole(256))[0];
        assert!(share < 0.9, "{share}");
        assert_eq!(PLAIN.best_shares(&[0.0; 8], Cut::whole(8)), [1.0]);
        let bytes = WeightRounding { bits: 8, kind: GridKind::Asymmetric, ..PLAIN };
        let fine = bytes.best_shares(&(0..100).map(|i| i as f32).collect::<Vec<_>>(), Cut::whole(100))[0];
        assert!(fine > 0.99, "{fine}");
    }

    #[test]
    fn a_piece_ends_with_a_shorter_group() {
        let rounding = WeightRounding { kind: GridKind::Nibbles, groups: Groups::Of(32), ..PLAIN };
        let cut = rounding.cut(2, 70);
        assert_eq!((cut.count(140), rounding.cut(2, 64).count(128)), (6, 4));
        let mut values: Vec<f32> = (0..140).map(|i| ((i * 37) % 64) as f32 - 20.0).collect();
        let grids = rounding.grids(&values, cut, &[1.0; 6]);
        assert_eq!(grids.len(), 6);
        let before = values.clone();
        cut.groups_mut(&mut values).zip(&grids).for_each(|(group, grid)| grid.apply(group));
        let scale = grids[0].scale();
        assert!(values.iter().zip(before).all(|(a, b)| (a - b).abs() <= scale), "{values:?}");
        assert!(grids.iter().all(|grid| grid.step.fract() == 0.0));
    }
}
