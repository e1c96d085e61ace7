//! Q6_K: 128 bytes of low nibbles, 64 bytes of high bit pairs, sixteen signed factors, one f16 scale.
//!
//! Each half of the block (128 values) uses 64 bytes of nibbles and 32 of pairs: value `32 q + i` takes pair `q` of
//! byte `i`, and the low (`q` 0, 1) or high (`q` 2, 3) nibble of byte `32 (q % 2) + i`. Codes 0..=63 stand for
//! -32..=31; sixteen values share a factor.

use super::{LARGE, LargeBlock, LargeScales, half_at, push_half, search, through_half};

pub(crate) struct Q6K;

impl LargeBlock for Q6K {
    const BYTES: usize = 210;
    const SUB: usize = 16;
    const HAS_MINIMUM: bool = false;

    #[inline(always)]
    fn scales(block: &[u8]) -> LargeScales {
        let mut factors = [0; 16];
        for (factor, byte) in factors.iter_mut().zip(&block[192..208]) {
            *factor = i16::from(byte.cast_signed());
        }
        LargeScales { scale: half_at(block, 208), minimum: 0.0, factors, minimums: [0; 16] }
    }

    #[inline(always)]
    fn codes(block: &[u8], codes: &mut [i8; LARGE]) {
        for half in 0..2 {
            let low = &block[half * 64..][..64];
            let high = &block[128 + half * 32..][..32];
            let codes = &mut codes[half * 128..][..128];
            for i in 0..32 {
                codes[i] = (low[i] & 15 | (high[i] & 3) << 4).cast_signed() - 32;
                codes[i + 32] = (low[i + 32] & 15 | (high[i] >> 2 & 3) << 4).cast_signed() - 32;
                codes[i + 64] = (low[i] >> 4 | (high[i] >> 4 & 3) << 4).cast_signed() - 32;
                codes[i + 96] = (low[i + 32] >> 4 | (high[i] >> 6) << 4).cast_signed() - 32;
            }
        }
    }

    fn quantize(values: &[f32; LARGE], out: &mut Vec<u8>) {
        let (subs, _) = values.as_chunks::<16>();
        let mut scales = [0.0f32; 16];
        for (scale, sub) in scales.iter_mut().zip(subs) {
            *scale = search::symmetric(sub, 32).scale;
        }
        // The factor of largest size becomes -128 exactly; a NaN anywhere wins and breaks the whole block.
        let widest =
            scales.iter().copied().fold(0.0f32, |a, b| if b.abs() > a.abs() || b.is_nan() { b } else { a });
        let scale = widest / -128.0;
        let unit = search::inverse(through_half(scale));
        let factors = scales.map(|s| search::code(s * unit, -128, 127));
        let mut codes = [0u8; LARGE];
        for (i, (factor, sub)) in factors.iter().zip(subs).enumerate() {
            let inverse = search::inverse(through_half(scale) * f32::from(*factor));
            for (code, value) in codes[i * 16..].iter_mut().zip(sub) {
                *code = (search::code(value * inverse, -32, 31) + 32).cast_unsigned();
            }
        }
        for half in codes.chunks_exact(128) {
            out.extend((0..64).map(|i| half[i] & 15 | (half[i + 64] & 15) << 4));
        }
        for half in codes.chunks_exact(128) {
            out.extend((0..32).map(|i| (0..4).fold(0, |bits, q| bits | half[32 * q + i] >> 4 << (2 * q))));
        }
        out.extend(factors.map(i8::cast_unsigned));
        push_half(scale, out);
    }
}
