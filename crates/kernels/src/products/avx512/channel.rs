//! Products of a few activation rows with per-channel weights: bound by reading the weights.
//!
//! Eight weight rows are walked side by side, as in `rows`; integer sums run over the whole row, so that scales apply
//! once at its end.

use std::arch::x86_64::*;

use super::lanes;
use crate::Matrix;
use crate::hints::Streams;
use crate::products::Tile;
pub(in crate::products) use crate::products::avx2::channel::{W4A8, W8A8};
use crate::products::avx2::channel::{scales, signed_codes, tails};
use crate::quants::channel::{GROUP, NIBBLES, SCALE_BYTES};

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
        let from = if group < self.whole {
            self.starts[r].wrapping_add(group * K::BYTES)
        } else {
            self.tails[r].as_ptr()
        };
        // SAFETY: whole groups lie in the rows, and a tail has room for one.
        unsafe { K::group(from) }
    }
}

/// Weight rows of a tile times each activation row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) fn product<K: Codes>(tile: &Tile<'_>) {
    let (weight, form) = (&tile.weight, &tile.x.whole);
    for first in (0..weight.rows).step_by(SIDE) {
        let rows = Rows::<SIDE, K>::new(weight, first);
        let w_scales: [f32; SIDE] = scales(weight, first);
        let mut ahead = Streams::new(tile, first, SIDE);
        for i in 0..tile.x.m() {
            let x = form.codes[i * form.stride..][..form.stride].as_chunks::<GROUP>().0;
            let mut sums = [_mm512_setzero_si512(); SIDE];
            for (group, x) in x.iter().enumerate() {
                if i == 0 {
                    ahead.fetch(SIDE * K::BYTES);
                }
                // SAFETY: 64 codes, padded as the weights are.
                let x = unsafe { _mm512_loadu_si512(x.as_ptr().cast()) };
                for (r, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: activations have as many groups as the rows.
                    *sum = _mm512_dpbusd_epi32(*sum, unsafe { rows.group(r, group) }, x);
                }
            }
            let high = _mm256_set1_epi32(K::TOO_HIGH.wrapping_mul(form.sums[i]));
            let codes = _mm256_cvtepi32_ps(_mm256_sub_epi32(lanes::sums(&sums), high));
            // SAFETY: eight floats.
            let w_scales = unsafe { _mm256_loadu_ps(w_scales.as_ptr()) };
            let scales = _mm256_mul_ps(w_scales, _mm256_set1_ps(form.scales[i]));
            let values = crate::products::avx2::lanes::array(_mm256_mul_ps(codes, scales));
            tile.store_some(i, first, &values[..SIDE.min(weight.rows - first)]);
        }
    }
}
