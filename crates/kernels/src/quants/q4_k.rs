//! Q4_K: f16 scale, f16 minimum, twelve bytes of 6-bit factors (see `k_scales`), then 128 bytes of nibbles: each
//! 32 bytes hold one sub-block in their low and the next in their high nibbles. Codes are 0..=15.

use super::{LARGE, LargeBlock, LargeScales, k_scales};

pub(crate) struct Q4K;

impl LargeBlock for Q4K {
    const BYTES: usize = 144;
    const SUB: usize = 32;
    const HAS_MINIMUM: bool = true;

    #[inline(always)]
    fn scales(block: &[u8]) -> LargeScales {
        k_scales::read(block)
    }

    #[inline(always)]
    fn codes(block: &[u8], codes: &mut [i8; LARGE]) {
        for (bytes, codes) in block[16..144].chunks_exact(32).zip(codes.chunks_exact_mut(64)) {
            for i in 0..32 {
                codes[i] = (bytes[i] & 15).cast_signed();
                codes[i + 32] = (bytes[i] >> 4).cast_signed();
            }
        }
    }

    fn quantize(values: &[f32; LARGE], out: &mut Vec<u8>) {
        let codes = k_scales::fit(values, 15, out);
        for pair in codes.chunks_exact(64) {
            out.extend((0..32).map(|i| pair[i] | pair[i + 32] << 4));
        }
    }
}
