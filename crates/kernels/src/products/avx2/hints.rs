//! What the products tell the processor and the compiler beside the computation. Neither changes a result.

use std::arch::asm;
use std::arch::x86_64::*;

use crate::products::Tile;

/// Asks for the lines of `len` bytes; where they end.
///
/// The second-level cache takes them: the next eight rows may be more than the first holds.
#[inline(always)]
pub(crate) fn fetch(from: *const u8, len: usize) -> *const u8 {
    for line in (0..len).step_by(64) {
        // SAFETY: a prefetch may point anywhere.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(line).cast()) };
    }
    from.wrapping_add(len)
}

/// Asks for the next weight rows little by little while those at hand are multiplied.
pub(in crate::products) struct Ahead {
    at: *const u8,
    each: usize,
}

impl Ahead {
    /// The `rows` rows of a tile from `first` on, or what follows the tile, in `times` parts.
    pub(in crate::products) fn new(tile: &Tile<'_>, first: usize, rows: usize, times: usize) -> Ahead {
        let each = (rows * tile.weight.row_bytes()).div_ceil(times).next_multiple_of(64);
        Ahead { at: tile.ahead(first), each }
    }

    /// Asks for the next part.
    #[inline(always)]
    pub(in crate::products) fn fetch(&mut self) {
        self.at = fetch(self.at, self.each);
    }
}

/// Keeps the compiler from adding up products before they join their sum: there are more of them than registers.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn in_order(mut sum: __m256i) -> __m256i {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(ymm_reg) sum, options(pure, nomem, nostack, preserves_flags)) };
    sum
}
