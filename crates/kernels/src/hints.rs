//! What products and attention tell the processor and the compiler beside the computation. Neither changes a result.

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

/// Parts of what comes next that are asked for side by side: memory answers several streams faster than one, if each is
/// in pages of its own.
const STREAMS: usize = 4;
const PAGE: usize = 4096;
/// Bytes that a first-level cache holds beside what is multiplied; more is left to the second level.
const NEAR: usize = 32 << 10;

/// Asks for the rows that a thread reads next while it multiplies those at hand, a line of each of several parts in turn.
///
/// Groups of short rows share a window of a page for each stream; during one window the next is asked for.
pub(crate) struct Streams {
    /// Where the window lies that is asked for.
    window: *const u8,
    /// Bytes of a part of it.
    part: usize,
    /// Bytes of each part asked for.
    asked: usize,
    /// Bytes of the window to be asked for by now.
    due: usize,
    /// Where the tile ends and what follows then.
    end: *const u8,
    next: *const u8,
}

impl Streams {
    /// Along `len` bytes, those at its beginning being read already.
    #[inline]
    pub(crate) fn along(start: *const u8, len: usize) -> Streams {
        let part = PAGE;
        let window = start.wrapping_add(STREAMS * part);
        // Behind the end the beginning again, which the caches have.
        Streams { window, part, asked: 0, due: 0, end: start.wrapping_add(len), next: start }
    }

    /// [`Streams::fetch`] along a stretch of memory: with the end of a window comes the one after it.
    #[inline(always)]
    pub(crate) fn advance(&mut self, len: usize) {
        self.fetch(len);
        if self.asked >= self.part {
            self.window = self.window.wrapping_add(STREAMS * self.part);
            self.due = self.due.saturating_sub(STREAMS * self.part);
            self.asked = 0;
        }
    }

    /// While the group of `side` rows of a tile from `first` on is multiplied.
    #[inline]
    pub(crate) fn new(tile: &Tile<'_>, first: usize, side: usize) -> Streams {
        let (weight, group) = (&tile.weight, side * tile.weight.row_bytes());
        let groups = (STREAMS * PAGE).div_ceil(group.max(1));
        let (window, within) = (first / side / groups, first / side % groups);
        let start = weight.data.as_ptr();
        let due = within * group;
        Streams {
            window: start.wrapping_add((window + 1) * groups * group),
            part: (groups * group).div_ceil(STREAMS).next_multiple_of(64),
            asked: due.div_ceil(STREAMS).next_multiple_of(64),
            due,
            end: start.wrapping_add(weight.data.len()),
            next: tile.ahead(weight.rows),
        }
    }

    /// Asks for `len` bytes more.
    #[inline(always)]
    pub(crate) fn fetch(&mut self, len: usize) {
        self.due += len;
        while self.asked * STREAMS < self.due {
            for stream in 0..STREAMS {
                let line = self.window.wrapping_add(stream * self.part + self.asked);
                let beyond = line.addr().wrapping_sub(self.end.addr());
                let line = if line < self.end { line } else { self.next.wrapping_add(beyond) };
                // SAFETY: a prefetch may point anywhere.
                unsafe {
                    if STREAMS * self.part <= NEAR {
                        _mm_prefetch::<_MM_HINT_T0>(line.cast());
                    } else {
                        _mm_prefetch::<_MM_HINT_T1>(line.cast());
                    }
                }
            }
            self.asked += 64;
        }
    }
}

/// Asks for the next weight rows little by little while those at hand are multiplied.
pub(crate) struct Ahead {
    at: *const u8,
    each: usize,
}

impl Ahead {
    /// The `rows` rows of a tile from `first` on, or what follows the tile, in `times` parts.
    pub(crate) fn new(tile: &Tile<'_>, first: usize, rows: usize, times: usize) -> Ahead {
        let each = (rows * tile.weight.row_bytes()).div_ceil(times).next_multiple_of(64);
        Ahead { at: tile.ahead(first), each }
    }

    /// Asks for the next part.
    #[inline(always)]
    pub(crate) fn fetch(&mut self) {
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
