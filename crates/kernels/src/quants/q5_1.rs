//! Q5_1: an f16 scale and an f16 minimum, then high bits and nibbles as in Q5_0. Codes are 0..=31.

use super::q5_0::{five_bit_codes, push_five_bit_codes};
use super::{SMALL, SmallBlock, half_at, push_half, search};

pub(crate) struct Q5_1;

impl SmallBlock for Q5_1 {
    const BYTES: usize = 24;
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
        let mut unsigned = [0; SMALL];
        five_bit_codes(&block[4..24], &mut unsigned);
        *codes = unsigned.map(u8::cast_signed);
    }

    fn quantize(values: &[f32; SMALL], out: &mut Vec<u8>) {
        let fit = search::with_minimum(values, 31);
        push_half(fit.scale, out);
        push_half(fit.minimum, out);
        push_five_bit_codes(&fit.codes, out);
    }
}
