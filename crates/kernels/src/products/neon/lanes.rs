//! Sums across lanes, transpositions and the f16 scales of several rows.

use std::arch::aarch64::*;
use std::arch::asm;

/// Bytes as 32-bit lanes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn as_words(v: int8x16_t) -> int32x4_t {
    vreinterpretq_s32_s8(v)
}

/// The inverse of [`as_words`].
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn as_bytes(v: int32x4_t) -> int8x16_t {
    vreinterpretq_s8_s32(v)
}

/// The low halves of both, then the high halves.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn zip_halves(a: int32x4_t, b: int32x4_t) -> [int32x4_t; 2] {
    let (a, b) = (vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b));
    [vreinterpretq_s32_s64(vzip1q_s64(a, b)), vreinterpretq_s32_s64(vzip2q_s64(a, b))]
}

/// Four rows of four lanes, transposed.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn transpose(rows: [int32x4_t; 4]) -> [int32x4_t; 4] {
    let [a, b, c, d] = rows;
    let [first, third] = zip_halves(vtrn1q_s32(a, b), vtrn1q_s32(c, d));
    let [second, fourth] = zip_halves(vtrn2q_s32(a, b), vtrn2q_s32(c, d));
    [first, second, third, fourth]
}

/// The sums of four vectors' lanes, in order.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn sums(v: [int32x4_t; 4]) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3]))
}

/// Eight numbers with 32 bits each.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn wide(v: int16x8_t) -> [int32x4_t; 2] {
    [vmovl_s16(vget_low_s16(v)), vmovl_high_s16(v)]
}

/// Four f16 numbers, widened.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn widen_halves(bits: uint16x4_t) -> float32x4_t {
    let wide;
    // SAFETY: computes with registers only; part of NEON.
    unsafe {
        asm!("fcvtl {0:v}.4s, {1:v}.4h", lateout(vreg) wide, in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags));
    }
    wide
}

/// The f16 numbers at byte `at` of four rows, widened.
///
/// # Safety
/// Two bytes can be read at each of these places.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn halves(rows: &[*const u8; 4], at: usize) -> float32x4_t {
    // SAFETY: the caller's promise; four 16-bit numbers fill a vector.
    unsafe {
        let bits = rows.map(|row| row.add(at).cast::<u16>().read_unaligned());
        widen_halves(vld1_u16(bits.as_ptr()))
    }
}
