//! Fixed weights laid out for products with many rows: what a training multiplies with again and again.
//!
//! [`matmul`](crate::matmul) unpacks the weights of a file each time that rows meet them. Here they lie as the multipliers take
//! them, and so do the rows they meet. Results are those of `matmul` in [`Mode::Fast`](crate::Mode::Fast) to the bit.

use std::cell::RefCell;
use std::ops::Range;

use crate::activations::CodesMut;
use crate::quants::{SMALL, SmallBlock, q4_0::Q4_0, q5_0::Q5_0, q8_0::Q8_0};
use crate::threads::Disjoint;
use crate::variant::{self, Variant};
use crate::{Format, Matrix, Threads};

/// Weight rows of a panel, in two vectors of [`SIDE`].
pub(crate) const WIDE: usize = 2 * SIDE;
const SIDE: usize = 16;
/// Activation rows of a tile at most.
pub(crate) const TILE: usize = 6;
/// Steps of four columns in a block.
pub(crate) const STEPS: usize = SMALL / 4;
/// Bytes of activations that a second-level cache holds beside weights.
const NEAR: usize = 1 << 20;
/// The least work of a task, in weights times activation rows.
const TASK: usize = 1 << 21;

/// Multiplies the weights of some panels with all rows.
pub(crate) type Multiply = fn(&Task<'_>);

/// A block of 32 columns of 32 weight rows.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Block {
    /// Codes plus 128: `[step, row, column]`.
    pub(crate) codes: [[[u8; 4]; WIDE]; STEPS],
    /// Of each row.
    pub(crate) scales: [f32; WIDE],
}

/// The same columns of a tile of activation rows.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Inputs {
    pub(crate) codes: [[i8; SMALL]; TILE],
    pub(crate) scales: [f32; TILE],
    /// What codes plus 128 will make too much, with its sign changed.
    pub(crate) before: [i32; TILE],
}

const NO_WEIGHTS: Block = Block { codes: [[[128; 4]; WIDE]; STEPS], scales: [0.0; WIDE] };
const NO_INPUTS: Inputs = Inputs { codes: [[0; SMALL]; TILE], scales: [0.0; TILE], before: [0; TILE] };

/// A weight `[rows, cols]`, laid out.
pub struct Packed {
    rows: usize,
    /// Blocks of 32 columns.
    blocks: usize,
    /// `[panel, block]`.
    panels: Vec<Block>,
}

impl Packed {
    /// `matrix` laid out; `None` where the processor has no products for it, or the format has blocks of another kind: then
    /// [`matmul`](crate::matmul) is the fastest there is.
    pub fn new(pool: &Threads, matrix: Matrix<'_>) -> Option<Packed> {
        variant::chosen().packed?;
        let fill = match matrix.format {
            Format::Q8_0 => fill::<Q8_0>,
            Format::Q5_0 => fill::<Q5_0>,
            Format::Q4_0 => fill::<Q4_0>,
            _ => return None,
        };
        let blocks = matrix.cols / SMALL;
        let mut panels = vec![NO_WEIGHTS; matrix.rows.div_ceil(WIDE) * blocks];
        pool.for_each_chunk(&mut panels, blocks.max(1), |panel, blocks| fill(&matrix, panel * WIDE, blocks));
        Some(Packed { rows: matrix.rows, blocks, panels })
    }

    /// Rows, which are outputs of a product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub fn cols(&self) -> usize {
        self.blocks * SMALL
    }
}

/// Fills the blocks of a panel with the rows from `first` on.
fn fill<K: SmallBlock>(matrix: &Matrix<'_>, first: usize, blocks: &mut [Block]) {
    let mut codes = [0; SMALL];
    for row in first..matrix.rows.min(first + WIDE) {
        let at = row - first;
        for (block, from) in blocks.iter_mut().zip(matrix.row(row).chunks_exact(K::BYTES)) {
            K::codes(from, &mut codes);
            block.scales[at] = K::scale(from);
            for (step, codes) in block.codes.iter_mut().zip(codes.as_chunks::<4>().0) {
                step[at] = codes.map(|code| code.cast_unsigned() ^ 128);
            }
        }
    }
}

/// Rows `[m, cols]`, rounded to 8 bits in blocks of 32 as [`Activations`](crate::Activations) are. Buffers are used again.
#[derive(Default)]
pub struct PackedRows {
    m: usize,
    cols: usize,
    /// Rows of a tile.
    tile: usize,
    /// `[tile, block]`.
    inputs: Vec<Inputs>,
}

thread_local! {
    /// A row's codes, scales and sums.
    static ROW: RefCell<(Vec<i8>, Vec<f32>, Vec<i16>)> = RefCell::default();
}

impl PackedRows {
    /// Takes the rows `x`, `[m, cols]`.
    ///
    /// # Panics
    /// When `x` has another size, or `cols` is not a multiple of 32.
    pub fn set(&mut self, pool: &Threads, x: &[f32], m: usize, cols: usize) {
        assert_eq!(Some(x.len()), m.checked_mul(cols), "activations [{m}, {cols}]");
        assert!(cols.is_multiple_of(SMALL), "{cols} columns in blocks of {SMALL}");
        let blocks = cols / SMALL;
        // Tiles with the fewest rows left empty; the largest of these.
        self.tile = (4..=TILE).rev().min_by_key(|tile| m.next_multiple_of(*tile)).unwrap_or(TILE);
        (self.m, self.cols) = (m, cols);
        let (tile, count) = (self.tile, m.div_ceil(self.tile) * blocks);
        if self.inputs.len() < count {
            self.inputs.resize(count, NO_INPUTS);
        }
        let quantize = variant::chosen().quantize_small;
        pool.for_each_chunk(&mut self.inputs[..count], blocks.max(1), |at, inputs| {
            ROW.with_borrow_mut(|(codes, scales, sums)| {
                codes.resize(cols, 0);
                scales.resize(blocks, 0.0);
                sums.resize(blocks, 0);
                for j in 0..tile {
                    // Beyond the last row, the last row again.
                    let row = (at * tile + j).min(m - 1);
                    quantize(&x[row * cols..(row + 1) * cols], CodesMut { codes, scales, sums });
                    let parts = codes.as_chunks::<SMALL>().0.iter().zip(&*scales).zip(&*sums);
                    for (input, ((codes, scale), sum)) in inputs.iter_mut().zip(parts) {
                        input.codes[j] = *codes;
                        input.scales[j] = *scale;
                        input.before[j] = -128 * i32::from(*sum);
                    }
                }
            });
        });
    }
}

/// One weight and where its product goes.
pub struct PackedProduct<'a> {
    /// The weight.
    pub weight: &'a Packed,
    /// `[m, weight.rows()]`.
    pub out: &'a mut [f32],
    /// Whether the product is added to what stands there.
    pub add: bool,
}

/// Panels of one product, the work of one task.
pub(crate) struct Task<'a> {
    weight: &'a Packed,
    rows: &'a PackedRows,
    pub(crate) panels: Range<usize>,
    out: &'a Disjoint<'a, f32>,
    pub(crate) add: bool,
}

impl Task<'_> {
    /// Activation rows of a tile.
    pub(crate) fn tile(&self) -> usize {
        self.rows.tile
    }

    /// Tiles of activation rows.
    pub(crate) fn tiles(&self) -> usize {
        self.rows.m.div_ceil(self.rows.tile)
    }

    /// Blocks of 32 columns.
    pub(crate) fn blocks(&self) -> usize {
        self.weight.blocks
    }

    /// Blocks that every panel meets before the next ones: as many as the cache holds of all rows.
    pub(crate) fn near(&self) -> usize {
        (NEAR / size_of::<Inputs>() / self.tiles().max(1)).max(1)
    }

    /// Some blocks of a panel.
    pub(crate) fn weights(&self, panel: usize, blocks: Range<usize>) -> &[Block] {
        &self.weight.panels[panel * self.weight.blocks..][blocks]
    }

    /// The same blocks of a tile of activation rows.
    pub(crate) fn inputs(&self, tile: usize, blocks: Range<usize>) -> &[Inputs] {
        &self.rows.inputs[tile * self.weight.blocks..][blocks]
    }

    /// The outputs of activation row `i` and a panel, if there is such a row.
    ///
    /// # Safety
    /// The panel is the task's, and no other outputs of it are borrowed.
    #[expect(clippy::mut_from_ref, reason = "exclusive by the caller's promise")]
    pub(crate) unsafe fn out(&self, i: usize, panel: usize) -> Option<&mut [f32]> {
        let (first, rows) = (panel * WIDE, self.weight.rows);
        // SAFETY: the outputs of a panel belong to one task, and the caller's promise.
        (i < self.rows.m).then(|| unsafe { self.out.slice(i * rows + first, (rows - first).min(WIDE)) })
    }
}

/// `out = x Wᵀ`, or `out += x Wᵀ`, for several weights, in one parallel section; the same on any number of threads.
///
/// # Panics
/// When shapes disagree.
pub fn matmul_packed(pool: &Threads, rows: &PackedRows, products: &mut [PackedProduct<'_>]) {
    multiply(variant::chosen(), pool, rows, products);
}

fn multiply(variant: &Variant, pool: &Threads, rows: &PackedRows, products: &mut [PackedProduct<'_>]) {
    let Some(function) = variant.packed.filter(|_| rows.m > 0) else { return };
    let parts: Vec<(&Packed, Disjoint<'_, f32>, bool)> = products
        .iter_mut()
        .map(|PackedProduct { weight, out, add }| {
            assert_eq!(weight.cols(), rows.cols, "columns of a weight and of activations");
            assert_eq!(out.len(), rows.m * weight.rows, "outputs [{}, {}]", rows.m, weight.rows);
            (*weight, Disjoint::new(out), *add)
        })
        .collect();
    // Activations that no cache holds meet several panels at a time.
    let long = rows.m.div_ceil(rows.tile) * (rows.cols / SMALL) * size_of::<Inputs>() > NEAR;
    let mut tasks = Vec::new();
    for part in &parts {
        let panels = part.0.rows.div_ceil(WIDE);
        let least = TASK / (WIDE * rows.cols * rows.m).max(1);
        let each = if long { panels.div_ceil(2 * pool.count()) } else { least }.max(1);
        let first = (0..panels).step_by(each);
        tasks.extend(first.map(|first| (part, first..panels.min(first + each))));
    }
    pool.run(tasks.len(), |at| {
        let ((weight, out, add), panels) = &tasks[at];
        function(&Task { weight, rows, panels: panels.clone(), out, add: *add });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activations, Mode, Product, matmul, quantize_rows};

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + seed * 101) % 113) as f32 / 113.0 - 0.5).collect()
    }

    #[test]
    fn products_are_those_of_matmul_to_the_bit() {
        for (m, rows, cols) in
            [(1, 5, 32), (4, 33, 64), (7, 100, 640), (20, 64, 2048), (39, 31, 800), (7, 70, 60_000)]
        {
            let cols = cols / 32 * 32;
            for format in [Format::Q8_0, Format::Q5_0, Format::Q4_0] {
                let (x, pool) = (numbers(m * cols, 1), Threads::new(3));
                let mut data = Vec::new();
                quantize_rows(format, cols, &numbers(rows * cols, 2), &mut data);
                let weight = Matrix::new(format, rows, cols, &data).unwrap();
                let mut expected = vec![0.0; m * rows];
                let mut activations = Activations::new();
                activations.set(&x, m, cols);
                activations.prepare(&pool, std::iter::once(format), Mode::Fast);
                matmul(&pool, &activations, &mut [Product { weight, out: &mut expected }], Mode::Fast);

                let Some(packed) = Packed::new(&pool, weight) else { return };
                let mut found = vec![f32::NAN; m * rows];
                let mut packed_rows = PackedRows::default();
                packed_rows.set(&pool, &x, m, cols);
                let mut product = |add| {
                    let out = &mut found;
                    matmul_packed(&pool, &packed_rows, &mut [PackedProduct { weight: &packed, out, add }]);
                    found.clone()
                };
                assert_eq!(product(false), expected, "{format} {m} {rows} {cols}");
                let twice: Vec<f32> = expected.iter().map(|value| value + value).collect();
                assert_eq!(product(true), twice, "{format} {m} {rows} {cols}");
            }
        }
    }
}
