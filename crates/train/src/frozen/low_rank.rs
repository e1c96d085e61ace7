//! The four products of a low-rank pair beside a fixed layer, in f32: A `[rank, in]`, B `[out, rank]`, both as PEFT has them.

use crayon_kernels::{Factors, Threads, accumulate};

use super::linear::transpose;

/// `x Aᵀ`: `[rows, in]` to `[rows, rank]`.
pub fn inward(x: &[f32], rows: usize, a: &[f32], rank: usize, threads: &Threads) -> Vec<f32> {
    let input = x.len() / rows;
    let mut inner = vec![0.0; rows * rank];
    accumulate(threads, Factors::new(x, rows, input), &transpose(a, rank, input), rank, &mut inner);
    inner
}

/// `y += inner Bᵀ`, `[rows, rank]` to `[rows, out]`.
pub fn outward(inner: &[f32], rows: usize, b: &[f32], y: &mut [f32], threads: &Threads) {
    let (rank, output) = (inner.len() / rows, y.len() / rows);
    accumulate(threads, Factors::new(inner, rows, rank), &transpose(b, output, rank), output, y);
}

/// The gradient of the inner values: `dy B`, `[rows, out]` to `[rows, rank]`.
pub fn back_to_inner(gradient: &[f32], rows: usize, b: &[f32], rank: usize, threads: &Threads) -> Vec<f32> {
    let mut flow = vec![0.0; rows * rank];
    accumulate(threads, Factors::new(gradient, rows, gradient.len() / rows), b, rank, &mut flow);
    flow
}

/// `dx += flow A`, `[rows, rank]` to `[rows, in]`.
pub fn back_to_input(flow: &[f32], rows: usize, a: &[f32], x_gradient: &mut [f32], threads: &Threads) {
    let (rank, input) = (flow.len() / rows, x_gradient.len() / rows);
    accumulate(threads, Factors::new(flow, rows, rank), a, input, x_gradient);
}

/// The gradient of a matrix that maps `x` `[rows, in]` to what has `gradient` `[rows, out]`: `[out, in]`.
pub fn matrix_gradient(gradient: &[f32], x: &[f32], rows: usize, threads: &Threads) -> Vec<f32> {
    let (output, input) = (gradient.len() / rows, x.len() / rows);
    let mut sum = vec![0.0; output * input];
    if output > input {
        // Along the longer rows.
        accumulate(threads, Factors::transposed(x, input, rows), gradient, output, &mut sum);
        return transpose(&sum, input, output);
    }
    accumulate(threads, Factors::transposed(gradient, output, rows), x, input, &mut sum);
    sum
}
