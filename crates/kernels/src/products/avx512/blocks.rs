//! Taking quantised blocks apart into vectors of 64 codes.
//!
//! `vpdpbusd` multiplies unsigned with signed bytes, so every format gives unsigned codes here, which are
//! `TOO_HIGH` above the true ones; the sums of the activations' codes put that right afterwards, in integers.

use std::arch::x86_64::*;

use crate::products::avx2;
use crate::products::avx2::blocks::{Large as Large256, Small as Small256};
pub(in crate::products) use crate::products::avx2::blocks::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use crate::quants::SmallBlock;

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

/// A block of 32 nibbles: sixteen bytes at its end, values `i` and `i + 16` in byte `i`.
pub(super) trait Nibbles: Small + Sized {
    /// The unsigned codes of four blocks, the first sixteen of each, then the others.
    ///
    /// # Safety
    /// Each points at a whole block; the processor has AVX-512 F, BW and VL.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn codes_of_four(blocks: [*const u8; 4]) -> [__m512i; 2] {
        // SAFETY: the caller's promise.
        unsafe { nibbles_of_four::<Self>(blocks) }
    }
}

/// The nibbles of [`Nibbles::codes_of_four`].
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn nibbles_of_four<K: Nibbles>(blocks: [*const u8; 4]) -> [__m512i; 2] {
    // SAFETY: the caller's promise.
    let part = |k: usize| unsafe { _mm_loadu_si128(blocks[k].add(K::Block::BYTES - 16).cast()) };
    let bytes = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(part(0)), part(1));
    let bytes = _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(bytes, part(2)), part(3));
    low_and_high(bytes)
}

impl Nibbles for Q4_0 {}
impl Nibbles for Q4_1 {}

/// Four bytes of fifth bits stand before the nibbles.
///
/// # Safety
/// As for [`Nibbles::codes_of_four`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn fifth_bits_of_four<K: Nibbles>([low, high]: [__m512i; 2], blocks: [*const u8; 4]) -> [__m512i; 2] {
    let bits = |at: usize| {
        let mut bits = 0;
        for (k, block) in blocks.into_iter().enumerate() {
            // SAFETY: two of the four bytes.
            let some = unsafe { block.add(K::Block::BYTES - at).cast::<u16>().read_unaligned() };
            bits |= u64::from(some) << (16 * k);
        }
        bits
    };
    let sixteen = _mm512_set1_epi8(16);
    [_mm512_mask_add_epi8(low, bits(20), low, sixteen), _mm512_mask_add_epi8(high, bits(18), high, sixteen)]
}

impl Nibbles for Q5_0 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn codes_of_four(blocks: [*const u8; 4]) -> [__m512i; 2] {
        // SAFETY: the caller's promise.
        unsafe { fifth_bits_of_four::<Self>(nibbles_of_four::<Self>(blocks), blocks) }
    }
}

impl Nibbles for Q5_1 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn codes_of_four(blocks: [*const u8; 4]) -> [__m512i; 2] {
        // SAFETY: the caller's promise.
        unsafe { fifth_bits_of_four::<Self>(nibbles_of_four::<Self>(blocks), blocks) }
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

    /// Scales, minimums and factors of eight rows' blocks, and their offsets' products with sixteen sums of activations.
    ///
    /// # Safety
    /// Each row has a block at byte `at`; the processor as above.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn heads(rows: &[*const u8; 8], at: usize, x_sums: __m256i) -> Heads {
        // SAFETY: the caller's promise.
        unsafe { six_bit_heads(rows, at, x_sums) }
    }

    /// The factors of row `r`, whose block is given, at the 16-bit lanes of the vectors of [`Large::half`].
    ///
    /// # Safety
    /// As for `half`; `r < 8`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn spread_factors(heads: &Heads, _block: *const u8, r: usize, half: usize) -> [__m512i; 2] {
        spread_six_bits(heads, r, half)
    }
}

/// What belongs to the codes of eight rows' blocks of 256, one row in each lane.
pub(in crate::products) struct Heads {
    pub(super) scales: __m256,
    pub(super) minimums: __m256,
    /// Minimums, or without these factors, times the sums of activations.
    pub(super) offsets: __m256i,
    /// Q4_K and Q5_K: of each half the four factors of each row, in bytes.
    factors: [[u32; 8]; 2],
}

/// [`Large::heads`] of Q4_K and Q5_K: their first sixteen bytes, word by word.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn six_bit_heads(rows: &[*const u8; 8], at: usize, x_sums: __m256i) -> Heads {
    let mut pairs = [_mm256_setzero_si256(); 4];
    for (r, pair) in pairs.iter_mut().enumerate() {
        // SAFETY: sixteen bytes of each block.
        let head = |r: usize| unsafe { _mm_loadu_si128(rows[r].add(at).cast()) };
        *pair = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(head(r)), head(r + 4));
    }
    let [p, q, r, s] = pairs;
    let (pq_low, pq_high) = (_mm256_unpacklo_epi32(p, q), _mm256_unpackhi_epi32(p, q));
    let (rs_low, rs_high) = (_mm256_unpacklo_epi32(r, s), _mm256_unpackhi_epi32(r, s));
    let halves = _mm256_unpacklo_epi64(pq_low, rs_low);
    let a = _mm256_unpackhi_epi64(pq_low, rs_low);
    let b = _mm256_unpacklo_epi64(pq_high, rs_high);
    let c = _mm256_unpackhi_epi64(pq_high, rs_high);
    let six = |v| _mm256_and_si256(v, _mm256_set1_epi32(0x3f3f_3f3f));
    let four = |v| _mm256_and_si256(v, _mm256_set1_epi32(0x0f0f_0f0f));
    // The upper two bits of each byte become bits 4 and 5.
    let two = |v| _mm256_and_si256(_mm256_srli_epi32::<2>(v), _mm256_set1_epi32(0x3030_3030));
    let factors = [six(a), _mm256_or_si256(four(c), two(a))];
    let minimums = [six(b), _mm256_or_si256(four(_mm256_srli_epi32::<4>(c)), two(b))];
    // Sums of 32: neighbours added, back in order.
    let pairs = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi16(x_sums, x_sums));
    let pairs = _mm256_castsi256_si128(pairs);
    let low = _mm512_madd_epi16(_mm512_cvtepu8_epi16(minimums[0]), _mm512_broadcastq_epi64(pairs));
    let high = _mm512_broadcastq_epi64(_mm_unpackhi_epi64(pairs, pairs));
    // Two sums a row.
    let offsets = _mm512_dpwssd_epi32(low, _mm512_cvtepu8_epi16(minimums[1]), high);
    let offsets = _mm512_add_epi32(offsets, _mm512_srli_epi64::<32>(offsets));
    Heads {
        scales: _mm256_cvtph_ps(_mm256_cvtepi32_epi16(halves)),
        minimums: _mm256_cvtph_ps(_mm256_cvtepi32_epi16(_mm256_srli_epi32::<16>(halves))),
        offsets: _mm512_cvtepi64_epi32(offsets),
        // SAFETY: both are two times 32 bytes of integers.
        factors: unsafe { std::mem::transmute::<[__m256i; 2], [[u32; 8]; 2]>(factors) },
    }
}

/// [`Large::spread_factors`] of Q4_K and Q5_K.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn spread_six_bits(heads: &Heads, r: usize, half: usize) -> [__m512i; 2] {
    /// Byte `n` in each 16-bit lane.
    const fn byte(n: i32) -> i32 {
        n | 0x80 << 8 | n << 16 | 0x80 << 24
    }
    let four = _mm512_set1_epi32(heads.factors[half][r].cast_signed());
    let spread = |low: i32, high: i32| {
        let pattern = join(_mm256_set1_epi32(byte(low)), _mm256_set1_epi32(byte(high)));
        _mm512_shuffle_epi8(four, pattern)
    };
    [spread(0, 2), spread(1, 3)]
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

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn heads(rows: &[*const u8; 8], at: usize, x_sums: __m256i) -> Heads {
        let mut offsets = [_mm256_setzero_si256(); 8];
        for (offsets, row) in offsets.iter_mut().zip(rows) {
            // SAFETY: the caller's promise.
            let factors = unsafe { Self::factors(row.add(at)).factors };
            *offsets = _mm256_madd_epi16(factors, x_sums);
        }
        // SAFETY: as above.
        let scales = unsafe { avx2::lanes::halves(rows, at + Self::SCALE_AT) };
        Heads { scales, minimums: scales, offsets: avx2::lanes::sums(&offsets), factors: [[0; 8]; 2] }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn spread_factors(_: &Heads, block: *const u8, _: usize, half: usize) -> [__m512i; 2] {
        // SAFETY: the caller's promise, and patterns of 64 bytes.
        unsafe {
            let factors = _mm512_castsi256_si512(Self::factors(block).factors);
            let pattern = |k: usize| _mm512_loadu_si512(SPREAD_SIXTEEN[half][k].as_ptr().cast());
            [_mm512_permutexvar_epi16(pattern(0), factors), _mm512_permutexvar_epi16(pattern(1), factors)]
        }
    }
}

/// Patterns for `vpermw` that spread the sixteen factors of Q6_K over vector `k` of a half: each 16-bit lane gets the
/// factor of the codes that lie in it.
static SPREAD_SIXTEEN: [[[i16; 32]; 2]; 2] = {
    let mut patterns = [[[0; 32]; 2]; 2];
    let mut at = 0;
    while at < 2 * 2 * 32 {
        let (half, k, lane) = (at / 64, at / 32 % 2, at % 32);
        // Two codes a lane: sixteen lanes are a part, eight a sub-block of sixteen.
        let part = Q6K::SUBS[half][k][lane / 16];
        patterns[half][k][lane] = (2 * part + lane % 16 / 8) as i16;
        at += 1;
    }
    patterns
};
