//! Linear layers that do not learn: forward, and the gradient of their input.

use crayon_formats::spec::Spec;
use crayon_formats::{Checkpoint, Tensor};
use crayon_kernels::{
    Activations, Factors, Matrix, Mode, Packed, PackedProduct, PackedRows, Product, Threads, accumulate,
    dequantize, dequantize_rows, matmul, matmul_packed, ops,
};

use super::memory::{Buffer, Memory};
use super::turned::{stored_in_blocks, turned};
use crate::{TrainError, plain};

/// What products work with: threads, and memory that is used again.
pub(super) struct Work<'a> {
    pub(super) threads: &'a Threads,
    pub(super) memory: &'a Memory,
    mode: Mode,
    activations: Activations,
    rows: PackedRows,
}

impl<'a> Work<'a> {
    pub(super) fn new(threads: &'a Threads, memory: &'a Memory, mode: Mode) -> Work<'a> {
        Work { threads, memory, mode, activations: Activations::new(), rows: PackedRows::default() }
    }
}

/// A weight as products take it.
enum Weight {
    /// As it is stored.
    Stored(Tensor),
    /// Laid out for products with many rows.
    Packed(Packed),
}

impl Weight {
    fn fast(tensor: Tensor, threads: &Threads) -> Weight {
        match Packed::new(threads, matrix(&tensor)) {
            Some(packed) => Weight::Packed(packed),
            None => Weight::Stored(tensor),
        }
    }
}

/// `y = x Wᵀ + b`.
pub(super) struct Linear {
    /// `[out, in]`, as it lies in the file.
    tensor: Tensor,
    /// The same as products take it.
    weight: Weight,
    /// `[in, out]` in 8-bit blocks, because products run along rows; `None`: the way back is computed in f32 from `tensor`.
    turned: Option<Weight>,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// The layer called `stem` in the checkpoint, with rows of queries and keys in the order of halves.
    pub(super) fn open(
        checkpoint: &Checkpoint,
        stem: &str,
        bias: bool,
        mode: Mode,
        threads: &Threads,
    ) -> Result<Linear, TrainError> {
        let name = format!("{stem}.weight");
        let bias = bias.then(|| parameter(checkpoint, &format!("{stem}.bias"))).transpose()?;
        let mut tensor = checkpoint.tensor(&name)?;
        if let Some(order) = plain::half_order(&checkpoint.spec, &name, tensor.shape[0]) {
            let row = tensor.data.len() / tensor.shape[0].max(1);
            let bytes = order.iter().flat_map(|from| &tensor.data[from * row..(from + 1) * row]);
            tensor.data = bytes.copied().collect::<Vec<u8>>().into();
        }
        let turned = (mode == Mode::Fast).then(|| turned(&tensor, threads)).flatten();
        let turned = turned.map(|turned| Weight::fast(turned, threads));
        let weight = match mode {
            Mode::Fast => Weight::fast(stored_in_blocks(tensor.clone(), threads), threads),
            Mode::Exact => Weight::Stored(tensor.clone()),
        };
        Ok(Linear { tensor, weight, turned, bias })
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(super) fn forward(&self, x: &[f32], rows: usize, work: &mut Work<'_>) -> Buffer {
        let [y] = forward([self], x, rows, work);
        y
    }

    /// Gradient `[rows, out]` of the output to that of the input, `[rows, in]`, which goes to `out` or with `add` is added to it.
    pub(super) fn backward(
        &self,
        gradient: &[f32],
        rows: usize,
        out: &mut [f32],
        add: bool,
        work: &mut Work<'_>,
    ) {
        match &self.turned {
            Some(turned) => multiply(&[turned], gradient, rows, &mut [out], add, work),
            None => {
                if !add {
                    out.fill(0.0);
                }
                back_in_f32(&self.tensor, gradient, rows, out, work.threads);
            }
        }
    }
}

/// Several layers of the same input `[rows, in]`.
pub(super) fn forward<const N: usize>(
    layers: [&Linear; N],
    x: &[f32],
    rows: usize,
    work: &mut Work<'_>,
) -> [Buffer; N] {
    let mut all = layers.map(|layer| work.memory.buffer(rows * layer.tensor.shape[0]));
    let outs = &mut all.each_mut().map(|out| &mut out[..]);
    multiply(&layers.map(|layer| &layer.weight), x, rows, outs, false, work);
    for (layer, out) in layers.iter().zip(&mut all) {
        if let Some(bias) = &layer.bias {
            ops::add_bias(out, bias);
        }
    }
    all
}

/// `x Wᵀ` of several weights for `x` `[rows, cols]`, which goes to `out` or with `add` is added to it.
fn multiply(
    weights: &[&Weight],
    x: &[f32],
    rows: usize,
    out: &mut [&mut [f32]],
    add: bool,
    work: &mut Work<'_>,
) {
    if rows == 0 {
        return;
    }
    let Work { threads, memory, mode, activations, rows: packed_rows } = work;
    let cols = x.len() / rows;
    let (mut packed, mut stored) = (Vec::new(), Vec::new());
    for (weight, out) in weights.iter().zip(out) {
        match weight {
            Weight::Packed(weight) => packed.push(PackedProduct { weight, out, add }),
            Weight::Stored(weight) => stored.push((weight, out)),
        }
    }
    if !packed.is_empty() {
        packed_rows.set(threads, x, rows, cols);
        matmul_packed(threads, packed_rows, &mut packed);
    }
    if stored.is_empty() {
        return;
    }
    activations.set_with(threads, x, rows, cols);
    activations.prepare(threads, stored.iter().map(|(weight, _)| weight.format), *mode);
    let mut before: Vec<Option<Buffer>> =
        stored.iter().map(|(_, out)| add.then(|| memory.copy(out))).collect();
    let mut products: Vec<Product<'_>> =
        stored.iter_mut().map(|(weight, out)| Product { weight: matrix(weight), out }).collect();
    matmul(threads, activations, &mut products, *mode);
    for ((_, out), before) in stored.iter_mut().zip(&mut before) {
        before.iter().for_each(|before| ops::add(out, before));
    }
}

fn matrix(weight: &Tensor) -> Matrix<'_> {
    Matrix { format: weight.format, rows: weight.shape[0], cols: weight.cols(), data: &weight.data }
}

/// `out += dy W`, with some rows of the weight in floats at a time.
fn back_in_f32(weight: &Tensor, gradient: &[f32], rows: usize, out: &mut [f32], threads: &Threads) {
    /// Rows in floats at a time, and those a task makes.
    const STRIPE: usize = 256;
    const EACH: usize = 32;
    let (output, cols) = (weight.shape[0], weight.cols());
    let bytes = weight.data.len() / output.max(1);
    let mut values = vec![0.0; STRIPE.min(output) * cols];
    for first in (0..output).step_by(STRIPE) {
        let stripe = first..output.min(first + STRIPE);
        let values = &mut values[..stripe.len() * cols];
        threads.for_each_chunk(values, EACH * cols, |at, values| {
            let from = (stripe.start + at * EACH) * bytes;
            let data = &weight.data[from..from + values.len() / cols * bytes];
            dequantize_rows(weight.format, cols, data, values);
        });
        accumulate(threads, Factors::new(gradient, rows, output).columns(stripe), values, cols, out);
    }
}

/// The row of `table` for each of `ids`, side by side.
pub(super) fn look_up(table: &Tensor, ids: &[u32]) -> Vec<f32> {
    let (cols, bytes) = (table.cols(), table.data.len() / table.shape[0].max(1));
    let mut out = vec![0.0; ids.len() * cols];
    for (id, row) in ids.iter().zip(out.chunks_exact_mut(cols)) {
        let id = *id as usize;
        dequantize(table.format, &table.data[id * bytes..(id + 1) * bytes], row);
    }
    out
}

/// Values of a parameter, with rows of queries and keys in the order of halves.
pub(super) fn parameter(checkpoint: &Checkpoint, name: &str) -> Result<Vec<f32>, TrainError> {
    let spec: &Spec = &checkpoint.spec;
    let tensor = checkpoint.tensor(name)?;
    let mut values = tensor.to_f32();
    plain::pair_halves(spec, name, &tensor.shape, &mut values);
    Ok(values)
}

/// `[rows, cols]` to `[cols, rows]`.
///
/// # Panics
/// When `values` does not have that size.
pub fn transpose(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    /// Both sides of a square stay in the first-level cache.
    const SQUARE: usize = 32;
    assert_eq!(values.len(), rows * cols, "[{rows}, {cols}]");
    let mut out = vec![0.0; values.len()];
    for top in (0..rows).step_by(SQUARE) {
        for left in (0..cols).step_by(SQUARE) {
            for row in top..(top + SQUARE).min(rows) {
                for col in left..(left + SQUARE).min(cols) {
                    out[col * rows + row] = values[row * cols + col];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn fast_products_are_near_the_exact_ones_both_ways() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mini.gguf");
        let checkpoint = Checkpoint::open(&file).unwrap();
        let threads = Threads::new(2);
        let rows = 7;
        for stem in ["blk.0.attn_q", "blk.3.ffn_down", "token_embd"] {
            let [exact, fast] = [Mode::Exact, Mode::Fast].map(|mode| {
                let linear = Linear::open(&checkpoint, stem, false, mode, &threads).unwrap();
                let [output, input] = [linear.tensor.shape[0], linear.tensor.cols()];
                let numbers = |count: usize| (0..count).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>();
                let memory = Memory::default();
                let work = &mut Work::new(&threads, &memory, mode);
                let y = linear.forward(&numbers(rows * input), rows, work);
                let [mut back, mut twice] = [numbers(rows * input), numbers(rows * input)];
                linear.backward(&numbers(rows * output), rows, &mut back, false, work);
                linear.backward(&numbers(rows * output), rows, &mut twice, true, work);
                ops::add(&mut twice, &numbers(rows * input).iter().map(|v| -v).collect::<Vec<f32>>());
                [y.to_vec(), back, twice]
            });
            for (exact, fast) in exact.iter().zip(&fast) {
                let square =
                    |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>();
                let apart = square(&mut exact.iter().zip(fast).map(|(a, b)| a - b));
                let share = (apart / square(&mut exact.iter().copied())).sqrt();
                assert!(share > 0.0 && share < 0.02, "{stem}: {share}");
            }
        }
    }
}
