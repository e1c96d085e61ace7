//! The tile registers, in inline assembly: the compiler's own functions for them are not stable yet.
//!
//! The compiler never uses these registers by itself, so they keep their contents from one block of assembly to the
//! next; each block leaves nothing in them that a later one needs.
//!
//! Registers 0 to 3 are sums, `rows` rows of `width` 32-bit numbers; 4 and 5 the left factors, `rows` rows of `depth`
//! bytes; 6 and 7 the right factors, `depth / 4` rows that hold four bytes (or two bfloat16 numbers) of each of
//! `width` columns.

use std::arch::asm;
use std::arch::x86_64::__m512i;
use std::marker::PhantomData;

/// What a register of sums is stored to.
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [[i32; 16]; 16]);

impl Sums {
    pub(super) const ZERO: Sums = Sums([[0; 16]; 16]);
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Configured registers of this thread, released when dropped.
pub(super) struct Tiles {
    /// Bound to the thread.
    life: PhantomData<*const ()>,
}

impl Tiles {
    /// Configures this thread's registers; `rows` and `width` from 1 to 16, `depth` a multiple of 4 up to 64.
    ///
    /// # Safety
    /// [`super::detect::available`] said yes, and no other `Tiles` lives on this thread.
    pub(super) unsafe fn new(rows: usize, depth: usize, width: usize) -> Tiles {
        let fits = |n: usize| (1..=16).contains(&n);
        assert!(
            fits(rows) && fits(width) && depth.is_multiple_of(4) && fits(depth / 4),
            "tiles of {rows} rows, {depth} bytes and {width} columns"
        );
        let mut config =
            Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        let shapes = [(rows, 4 * width), (rows, depth), (depth / 4, 4 * width)];
        for (register, shape) in [0, 0, 0, 0, 1, 1, 2, 2].into_iter().enumerate() {
            config.rows[register] = shapes[shape].0 as u8;
            config.row_bytes[register] = shapes[shape].1 as u16;
        }
        // SAFETY: the instruction exists by the caller's promise and reads 64 bytes, which the compiler must have
        // written because the assembly may read memory.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, preserves_flags, readonly))
        };
        Tiles { life: PhantomData }
    }

    /// Products of sixteen activation rows, `stride` bytes apart, with sixteen weight rows over 32 columns, in
    /// register `SUM` (0 to 3) and then in `out`, `[activation row, weight row]`.
    ///
    /// # Safety
    /// Configured for sixteen rows, 32 bytes and sixteen columns; sixteen rows of 32 codes at `x`, eight vectors at
    /// `w`.
    #[inline(always)]
    pub(super) unsafe fn dots<const SUM: usize>(
        &self,
        x: *const i8,
        stride: usize,
        w: *const __m512i,
        out: &mut Sums,
    ) {
        // SAFETY: the caller's promise. Reads `x` and `w`, writes `out`.
        unsafe {
            asm!(
                "tilezero tmm{sum}",
                "tileloadd tmm{a}, [{x} + {stride}*1]",
                "tileloadd tmm{b}, [{w} + {line}*1]",
                "tdpbssd tmm{sum}, tmm{a}, tmm{b}",
                "tilestored [{out} + {line}*1], tmm{sum}",
                sum = const SUM,
                a = const 4 + SUM % 2,
                b = const 6 + SUM % 2,
                x = in(reg) x,
                stride = in(reg) stride,
                w = in(reg) w,
                line = in(reg) 64usize,
                out = in(reg) &raw mut *out,
                options(nostack, preserves_flags)
            );
        }
    }

    /// Products of sixteen activation rows, `stride` bytes apart, with two panels of sixteen weight rows over 256
    /// columns, in registers `SUM` (0 or 2) and `SUM + 1` and then in `out`.
    ///
    /// # Safety
    /// Configured for sixteen rows, 64 bytes and sixteen columns; sixteen rows of 256 codes at `x`, 64 vectors at
    /// each of `w`.
    #[inline(always)]
    pub(super) unsafe fn two_dots<const SUM: usize>(
        &self,
        x: *const i8,
        stride: usize,
        w: [*const __m512i; 2],
        out: &mut [Sums; 2],
    ) {
        let [first, second] = out;
        // SAFETY: the caller's promise. Reads `x` and `w`, writes `out`.
        unsafe {
            asm!(
                "tilezero tmm{sum}",
                "tilezero tmm{next}",
                "tileloadd tmm4, [{x} + {stride}*1]",
                "tileloadd tmm6, [{w} + {line}*1]",
                "tdpbssd tmm{sum}, tmm4, tmm6",
                "tileloadd tmm7, [{v} + {line}*1]",
                "tdpbssd tmm{next}, tmm4, tmm7",
                "tileloadd tmm5, [{x} + {stride}*1 + 64]",
                "tileloadd tmm6, [{w} + {line}*1 + 1024]",
                "tdpbssd tmm{sum}, tmm5, tmm6",
                "tileloadd tmm7, [{v} + {line}*1 + 1024]",
                "tdpbssd tmm{next}, tmm5, tmm7",
                "tileloadd tmm4, [{x} + {stride}*1 + 128]",
                "tileloadd tmm6, [{w} + {line}*1 + 2048]",
                "tdpbssd tmm{sum}, tmm4, tmm6",
                "tileloadd tmm7, [{v} + {line}*1 + 2048]",
                "tdpbssd tmm{next}, tmm4, tmm7",
                "tileloadd tmm5, [{x} + {stride}*1 + 192]",
                "tileloadd tmm6, [{w} + {line}*1 + 3072]",
                "tdpbssd tmm{sum}, tmm5, tmm6",
                "tileloadd tmm7, [{v} + {line}*1 + 3072]",
                "tdpbssd tmm{next}, tmm5, tmm7",
                "tilestored [{first} + {line}*1], tmm{sum}",
                "tilestored [{second} + {line}*1], tmm{next}",
                sum = const SUM,
                next = const SUM + 1,
                x = in(reg) x,
                stride = in(reg) stride,
                w = in(reg) w[0],
                v = in(reg) w[1],
                line = in(reg) 64usize,
                first = in(reg) &raw mut *first,
                second = in(reg) &raw mut *second,
                options(nostack, preserves_flags)
            );
        }
    }

    /// Empties the registers of sums.
    ///
    /// # Safety
    /// Configured.
    #[inline(always)]
    pub(super) unsafe fn clear(&self) {
        // SAFETY: the caller's promise; no memory is touched.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, preserves_flags, nomem)
            );
        }
    }

    /// Adds the products of two left with two right factors of bytes: the first left one's to registers 0 and 1, the
    /// second's to 2 and 3.
    ///
    /// # Safety
    /// Configured for sixteen rows, 64 bytes and sixteen columns; sixteen rows of 64 codes at each of `left`, `stride`
    /// bytes apart, and sixteen rows of sixteen words at each of `right`.
    #[inline(always)]
    pub(super) unsafe fn add_four(
        &self,
        left: [*const __m512i; 2],
        stride: usize,
        right: [*const [i32; 16]; 2],
    ) {
        // SAFETY: the caller's promise. Reads `left` and `right`.
        unsafe {
            asm!(
                "tileloadd tmm4, [{a} + {stride}*1]",
                "tileloadd tmm6, [{c} + {line}*1]",
                "tileloadd tmm5, [{b} + {stride}*1]",
                "tileloadd tmm7, [{d} + {line}*1]",
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm4, tmm7",
                "tdpbssd tmm2, tmm5, tmm6",
                "tdpbssd tmm3, tmm5, tmm7",
                a = in(reg) left[0],
                b = in(reg) left[1],
                c = in(reg) right[0],
                d = in(reg) right[1],
                stride = in(reg) stride,
                line = in(reg) 64usize,
                options(nostack, preserves_flags, readonly)
            );
        }
    }

    /// Stores the registers of sums.
    ///
    /// # Safety
    /// Configured.
    #[inline(always)]
    pub(super) unsafe fn store_four(&self, out: &mut [Sums; 4]) {
        // SAFETY: a register is at most what `Sums` holds.
        unsafe {
            asm!(
                "tilestored [{out} + {line}*1], tmm0",
                "tilestored [{out} + {line}*1 + 1024], tmm1",
                "tilestored [{out} + {line}*1 + 2048], tmm2",
                "tilestored [{out} + {line}*1 + 3072], tmm3",
                out = in(reg) out.as_mut_ptr(),
                line = in(reg) 64usize,
                options(nostack, preserves_flags)
            );
        }
    }

    /// Adds products of bfloat16 numbers to register 0.
    ///
    /// # Safety
    /// Configured for 64 bytes; the rows of a left factor at `left`, `stride` bytes apart, and sixteen rows of a right
    /// one at `right`, `width` columns each.
    #[inline(always)]
    pub(super) unsafe fn add(&self, left: *const u8, stride: usize, right: *const u32, width: usize) {
        // SAFETY: the caller's promise. Reads `left` and `right`.
        unsafe {
            asm!(
                "tileloadd tmm4, [{left} + {stride}*1]",
                "tileloadd tmm6, [{right} + {width}*4]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                left = in(reg) left,
                stride = in(reg) stride,
                right = in(reg) right,
                width = in(reg) width,
                options(nostack, preserves_flags, readonly)
            );
        }
    }

    /// Adds products with three right factors of sixteen columns, one after the other in memory, to registers 0 to 2.
    ///
    /// # Safety
    /// Configured for 64 bytes and sixteen columns; left rows as for [`Tiles::add`], 48 rows at `right`.
    #[inline(always)]
    pub(super) unsafe fn add_three(&self, left: *const u8, stride: usize, right: *const u32) {
        // SAFETY: the caller's promise. Reads `left` and `right`.
        unsafe {
            asm!(
                "tileloadd tmm4, [{left} + {stride}*1]",
                "tileloadd tmm6, [{right} + {line}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{right} + {line}*1 + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm6, [{right} + {line}*1 + 2048]",
                "tdpbf16ps tmm2, tmm4, tmm6",
                left = in(reg) left,
                stride = in(reg) stride,
                right = in(reg) right,
                line = in(reg) 64usize,
                options(nostack, preserves_flags, readonly)
            );
        }
    }

    /// Stores the first three registers of sums.
    ///
    /// # Safety
    /// Configured.
    #[inline(always)]
    pub(super) unsafe fn store(&self, out: &mut [Sums; 3]) {
        // SAFETY: a register is at most what `Sums` holds.
        unsafe {
            asm!(
                "tilestored [{out} + {line}*1], tmm0",
                "tilestored [{out} + {line}*1 + 1024], tmm1",
                "tilestored [{out} + {line}*1 + 2048], tmm2",
                out = in(reg) out.as_mut_ptr(),
                line = in(reg) 64usize,
                options(nostack, preserves_flags)
            );
        }
    }

    /// Multiplies whatever lies in the registers, in four independent chains; how many operations that were.
    ///
    /// # Safety
    /// Configured for sixteen rows, 64 bytes and sixteen columns.
    pub(super) unsafe fn spin(&self, rounds: u64) -> u64 {
        // SAFETY: the caller's promise; no memory is touched.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "tilezero tmm4",
                "tilezero tmm6",
                "2:",
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm4, tmm6",
                "tdpbssd tmm2, tmm4, tmm6",
                "tdpbssd tmm3, tmm4, tmm6",
                "dec {rounds}",
                "jnz 2b",
                rounds = inout(reg) rounds.max(1) => _,
                options(nostack, nomem)
            );
        }
        rounds.max(1) * 4 * 2 * 16 * 16 * 64
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // Leaves the registers in their initial state, which costs nothing when threads change.
        // SAFETY: `new` configured them.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
    }
}
