//! Taking quantised blocks apart into vectors of codes.

use std::arch::x86_64::*;

use super::dots::{self, Blocks};
use crate::quants::{self, LargeBlock, SmallBlock};

/// A block of 32 values.
pub(in crate::products) trait Small {
    /// The portable description.
    type Block: SmallBlock;
    /// Codes are this much too high, and then unsigned.
    const OFFSET: i32;
    /// Products of four columns that can be added in 16 bits: 32767 over twice the largest code times 127.
    const GROUP: usize;

    /// The 32 codes in order.
    ///
    /// # Safety
    /// `block` points at a whole block; the processor has AVX2.
    unsafe fn codes(block: *const u8) -> __m256i;

    /// Products of eight rows' blocks with 32 codes of activations, offsets not taken off.
    ///
    /// # Safety
    /// Each points at a whole block, `x` at 32 codes; the processor has AVX2.
    unsafe fn dots(blocks: &Blocks, x: *const i8) -> __m256i;
}

/// A block of 256 values.
pub(in crate::products) trait Large {
    /// The portable description.
    type Block: LargeBlock;
    /// Codes are this much too high.
    const OFFSET: i32;
    /// As in [`Small`].
    const GROUP: usize;

    /// Codes `64 * pair..` and `64 * pair + 32..`, unsigned.
    ///
    /// # Safety
    /// `block` points at a whole block, `pair < 4`; the processor has AVX2.
    unsafe fn codes(block: *const u8, pair: usize) -> [__m256i; 2];

    /// Factors and minimums of the sub-blocks as 16-bit numbers, and the bytes at which their units lie.
    ///
    /// # Safety
    /// As for `codes`.
    unsafe fn factors(block: *const u8) -> Factors;
    /// Where the f16 scale lies.
    const SCALE_AT: usize;
    /// Where the f16 minimum lies.
    const MINIMUM_AT: usize;
}

/// Integer factors of a large block.
pub(in crate::products) struct Factors {
    /// Eight (sub-blocks of 32) or sixteen (of 16) factors in order; with eight, the halves are alike.
    pub(in crate::products) factors: __m256i,
    /// Eight minimums, or nothing.
    pub(in crate::products) minimums: __m128i,
}

pub(in crate::products) struct Q8_0;
pub(in crate::products) struct Q4_0;
pub(in crate::products) struct Q4_1;
pub(in crate::products) struct Q5_0;
pub(in crate::products) struct Q5_1;
pub(in crate::products) struct Q4K;
pub(in crate::products) struct Q5K;
pub(in crate::products) struct Q6K;

impl Small for Q8_0 {
    type Block = quants::q8_0::Q8_0;
    const OFFSET: i32 = 0;
    const GROUP: usize = 1;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn codes(block: *const u8) -> __m256i {
        // SAFETY: 34 bytes.
        unsafe { _mm256_loadu_si256(block.add(2).cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn dots(blocks: &Blocks, x: *const i8) -> __m256i {
        // SAFETY: 34 bytes, and the caller's promise.
        unsafe { dots::bytes::<2>(blocks, x) }
    }
}

/// Sixteen bytes of nibbles: the low ones, then the high ones.
///
/// # Safety
/// Sixteen bytes can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn nibbles(bytes: *const u8) -> __m256i {
    // SAFETY: the caller's promise.
    let bytes = unsafe { _mm_loadu_si128(bytes.cast()) };
    let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(bytes), _mm_srli_epi16::<4>(bytes));
    _mm256_and_si256(both, _mm256_set1_epi8(15))
}

/// 16 in each byte whose bit is set.
#[inline]
#[target_feature(enable = "avx2")]
fn fifth_bits(bits: u32) -> __m256i {
    let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits.cast_signed()), spread);
    let select = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, select), select);
    _mm256_and_si256(set, _mm256_set1_epi8(16))
}

impl Small for Q4_0 {
    type Block = quants::q4_0::Q4_0;
    const OFFSET: i32 = 8;
    const GROUP: usize = 8;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn codes(block: *const u8) -> __m256i {
        // SAFETY: 18 bytes.
        unsafe { nibbles(block.add(2)) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn dots(blocks: &Blocks, x: *const i8) -> __m256i {
        // SAFETY: 18 bytes, and the caller's promise.
        unsafe { dots::nibbles::<2>(blocks, x) }
    }
}

impl Small for Q4_1 {
    type Block = quants::q4_1::Q4_1;
    const OFFSET: i32 = 0;
    const GROUP: usize = 8;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn codes(block: *const u8) -> __m256i {
        // SAFETY: 20 bytes.
        unsafe { nibbles(block.add(4)) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn dots(blocks: &Blocks, x: *const i8) -> __m256i {
        // SAFETY: 20 bytes, and the caller's promise.
        unsafe { dots::nibbles::<4>(blocks, x) }
    }
}

impl Small for Q5_0 {
    type Block = quants::q5_0::Q5_0;
    const OFFSET: i32 = 16;
    const GROUP: usize = 4;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn codes(block: *const u8) -> __m256i {
        // SAFETY: 22 bytes.
        unsafe {
            let bits = block.add(2).cast::<u32>().read_unaligned();
            _mm256_or_si256(nibbles(block.add(6)), fifth_bits(bits))
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn dots(blocks: &Blocks, x: *const i8) -> __m256i {
        // SAFETY: 22 bytes, and the caller's promise.
        unsafe { dots::five_bits::<6>(blocks, x) }
    }
}

impl Small for Q5_1 {
    type Block = quants::q5_1::Q5_1;
    const OFFSET: i32 = 0;
    const GROUP: usize = 4;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn codes(block: *const u8) -> __m256i {
        // SAFETY: 24 bytes.
        unsafe {
            let bits = block.add(4).cast::<u32>().read_unaligned();
            _mm256_or_si256(nibbles(block.add(8)), fifth_bits(bits))
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn dots(blocks: &Blocks, x: *const i8) -> __m256i {
        // SAFETY: 24 bytes, and the caller's promise.
        unsafe { dots::five_bits::<8>(blocks, x) }
    }
}

/// The 6-bit factors and minimums of Q4_K and Q5_K, four bytes at a time.
///
/// # Safety
/// Sixteen bytes of block can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn six_bit_factors(block: *const u8) -> Factors {
    // SAFETY: the caller's promise.
    let word = |i: usize| unsafe { block.add(4 + 4 * i).cast::<u32>().read_unaligned() };
    let (a, b, c) = (word(0), word(1), word(2));
    let factors_low = a & 0x3f3f_3f3f;
    let minimums_low = b & 0x3f3f_3f3f;
    let factors_high = c & 0x0f0f_0f0f | (a >> 6 & 0x0303_0303) << 4;
    let minimums_high = c >> 4 & 0x0f0f_0f0f | (b >> 6 & 0x0303_0303) << 4;
    let join = |low: u32, high: u32| (u64::from(high) << 32 | u64::from(low)).cast_signed();
    let factors = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(join(factors_low, factors_high)));
    Factors {
        factors: _mm256_broadcastsi128_si256(factors),
        minimums: _mm_cvtepu8_epi16(_mm_cvtsi64_si128(join(minimums_low, minimums_high))),
    }
}

impl Large for Q4K {
    type Block = quants::q4_k::Q4K;
    const OFFSET: i32 = 0;
    const GROUP: usize = 8;
    const SCALE_AT: usize = 0;
    const MINIMUM_AT: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn codes(block: *const u8, pair: usize) -> [__m256i; 2] {
        // SAFETY: 16 + 4 * 32 bytes.
        let bytes = unsafe { _mm256_loadu_si256(block.add(16 + 32 * pair).cast()) };
        let mask = _mm256_set1_epi8(15);
        [_mm256_and_si256(bytes, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask)]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn factors(block: *const u8) -> Factors {
        // SAFETY: the caller's promise.
        unsafe { six_bit_factors(block) }
    }
}

impl Large for Q5K {
    type Block = quants::q5_k::Q5K;
    const OFFSET: i32 = 0;
    const GROUP: usize = 4;
    const SCALE_AT: usize = 0;
    const MINIMUM_AT: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn codes(block: *const u8, pair: usize) -> [__m256i; 2] {
        // SAFETY: 16 + 32 + 4 * 32 bytes.
        let (high, bytes) = unsafe {
            (_mm256_loadu_si256(block.add(16).cast()), _mm256_loadu_si256(block.add(48 + 32 * pair).cast()))
        };
        let (mask, one) = (_mm256_set1_epi8(15), _mm256_set1_epi8(1));
        // Shifts of 16-bit lanes, then only the wanted bit of each byte is kept.
        let high = _mm256_srl_epi16(high, _mm_cvtsi32_si128(2 * pair as i32));
        let first = _mm256_slli_epi16::<4>(_mm256_and_si256(high, one));
        let second = _mm256_slli_epi16::<4>(_mm256_and_si256(_mm256_srli_epi16::<1>(high), one));
        [
            _mm256_or_si256(_mm256_and_si256(bytes, mask), first),
            _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask), second),
        ]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn factors(block: *const u8) -> Factors {
        // SAFETY: the caller's promise.
        unsafe { six_bit_factors(block) }
    }
}

impl Large for Q6K {
    type Block = quants::q6_k::Q6K;
    const OFFSET: i32 = 32;
    const GROUP: usize = 2;
    const SCALE_AT: usize = 208;
    const MINIMUM_AT: usize = 208;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn codes(block: *const u8, pair: usize) -> [__m256i; 2] {
        let half = pair / 2;
        // SAFETY: 128 + 64 bytes.
        let (a, b, high) = unsafe {
            (
                _mm256_loadu_si256(block.add(64 * half).cast()),
                _mm256_loadu_si256(block.add(64 * half + 32).cast()),
                _mm256_loadu_si256(block.add(128 + 32 * half).cast()),
            )
        };
        let (mask, two) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
        // Pair 0: low nibbles with bits 0-1 and 2-3 of `high`; pair 1: high nibbles with bits 4-5 and 6-7.
        let (a, b, first, second) = if pair.is_multiple_of(2) {
            (a, b, _mm256_slli_epi16::<4>(high), _mm256_slli_epi16::<2>(high))
        } else {
            (_mm256_srli_epi16::<4>(a), _mm256_srli_epi16::<4>(b), high, _mm256_srli_epi16::<2>(high))
        };
        [
            _mm256_or_si256(_mm256_and_si256(a, mask), _mm256_and_si256(first, two)),
            _mm256_or_si256(_mm256_and_si256(b, mask), _mm256_and_si256(second, two)),
        ]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn factors(block: *const u8) -> Factors {
        // SAFETY: 192 + 16 bytes.
        let bytes = unsafe { _mm_loadu_si128(block.add(192).cast()) };
        Factors { factors: _mm256_cvtepi8_epi16(bytes), minimums: _mm_setzero_si128() }
    }
}
