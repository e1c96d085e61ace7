//! The inputs of a product: f32 rows and, beside them, the quantised forms that fast products read.
//!
//! A block's scale is its largest magnitude over 127, kept as f32; codes round half to even. Blocks are 32 values
//! for Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 and 256 for the K-quants, as in llama.cpp; for the per-channel formats a block is the
//! whole row ([`whole`]).

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
pub(crate) mod whole;

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "AVX2 reads them"))]
pub(crate) mod lanes;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "AMX reads it"))]
mod parts;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "AMX reads them"))]
mod tiles;

use crate::quants::{LARGE, SMALL};
use crate::threads::Disjoint;
use crate::variant::{self, Variant};
use crate::{Format, Mode, Rounding, Threads};
use lanes::Lanes;
pub(crate) use parts::Parts;
#[cfg(target_arch = "x86_64")]
pub(crate) use parts::STEP;
pub(crate) use tiles::{TILE_ROWS, Tiles};

/// Rows of a panel's tile: with two vectors of weights, six rows' sums leave four registers.
pub(crate) const TILE: usize = 6;
/// From this many rows on, products read panels.
pub(crate) const PANEL_ROWS: usize = 4;

/// Layouts of the codes of several activation rows, besides the plain one.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "NEON reads plain rows"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Panels {
    /// No other.
    None,
    /// [`TILE`] rows side by side, [`Panel`].
    Narrow,
    /// Sixteen rows side by side, [`Tiles`].
    Sixteen,
}

/// Reusable activations `[m, cols]`.
#[derive(Default)]
pub struct Activations {
    pub(crate) m: usize,
    pub(crate) cols: usize,
    /// Whole cache lines, so that vector loads of aligned rows cross none.
    lines: Vec<Line>,
    pub(crate) small: Quantized,
    pub(crate) large: Quantized,
    pub(crate) whole: whole::Whole,
    parts: Parts,
    lanes: Lanes,
    /// Whether the floats were rounded.
    rounded: bool,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

const LINE: usize = 16;

/// The first `len` floats of some lines.
fn floats(lines: &[Line], len: usize) -> &[f32] {
    assert!(len <= lines.len() * LINE, "{len} values");
    // SAFETY: lines are whole floats without padding, and there are this many.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), len) }
}

/// One quantised form.
#[derive(Default)]
pub(crate) struct Quantized {
    ready: bool,
    /// `[m, cols]`.
    pub(crate) codes: Vec<i8>,
    /// `[m, cols / block]`.
    pub(crate) scales: Vec<f32>,
    /// Sums of codes: `[m, cols / 32]` in small blocks, `[m, cols / 16]` in large ones.
    pub(crate) sums: Vec<i16>,
    pub(crate) panel: Panel,
    pub(crate) tiles: Tiles,
}

/// A tile's rows side by side, for products of several rows: all inputs that a tile of outputs needs in a chunk of 256
/// columns lie together. Rows are padded with zeros to a multiple of [`TILE`], columns are not padded.
#[derive(Default)]
pub(crate) struct Panel {
    bytes_ready: bool,
    wide_ready: bool,
    /// `[chunk, tile, block of 32, TILE, 32]`.
    pub(crate) bytes: Vec<i8>,
    /// The same as 16-bit numbers.
    pub(crate) wide: Vec<i16>,
    /// `[chunk, tile, block of 32, TILE]`, or `[chunk, tile, TILE]` for large blocks.
    pub(crate) scales: Vec<f32>,
    /// `[chunk, tile, block of 32, TILE]`, or `[chunk, tile, TILE, 16]` for large blocks.
    pub(crate) sums: Vec<i16>,
}

/// Where one row's quantised form goes.
pub(crate) struct CodesMut<'a> {
    pub(crate) codes: &'a mut [i8],
    pub(crate) scales: &'a mut [f32],
    pub(crate) sums: &'a mut [i16],
}

/// Quantises a row in blocks of `BLOCK`, with a sum of codes for every `SUM` values.
#[inline(always)]
pub(crate) fn quantize_row<const BLOCK: usize, const SUM: usize>(row: &[f32], to: CodesMut<'_>) {
    let blocks = row.as_chunks::<BLOCK>().0.iter().zip(to.codes.as_chunks_mut::<BLOCK>().0).zip(to.scales);
    for ((values, codes), scale) in blocks {
        let mut lanes = [0.0f32; 8];
        let mut poison = [0.0f32; 8];
        for eight in values.as_chunks::<8>().0 {
            for lane in 0..8 {
                let size = eight[lane].abs();
                lanes[lane] = if size > lanes[lane] { size } else { lanes[lane] };
                // Stays zero for finite values, else becomes NaN.
                poison[lane] += eight[lane] * 0.0;
            }
        }
        let largest = lanes.iter().fold(0.0f32, |a, b| a.max(*b));
        *scale = largest / 127.0 + poison.iter().sum::<f32>();
        let inverse = 127.0 / largest;
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        for (code, value) in codes.iter_mut().zip(values) {
            // The product is at most 127 and a rounding; what a NaN becomes does not matter, its scale is NaN.
            let rounded = (value * inverse).round_ties_even();
            *code = rounded as i32 as i8;
        }
    }
    for (sum, codes) in to.sums.iter_mut().zip(to.codes.as_chunks::<SUM>().0) {
        *sum = codes.iter().map(|code| i16::from(*code)).sum();
    }
}

impl Quantized {
    /// Grows the buffers and says where row `i` goes.
    fn resize(&mut self, m: usize, cols: usize, block: usize, sum: usize) {
        grow(&mut self.codes, m * cols);
        grow(&mut self.scales, m * (cols / block));
        grow(&mut self.sums, m * (cols / sum));
    }
}

/// Lengthens a buffer that is shorter.
fn grow<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
}

/// Fills `lines` with the values of `x`, or with as many as there are.
fn copy(x: &[f32], lines: &mut [Line]) {
    let (whole, rest) = x.as_chunks::<LINE>();
    for (line, values) in lines.iter_mut().zip(whole) {
        line.0 = *values;
    }
    if let Some(line) = lines.get_mut(whole.len()) {
        let rest = &rest[..rest.len().min(LINE)];
        line.0[..rest.len()].copy_from_slice(rest);
    }
}

impl Activations {
    /// Empty buffers.
    pub fn new() -> Activations {
        Activations::default()
    }

    /// Bytes its buffers take.
    pub fn bytes(&self) -> usize {
        let codes = self.small.codes.capacity() + self.large.codes.capacity();
        size_of::<Line>() * self.lines.capacity() + codes + self.parts.bytes()
    }

    /// Takes rows `x`, `[m, cols]`, and forgets the forms prepared before. Allocates only while buffers grow.
    ///
    /// Panics when `x` does not hold `m * cols` values.
    pub fn set(&mut self, x: &[f32], m: usize, cols: usize) {
        self.resize(x, m, cols);
        copy(x, &mut self.lines);
    }

    /// [`Activations::set`] by all threads, for many rows.
    pub fn set_with(&mut self, pool: &Threads, x: &[f32], m: usize, cols: usize) {
        /// Lines a task copies: 64 KB.
        const EACH: usize = 1024;
        self.resize(x, m, cols);
        let lines = &mut self.lines[..x.len().div_ceil(LINE)];
        pool.for_each_chunk(lines, EACH, |i, lines| copy(&x[i * EACH * LINE..], lines));
    }

    fn resize(&mut self, x: &[f32], m: usize, cols: usize) {
        assert_eq!(Some(x.len()), m.checked_mul(cols), "activations [{m}, {cols}]");
        self.m = m;
        self.cols = cols;
        let lines = x.len().div_ceil(LINE);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0.0; LINE]));
        }
        for form in [&mut self.small, &mut self.large] {
            form.ready = false;
            form.panel.bytes_ready = false;
            form.panel.wide_ready = false;
            form.tiles.ready = false;
        }
        self.rounded = false;
        self.whole.forget();
        self.parts.ready = false;
        self.lanes.ready = false;
    }

    /// Says how these rows are rounded in [`Mode::Fast`], until the next [`Activations::set`]: beside per-channel weights to
    /// integers, beside float weights to what those integers stand for. Block formats have their own rounding.
    ///
    /// # Panics
    /// When the rounding is not valid, or a form was prepared already.
    pub fn round(&mut self, rounding: Rounding) {
        assert!(rounding.is_valid(), "{rounding:?}");
        assert!(
            !self.whole.ready && !self.lanes.ready && !self.parts.ready,
            "rounding comes before the forms"
        );
        self.whole.rounding = Some(rounding);
    }

    /// Number of rows.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Values in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The f32 rows, `[m, cols]`.
    pub fn rows(&self) -> &[f32] {
        floats(&self.lines, self.m * self.cols)
    }

    /// The rows in parts, when that form was made.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn parts(&self) -> Option<&Parts> {
        self.parts.ready.then_some(&self.parts)
    }

    /// The rows by lanes, when that form was made.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn lanes(&self) -> Option<&Lanes> {
        self.lanes.ready.then_some(&self.lanes)
    }

    pub(crate) fn row(&self, i: usize) -> &[f32] {
        &self.rows()[i * self.cols..(i + 1) * self.cols]
    }

    /// Makes the forms that products with weights of these `formats` read. Forms made since [`Activations::set`]
    /// are kept. Quantises nothing in [`Mode::Exact`].
    ///
    /// Panics when a format's blocks do not divide a row.
    pub fn prepare(&mut self, pool: &Threads, formats: impl Iterator<Item = Format>, mode: Mode) {
        self.prepare_for(variant::chosen(), pool, formats, mode);
    }

    pub(crate) fn prepare_for(
        &mut self,
        variant: &Variant,
        pool: &Threads,
        formats: impl Iterator<Item = Format>,
        mode: Mode,
    ) {
        let panels = if self.m >= PANEL_ROWS { variant.panels } else { Panels::None };
        for format in formats {
            if let Some(rounding) = self.whole.rounding
                && mode == Mode::Fast
                && format.is_float()
                && !std::mem::replace(&mut self.rounded, true)
            {
                self.round_floats(pool, rounding);
            }
            let in_parts = format == Format::BF16 && variant.parts;
            if in_parts {
                self.parts.make(pool, floats(&self.lines, self.m * self.cols), self.m, self.cols);
            }
            // Beside float weights, few rows are read as they are.
            let in_lanes = if format.is_float() { self.m >= PANEL_ROWS } else { mode == Mode::Exact };
            if variant.lanes && in_lanes && !in_parts {
                self.lanes.make(pool, floats(&self.lines, self.m * self.cols), self.m, self.cols);
            }
            if mode == Mode::Exact {
                continue;
            }
            assert!(
                format.row_bytes(self.cols).is_some(),
                "rows of {} values and {format} blocks",
                self.cols
            );
            match format.block_len() {
                _ if format.is_per_channel() => {
                    // SAFETY: as in `rows`, which would borrow the forms too.
                    let x: &[f32] =
                        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.m * self.cols) };
                    self.whole.prepare(variant, pool, x, self.m, format, panels);
                }
                SMALL => {
                    self.quantize::<SMALL>(variant, pool);
                    match panels {
                        Panels::None => {}
                        Panels::Narrow => self.make_panel(pool, true, format == Format::Q8_0),
                        Panels::Sixteen => self.small.make_tiles(pool, self.m, self.cols),
                    }
                }
                LARGE => {
                    self.quantize::<LARGE>(variant, pool);
                    match panels {
                        Panels::None => {}
                        Panels::Narrow => self.make_panel(pool, false, false),
                        Panels::Sixteen => self.large.make_tiles(pool, self.m, self.cols),
                    }
                }
                _ => {}
            }
        }
    }

    fn round_floats(&mut self, pool: &Threads, rounding: Rounding) {
        let (m, cols) = (self.m, self.cols);
        // SAFETY: lines are whole floats without padding, and `resize` made room for these.
        let rows = unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<f32>(), m * cols) };
        pool.for_each_chunk(rows, cols.max(1), |_, row| rounding.apply(row));
    }

    /// Whether products with weights of this format can read these activations.
    pub(crate) fn ready(&self, variant: &Variant, format: Format) -> bool {
        let panels = if self.m < PANEL_ROWS { Panels::None } else { variant.panels };
        let form = match format.block_len() {
            SMALL => &self.small,
            LARGE => &self.large,
            _ if format.is_per_channel() => return self.whole.ready(format, panels),
            _ => return true,
        };
        form.ready
            && match panels {
                Panels::None => true,
                Panels::Narrow if format == Format::Q8_0 => form.panel.wide_ready,
                Panels::Narrow => form.panel.bytes_ready,
                Panels::Sixteen => form.tiles.ready,
            }
    }

    fn quantize<const BLOCK: usize>(&mut self, variant: &Variant, pool: &Threads) {
        let small = BLOCK == SMALL;
        let rows = floats(&self.lines, self.m * self.cols);
        let form = if small { &mut self.small } else { &mut self.large };
        if std::mem::replace(&mut form.ready, true) {
            return;
        }
        let (m, cols, sum) = (self.m, self.cols, if small { 32 } else { 16 });
        form.resize(m, cols, BLOCK, sum);
        let function = if small { variant.quantize_small } else { variant.quantize_large };
        let codes = Disjoint::new(&mut form.codes);
        let scales = Disjoint::new(&mut form.scales);
        let sums = Disjoint::new(&mut form.sums);
        let (blocks, parts) = (cols / BLOCK, cols / sum);
        pool.run(m.div_ceil(TILE), |tile| {
            for i in tile * TILE..((tile + 1) * TILE).min(m) {
                // SAFETY: each row's ranges belong to one task, and the buffers hold m of them.
                let to = unsafe {
                    CodesMut {
                        codes: codes.slice(i * cols, cols),
                        scales: scales.slice(i * blocks, blocks),
                        sums: sums.slice(i * parts, parts),
                    }
                };
                function(&rows[i * cols..(i + 1) * cols], to);
            }
        });
    }

    fn make_panel(&mut self, pool: &Threads, small: bool, wide: bool) {
        let form = if small { &mut self.small } else { &mut self.large };
        let panel = &mut form.panel;
        let fresh = !(panel.bytes_ready || panel.wide_ready);
        let ready = if wide { &mut panel.wide_ready } else { &mut panel.bytes_ready };
        if std::mem::replace(ready, true) {
            return;
        }
        let (m, cols) = (self.m, self.cols);
        let (tiles, blocks) = (m.div_ceil(TILE), cols / SMALL);
        let chunks = cols.div_ceil(LARGE);
        if wide {
            grow(&mut panel.wide, tiles * TILE * cols);
        } else {
            grow(&mut panel.bytes, tiles * TILE * cols);
        }
        let scales_each = if small { blocks } else { chunks };
        let sums_each = if small { blocks } else { cols / 16 };
        grow(&mut panel.scales, tiles * TILE * scales_each);
        grow(&mut panel.sums, tiles * TILE * sums_each);
        let bytes = Disjoint::new(&mut panel.bytes);
        let wides = Disjoint::new(&mut panel.wide);
        let scales = Disjoint::new(&mut panel.scales);
        let sums = Disjoint::new(&mut panel.sums);
        let (from_codes, from_scales, from_sums) = (&form.codes, &form.scales, &form.sums);
        pool.run(tiles, |tile| {
            for chunk in 0..chunks {
                let first = chunk * LARGE / SMALL;
                let here = (blocks - first).min(LARGE / SMALL);
                // Blocks of 32 before this tile's part of this chunk.
                let before = (first * tiles + tile * here) * TILE;
                for row in 0..TILE {
                    let i = tile * TILE + row;
                    for block in 0..here {
                        let at = (before + block * TILE + row) * SMALL;
                        let codes =
                            (i < m).then(|| &from_codes[i * cols + (first + block) * SMALL..][..SMALL]);
                        // SAFETY: a block's place belongs to its tile, and so to one task.
                        unsafe {
                            match (wide, codes) {
                                (true, Some(codes)) => {
                                    for (to, code) in wides.slice(at, SMALL).iter_mut().zip(codes) {
                                        *to = i16::from(*code);
                                    }
                                }
                                (true, None) => wides.slice(at, SMALL).fill(0),
                                (false, Some(codes)) => bytes.slice(at, SMALL).copy_from_slice(codes),
                                (false, None) => bytes.slice(at, SMALL).fill(0),
                            }
                        }
                    }
                    if !fresh {
                        continue;
                    }
                    // SAFETY: as above.
                    unsafe {
                        if small {
                            for block in 0..here {
                                let at = before + block * TILE + row;
                                let from = i * blocks + first + block;
                                scales.slice(at, 1)[0] = if i < m { from_scales[from] } else { 0.0 };
                                sums.slice(at, 1)[0] = if i < m { from_sums[from] } else { 0 };
                            }
                        } else {
                            let at = (chunk * tiles + tile) * TILE + row;
                            scales.slice(at, 1)[0] =
                                if i < m { from_scales[i * chunks + chunk] } else { 0.0 };
                            let to = sums.slice(at * 16, 16);
                            match i < m {
                                true => to.copy_from_slice(&from_sums[(i * chunks + chunk) * 16..][..16]),
                                false => to.fill(0),
                            }
                        }
                    }
                }
            }
        });
    }
}

impl std::fmt::Debug for Activations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Activations([{}, {}])", self.m, self.cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_scales_and_sums() {
        let mut x = Activations::new();
        let mut row = vec![0.0f32; 64];
        row[0] = 127.0;
        row[1] = -63.5;
        row[2] = 2.5;
        row[40] = f32::NAN;
        x.set(&row, 1, 64);
        x.prepare(&Threads::new(1), [Format::Q8_0].into_iter(), Mode::Fast);
        assert_eq!(&x.small.codes[..4], [127, -64, 2, 0]);
        assert_eq!(x.small.scales[0], 1.0);
        assert!(x.small.scales[1].is_nan());
        assert_eq!(x.small.sums[0], 127 - 64 + 2);
    }

    #[test]
    fn threads_copy_all_rows() {
        for (m, cols) in [(0, 5), (1, 7), (40, 1031), (3, 32_768)] {
            let x: Vec<f32> = (0..m * cols).map(|i| i as f32).collect();
            let mut activations = Activations::new();
            activations.set_with(&Threads::new(3), &x, m, cols);
            assert_eq!(activations.rows(), x);
        }
    }

    #[test]
    fn all_variants_quantise_alike() {
        let row: Vec<f32> = (0..512).map(|i| ((i * 7919) % 1000) as f32 * 0.013 - 6.5).collect();
        let pool = Threads::new(2);
        for variant in variant::ALL.iter().filter(|v| (v.available)()) {
            for tiny in [1.0, 1e-38, 1e-45, 1e30] {
                let row: Vec<f32> = row.iter().map(|v| v * tiny).collect();
                let (mut a, mut b) = (Activations::new(), Activations::new());
                a.set(&row, 2, 256);
                b.set(&row, 2, 256);
                a.prepare_for(variant, &pool, [Format::Q4_0, Format::Q4K].into_iter(), Mode::Fast);
                b.prepare_for(&variant::PORTABLE, &pool, [Format::Q4_0, Format::Q4K].into_iter(), Mode::Fast);
                for (a, b) in [(&a.small, &b.small), (&a.large, &b.large)] {
                    assert_eq!(a.codes, b.codes, "{}", variant.name);
                    assert_eq!(a.scales, b.scales);
                    assert_eq!(a.sums, b.sums);
                }
            }
        }
    }
}
