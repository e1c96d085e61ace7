//! Products of a few activation rows with per-channel weights: bound by reading the weights.
//!
//! Eight weight rows are walked side by side, as in `rows`; integer sums run over the whole row, so that scales apply
//! once at its end.

use std::arch::x86_64::*;

use super::lanes;
use super::rows::pointers;
use crate::Matrix;
use crate::hints::Streams;
use crate::products::Tile;
pub(in crate::products) use crate::products::avx2::channel::{W4A8, W8A8};
use crate::products::avx2::channel::{row_scales, tails};
use crate::quants::channel::{GROUP, HEAD, NIBBLES, SCALE_BYTES};
use crate::quants::nibbles::MULTIPLES;

/// Weight rows walked side by side.
const SIDE: usize = 8;

/// A per-channel format.
pub(in crate::products) trait Codes {
    /// Bytes of a group of 64 columns.
    const BYTES: usize;
    /// What unsigned codes are too high by.
    const TOO_HIGH: i32;

    /// The unsigned codes of a group, in order.
    ///
    /// # Safety
    /// `w` points at a whole group; the processor has AVX-512 F and BW, and AVX2.
    unsafe fn group(w: *const u8) -> __m512i;

    /// Adds the products of a group's unsigned codes with 64 columns of `x`. Each four columns give one lane's worth, in some lane.
    ///
    /// # Safety
    /// `w` points at a whole group; the processor has AVX-512 F, BW and VNNI.
    unsafe fn add(sums: __m512i, w: *const u8, x: &Columns) -> __m512i;
}

/// 64 columns of an activation row.
pub(in crate::products) struct Columns {
    codes: __m512i,
    /// The sum of each four columns, in the upper half of a lane.
    fours: __m512i,
}

impl Columns {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn new(codes: &[i8; GROUP]) -> Columns {
        // SAFETY: 64 codes.
        let codes = unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) };
        let fours = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), codes);
        Columns { codes, fours: _mm512_slli_epi32::<16>(fours) }
    }
}

impl Codes for W8A8 {
    const BYTES: usize = GROUP;
    const TOO_HIGH: i32 = 128;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn group(w: *const u8) -> __m512i {
        // SAFETY: 64 bytes.
        _mm512_xor_si512(unsafe { _mm512_loadu_si512(w.cast()) }, _mm512_set1_epi8(i8::MIN))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn add(sums: __m512i, w: *const u8, x: &Columns) -> __m512i {
        // SAFETY: the caller's promise.
        _mm512_dpbusd_epi32(sums, unsafe { Self::group(w) }, x.codes)
    }
}

impl Codes for W4A8 {
    const BYTES: usize = NIBBLES;
    const TOO_HIGH: i32 = 128;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2")]
    unsafe fn group(w: *const u8) -> __m512i {
        // SAFETY: a group.
        let [low, high] = unsafe { signed_codes(w) };
        let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
        _mm512_xor_si512(both, _mm512_set1_epi8(i8::MIN))
    }

    /// A code is `low + step * nibble`, so four columns give `step * (nibbles . x) + low * (sum of x)`: the codes themselves never
    /// appear, and one product of two pairs of 16 bits does both. The low end becomes unsigned as codes do, by 128.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn add(sums: __m512i, w: *const u8, x: &Columns) -> __m512i {
        const UPPER_HALVES: u32 = 0xaaaa_aaaa;
        // The low 256 bits take the first step and low end, the high ones the second; a byte 0x80 gives zero.
        let first = _mm512_set1_epi32(0x8002_8000u32.cast_signed());
        let places = _mm512_mask_set1_epi32(first, 0xff00, 0x8003_8001u32.cast_signed());
        let shifts = _mm512_inserti64x4::<1>(_mm512_setzero_si512(), _mm256_set1_epi16(4));
        // SAFETY: a group's head is four bytes, and 32 bytes of nibbles follow.
        let (head, bytes) =
            unsafe { (w.cast::<i32>().read_unaligned(), _mm256_loadu_si256(w.add(HEAD).cast())) };
        let both = _mm512_broadcast_i64x4(bytes);
        let nibbles = _mm512_and_si512(_mm512_srlv_epi16(both, shifts), _mm512_set1_epi8(15));
        // At most 4 * 15 * 128 in magnitude: the lower half of a lane has room.
        let products = _mm512_dpbusd_epi32(_mm512_setzero_si512(), nibbles, x.codes);
        let pairs = _mm512_mask_blend_epi16(UPPER_HALVES, products, x.fours);
        let grid = _mm512_shuffle_epi8(_mm512_set1_epi32(head), places);
        _mm512_dpwssd_epi32(sums, pairs, _mm512_xor_si512(grid, _mm512_set1_epi32(128 << 16)))
    }
}

/// The codes of a group of nibbles, in order: multiples of a step are looked up, and the low end is added.
///
/// # Safety
/// A group can be read at `group`; the processor has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn signed_codes(group: *const u8) -> [__m256i; 2] {
    let mask = _mm256_set1_epi8(15);
    // SAFETY: the caller's promise, and sixteen bytes of a table for each step.
    unsafe {
        let head: [u8; HEAD] = group.cast::<[u8; HEAD]>().read();
        let bytes = _mm256_loadu_si256(group.add(HEAD).cast());
        let table = |step: u8| {
            _mm256_broadcastsi128_si256(_mm_loadu_si128(MULTIPLES[usize::from(step)].as_ptr().cast()))
        };
        let low = _mm256_shuffle_epi8(table(head[0]), _mm256_and_si256(bytes, mask));
        let high = _mm256_shuffle_epi8(table(head[1]), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask));
        [
            _mm256_add_epi8(low, _mm256_set1_epi8(head[2].cast_signed())),
            _mm256_add_epi8(high, _mm256_set1_epi8(head[3].cast_signed())),
        ]
    }
}

/// The codes of `N` weight rows, group by group.
pub(in crate::products) struct Rows<const N: usize, K> {
    starts: [*const u8; N],
    /// Groups that are whole.
    whole: usize,
    /// The group behind them, filled up with zeros.
    tails: [[u8; GROUP]; N],
    kind: std::marker::PhantomData<K>,
}

impl<const N: usize, K: Codes> Rows<N, K> {
    /// The rows from `first` on; beyond the last, the last again.
    pub(in crate::products) fn new(weight: &Matrix<'_>, first: usize) -> Rows<N, K> {
        let whole = weight.cols / GROUP;
        let start = |r: usize| weight.row((first + r).min(weight.rows - 1))[SCALE_BYTES..].as_ptr();
        let tails = match weight.cols.is_multiple_of(GROUP) {
            true => [[0; GROUP]; N],
            false => tails(weight, first, whole * K::BYTES),
        };
        Rows { starts: std::array::from_fn(start), whole, tails, kind: std::marker::PhantomData }
    }

    /// Group `group` of row `r`, unsigned.
    ///
    /// # Safety
    /// The group begins inside the row; the processor has AVX-512 F and BW, and AVX2.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(in crate::products) unsafe fn group(&self, r: usize, group: usize) -> __m512i {
        let from = match group < self.whole {
            true => self.starts[r].wrapping_add(group * K::BYTES),
            false => self.tails[r].as_ptr(),
        };
        // SAFETY: whole groups lie in the rows, and a tail has room for one.
        unsafe { K::group(from) }
    }
}

/// Weight rows of a tile times each activation row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn product<K: Codes>(tile: &Tile<'_>) {
    let (weight, form) = (&tile.weight, &tile.x.whole);
    let whole = weight.cols / GROUP;
    for first in (0..weight.rows).step_by(SIDE) {
        let rows = pointers::<SIDE>(weight, first);
        // SAFETY: each row begins with its scale.
        let w_scales = unsafe { row_scales(&rows) };
        let tails: Option<[[u8; GROUP]; SIDE]> =
            (!weight.cols.is_multiple_of(GROUP)).then(|| tails(weight, first, whole * K::BYTES));
        let mut ahead = Streams::new(tile, first, SIDE);
        for i in 0..tile.x.m() {
            let x = form.codes[i * form.stride..][..form.stride].as_chunks::<GROUP>().0;
            let mut sums = [_mm512_setzero_si512(); SIDE];
            for (group, x) in x[..whole].iter().enumerate() {
                if i == 0 {
                    ahead.fetch(SIDE * K::BYTES);
                }
                let x = Columns::new(x);
                for (row, sum) in rows.iter().zip(&mut sums) {
                    // SAFETY: each row has `whole` groups behind its scale.
                    *sum = unsafe { K::add(*sum, row.add(SCALE_BYTES + group * K::BYTES), &x) };
                }
            }
            if let Some(tails) = &tails {
                let x = Columns::new(&x[whole]);
                for (tail, sum) in tails.iter().zip(&mut sums) {
                    // SAFETY: a tail has room for a group, and activations are padded to one.
                    *sum = unsafe { K::add(*sum, tail.as_ptr(), &x) };
                }
            }
            let high = _mm256_set1_epi32(K::TOO_HIGH.wrapping_mul(form.sums[i]));
            let codes = _mm256_cvtepi32_ps(_mm256_sub_epi32(lanes::sums(&sums), high));
            let scales = _mm256_mul_ps(w_scales, _mm256_set1_ps(form.scales[i]));
            let (to, left) = tile.place(i, first);
            let mask = ((1u32 << left.min(SIDE)) - 1) as __mmask8;
            // SAFETY: the tile's outputs from there on, as many as are left of them.
            unsafe { _mm256_mask_storeu_ps(to, mask, _mm256_mul_ps(codes, scales)) };
        }
    }
}
