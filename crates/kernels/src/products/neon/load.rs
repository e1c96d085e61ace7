//! Reading numbers of any format as f32, and sums of products in eight lanes.

use std::arch::aarch64::*;

use half::{bf16, f16};

use super::lanes::{wide, widen_halves};

/// Eight f32 lanes, the first four in the first vector.
pub(crate) type Eight = [float32x4_t; 2];

/// A format of single numbers.
pub(crate) trait Load: Copy + Default {
    /// Eight values.
    ///
    /// # Safety
    /// They can be read; they need no alignment.
    unsafe fn load(from: *const Self) -> Eight;

    /// All values of `from`, in `room` unless they are f32 already.
    ///
    /// Panics when `room` is too short.
    ///
    /// # Safety
    /// Always sound where NEON is.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn all<'a>(from: &'a [Self], room: &'a mut [f32]) -> &'a [f32] {
        let to = &mut room[..from.len()];
        for (from, to) in from.chunks(8).zip(to.chunks_mut(8)) {
            // SAFETY: there are as many values on both sides, and eight in an array.
            unsafe {
                let mut array = [0.0; 8];
                vst1q_f32_x2(array.as_mut_ptr(), pair(some(from.as_ptr(), from.len())));
                to.copy_from_slice(&array[..from.len()]);
            }
        }
        to
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn pair([low, high]: Eight) -> float32x4x2_t {
    float32x4x2_t(low, high)
}

impl Load for f32 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: *const f32) -> Eight {
        // SAFETY: the caller's promise.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn all<'a>(from: &'a [f32], _: &'a mut [f32]) -> &'a [f32] {
        from
    }
}

impl Load for f16 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: *const f16) -> Eight {
        // SAFETY: the caller's promise.
        let bits = unsafe { vld1q_u16(from.cast()) };
        [widen_halves(vget_low_u16(bits)), widen_halves(vget_high_u16(bits))]
    }
}

impl Load for bf16 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: *const bf16) -> Eight {
        // SAFETY: the caller's promise.
        let bits = unsafe { vld1q_u16(from.cast()) };
        [vshll_n_u16::<16>(vget_low_u16(bits)), vshll_high_n_u16::<16>(bits)]
            .map(|v| vreinterpretq_f32_u32(v))
    }
}

impl Load for i8 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: *const i8) -> Eight {
        // SAFETY: the caller's promise.
        wide(vmovl_s8(unsafe { vld1_s8(from) })).map(|v| vcvtq_f32_s32(v))
    }
}

/// Up to eight values, then zeros.
///
/// # Safety
/// `len <= 8` values can be read.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn some<T: Load>(from: *const T, len: usize) -> Eight {
    // SAFETY: the caller's promise; bytes need no alignment.
    unsafe {
        if len == 8 {
            return T::load(from);
        }
        let mut eight = [T::default(); 8];
        eight.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(from.cast(), len * size_of::<T>());
        T::load(eight.as_ptr())
    }
}

/// Adds the products of `N` rows of floats with four rows of `T`, column `c` in lane `c % 8`.
///
/// # Safety
/// All rows have `len` values.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn add_products<T: Load, const N: usize>(
    x: [*const f32; N],
    w: [*const T; 4],
    len: usize,
    sums: &mut [[Eight; 4]; N],
) {
    let mut own = *sums;
    for column in (0..len).step_by(8) {
        let here = (len - column).min(8);
        // SAFETY: the caller's promise.
        unsafe {
            let x = x.map(|x| some(x.add(column), here));
            for (r, w) in w.iter().enumerate() {
                let w = some(w.add(column), here);
                for (own, x) in own.iter_mut().zip(x) {
                    own[r] = [vfmaq_f32(own[r][0], w[0], x[0]), vfmaq_f32(own[r][1], w[1], x[1])];
                }
            }
        }
    }
    *sums = own;
}

/// The sums of four times eight lanes, each in the order of [`crate::products::sum_lanes`].
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn four_sums(sums: [Eight; 4]) -> float32x4_t {
    // Lane and lane + 4, then lane and lane + 2, then the two that are left.
    let [a, b, c, d] = sums.map(|[low, high]| vreinterpretq_f64_f32(vaddq_f32(low, high)));
    let halves =
        |a, b| vaddq_f32(vreinterpretq_f32_f64(vzip1q_f64(a, b)), vreinterpretq_f32_f64(vzip2q_f64(a, b)));
    vpaddq_f32(halves(a, b), halves(c, d))
}

/// The lanes as an array.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn array(v: float32x4_t) -> [f32; 4] {
    // SAFETY: both are four floats.
    unsafe { std::mem::transmute(v) }
}
