//! Products in f32: float weights in either mode, and quantised weights in `Mode::Exact`.
//!
//! Each output has one vector of eight sums along the columns, whichever kernel computes it.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::lanes;
use crate::products::{Tile, sum_lanes};
use crate::{Format, Matrix, quants};

/// Columns of a chunk, a multiple of every block length.
const CHUNK: usize = 256;
/// Weight rows whose chunks are held as f32 together: 16 KB.
const WIDE: usize = 16;
/// Activation rows that meet them before the next chunk: their sums take 48 KB.
const BATCH: usize = 96;
/// Rows up to which float weights are read straight from where they lie.
pub(in crate::products) const FEW: usize = 3;

#[derive(Default)]
struct Scratch {
    /// `[WIDE, CHUNK]`; vectors, so that no load crosses a cache line.
    weights: Vec<[__m256; CHUNK / 8]>,
    /// `[BATCH, CHUNK]`, the same for inputs that do not lie like that.
    inputs: Vec<[__m256; CHUNK / 8]>,
    /// `[BATCH, WIDE]` vectors.
    sums: Vec<__m256>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::products) fn product(tile: &Tile<'_>) {
    match tile.weight.format {
        Format::F32 if tile.x.m() <= FEW => few::<F32>(tile),
        Format::F16 if tile.x.m() <= FEW => few::<F16>(tile),
        Format::BF16 if tile.x.m() <= FEW => few::<BF16>(tile),
        _ => many(tile),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn read_f16(bytes: &[u8], out: &mut [f32]) {
    let (bytes, tail) = bytes.as_chunks::<16>();
    let (out, out_tail) = out.as_chunks_mut::<8>();
    for (bytes, out) in bytes.iter().zip(out) {
        // SAFETY: sixteen bytes in, eight floats out.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), F16::load(bytes.as_ptr())) };
    }
    quants::floats::read_f16(tail, out_tail);
}

/// A float format.
trait Load {
    const BYTES: usize;
    /// Eight values.
    ///
    /// # Safety
    /// They can be read; the processor has AVX2 and F16C.
    unsafe fn load(from: *const u8) -> __m256;
}

struct F32;
struct F16;
struct BF16;

impl Load for F32 {
    const BYTES: usize = 4;
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(from.cast()) }
    }
}

impl Load for F16 {
    const BYTES: usize = 2;
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }
}

impl Load for BF16 {
    const BYTES: usize = 2;
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        let halves = unsafe { _mm_loadu_si128(from.cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
    }
}

/// Eight weight rows side by side, read in place; see `rows` for why eight.
#[target_feature(enable = "avx2,fma,f16c")]
fn few<L: Load>(tile: &Tile<'_>) {
    const SIDE: usize = 8;
    let weight = &tile.weight;
    let (eights, tail) = (weight.cols / 8, weight.cols % 8);
    let ahead = SIDE * weight.row_bytes();
    for first in (0..weight.rows).step_by(SIDE) {
        let rows: [*const u8; SIDE] =
            std::array::from_fn(|r| weight.row((first + r).min(weight.rows - 1)).as_ptr());
        for i in 0..tile.x.m() {
            let x = tile.x.row(i);
            let mut sums = [_mm256_setzero_ps(); SIDE];
            for k in 0..eights {
                // SAFETY: column `8 k + 7` exists; a prefetch may point anywhere.
                unsafe {
                    let x = _mm256_loadu_ps(x.as_ptr().add(k * 8));
                    let at = k * 8 * L::BYTES;
                    if i == 0 && at.is_multiple_of(64) {
                        for row in rows {
                            _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(at + ahead).cast());
                        }
                    }
                    for (sum, row) in sums.iter_mut().zip(rows) {
                        *sum = _mm256_fmadd_ps(L::load(row.add(at)), x, *sum);
                    }
                }
            }
            if tail > 0 {
                // SAFETY: `tail` values are copied from each row, eight read from the copies.
                unsafe {
                    let x = padded::<32>(x.as_ptr().add(eights * 8).cast(), tail * 4);
                    let x = F32::load(x.as_ptr());
                    for (sum, row) in sums.iter_mut().zip(rows) {
                        let w = padded::<32>(row.add(eights * 8 * L::BYTES), tail * L::BYTES);
                        *sum = _mm256_fmadd_ps(L::load(w.as_ptr()), x, *sum);
                    }
                }
            }
            for (r, sum) in sums.into_iter().enumerate().take(weight.rows - first) {
                tile.store(i, first + r, sum_lanes(lanes::array(sum)));
            }
        }
    }
}

/// Some bytes followed by zeros.
///
/// # Safety
/// `len <= N` bytes can be read.
#[inline]
unsafe fn padded<const N: usize>(from: *const u8, len: usize) -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: the caller's promise.
    unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping(from, len) };
    bytes
}

/// Any weights: chunks of sixteen rows are widened to f32 and met by batches of activation rows.
#[target_feature(enable = "avx2,fma,f16c")]
fn many(tile: &Tile<'_>) {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.weights.resize(WIDE, [_mm256_setzero_ps(); _]);
        scratch.sums.resize(BATCH * WIDE, _mm256_setzero_ps());
        for first in (0..tile.weight.rows).step_by(WIDE) {
            let weight = tile.weight.rows(first..(first + WIDE).min(tile.weight.rows));
            for start in (0..tile.x.m()).step_by(BATCH) {
                let batch = start..(start + BATCH).min(tile.x.m());
                for i in batch.clone() {
                    scratch.sums[(i - start) * WIDE..][..WIDE].fill(_mm256_setzero_ps());
                }
                for column in (0..weight.cols).step_by(CHUNK) {
                    chunk(scratch, tile, &weight, batch.clone(), column);
                }
                for i in batch {
                    for r in 0..weight.rows {
                        let sum = scratch.sums[(i - start) * WIDE + r];
                        tile.store(i, first + r, sum_lanes(lanes::array(sum)));
                    }
                }
            }
        }
    });
}

fn floats(vectors: &mut [__m256; CHUNK / 8]) -> &mut [f32; CHUNK] {
    // SAFETY: a vector is eight floats.
    unsafe { &mut *std::ptr::from_mut(vectors).cast() }
}

/// Adds the products of one chunk of columns to the sums.
#[target_feature(enable = "avx2,fma,f16c")]
fn chunk(
    scratch: &mut Scratch,
    tile: &Tile<'_>,
    weight: &Matrix<'_>,
    batch: std::ops::Range<usize>,
    column: usize,
) {
    let width = CHUNK.min(weight.cols - column);
    let eights = width.div_ceil(8);
    let format = weight.format;
    // Of a per-channel row both are 0: it is read by its columns.
    let bytes = width / format.block_len() * format.block_bytes();
    let at = column / format.block_len() * format.block_bytes();
    let mut rows = [std::ptr::null::<f32>(); WIDE];
    for (r, pointer) in rows.iter_mut().enumerate() {
        // Missing rows repeat the last; their sums are not stored.
        let row = weight.row(r.min(weight.rows - 1));
        let from = &row[at..at + bytes];
        if format == Format::F32 && width.is_multiple_of(8) && from.as_ptr().addr().is_multiple_of(32) {
            *pointer = from.as_ptr().cast();
        } else {
            let to = &mut floats(&mut scratch.weights[r])[..eights * 8];
            to[width..].fill(0.0);
            match format.is_per_channel() {
                true => quants::channel::dequantize(format, row, column, &mut to[..width]),
                false => super::dequantize(format, from, &mut to[..width]),
            }
            *pointer = to.as_ptr();
        }
    }
    let mut inputs = (tile.x.row(batch.start)[column..].as_ptr(), weight.cols);
    if !(weight.cols.is_multiple_of(8) && inputs.0.addr().is_multiple_of(32)) {
        scratch.inputs.resize(BATCH, [_mm256_setzero_ps(); _]);
        for (i, to) in batch.clone().zip(&mut scratch.inputs) {
            let to = floats(to);
            to[width..eights * 8].fill(0.0);
            to[..width].copy_from_slice(&tile.x.row(i)[column..column + width]);
        }
        inputs = (scratch.inputs.as_ptr().cast(), CHUNK);
    }
    let (x, stride) = inputs;
    let m = batch.len();
    let mut i = 0;
    while i < m {
        let count = (m - i).min(3);
        for r in (0..weight.rows).step_by(4) {
            // SAFETY: `count` activation rows and four weight rows of `8 eights` values, and their sums.
            unsafe {
                let (rows, x) = (rows.as_ptr().add(r), x.add(i * stride));
                let sums = scratch.sums.as_mut_ptr().add(i * WIDE + r);
                match count {
                    3 => block::<3>(rows, x, stride, eights, sums),
                    2 => block::<2>(rows, x, stride, eights, sums),
                    _ => block::<1>(rows, x, stride, eights, sums),
                }
            }
        }
        i += count;
    }
}

/// Four weight rows and `N` activation rows: with three, twelve sums fill the registers and both multipliers.
///
/// # Safety
/// Four pointers at `rows`, `N` rows `stride` apart at `x`, all with `8 eights` values that need no alignment, and
/// `N` rows of four vectors, `WIDE` apart, at `sums`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn block<const N: usize>(
    rows: *const *const f32,
    x: *const f32,
    stride: usize,
    eights: usize,
    sums: *mut __m256,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let rows: [*const f32; 4] = rows.cast::<[*const f32; 4]>().read();
        let mut own = [[_mm256_setzero_ps(); 4]; N];
        for (j, own) in own.iter_mut().enumerate() {
            *own = sums.add(j * WIDE).cast::<[__m256; 4]>().read();
        }
        for k in 0..eights {
            // The `N` inputs stay in registers and weights come one at a time: twelve sums leave room for four.
            let x: [__m256; N] = std::array::from_fn(|j| _mm256_loadu_ps(x.add(j * stride + k * 8)));
            for (r, row) in rows.iter().enumerate() {
                let w = _mm256_loadu_ps(row.add(k * 8));
                for (own, x) in own.iter_mut().zip(x) {
                    own[r] = _mm256_fmadd_ps(w, x, own[r]);
                }
            }
        }
        for (j, own) in own.into_iter().enumerate() {
            sums.add(j * WIDE).cast::<[__m256; 4]>().write(own);
        }
    }
}
