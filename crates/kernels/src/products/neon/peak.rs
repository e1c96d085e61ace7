//! Chains of instructions that do nothing but multiply: the processor's ceiling.

use std::arch::aarch64::*;
use std::hint::black_box;

use super::multiply::{sdot, smmla};

const ROUNDS: u64 = 20_000;
/// Independent chains.
const CHAINS: usize = 16;

/// Dot products of four bytes, added in 32 bits.
///
/// # Safety
/// The processor has `dotprod`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn by_sdot() -> u64 {
    // Hidden from the compiler, or it would see that all chains are the same.
    let mut sums = black_box([vdupq_n_s32(0); CHAINS]);
    let (a, b) = (black_box(vdupq_n_s8(3)), black_box(vdupq_n_s8(5)));
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            // SAFETY: the caller's promise.
            *sum = unsafe { sdot(*sum, a, b) };
        }
    }
    black_box(sums);
    ROUNDS * CHAINS as u64 * 32
}

/// Products of two rows of eight bytes each.
///
/// # Safety
/// The processor has `i8mm`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn by_smmla() -> u64 {
    let mut sums = black_box([vdupq_n_s32(0); CHAINS]);
    let (a, b) = (black_box(vdupq_n_s8(3)), black_box(vdupq_n_s8(5)));
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            // SAFETY: the caller's promise.
            *sum = unsafe { smmla(*sum, a, b) };
        }
    }
    black_box(sums);
    ROUNDS * CHAINS as u64 * 64
}

/// Fused multiplications and additions.
#[target_feature(enable = "neon")]
pub(super) fn f32() -> u64 {
    let mut sums = black_box([vdupq_n_f32(1.0); CHAINS]);
    let (a, b) = (black_box(vdupq_n_f32(0.999)), black_box(vdupq_n_f32(0.001)));
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = vfmaq_f32(*sum, a, b);
        }
    }
    black_box(sums);
    ROUNDS * CHAINS as u64 * 8
}
