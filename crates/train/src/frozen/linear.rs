//! Linear layers that do not learn: forward, and the gradient of their input.

use crayon_formats::Checkpoint;
use crayon_formats::spec::Spec;
use crayon_kernels::{Activations, Matrix, Mode, Product, Threads, matmul, ops};

use crate::{TrainError, plain};

/// `y = x Wᵀ + b`. The weight stands twice, once for each way, because products run along rows.
pub(super) struct Linear {
    /// `[out, in]`.
    weight: Vec<f32>,
    /// `[in, out]`.
    transposed: Vec<f32>,
    bias: Option<Vec<f32>>,
    output: usize,
    input: usize,
}

impl Linear {
    /// The layer called `stem` in the checkpoint, with rows of queries and keys in the order of halves.
    pub(super) fn open(checkpoint: &Checkpoint, stem: &str, bias: bool) -> Result<Linear, TrainError> {
        let weight = parameter(checkpoint, &format!("{stem}.weight"))?;
        let bias = bias.then(|| parameter(checkpoint, &format!("{stem}.bias"))).transpose()?;
        let tensor = checkpoint.tensor(&format!("{stem}.weight"))?;
        Ok(Linear::new(weight, bias, tensor.shape[0], tensor.cols()))
    }

    pub(super) fn new(weight: Vec<f32>, bias: Option<Vec<f32>>, output: usize, input: usize) -> Linear {
        let transposed = transpose(&weight, output, input);
        Linear { weight, transposed, bias, output, input }
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(super) fn forward(&self, x: &[f32], rows: usize, threads: &Threads) -> Vec<f32> {
        let mut y = product(threads, x, rows, self.input, &self.weight, self.output);
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
        let row = |id: &u32| &self.weight[*id as usize * self.input..(*id as usize + 1) * self.input];
        ids.iter().flat_map(row).copied().collect()
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
    let mut out = vec![0.0; rows * output];
    if out.is_empty() || cols == 0 {
        return out;
    }
    if let Ok(weight) = Matrix::from_f32(output, cols, weight) {
        let mut activations = Activations::new();
        activations.set(x, rows, cols);
        activations.prepare(threads, [weight.format].into_iter(), Mode::Exact);
        matmul(threads, &activations, &mut [Product { weight, out: &mut out }], Mode::Exact);
    }
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
