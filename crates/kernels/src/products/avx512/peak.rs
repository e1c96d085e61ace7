//! Chains of instructions that do nothing but multiply: the processor's ceiling.

use std::arch::x86_64::*;
use std::hint::black_box;

const ROUNDS: u64 = 20_000;
/// Independent chains: more than the latency of the multipliers times their number.
const CHAINS: usize = 12;

/// Products of unsigned and signed bytes, added in fours to 32 bits, as the panels do.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn int8() -> u64 {
    let (a, b) = (black_box(_mm512_set1_epi8(3)), black_box(_mm512_set1_epi8(5)));
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, a, black_box_register(b));
        }
    }
    black_box(sums);
    ROUNDS * CHAINS as u64 * 128
}

/// Keeps the compiler from seeing that every round is the same.
#[inline]
#[target_feature(enable = "avx512f")]
fn black_box_register(mut v: __m512i) -> __m512i {
    // SAFETY: an empty text that pretends to change a register.
    unsafe { std::arch::asm!("/* {0} */", inout(zmm_reg) v, options(nomem, nostack, preserves_flags)) };
    v
}

/// Fused multiplications and additions.
#[target_feature(enable = "avx512f")]
pub(super) fn f32() -> u64 {
    let (a, b) = (black_box(_mm512_set1_ps(0.999)), black_box(_mm512_set1_ps(0.001)));
    let mut sums = [_mm512_set1_ps(1.0); CHAINS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, a, b);
        }
    }
    black_box(sums);
    ROUNDS * CHAINS as u64 * 32
}
