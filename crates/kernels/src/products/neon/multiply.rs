//! The instructions that multiply bytes, and what each wants its weights to look like.
//!
//! Both are written as assembly, since the compiler offers no stable functions for them. It names the extension it
//! needs itself, which ends with the instruction: everything around it is then plain NEON, written once for both, and
//! is inlined whatever it calls.

use std::arch::aarch64::*;
use std::arch::asm;

use super::lanes::{as_bytes, as_words, transpose, zip_halves};

/// Codes of four rows in sixteen columns.
pub(super) type Four = [int8x16_t; 4];
/// Products of four activation rows with four weight rows, in the order of the instruction.
pub(super) type Sums = [int32x4_t; 4];

/// An instruction that multiplies four activation rows with four weight rows.
pub(super) trait Multiply {
    /// Rows of weights, rearranged for [`Multiply::step`].
    ///
    /// # Safety
    /// The processor has the instruction, here and below.
    unsafe fn pack(rows: Four) -> Four;

    /// Adds the products of sixteen columns; `x` are activation rows as they lie.
    ///
    /// # Safety
    /// As above.
    unsafe fn step(w: &Four, x: Four, sums: &mut Sums);

    /// A number for each of four weight rows, arranged as in `sums[j]`, with `j` even and odd.
    ///
    /// # Safety
    /// As above.
    unsafe fn spread(rows: int32x4_t) -> [int32x4_t; 2];

    /// The sums with activation row `j` in vector `j`, one weight row in each lane.
    ///
    /// # Safety
    /// As above.
    unsafe fn in_order(sums: Sums) -> [int32x4_t; 4];
}

/// Products of four neighbouring bytes each, added to the four lanes of `sums`.
///
/// # Safety
/// The processor has `dotprod`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn sdot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: computes with registers only, by the caller's promise.
    unsafe {
        asm!(".arch_extension dotprod", "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sums, in(vreg) a, in(vreg) b, options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

/// [`sdot`] of each four bytes of `a` with the four of `b` that begin at byte `4 * LANE`.
///
/// # Safety
/// The processor has `dotprod`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn sdot_lane<const LANE: u32>(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: computes with registers only, by the caller's promise.
    unsafe {
        asm!(".arch_extension dotprod", "sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{3}]",
            inout(vreg) sums, in(vreg) a, in(vreg) b, const LANE, options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

/// Two rows of eight bytes times two rows of eight bytes, added to `sums`: both products of the first row of `a`, then
/// of the second.
///
/// # Safety
/// The processor has `i8mm`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn smmla(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: computes with registers only, by the caller's promise.
    unsafe {
        asm!(".arch_extension i8mm", "smmla {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sums, in(vreg) a, in(vreg) b, options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

/// SDOT: a vector of weights is four columns of four rows, a lane a row; those columns of an activation row are taken
/// from a lane of its vector. No sum across lanes is needed.
pub(super) struct Sdot;

impl Multiply for Sdot {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack(rows: Four) -> Four {
        transpose(rows.map(|row| as_words(row))).map(|v| as_bytes(v))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn step(w: &Four, x: Four, sums: &mut Sums) {
        for (sum, x) in sums.iter_mut().zip(x) {
            // SAFETY: the caller's promise.
            unsafe {
                *sum = sdot_lane::<0>(*sum, w[0], x);
                *sum = sdot_lane::<1>(*sum, w[1], x);
                *sum = sdot_lane::<2>(*sum, w[2], x);
                *sum = sdot_lane::<3>(*sum, w[3], x);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn spread(rows: int32x4_t) -> [int32x4_t; 2] {
        [rows; 2]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn in_order(sums: Sums) -> [int32x4_t; 4] {
        sums
    }
}

/// SMMLA: a vector is eight columns of two rows, on both sides. `sums[2 p + q]` belongs to activation rows `2 p` and
/// `2 p + 1` and to weight rows `2 q` and `2 q + 1`.
pub(super) struct Smmla;

impl Multiply for Smmla {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack(rows: Four) -> Four {
        let [a, b, c, d] = rows.map(|row| as_words(row));
        let ([ab_low, ab_high], [cd_low, cd_high]) = (zip_halves(a, b), zip_halves(c, d));
        [ab_low, cd_low, ab_high, cd_high].map(|v| as_bytes(v))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn step(w: &Four, x: Four, sums: &mut Sums) {
        // SAFETY: the caller's promise.
        let x = unsafe { Smmla::pack(x) };
        for half in [0, 2] {
            for (at, sum) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                *sum = unsafe { smmla(*sum, x[half + at / 2], w[half + at % 2]) };
            }
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn spread(rows: int32x4_t) -> [int32x4_t; 2] {
        zip_halves(rows, rows)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn in_order(sums: Sums) -> [int32x4_t; 4] {
        let [a, b, c, d] = sums;
        let ([first, second], [third, fourth]) = (zip_halves(a, b), zip_halves(c, d));
        [first, second, third, fourth]
    }
}
