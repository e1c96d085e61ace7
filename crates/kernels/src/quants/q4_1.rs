//! Q4_1: an f16 scale and an f16 minimum, then 16 bytes of nibbles as in Q4_0. Codes are 0..=15.

use super::{SMALL, SmallBlock, half_at, push_half, search};

pub(crate) struct Q4_1;

impl SmallBlock for Q4_1 {
    const BYTES: usize = 20;
    const HAS_MINIMUM: bool = true;

    #[inline(always)]
    fn scale(block: &[u8]) -> f32 {
        half_at(block, 0)
    }

    #[inline(always)]
    fn minimum(block: &[u8]) -> f32 {
        half_at(block, 2)
    }

    #[inline(always)]
    fn codes(block: &[u8], codes: &mut [i8; SMALL]) {
        let (low, high) = codes.split_at_mut(16);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(&block[4..20]) {
            *low = (byte & 15).cast_signed();
            *high = (byte >> 4).cast_signed();
        }
    }

    fn quantize(values: &[f32; SMALL], out: &mut Vec<u8>) {
        let fit = search::with_minimum(values, 15);
        push_half(fit.scale, out);
        push_half(fit.minimum, out);
        out.extend((0..16).map(|i| fit.codes[i] | fit.codes[i + 16] << 4));
    }
}
