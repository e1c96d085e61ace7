//! Q5_0: an f16 scale, 32 high bits (little-endian, bit `i` belongs to code `i`), then 16 bytes of nibbles as in
//! Q4_0. Codes 0..=31 stand for -16..=15.

use super::{SMALL, SmallBlock, half_at, push_half, search};

pub(crate) struct Q5_0;

impl SmallBlock for Q5_0 {
    const BYTES: usize = 22;
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
        let mut unsigned = [0; SMALL];
        five_bit_codes(&block[2..22], &mut unsigned);
        for (code, unsigned) in codes.iter_mut().zip(unsigned) {
            *code = unsigned.cast_signed() - 16;
        }
    }

    fn quantize(values: &[f32; SMALL], out: &mut Vec<u8>) {
        let fit = search::symmetric(values, 16);
        push_half(fit.scale, out);
        push_five_bit_codes(&fit.codes.map(|code| (code + 16).cast_unsigned()), out);
    }
}

/// Four bytes of high bits and sixteen of nibbles to codes 0..=31.
#[inline(always)]
pub(super) fn five_bit_codes(bytes: &[u8], codes: &mut [u8; SMALL]) {
    let high = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    for i in 0..16 {
        let byte = bytes[4 + i];
        codes[i] = byte & 15 | ((high >> i & 1) as u8) << 4;
        codes[i + 16] = byte >> 4 | ((high >> (i + 16) & 1) as u8) << 4;
    }
}

/// The inverse of [`five_bit_codes`].
pub(super) fn push_five_bit_codes(codes: &[u8; SMALL], out: &mut Vec<u8>) {
    let high = codes.iter().enumerate().fold(0u32, |bits, (i, code)| bits | u32::from(code >> 4) << i);
    out.extend_from_slice(&high.to_le_bytes());
    out.extend((0..16).map(|i| codes[i] & 15 | (codes[i + 16] & 15) << 4));
}
