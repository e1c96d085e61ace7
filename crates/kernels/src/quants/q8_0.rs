//! Q8_0: an f16 scale, then 32 signed bytes.

use super::{SMALL, SmallBlock, half_at, push_half, search, through_half};

pub(crate) struct Q8_0;

impl SmallBlock for Q8_0 {
    const BYTES: usize = 34;
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
        for (code, byte) in codes.iter_mut().zip(&block[2..34]) {
            *code = byte.cast_signed();
        }
    }

    fn quantize(values: &[f32; SMALL], out: &mut Vec<u8>) {
        let scale = search::largest(values) / 127.0;
        push_half(scale, out);
        let inverse = search::inverse(through_half(scale));
        out.extend(values.iter().map(|v| search::code(v * inverse, -127, 127).cast_unsigned()));
    }
}
