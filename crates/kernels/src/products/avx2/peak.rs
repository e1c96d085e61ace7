//! Chains of instructions that do nothing but multiply: the processor's ceiling.

use std::arch::x86_64::*;
use std::hint::black_box;

const ROUNDS: u64 = 20_000;

/// Products of unsigned and signed bytes, added in 16 bits and then in 32 after every eighth, as the panels do.
#[target_feature(enable = "avx2")]
pub(super) fn int8() -> u64 {
    let (a, b) = (black_box(_mm256_set1_epi8(3)), black_box(_mm256_set1_epi8(5)));
    let mut sums = [_mm256_setzero_si256(); 8];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(a, black_box_register(b)));
        }
    }
    black_box(sums);
    ROUNDS * 8 * 64
}

/// Keeps the compiler from seeing that every round is the same.
#[inline]
#[target_feature(enable = "avx2")]
fn black_box_register(mut v: __m256i) -> __m256i {
    // SAFETY: an empty text that pretends to change a register.
    unsafe { std::arch::asm!("/* {0} */", inout(ymm_reg) v, options(nomem, nostack, preserves_flags)) };
    v
}

/// Fused multiplications and additions in ten independent chains.
#[target_feature(enable = "avx2,fma")]
pub(super) fn f32() -> u64 {
    let (a, b) = (black_box(_mm256_set1_ps(0.999)), black_box(_mm256_set1_ps(0.001)));
    let mut sums = [_mm256_set1_ps(1.0); 10];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, a, b);
        }
    }
    black_box(sums);
    ROUNDS * 10 * 16
}
