//! The scales of Q4_K and Q5_K: eight 6-bit factors and eight 6-bit minimums in twelve bytes.
//!
//! Bytes 0..4 hold the low six bits' worth of factors 0..4, bytes 4..8 of minimums 0..4; their top two bits are the
//! top bits of factors and minimums 4..8, whose low nibbles share bytes 8..12.

use super::{LARGE, LargeScales, SMALL, half_at, push_half, search, through_half};

/// Reads `d`, `dmin` and the twelve packed bytes at the start of a block.
#[inline(always)]
pub(super) fn read(block: &[u8]) -> LargeScales {
    let packed = &block[4..16];
    let (mut factors, mut minimums) = ([0; 16], [0; 16]);
    for i in 0..4 {
        factors[i] = i16::from(packed[i] & 63);
        minimums[i] = i16::from(packed[i + 4] & 63);
        factors[i + 4] = i16::from(packed[i + 8] & 15 | packed[i] >> 6 << 4);
        minimums[i + 4] = i16::from(packed[i + 8] >> 4 | packed[i + 4] >> 6 << 4);
    }
    LargeScales { scale: half_at(block, 0), minimum: half_at(block, 2), factors, minimums }
}

/// Fits a block with codes 0..=`top`: writes the 16 bytes of scales and returns the codes.
pub(super) fn fit(values: &[f32; LARGE], top: u8, out: &mut Vec<u8>) -> [u8; LARGE] {
    let (subs, _) = values.as_chunks::<SMALL>();
    let mut fits = [search::WithMinimum::default(); 8];
    for (fit, sub) in fits.iter_mut().zip(subs) {
        *fit = search::with_minimum_below_zero(sub, top);
    }
    // Fold with a comparison that a NaN wins, so that a broken sub-block breaks the whole block.
    let largest = |a: f32, b: f32| if b > a || b.is_nan() { b } else { a };
    let scale = fits.iter().map(|fit| fit.scale).fold(0.0, largest) / 63.0;
    let minimum = fits.iter().map(|fit| -fit.minimum).fold(0.0, largest) / 63.0;
    push_half(scale, out);
    push_half(minimum, out);
    let (scale, minimum) = (through_half(scale), through_half(minimum));
    let six = |value: f32, unit: f32| search::code(value * search::inverse(unit), 0, 63).cast_unsigned();

    let mut packed = [0u8; 12];
    let mut codes = [0; LARGE];
    for (i, (fit, sub)) in fits.iter().zip(subs).enumerate() {
        let (factor, floor) =
            search::refine(sub, top, scale, minimum, six(fit.scale, scale), six(-fit.minimum, minimum));
        if i < 4 {
            packed[i] |= factor;
            packed[i + 4] |= floor;
        } else {
            packed[i + 4] = factor & 15 | (floor & 15) << 4;
            packed[i - 4] |= factor >> 4 << 6;
            packed[i] |= floor >> 4 << 6;
        }
        let step = scale * f32::from(factor);
        let offset = minimum * f32::from(floor);
        let inverse = search::inverse(step);
        for (code, value) in codes[i * SMALL..].iter_mut().zip(sub) {
            *code = search::code((value + offset) * inverse, 0, top.cast_signed()).cast_unsigned();
        }
    }
    out.extend_from_slice(&packed);
    codes
}
