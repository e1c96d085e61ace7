//! Q4_0: an f16 scale, then 16 bytes; byte `i` holds code `i` in its low and code `i + 16` in its high nibble.
//! Codes 0..=15 stand for -8..=7.

use super::{SMALL, SmallBlock, half_at, push_half, search};

pub(crate) struct Q4_0;

impl SmallBlock for Q4_0 {
    const BYTES: usize = 18;
    const HAS_MINIMUM: bool = false;

    #[inline(always)]
    fn scale(block: &[u8]) -> f32 {
        half_at(block, 0)
    }

    #[inline(always)]
    fn minimum(_: &[u8]) -> f32 {
        0.0
    }

    #[inline(always)]
    fn codes(block: &[u8], codes: &mut [i8; SMALL]) {
        let (low, high) = codes.split_at_mut(16);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(&block[2..18]) {
            *low = (byte & 15).cast_signed() - 8;
            *high = (byte >> 4).cast_signed() - 8;
        }
    }

    fn quantize(values: &[f32; SMALL], out: &mut Vec<u8>) {
        let fit = search::symmetric(values, 8);
        push_half(fit.scale, out);
        let code = |i: usize| (fit.codes[i] + 8).cast_unsigned();
        out.extend((0..16).map(|i| code(i) | code(i + 16) << 4));
    }
}
