//! How the input of a product is rounded to integers, where a model says so.

/// Rounding of activations. A value is `scale * (code - zero)` with codes of `bits` bits, `-2^(bits-1)` to `2^(bits-1) - 1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rounding {
    /// One scale for a row (a token), from the row itself: its largest magnitude over `2^(bits-1) - 1`; the zero point is 0.
    Row {
        /// 2 to 8.
        bits: u8,
    },
    /// Scale and zero point known beforehand (a static range); what lies outside is clipped to it.
    Fixed {
        /// 2 to 8.
        bits: u8,
        /// Width of a step.
        scale: f32,
        /// The code of 0.
        zero: i8,
    },
}

impl Rounding {
    /// What per-channel formats take where nothing else is said.
    pub const DEFAULT: Rounding = Rounding::Row { bits: 8 };

    /// The static rounding of values from `low` to `high`. The range is widened to hold 0, which has a code of its own.
    /// A range of nothing gets a scale of 1.
    pub fn fixed(bits: u8, low: f32, high: f32) -> Rounding {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let steps = ((1u32 << bits) - 1) as f32;
        let scale = (high - low) / steps;
        let scale = if scale > 0.0 && scale.is_finite() { scale } else { 1.0 };
        let lowest = -(1i32 << (bits - 1));
        // Within the codes, as 0 lies within the range.
        let zero = (lowest as f32 - low / scale).round_ties_even().clamp(lowest as f32, -1.0 - lowest as f32);
        Rounding::Fixed { bits, scale, zero: zero as i8 }
    }

    /// Bits of a code.
    pub fn bits(self) -> u8 {
        match self {
            Rounding::Row { bits } | Rounding::Fixed { bits, .. } => bits,
        }
    }

    /// Whether bits and scale can be used: what a file says is looked at first.
    pub fn is_valid(self) -> bool {
        let (lowest, highest) = range(self.bits().clamp(2, 8));
        (2..=8).contains(&self.bits())
            && match self {
                Rounding::Row { .. } => true,
                Rounding::Fixed { scale, zero, .. } => {
                    scale.is_finite() && scale > 0.0 && (lowest..=highest).contains(&i32::from(zero))
                }
            }
    }

    /// Rounds a row and turns it back to floats: what integer products see. One NaN or infinity makes the row NaN.
    pub fn apply(self, row: &mut [f32]) {
        let mut codes = vec![0; row.len()];
        let (scale, _) = self.quantize(row, &mut codes);
        let zero = match self {
            Rounding::Row { .. } => 0,
            Rounding::Fixed { zero, .. } => i32::from(zero),
        };
        for (value, code) in row.iter_mut().zip(codes) {
            *value = scale * (i32::from(code) - zero) as f32;
        }
    }

    /// The codes of a row, then zeros; the scale and the sum of the codes.
    #[inline(always)]
    pub(crate) fn quantize(self, row: &[f32], codes: &mut [i8]) -> (f32, i32) {
        let (lowest, highest) = range(self.bits());
        let (scale, inverse, zero) = match self {
            Rounding::Fixed { scale, zero, .. } => (scale, 1.0 / scale, f32::from(zero)),
            Rounding::Row { .. } => {
                let largest = largest(row);
                let inverse = highest as f32 / largest;
                (largest / highest as f32, if inverse.is_finite() { inverse } else { 0.0 }, 0.0)
            }
        };
        let (lowest, highest) = (lowest as f32, highest as f32);
        let (codes, padding) = codes.split_at_mut(row.len());
        // In lanes, which vectors hold: one sum of floats after the other would wait for itself.
        let (mut sum, mut poison) = (0i32, [0.0f32; LANES]);
        let mut round = |lane: usize, value: f32, code: &mut i8| {
            let rounded = (value * inverse).round_ties_even() + zero;
            // In this form a NaN becomes the least code.
            let rounded = if rounded > lowest { rounded } else { lowest };
            let rounded = if rounded < highest { rounded } else { highest };
            *code = rounded as i32 as i8;
            sum += i32::from(*code);
            // Stays zero for finite values, else becomes NaN.
            poison[lane] += value * 0.0;
        };
        let ((rows, tail), (to, to_tail)) = (row.as_chunks::<LANES>(), codes.as_chunks_mut::<LANES>());
        for (values, codes) in rows.iter().zip(to) {
            for (lane, (value, code)) in values.iter().zip(codes).enumerate() {
                round(lane, *value, code);
            }
        }
        for (lane, (value, code)) in tail.iter().zip(to_tail).enumerate() {
            round(lane, *value, code);
        }
        let poison: f32 = poison.iter().sum();
        padding.fill(0);
        (scale + poison, sum)
    }
}

/// Values that are looked at side by side.
const LANES: usize = 16;

/// The largest magnitude; a NaN is passed over.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut see = |lane: usize, value: f32| {
        let size = value.abs();
        lanes[lane] = if size > lanes[lane] { size } else { lanes[lane] };
    };
    let (rows, tail) = row.as_chunks::<LANES>();
    for values in rows {
        values.iter().enumerate().for_each(|(lane, value)| see(lane, *value));
    }
    tail.iter().enumerate().for_each(|(lane, value)| see(lane, *value));
    lanes.iter().fold(0.0f32, |most, size| if *size > most { *size } else { most })
}

/// The least and the greatest code.
fn range(bits: u8) -> (i32, i32) {
    (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_range_keeps_zero_and_clips() {
        let rounding = Rounding::fixed(8, -1.0, 3.0);
        let mut row = [0.0, -1.0, 3.0, 5.0, -7.0, 0.5];
        rounding.apply(&mut row);
        let step = 4.0 / 255.0;
        assert_eq!(row[0], 0.0);
        for (found, wanted) in row.iter().zip([0.0, -1.0, 3.0, 3.0, -1.0, 0.5]) {
            assert!((found - wanted).abs() <= step, "{found} {wanted}");
        }
        // A range that does not hold 0 is widened; one of nothing can be used.
        assert_eq!(Rounding::fixed(8, 1.0, 3.0), Rounding::fixed(8, 0.0, 3.0));
        assert!(Rounding::fixed(8, 0.0, 0.0).is_valid() && Rounding::fixed(4, -2.0, 0.0).is_valid());
    }

    #[test]
    fn rows_of_fewer_bits_are_coarser_and_symmetric() {
        let mut row = [31.0, -31.0, 0.4, 0.6];
        Rounding::Row { bits: 6 }.apply(&mut row);
        assert_eq!(row, [31.0, -31.0, 0.0, 1.0]);
        let mut zeros = [0.0; 3];
        Rounding::Row { bits: 6 }.apply(&mut zeros);
        assert_eq!(zeros, [0.0; 3]);
    }

    #[test]
    fn what_is_no_number_stays_visible() {
        for rounding in [Rounding::DEFAULT, Rounding::fixed(8, -1.0, 1.0)] {
            let mut row = [1.0, f32::NAN, 0.0];
            rounding.apply(&mut row);
            assert!(row[0].is_nan());
        }
        let broken = Rounding::Fixed { bits: 8, scale: f32::NAN, zero: 0 };
        assert!(!broken.is_valid() && !Rounding::Row { bits: 1 }.is_valid());
        assert!(!Rounding::Fixed { bits: 4, scale: 1.0, zero: 9 }.is_valid());
    }
}
