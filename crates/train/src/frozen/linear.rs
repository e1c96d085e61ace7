//! Linear layers that do not learn: forward, and the gradient of their input.

use crayon_formats::spec::Spec;
use crayon_formats::{Checkpoint, Tensor};
use crayon_kernels::{Activations, Matrix, Mode, Product, Threads, dequantize, matmul, ops};

use crate::{TrainError, plain};

/// `y = x Wᵀ + b`. The weight stands twice, once for each way, because products run along rows.
pub(super) struct Linear {
    /// `[out, in]`.
    weight: Weight,
    /// `[in, out]`.
    transposed: Vec<f32>,
    bias: Option<Vec<f32>>,
    output: usize,
    input: usize,
}

/// The weight of the way forward.
enum Weight {
    /// Floats that lie in the file as they are needed: no copy.
    File(Tensor),
    /// Unpacked, or with its rows in another order.
    Own(Vec<f32>),
}

impl Linear {
    /// The layer called `stem` in the checkpoint, with rows of queries and keys in the order of halves.
    pub(super) fn open(checkpoint: &Checkpoint, stem: &str, bias: bool) -> Result<Linear, TrainError> {
        let name = format!("{stem}.weight");
        let bias = bias.then(|| parameter(checkpoint, &format!("{stem}.bias"))).transpose()?;
        let tensor = checkpoint.tensor(&name)?;
        let (output, input) = (tensor.shape[0], tensor.cols());
        let mut values = tensor.to_f32();
        let turned = plain::pair_halves(&checkpoint.spec, &name, &tensor.shape, &mut values);
        let transposed = transpose(&values, output, input);
        let weight = match tensor.format.is_float() && !turned {
            true => Weight::File(tensor),
            false => Weight::Own(values),
        };
        Ok(Linear { weight, transposed, bias, output, input })
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(super) fn forward(&self, x: &[f32], rows: usize, threads: &Threads) -> Vec<f32> {
        let mut y = match &self.weight {
            Weight::Own(values) => product(threads, x, rows, self.input, values, self.output),
            Weight::File(tensor) => {
                let (rows_out, cols) = (self.output, self.input);
                let weight = Matrix { format: tensor.format, rows: rows_out, cols, data: &tensor.data };
                multiply(threads, x, rows, weight)
            }
        };
        if let Some(bias) = &self.bias {
            ops::add_bias(&mut y, bias);
        }
        y
    }

    /// Gradient `[rows, out]` of the output to that of the input, `[rows, in]`.
    pub(super) fn backward(&self, gradient: &[f32], rows: usize, threads: &Threads) -> Vec<f32> {
        product(threads, gradient, rows, self.output, &self.transposed, self.input)
    }

    /// The row for each of `ids`, side by side.
    pub(super) fn rows(&self, ids: &[u32]) -> Vec<f32> {
        let mut out = vec![0.0; ids.len() * self.input];
        for (id, row) in ids.iter().zip(out.chunks_exact_mut(self.input)) {
            let id = *id as usize;
            match &self.weight {
                Weight::Own(values) => row.copy_from_slice(&values[id * self.input..(id + 1) * self.input]),
                Weight::File(tensor) => {
                    let bytes = tensor.data.len() / self.output;
                    dequantize(tensor.format, &tensor.data[id * bytes..(id + 1) * bytes], row);
                }
            }
        }
        out
    }
}

/// Values of a parameter, with rows of queries and keys in the order of halves.
pub(super) fn parameter(checkpoint: &Checkpoint, name: &str) -> Result<Vec<f32>, TrainError> {
    let spec: &Spec = &checkpoint.spec;
    let tensor = checkpoint.tensor(name)?;
    let mut values = tensor.to_f32();
    plain::pair_halves(spec, name, &tensor.shape, &mut values);
    Ok(values)
}

/// `x Wᵀ` for `x` `[rows, cols]` and `weight` `[out, cols]`, in f32; the same on any number of threads.
///
/// # Panics
/// When a slice does not have the size its shape says.
pub fn product(
    threads: &Threads,
    x: &[f32],
    rows: usize,
    cols: usize,
    weight: &[f32],
    output: usize,
) -> Vec<f32> {
    assert!(
        x.len() == rows * cols && weight.len() == output * cols,
        "[{rows}, {cols}] by [{output}, {cols}]"
    );
    match Matrix::from_f32(output, cols, weight) {
        Ok(weight) => multiply(threads, x, rows, weight),
        Err(_) => vec![0.0; rows * output],
    }
}

/// `x Wᵀ` for `x` `[rows, cols]` and float weights of any kind.
fn multiply(threads: &Threads, x: &[f32], rows: usize, weight: Matrix<'_>) -> Vec<f32> {
    let mut out = vec![0.0; rows * weight.rows];
    if out.is_empty() || weight.cols == 0 {
        return out;
    }
    let mut activations = Activations::new();
    activations.set(x, rows, weight.cols);
    activations.prepare(threads, [weight.format].into_iter(), Mode::Exact);
    matmul(threads, &activations, &mut [Product { weight, out: &mut out }], Mode::Exact);
    out
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
