//! The grid of nibbles: sixteen neighbouring multiples of a step that is itself a whole multiple of the row's scale.
//!
//! Learning, GPTQ and the file share this arithmetic, so that what is learned is what is kept.

use super::search;

/// Values that share a grid.
pub const SHARED: usize = 32;
/// The greatest nibble.
const MOST: u8 = 15;
/// The greatest step whose sixteen values fit a signed byte.
const WIDEST: f32 = 17.0;

/// What a nibble stands for, in units of the row's scale. Writers keep to grids whose codes fit a byte; what codes beyond that mean
/// differs between products.
#[inline(always)]
pub(crate) const fn code(step: u8, low: u8, nibble: u8) -> i8 {
    low.wrapping_add(step.wrapping_mul(nibble)).cast_signed()
}

/// For each step its first sixteen multiples, as vector instructions look them up.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) static MULTIPLES: [[u8; 16]; 256] = {
    let mut table = [[0; 16]; 256];
    let mut at = 0;
    while at < 256 * 16 {
        table[at / 16][at % 16] = ((at / 16) * (at % 16)) as u8;
        at += 1;
    }
    table
};

/// The scale of a row of nibbles: its largest magnitude is 127 of it; NaN when a value is not finite.
pub fn unit(values: &[f32]) -> f32 {
    search::largest(values) / 127.0
}

/// The values that 32 neighbours can have: `unit * step * (nibble - zero)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NibbleGrid {
    /// 1 to 17 units.
    pub step: u8,
    /// The nibble of zero, 0 to 15.
    pub zero: u8,
}

impl NibbleGrid {
    /// Of no values.
    pub const EMPTY: NibbleGrid = NibbleGrid { step: 1, zero: 0 };

    /// The grid that reaches from `low` to `high`, both widened to hold 0, as nearly as whole steps allow.
    pub fn new(unit: f32, low: f32, high: f32) -> NibbleGrid {
        let inverse = search::inverse(unit);
        let (low, high) = (low.min(0.0) * inverse, high.max(0.0) * inverse);
        // A NaN becomes the narrowest grid; its row's scale is NaN.
        let step = ((high - low) / f32::from(MOST)).round_ties_even().clamp(1.0, WIDEST);
        let step = if step.is_nan() { 1.0 } else { step };
        // The lowest value has to fit a signed byte, too.
        let zero = (-low / step).round_ties_even().clamp(0.0, f32::from(MOST).min((128.0 / step).floor()));
        NibbleGrid { step: step as u8, zero: zero as u8 }
    }

    /// The grid that loses least of `values` by squared error: ranges from a little more than theirs down to a third are tried.
    pub fn closest(values: &[f32], unit: f32) -> NibbleGrid {
        const CANDIDATES: i32 = 21;
        let (low, high) = values.iter().fold((0.0f32, 0.0f32), |(l, h), v| (l.min(*v), h.max(*v)));
        let mut best = (NibbleGrid::new(unit, low, high), f32::INFINITY);
        let mut last = None;
        for candidate in 0..CANDIDATES {
            let share = 1.06f32.powi(1 - candidate);
            let grid = NibbleGrid::new(unit, share * low, share * high);
            if last.replace(grid) == Some(grid) {
                continue;
            }
            let error = grid.error(values, unit);
            if error < best.1 {
                best = (grid, error);
            }
        }
        best.0
    }

    /// Squared error over `values`, in units.
    fn error(self, values: &[f32], unit: f32) -> f32 {
        let inverse = search::inverse(unit);
        let error = |value: &f32| {
            let value = value * inverse;
            let error = value - f32::from(self.code_of(value / f32::from(self.step)));
            error * error
        };
        values.iter().map(error).sum()
    }

    /// The code of nibble 0, in units.
    pub fn low(self) -> i8 {
        (-i16::from(self.step) * i16::from(self.zero)) as i8
    }

    /// The greatest nibble whose code fits a signed byte.
    pub fn most(self) -> u8 {
        let room = i16::from(i8::MAX) - i16::from(self.low());
        MOST.min((room / i16::from(self.step.max(1))) as u8)
    }

    /// The nibble nearest to `value`.
    pub fn nibble(self, value: f32, unit: f32) -> u8 {
        let scale = unit * f32::from(self.step);
        let nibble =
            search::code(value * search::inverse(scale) + f32::from(self.zero), 0, self.most().cast_signed());
        nibble.cast_unsigned()
    }

    /// The code nearest to so many steps.
    fn code_of(self, steps: f32) -> i16 {
        let nibble = search::code(steps + f32::from(self.zero), 0, self.most().cast_signed());
        i16::from(self.step) * (i16::from(nibble) - i16::from(self.zero))
    }

    /// What a nibble stands for.
    pub fn value(self, nibble: u8, unit: f32) -> f32 {
        unit * f32::from(i16::from(self.step) * (i16::from(nibble) - i16::from(self.zero)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_grid_fits_signed_bytes(unit in 1e-3f32..1.0, low in -200.0f32..0.0, high in 0.0f32..200.0) {
            let grid = NibbleGrid::new(unit, (low * unit).max(-127.0 * unit), (high * unit).min(127.0 * unit));
            prop_assert!((1..=17).contains(&grid.step) && grid.zero <= 15);
            let (least, most) = (grid.value(0, unit), grid.value(grid.most(), unit));
            prop_assert!(least >= -128.0 * unit * 1.001 && most <= 127.0 * unit * 1.001, "{:?}", grid);
            for nibble in 0..=grid.most() {
                let value = grid.value(nibble, unit);
                prop_assert_eq!(grid.nibble(value, unit), nibble);
                let code = code(grid.step, grid.low().cast_unsigned(), nibble);
                prop_assert!((unit * f32::from(code) - value).abs() <= 1e-6 * value.abs());
            }
            prop_assert_eq!(grid.value(grid.zero, unit), 0.0);
        }
    }

    #[test]
    fn a_range_of_sixteen_values_is_kept_as_it_is() {
        // Two steps apart, from -10 to 20 units of a row whose largest value is 127.
        let values: Vec<f32> = (0..32).map(|i| 0.5 * ((i % 16) * 2 - 10) as f32).collect();
        let grid = NibbleGrid::closest(&values, 0.5);
        assert_eq!(grid, NibbleGrid { step: 2, zero: 5 });
        assert!(values.iter().all(|v| grid.value(grid.nibble(*v, 0.5), 0.5) == *v));
    }

    #[test]
    fn what_stands_out_is_clipped_where_that_pays() {
        let mut values: Vec<f32> = (0..32).map(|i| ((i * 37) % 32) as f32 - 16.0).collect();
        values[7] = 127.0;
        let grid = NibbleGrid::closest(&values, 1.0);
        assert!(grid.value(grid.most(), 1.0) < 127.0, "{grid:?}");
        let spread = grid.error(&values, 1.0);
        let whole = NibbleGrid::new(1.0, -16.0, 127.0).error(&values, 1.0);
        assert!(spread < whole, "{spread} {whole}");
        assert_eq!(NibbleGrid::closest(&[0.0; 32], 0.0), NibbleGrid { step: 1, zero: 0 });
    }
}
