//! Products in f32: float weights in either mode, and quantised weights in `Mode::Exact`.
//!
//! Each output has one vector of eight sums along the columns, whichever kernel computes it.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::{by_rows, lanes};
use crate::activations::TILE;
use crate::activations::lanes::{CHUNK, LANES, Lanes};
use crate::products::{Tile, sum_lanes};
use crate::{Format, Matrix, Threads, quants};

/// Weight rows of a panel, in two vectors of eight.
const WIDE: usize = 16;
const SIDE: usize = 8;
/// Activation rows that meet a panel before the next chunk.
const BATCH: usize = 96 * TILE;
/// Columns of a lane in one round of the innermost loop: few rounds, so that the processor foresees the last.
const ROUND: usize = 4;
/// Rows up to which float weights are read straight from where they lie.
pub(in crate::products) const FEW: usize = 3;

/// One column of two times eight weight rows, or its sums.
type Pair = [__m256; 2];
/// Lane by lane, the sums of a tile of activation rows and two times eight weight rows.
type Sums = [[Pair; TILE]; LANES];

#[derive(Default)]
struct Scratch {
    /// `[WIDE]` rows of a chunk, for weights that are not f32.
    rows: Vec<[f32; CHUNK]>,
    /// `[lane, CHUNK / LANES]`: columns that belong to the same lane lie together.
    panel: Vec<Pair>,
    /// `[BATCH / TILE]`.
    sums: Vec<Sums>,
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

/// Activations that nobody laid out by lanes: correct, but every task does it again.
pub(in crate::products) fn unprepared(tile: &Tile<'_>) -> Lanes {
    let mut lanes = Lanes::default();
    lanes.make(&Threads::new(1), tile.x.rows(), tile.x.m(), tile.x.cols());
    lanes
}

/// Any weights: sixteen rows become a panel, a chunk of columns at a time, whose vectors hold a column of eight rows, and
/// six activation rows at a time meet it.
///
/// The columns of each lane come one after another, so that an output's eight sums are those of the other kernels though
/// its vectors run along the weight rows.
#[target_feature(enable = "avx2,fma,f16c")]
fn many(tile: &Tile<'_>) {
    let zero = _mm256_setzero_ps();
    let m = tile.x.m();
    let own;
    let x = match tile.x.lanes() {
        Some(lanes) => lanes,
        None => {
            own = unprepared(tile);
            &own
        }
    };
    SCRATCH.with_borrow_mut(|Scratch { rows, panel, sums }| {
        rows.resize(WIDE, [0.0; CHUNK]);
        panel.resize(CHUNK, [zero; 2]);
        for first in (0..tile.weight.rows).step_by(WIDE) {
            let weight = tile.weight.rows(first..(first + WIDE).min(tile.weight.rows));
            for start in (0..m).step_by(BATCH) {
                let end = (start + BATCH).min(m);
                sums.clear();
                sums.resize((end - start).div_ceil(TILE), [[[zero; 2]; TILE]; LANES]);
                for column in (0..weight.cols).step_by(CHUNK) {
                    let width = CHUNK.min(weight.cols - column);
                    pack(&weight, column, width, rows, panel);
                    for (t, sums) in sums.iter_mut().enumerate() {
                        let i = start + t * TILE;
                        by_rows!(end - i, N => add::<N>(x.tile(i / TILE, column), width, panel, sums));
                    }
                }
                for i in start..end {
                    let values = outputs(&sums[(i - start) / TILE], (i - start) % TILE);
                    tile.store_some(i, first, &values.as_flattened()[..weight.rows]);
                }
            }
        }
    });
}

/// The outputs of one activation row of a tile, added as [`crate::products::sum_lanes`] does.
#[inline]
#[target_feature(enable = "avx2")]
fn outputs(sums: &Sums, row: usize) -> [[f32; SIDE]; 2] {
    let add = |a: Pair, b: Pair| [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])];
    let [a, b, c, d, e, f, g, h] = sums;
    let even = add(add(a[row], e[row]), add(c[row], g[row]));
    let odd = add(add(b[row], f[row]), add(d[row], h[row]));
    let [low, high] = add(even, odd);
    [lanes::array(low), lanes::array(high)]
}

/// `width` columns of up to `N` rows as floats: where they lie, or widened in `rows` and then followed by zeros. Missing
/// rows repeat the last; their sums are not stored. Vectors of `VECTOR` columns can be read as far as `width` reaches.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::products) fn as_floats<const N: usize, const VECTOR: usize>(
    weight: &Matrix<'_>,
    column: usize,
    width: usize,
    rows: &mut [[f32; CHUNK]],
) -> [*const f32; N] {
    let format = weight.format;
    // Of a per-channel row both are 0: it is read by its columns.
    let bytes = width / format.block_len() * format.block_bytes();
    let at = column / format.block_len() * format.block_bytes();
    let mut pointers = [std::ptr::null::<f32>(); N];
    for (r, (pointer, to)) in pointers.iter_mut().zip(rows).enumerate() {
        let row = weight.row(r.min(weight.rows - 1));
        let from = &row[at..at + bytes];
        if format == Format::F32 && width.is_multiple_of(VECTOR) {
            *pointer = from.as_ptr().cast();
            continue;
        }
        to[width..].fill(0.0);
        match format.is_per_channel() {
            true => quants::channel::dequantize(format, row, column, &mut to[..width]),
            false => super::dequantize(format, from, &mut to[..width]),
        }
        *pointer = to.as_ptr();
    }
    pointers
}

/// Fills the panel with `width` columns of up to sixteen rows.
#[target_feature(enable = "avx2,fma,f16c")]
fn pack(weight: &Matrix<'_>, column: usize, width: usize, rows: &mut [[f32; CHUNK]], panel: &mut [Pair]) {
    let pointers = as_floats::<WIDE, LANES>(weight, column, width, rows);
    for (half, rows) in pointers.as_chunks::<SIDE>().0.iter().enumerate() {
        for k in 0..width.div_ceil(LANES) {
            // SAFETY: eight values of each row: of a whole vector of columns, or of a row that ends with zeros.
            let values =
                std::array::from_fn(|r| unsafe { _mm256_loadu_si256(rows[r].add(k * LANES).cast()) });
            for (lane, column) in lanes::transpose(values).into_iter().enumerate() {
                panel[lane * (CHUNK / LANES) + k][half] = _mm256_castsi256_ps(column);
            }
        }
    }
}

/// Adds a chunk's products of the first `N` activation rows of a tile, whose lanes are `x`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add<'a, const N: usize>(
    x: impl Iterator<Item = &'a [[f32; TILE]]>,
    width: usize,
    panel: &[Pair],
    sums: &mut Sums,
) {
    let panel = panel.chunks_exact(CHUNK / LANES);
    for (lane, ((x, w), sums)) in x.zip(panel).zip(sums).enumerate().take(width) {
        let (sums, _) = sums.split_first_chunk_mut::<N>().expect("a tile has so many rows");
        let mut own = *sums;
        let columns = (width - lane).div_ceil(LANES);
        let (x, w) = (&x[..columns], &w[..columns]);
        let mut step = |x: &[f32; TILE], w: &Pair| {
            for (own, x) in own.iter_mut().zip(x) {
                let x = _mm256_broadcast_ss(x);
                own[0] = _mm256_fmadd_ps(w[0], x, own[0]);
                own[1] = _mm256_fmadd_ps(w[1], x, own[1]);
            }
        };
        let ((x, x_rest), (w, w_rest)) = (x.as_chunks::<ROUND>(), w.as_chunks::<ROUND>());
        for (x, w) in x.iter().zip(w) {
            for (x, w) in x.iter().zip(w) {
                step(x, w);
            }
        }
        for (x, w) in x_rest.iter().zip(w_rest) {
            step(x, w);
        }
        *sums = own;
    }
}
