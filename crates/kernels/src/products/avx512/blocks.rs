//! Taking quantised blocks apart into vectors of 64 codes.
//!
//! `vpdpbusd` multiplies unsigned with signed bytes, so every format gives unsigned codes here, which are
//! `TOO_HIGH` above the true ones; the sums of the activations' codes put that right afterwards, in integers.

use std::arch::x86_64::*;

use crate::products::avx2::blocks::{Large as Large256, Small as Small256};
pub(in crate::products) use crate::products::avx2::blocks::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use crate::quants::{LargeBlock, SmallBlock};

/// A block of 32 values.
pub(in crate::products) trait Small: Small256 {
    /// What unsigned codes are too high by.
    const TOO_HIGH: i32 = Self::OFFSET;

    /// The unsigned codes of two neighbouring blocks, in order.
    ///
    /// # Safety
    /// `block` points at two whole blocks; the processor has AVX-512 F, BW and VL.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn two(block: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { join(Self::codes(block), Self::codes(block.add(Self::Block::BYTES))) }
    }

    /// The unsigned codes of one block, then zeros.
    ///
    /// # Safety
    /// `block` points at a whole block; the processor as above.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn one(block: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        _mm512_zextsi256_si512(unsafe { Self::codes(block) })
    }
}

/// Two halves.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::products) fn join(low: __m256i, high: __m256i) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// Sixteen bytes of nibbles from each of two places: low ones, high ones, low ones, high ones.
///
/// # Safety
/// Sixteen bytes can be read at both.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn nibbles(first: *const u8, second: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    let (first, second) = unsafe { (_mm_loadu_si128(first.cast()), _mm_loadu_si128(second.cast())) };
    // Both as masked loads that broadcast, without a shuffle.
    let both = _mm512_mask_broadcast_i32x4(_mm512_broadcast_i32x4(first), 0xff00, second);
    let shifts = _mm512_set_epi64(FOURS, FOURS, 0, 0, FOURS, FOURS, 0, 0);
    _mm512_and_si512(_mm512_srlv_epi16(both, shifts), _mm512_set1_epi8(15))
}

/// A shift by four for each 16-bit lane of a quarter of a vector's lanes.
const FOURS: i64 = 0x0004_0004_0004_0004;

/// Adds 16 to each byte whose bit is set.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn with_fifth_bits(codes: __m512i, first: u32, second: u32) -> __m512i {
    let bits = u64::from(second) << 32 | u64::from(first);
    _mm512_mask_add_epi8(codes, bits, codes, _mm512_set1_epi8(16))
}

impl Small for Q8_0 {
    const TOO_HIGH: i32 = 128;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn two(block: *const u8) -> __m512i {
        // SAFETY: two blocks of 34 bytes.
        let codes = unsafe { join(Self::codes(block), Self::codes(block.add(34))) };
        _mm512_xor_si512(codes, _mm512_set1_epi8(i8::MIN))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn one(block: *const u8) -> __m512i {
        // SAFETY: a block of 34 bytes.
        let codes = unsafe { Self::codes(block) };
        _mm512_zextsi256_si512(_mm256_xor_si256(codes, _mm256_set1_epi8(i8::MIN)))
    }
}

impl Small for Q4_0 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn two(block: *const u8) -> __m512i {
        // SAFETY: two blocks of 18 bytes.
        unsafe { nibbles(block.add(2), block.add(20)) }
    }
}

impl Small for Q4_1 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn two(block: *const u8) -> __m512i {
        // SAFETY: two blocks of 20 bytes.
        unsafe { nibbles(block.add(4), block.add(24)) }
    }
}

impl Small for Q5_0 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn two(block: *const u8) -> __m512i {
        // SAFETY: two blocks of 22 bytes.
        unsafe {
            let bits = |at: usize| block.add(at).cast::<u32>().read_unaligned();
            with_fifth_bits(nibbles(block.add(6), block.add(28)), bits(2), bits(24))
        }
    }
}

impl Small for Q5_1 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn two(block: *const u8) -> __m512i {
        // SAFETY: two blocks of 24 bytes.
        unsafe {
            let bits = |at: usize| block.add(at).cast::<u32>().read_unaligned();
            with_fifth_bits(nibbles(block.add(8), block.add(32)), bits(4), bits(28))
        }
    }
}

/// A block of 256 values.
pub(in crate::products) trait Large: Large256 {
    /// `SUBS[half][k]`: which two of the eight parts of 32 codes vector `k` of a half holds, low and high.
    const SUBS: [[[usize; 2]; 2]; 2];

    /// The 128 unsigned codes of one half of the block, `OFFSET` too high, parts as [`Large::SUBS`] says.
    ///
    /// # Safety
    /// `block` points at a whole block, `half < 2`; the processor has AVX-512 F, BW and VL.
    unsafe fn half(block: *const u8, half: usize) -> [__m512i; 2];
}

/// Nibbles of 64 bytes: the low ones, then the high ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn low_and_high(bytes: __m512i) -> [__m512i; 2] {
    let mask = _mm512_set1_epi8(15);
    [_mm512_and_si512(bytes, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask)]
}

/// In Q4_K and Q5_K, 32 bytes hold one part in their low and the next in their high nibbles.
const NEXT_IN_HIGH: [[[usize; 2]; 2]; 2] = [[[0, 2], [1, 3]], [[4, 6], [5, 7]]];

impl Large for Q4K {
    const SUBS: [[[usize; 2]; 2]; 2] = NEXT_IN_HIGH;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn half(block: *const u8, half: usize) -> [__m512i; 2] {
        // SAFETY: 16 + 2 * 64 bytes.
        low_and_high(unsafe { _mm512_loadu_si512(block.add(16 + 64 * half).cast()) })
    }
}

impl Large for Q5K {
    const SUBS: [[[usize; 2]; 2]; 2] = NEXT_IN_HIGH;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn half(block: *const u8, half: usize) -> [__m512i; 2] {
        // SAFETY: 16 + 32 + 2 * 64 bytes.
        let (high, bytes) = unsafe {
            (_mm256_loadu_si256(block.add(16).cast()), _mm512_loadu_si512(block.add(48 + 64 * half).cast()))
        };
        let high = _mm512_broadcast_i64x4(high);
        // Bit `part` of each byte: parts 4 half and 4 half + 2 first, then those after them. Shifts are of 16-bit
        // lanes; only the wanted bit of each byte is kept.
        let part = 4 * half as i16;
        let shifts = |first: i16| join(_mm256_set1_epi16(first), _mm256_set1_epi16(first + 2));
        let bit = |first: i16| {
            let bit = _mm512_and_si512(_mm512_srlv_epi16(high, shifts(first)), _mm512_set1_epi8(1));
            _mm512_slli_epi16::<4>(bit)
        };
        let [a, b] = low_and_high(bytes);
        [_mm512_or_si512(a, bit(part)), _mm512_or_si512(b, bit(part + 1))]
    }
}

impl Large for Q6K {
    const SUBS: [[[usize; 2]; 2]; 2] = [[[0, 1], [2, 3]], [[4, 5], [6, 7]]];

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn half(block: *const u8, half: usize) -> [__m512i; 2] {
        // SAFETY: 128 + 64 bytes.
        let (bytes, high) = unsafe {
            (
                _mm512_loadu_si512(block.add(64 * half).cast()),
                _mm256_loadu_si256(block.add(128 + 32 * half).cast()),
            )
        };
        let high = _mm512_broadcast_i64x4(high);
        let mask = _mm512_set1_epi8(0x30);
        let pair = |low: i16, high: i16| join(_mm256_set1_epi16(low), _mm256_set1_epi16(high));
        // Bits 0-1 and 2-3 of `high` belong to the low nibbles, bits 4-5 and 6-7 to the high ones.
        let first = _mm512_and_si512(_mm512_sllv_epi16(high, pair(4, 2)), mask);
        let second = _mm512_and_si512(_mm512_srlv_epi16(high, pair(0, 2)), mask);
        let [a, b] = low_and_high(bytes);
        [_mm512_or_si512(a, first), _mm512_or_si512(b, second)]
    }
}

/// Patterns for `vpermw` that spread the factors of a block over vector `k` of a half: each 16-bit lane gets the
/// factor of the codes that lie in it.
#[inline]
pub(super) const fn spread<K: Large>() -> [[[i16; 32]; 2]; 2] {
    let mut patterns = [[[0; 32]; 2]; 2];
    let mut at = 0;
    while at < 2 * 2 * 32 {
        let (half, k, lane) = (at / 64, at / 32 % 2, at % 32);
        // Two codes a lane: sixteen lanes are a part, eight a sub-block of sixteen.
        let part = K::SUBS[half][k][lane / 16];
        patterns[half][k][lane] = if K::Block::SUB == 32 { part } else { 2 * part + lane % 16 / 8 } as i16;
        at += 1;
    }
    patterns
}
