//! Sums across lanes and transpositions.

use std::arch::x86_64::*;

/// The sums of eight vectors of eight integers, in order.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::products) fn sums(v: &[__m256i; 8]) -> __m256i {
    // Blends and one shuffle a step, where `hadd` takes two: shuffles are what there is least room for.
    let [mut a, mut b, mut c, mut d] = [v[0]; 4];
    for (r, sum) in [&mut a, &mut b, &mut c, &mut d].into_iter().enumerate() {
        // Row `r` in the low half, row `r + 4` in the high.
        let straight = _mm256_blend_epi32::<0xf0>(v[r], v[r + 4]);
        let crossed = _mm256_permute2x128_si256::<0x21>(v[r], v[r + 4]);
        *sum = _mm256_add_epi32(straight, crossed);
    }
    half_sums(&[a, b, c, d])
}

/// The sums of eight vectors of four integers; vector `i` holds row `i` in its low and row `i + 4` in its high half.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::products) fn half_sums(v: &[__m256i; 4]) -> __m256i {
    _mm256_hadd_epi32(two_sums(v[0], v[1]), two_sums(v[2], v[3]))
}

/// Two vectors' neighbours but one, added: in each half two sums of `a`, then two of `b`.
#[inline]
#[target_feature(enable = "avx2")]
fn two_sums(a: __m256i, b: __m256i) -> __m256i {
    let straight = _mm256_blend_epi32::<0b1100_1100>(a, b);
    let crossed = _mm256_alignr_epi8::<8>(b, a);
    _mm256_add_epi32(straight, crossed)
}

/// Eight rows of eight 32-bit lanes, transposed.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    let (ef_low, ef_high) = (_mm256_unpacklo_epi32(e, f), _mm256_unpackhi_epi32(e, f));
    let (gh_low, gh_high) = (_mm256_unpacklo_epi32(g, h), _mm256_unpackhi_epi32(g, h));
    // Column k of rows a to d in one half-lane pair, of rows e to h in another.
    let top = [
        _mm256_unpacklo_epi64(ab_low, cd_low),
        _mm256_unpackhi_epi64(ab_low, cd_low),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    ];
    let bottom = [
        _mm256_unpacklo_epi64(ef_low, gh_low),
        _mm256_unpackhi_epi64(ef_low, gh_low),
        _mm256_unpacklo_epi64(ef_high, gh_high),
        _mm256_unpackhi_epi64(ef_high, gh_high),
    ];
    let mut columns = [a; 8];
    for k in 0..4 {
        columns[k] = _mm256_permute2x128_si256::<0x20>(top[k], bottom[k]);
        columns[k + 4] = _mm256_permute2x128_si256::<0x31>(top[k], bottom[k]);
    }
    columns
}

/// The f16 numbers at byte `at` of eight rows, widened.
///
/// # Safety
/// Two bytes can be read at each of these places.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in crate::products) unsafe fn halves(rows: &[*const u8; 8], at: usize) -> __m256 {
    // SAFETY: the caller's promise.
    let half = |i: usize| unsafe { i32::from(rows[i].add(at).cast::<i16>().read_unaligned()) };
    let mut bits = _mm_cvtsi32_si128(half(0));
    bits = _mm_insert_epi16::<1>(bits, half(1));
    bits = _mm_insert_epi16::<2>(bits, half(2));
    bits = _mm_insert_epi16::<3>(bits, half(3));
    bits = _mm_insert_epi16::<4>(bits, half(4));
    bits = _mm_insert_epi16::<5>(bits, half(5));
    bits = _mm_insert_epi16::<6>(bits, half(6));
    bits = _mm_insert_epi16::<7>(bits, half(7));
    _mm256_cvtph_ps(bits)
}

/// The lanes as an array.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn array(v: __m256) -> [f32; 8] {
    // SAFETY: both are 32 bytes of floats.
    unsafe { std::mem::transmute(v) }
}
