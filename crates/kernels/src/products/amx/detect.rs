//! Whether tiles can be multiplied here: the processor has them, and the system lets this process use them.
//!
//! A tile's state is 8 KB, which Linux saves only for processes that asked for it (since 5.16); the answer holds for
//! all threads, so asking once is enough. Other systems are not asked, and the variant below takes over.

use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::sync::OnceLock;

/// Rows of a tile register and bytes in one, as the functions here assume.
const ROWS: u32 = 16;
const ROW_BYTES: u32 = 64;
const REGISTERS: u32 = 8;

/// Whether the processor has tiles with products of bytes and of bfloat16 numbers.
pub(crate) fn processor_has_tiles() -> bool {
    let leaf = |leaf, sub| __cpuid_count(leaf, sub);
    if leaf(0, 0).eax < 0x1d {
        return false;
    }
    let features = leaf(7, 0).edx;
    let [bf16, tiles, int8] = [22, 24, 25].map(|bit| features >> bit & 1 == 1);
    // Palette 1: bytes a row and number of registers, then rows.
    let palettes = leaf(0x1d, 0).eax;
    if !(tiles && int8 && bf16 && palettes >= 1) {
        return false;
    }
    let palette = leaf(0x1d, 1);
    palette.ebx & 0xffff == ROW_BYTES && palette.ebx >> 16 >= REGISTERS && palette.ecx & 0xffff == ROWS
}

/// Whether this process may use them; asks the system once.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        // SAFETY: asked only where `xgetbv` can be used.
        let saved = || is_x86_feature_detected!("xsave") && unsafe { system_saves_tiles() };
        processor_has_tiles() && saved() && permitted()
    })
}

/// Whether the system saves tile configurations and tiles when it changes threads.
#[target_feature(enable = "xsave")]
fn system_saves_tiles() -> bool {
    const TILES: u64 = 0b11 << 17;
    // SAFETY: register 0 exists wherever there is `xgetbv`.
    unsafe { _xgetbv(0) & TILES == TILES }
}

/// Asks the system for the permission to use tiles; false when it does not give it.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let answer: isize;
    // SAFETY: a system call that reads no memory; it overwrites these registers only.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}
