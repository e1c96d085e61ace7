//! Q5_K: scales as in Q4_K, then 32 bytes of high bits (bit `s` of byte `i` belongs to value `i` of sub-block `s`)
//! and 128 bytes of nibbles as in Q4_K. Codes are 0..=31.

use super::{LARGE, LargeBlock, LargeScales, k_scales};

pub(crate) struct Q5K;

impl LargeBlock for Q5K {
    const BYTES: usize = 176;
    const SUB: usize = 32;
    const HAS_MINIMUM: bool = true;

    #[inline(always)]
    fn scales(block: &[u8]) -> LargeScales {
        k_scales::read(block)
    }

    #[inline(always)]
    fn codes(block: &[u8], codes: &mut [i8; LARGE]) {
        let high = &block[16..48];
        for (pair, (bytes, codes)) in
            block[48..176].chunks_exact(32).zip(codes.chunks_exact_mut(64)).enumerate()
        {
            for i in 0..32 {
                codes[i] = (bytes[i] & 15 | (high[i] >> (2 * pair) & 1) << 4).cast_signed();
                codes[i + 32] = (bytes[i] >> 4 | (high[i] >> (2 * pair + 1) & 1) << 4).cast_signed();
            }
        }
    }

    fn quantize(values: &[f32; LARGE], out: &mut Vec<u8>) {
        let codes = k_scales::fit(values, 31, out);
        out.extend((0..32).map(|i| (0..8).fold(0, |bits, sub| bits | codes[sub * 32 + i] >> 4 << sub)));
        for pair in codes.chunks_exact(64) {
            out.extend((0..32).map(|i| pair[i] & 15 | (pair[i + 32] & 15) << 4));
        }
    }
}
