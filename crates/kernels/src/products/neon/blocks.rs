//! Taking quantised blocks apart into vectors of signed codes.

use std::arch::aarch64::*;

use super::lanes::wide;
use crate::quants::{
    LargeBlock, SmallBlock, q4_0::Q4_0, q4_1::Q4_1, q4_k::Q4K, q5_0::Q5_0, q5_1::Q5_1, q5_k::Q5K, q6_k::Q6K,
    q8_0::Q8_0,
};

/// A block of 32 values. The f16 scale is its first two bytes, the minimum, if any, the next two.
pub(super) trait Small: SmallBlock {
    /// The 32 codes in order.
    ///
    /// # Safety
    /// `block` points at a whole block.
    unsafe fn unpack(block: *const u8) -> [int8x16_t; 2];
}

/// A block of 256 values.
pub(super) trait Large: LargeBlock {
    /// Where the f16 scale lies.
    const SCALE_AT: usize;
    /// Where the f16 minimum lies, if there is one.
    const MINIMUM_AT: usize;

    /// The 128 codes from `128 * half` on, in order.
    ///
    /// # Safety
    /// `block` points at a whole block, `half < 2`.
    unsafe fn unpack(block: *const u8, half: usize) -> [int8x16_t; 8];

    /// The integers of the sub-blocks.
    ///
    /// # Safety
    /// As for `unpack`.
    unsafe fn factors(block: *const u8) -> Factors;
}

/// Integer factors of a large block.
pub(super) struct Factors {
    /// Eight (sub-blocks of 32) or sixteen (of 16) factors in order.
    pub(super) factors: [int32x4_t; 4],
    /// Eight minimums, or zeros.
    pub(super) minimums: int16x8_t,
}

/// Sixteen bytes of nibbles: the low ones, then the high ones.
///
/// # Safety
/// Sixteen bytes can be read.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn nibbles(bytes: *const u8) -> [uint8x16_t; 2] {
    // SAFETY: the caller's promise.
    let bytes = unsafe { vld1q_u8(bytes) };
    [vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8::<4>(bytes)]
}

/// Four bytes of fifth bits, then sixteen of nibbles.
///
/// # Safety
/// Twenty bytes can be read.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn five_bits(bytes: *const u8) -> [uint8x16_t; 2] {
    // SAFETY: the caller's promise.
    let (bits, [first, second]) = unsafe { (bytes.cast::<[u8; 4]>().read(), nibbles(bytes.add(4))) };
    let select = vcombine_u8(vcreate_u8(0x8040_2010_0804_0201), vcreate_u8(0x8040_2010_0804_0201));
    let fifth = |low: u8, high: u8| {
        let set = vtstq_u8(vcombine_u8(vdup_n_u8(low), vdup_n_u8(high)), select);
        vandq_u8(set, vdupq_n_u8(16))
    };
    [vorrq_u8(first, fifth(bits[0], bits[1])), vorrq_u8(second, fifth(bits[2], bits[3]))]
}

/// Unsigned codes that are `too_high`, signed.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn lowered<const N: usize>(codes: [uint8x16_t; N], too_high: i8) -> [int8x16_t; N] {
    codes.map(|v| vsubq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8(too_high)))
}

impl Small for Q8_0 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn unpack(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: 34 bytes.
        unsafe { [vld1q_s8(block.add(2).cast()), vld1q_s8(block.add(18).cast())] }
    }
}

impl Small for Q4_0 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn unpack(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: 18 bytes.
        lowered(unsafe { nibbles(block.add(2)) }, 8)
    }
}

impl Small for Q4_1 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn unpack(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: 20 bytes.
        lowered(unsafe { nibbles(block.add(4)) }, 0)
    }
}

impl Small for Q5_0 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn unpack(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: 22 bytes.
        lowered(unsafe { five_bits(block.add(2)) }, 16)
    }
}

impl Small for Q5_1 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn unpack(block: *const u8) -> [int8x16_t; 2] {
        // SAFETY: 24 bytes.
        lowered(unsafe { five_bits(block.add(4)) }, 0)
    }
}

/// The 6-bit factors and minimums of Q4_K and Q5_K, four bytes at a time.
///
/// # Safety
/// Sixteen bytes of block can be read.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn six_bit_factors(block: *const u8) -> Factors {
    // SAFETY: the caller's promise.
    let [a, b, c] = unsafe { block.add(4).cast::<[u32; 3]>().read_unaligned() };
    let eight = |low: u32, high: u32| {
        vreinterpretq_s16_u16(vmovl_u8(vcreate_u8(u64::from(high) << 32 | u64::from(low))))
    };
    let factors = eight(a & 0x3f3f_3f3f, c & 0x0f0f_0f0f | (a >> 6 & 0x0303_0303) << 4);
    let minimums = eight(b & 0x3f3f_3f3f, c >> 4 & 0x0f0f_0f0f | (b >> 6 & 0x0303_0303) << 4);
    let [first, second] = wide(factors);
    Factors { factors: [first, second, vdupq_n_s32(0), vdupq_n_s32(0)], minimums }
}

impl Large for Q4K {
    const SCALE_AT: usize = 0;
    const MINIMUM_AT: usize = 2;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn unpack(block: *const u8, half: usize) -> [int8x16_t; 8] {
        // SAFETY: 16 + 2 * 64 bytes.
        let [[a, c], [b, d], [e, g], [f, h]] =
            [0, 16, 32, 48].map(|at| unsafe { nibbles(block.add(16 + 64 * half + at)) });
        lowered([a, b, c, d, e, f, g, h], 0)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn factors(block: *const u8) -> Factors {
        // SAFETY: the caller's promise.
        unsafe { six_bit_factors(block) }
    }
}

impl Large for Q5K {
    const SCALE_AT: usize = 0;
    const MINIMUM_AT: usize = 2;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn unpack(block: *const u8, half: usize) -> [int8x16_t; 8] {
        let [[a, c], [b, d], [e, g], [f, h]] = [0, 16, 32, 48].map(|at| {
            // SAFETY: 16 + 32 + 2 * 64 bytes.
            let (high, [first, second]) =
                unsafe { (vld1q_u8(block.add(16 + at % 32)), nibbles(block.add(48 + 64 * half + at))) };
            let fifth = |bit: usize| vandq_u8(vtstq_u8(high, vdupq_n_u8(1 << bit)), vdupq_n_u8(16));
            let bit = 4 * half + at / 32 * 2;
            [vorrq_u8(first, fifth(bit)), vorrq_u8(second, fifth(bit + 1))]
        });
        lowered([a, b, c, d, e, f, g, h], 0)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn factors(block: *const u8) -> Factors {
        // SAFETY: the caller's promise.
        unsafe { six_bit_factors(block) }
    }
}

impl Large for Q6K {
    const SCALE_AT: usize = 208;
    const MINIMUM_AT: usize = 208;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn unpack(block: *const u8, half: usize) -> [int8x16_t; 8] {
        // SAFETY: 128 + 64 bytes.
        let [[a, e], [b, f], [c, g], [d, h]] =
            [0, 16, 32, 48].map(|at| unsafe { nibbles(block.add(64 * half + at)) });
        // SAFETY: as above.
        let [i, j] = [0, 16].map(|at| unsafe { vld1q_u8(block.add(128 + 32 * half + at)) });
        // Pairs of bits, the lowest for the first 32 codes, in the place they have in a code.
        let pair = |nibbles, bits| vorrq_u8(nibbles, vandq_u8(bits, vdupq_n_u8(0x30)));
        let codes = [
            pair(a, vshlq_n_u8::<4>(i)),
            pair(b, vshlq_n_u8::<4>(j)),
            pair(c, vshlq_n_u8::<2>(i)),
            pair(d, vshlq_n_u8::<2>(j)),
            pair(e, i),
            pair(f, j),
            pair(g, vshrq_n_u8::<2>(i)),
            pair(h, vshrq_n_u8::<2>(j)),
        ];
        lowered(codes, 32)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn factors(block: *const u8) -> Factors {
        // SAFETY: 192 + 16 bytes.
        let bytes = unsafe { vld1q_s8(block.add(192).cast()) };
        let ([a, b], [c, d]) = (wide(vmovl_s8(vget_low_s8(bytes))), wide(vmovl_high_s8(bytes)));
        Factors { factors: [a, b, c, d], minimums: vdupq_n_s16(0) }
    }
}
