//! Products of eight weight rows' blocks of 32 with the same 32 activations, as exact integers.

use std::arch::x86_64::*;

use super::lanes;

/// Blocks walked side by side, one of each weight row.
pub(super) type Blocks = [*const u8; 8];

/// Products of signed bytes, four added in each lane. One side has to be unsigned: the sign moves to the other. |w| is at
/// most 128 and x at most 127, so the sum of two products fits 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn signed(w: __m256i, x: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
}

/// Signed bytes that start at byte `AT` of a block.
///
/// # Safety
/// Each block has 32 bytes there, `x` has 32 codes; the processor has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn bytes<const AT: usize>(blocks: &Blocks, x: *const i8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let x = _mm256_loadu_si256(x.cast());
        let mut sums = [x; 8];
        for (sum, block) in sums.iter_mut().zip(blocks) {
            let w = _mm256_loadu_si256(block.add(AT).cast());
            *sum = signed(w, x);
        }
        lanes::sums(&sums)
    }
}

/// Two rows' sixteen bytes in one vector, row `r` below row `r + 4`: the order in which [`lanes::sums`] leaves rows.
///
/// # Safety
/// Each block has sixteen bytes at `at`; the processor has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn two(blocks: &Blocks, r: usize, at: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let (low, high) = (blocks[r].add(at).cast(), blocks[r + 4].add(at).cast());
        _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(_mm_loadu_si128(low)), _mm_loadu_si128(high))
    }
}

/// The first and the last sixteen codes, each in both halves of a vector.
///
/// # Safety
/// `x` has 32 codes; the processor has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn halves(x: *const i8) -> [__m256i; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        [
            _mm256_broadcastsi128_si256(_mm_loadu_si128(x.cast())),
            _mm256_broadcastsi128_si256(_mm_loadu_si128(x.add(16).cast())),
        ]
    }
}

/// Nibbles that start at byte `AT` of a block.
///
/// # Safety
/// Each block has sixteen bytes there, `x` has 32 codes; the processor has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn nibbles<const AT: usize>(blocks: &Blocks, x: *const i8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let (x, mask) = (halves(x), _mm256_set1_epi8(15));
        let mut sums = [mask; 4];
        for (r, sum) in sums.iter_mut().enumerate() {
            let w = two(blocks, r, AT);
            let low = _mm256_maddubs_epi16(_mm256_and_si256(w, mask), x[0]);
            let high = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16::<4>(w), mask), x[1]);
            *sum = _mm256_add_epi16(low, high);
        }
        let [a, b, c, d] = sums;
        // A lane holds 4 products of at most 15 * 127, after two additions 16 of them: still 16 bits.
        let sums = _mm256_hadd_epi16(_mm256_hadd_epi16(a, b), _mm256_hadd_epi16(c, d));
        _mm256_madd_epi16(sums, _mm256_set1_epi16(1))
    }
}

/// Nibbles that start at byte `AT` of a block, with their fifth bits in the four bytes before.
///
/// # Safety
/// Each block has sixteen bytes at `AT` and at `AT - 4`, `x` has 32 codes; the processor has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn five_bits<const AT: usize>(blocks: &Blocks, x: *const i8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let (x, mask) = (halves(x), _mm256_set1_epi8(15));
        let mut sums = [mask; 4];
        for (r, sum) in sums.iter_mut().enumerate() {
            let (w, bits) = (two(blocks, r, AT), two(blocks, r, AT - 4));
            let low = _mm256_or_si256(_mm256_and_si256(w, mask), fifth::<0>(bits));
            let high = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16::<4>(w), mask), fifth::<2>(bits));
            *sum = _mm256_add_epi16(_mm256_maddubs_epi16(low, x[0]), _mm256_maddubs_epi16(high, x[1]));
        }
        let [a, b, c, d] = sums;
        // A lane holds 4 products of at most 31 * 127: one addition fits 16 bits, the next needs 32.
        let one = _mm256_set1_epi16(1);
        let ab = _mm256_madd_epi16(_mm256_hadd_epi16(a, b), one);
        let cd = _mm256_madd_epi16(_mm256_hadd_epi16(c, d), one);
        _mm256_hadd_epi32(ab, cd)
    }
}

/// 16 in each byte whose bit is set in the sixteen bits at byte `AT` of its half.
#[inline]
#[target_feature(enable = "avx2")]
fn fifth<const AT: i64>(bits: __m256i) -> __m256i {
    const EACH: i64 = 0x0101_0101_0101_0101;
    let spread = _mm256_set_epi64x(EACH * (AT + 1), EACH * AT, EACH * (AT + 1), EACH * AT);
    let select = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, spread), select), select);
    _mm256_and_si256(set, _mm256_set1_epi8(16))
}
