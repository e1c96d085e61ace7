//! Norms, activations and the loss, forward and backward. Rows are contiguous.

use std::f32::consts::{FRAC_2_SQRT_PI, SQRT_2};

use crayon_formats::Checkpoint;
use crayon_formats::spec::{Activation, Norm};
use crayon_kernels::Threads;
use crayon_kernels::ops::{self, Act};
use crayon_model::act;

use super::linear::parameter;
use super::memory::{Buffer, Memory};
use crate::TrainError;

/// Rows of a norm that a task takes.
const EACH: usize = 8;
/// Values of an activation or a sum that a task takes.
const VALUES: usize = 8192;

/// A norm over rows of `weight.len()` values.
pub(super) struct RowNorm {
    kind: Norm,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl RowNorm {
    pub(super) fn open(checkpoint: &Checkpoint, stem: &str, kind: Norm) -> Result<RowNorm, TrainError> {
        let bias = match kind {
            Norm::Layer { .. } => Some(parameter(checkpoint, &format!("{stem}.bias"))?),
            Norm::Rms { .. } => None,
        };
        Ok(RowNorm { kind, weight: parameter(checkpoint, &format!("{stem}.weight"))?, bias })
    }

    pub(super) fn forward(&self, x: &[f32], memory: &Memory, threads: &Threads) -> Buffer {
        let mut out = memory.buffer(x.len());
        let piece = EACH * self.weight.len();
        threads.for_each_chunk(&mut out, piece, |at, out| {
            let x = &x[at * piece..][..out.len()];
            match self.kind {
                Norm::Rms { eps } => ops::rms_norm(x, &self.weight, eps, out),
                Norm::Layer { eps } => ops::layer_norm(x, &self.weight, self.bias.as_deref(), eps, out),
            }
        });
        out
    }

    /// Gradient of the output, for input `x`, to that of the input, in place.
    pub(super) fn backward(&self, x: &[f32], gradient: &mut [f32], threads: &Threads) {
        let piece = EACH * self.weight.len();
        threads.for_each_chunk(gradient, piece, |at, gradient| {
            self.rows_back(&x[at * piece..][..gradient.len()], gradient);
        });
    }

    fn rows_back(&self, x: &[f32], gradient: &mut [f32]) {
        let width = self.weight.len();
        let n = width as f32;
        for (x, gradient) in x.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
            gradient.iter_mut().zip(&self.weight).for_each(|(gradient, weight)| *gradient *= weight);
            match self.kind {
                Norm::Rms { eps } => row_back(x, gradient, 0.0, 0.0, eps),
                Norm::Layer { eps } => {
                    row_back(x, gradient, x.iter().sum::<f32>() / n, gradient.iter().sum::<f32>() / n, eps);
                }
            }
        }
    }
}

/// A row's gradient by its normed values to that by the values, in place; their mean and their gradient's are taken off.
#[inline(always)]
fn row_back(x: &[f32], gradient: &mut [f32], mean: f32, shift: f32, eps: f32) {
    let n = x.len() as f32;
    let square = sum_of(x, x, |x, _| (x - mean) * (x - mean)) / n;
    let inverse = 1.0 / (square + eps).sqrt();
    let along = sum_of(x, gradient, |x, g| (x - mean) * g) * inverse * inverse / n;
    for (gradient, x) in gradient.iter_mut().zip(x) {
        *gradient = inverse * (*gradient - shift - (x - mean) * along);
    }
}

/// Sum of `f` of the pairs: eight sums side by side, so that the compiler may use vectors.
fn sum_of(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0f32; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f(*a, *b);
        }
    }
    sums.iter().sum::<f32>() + a_tail.iter().zip(b_tail).map(|(a, b)| f(*a, *b)).sum::<f32>()
}

/// Derivative at `x`, given the activation's `value` there.
#[inline(always)]
pub(super) fn slope(activation: Activation, x: f32, value: f32) -> f32 {
    /// `1 / sqrt(2 pi)`.
    const DENSITY: f32 = 0.5 * FRAC_2_SQRT_PI / SQRT_2;
    /// Of the quick form.
    const QUICK: f32 = 1.702;
    /// `sqrt(2 / pi)` and the cubic term of the tanh form.
    const TANH: [f32; 2] = [FRAC_2_SQRT_PI / SQRT_2, 0.044_715];
    // Where x is 0 the share `value / x` is one half in all four.
    let share = if x == 0.0 { 0.5 } else { value / x };
    match activation {
        Activation::Silu => share + value * (1.0 - share),
        Activation::QuickGelu => share + QUICK * value * (1.0 - share),
        Activation::Gelu => share + x * DENSITY * (-0.5 * x * x).exp(),
        Activation::GeluTanh => {
            let tanh = 2.0 * share - 1.0;
            share + 0.5 * x * (1.0 - tanh * tanh) * TANH[0] * (1.0 + 3.0 * TANH[1] * x * x)
        }
    }
}

/// `x += y`.
pub(super) fn add(x: &mut [f32], y: &[f32], threads: &Threads) {
    threads.for_each_chunk(x, VALUES, |at, x| ops::add(x, &y[at * VALUES..][..x.len()]));
}

/// `act(gate) * up`.
pub(super) fn gated(act: Act, gate: &[f32], up: &[f32], memory: &Memory, threads: &Threads) -> Buffer {
    let mut inner = memory.buffer(gate.len());
    threads.for_each_chunk(&mut inner, VALUES, |at, inner| {
        let part = at * VALUES..at * VALUES + inner.len();
        inner.copy_from_slice(&gate[part.clone()]);
        ops::gate_mul(act, inner, &up[part]);
    });
    inner
}

/// `inner`, the gradient of `act(gate) * up`, becomes that of `up`; returns that of the gate.
pub(super) fn gated_back(
    activation: Activation,
    gate: &[f32],
    up: &[f32],
    inner: &mut [f32],
    memory: &Memory,
    threads: &Threads,
) -> Buffer {
    let mut gate_gradient = memory.buffer(gate.len());
    let mut parts: Vec<(&mut [f32], &mut [f32])> =
        inner.chunks_mut(VALUES).zip(gate_gradient.chunks_mut(VALUES)).collect();
    threads.for_each_chunk(&mut parts, 1, |at, parts| {
        for (inner, out) in parts {
            let part = at * VALUES..at * VALUES + inner.len();
            let (gate, up) = (&gate[part.clone()], &up[part]);
            // The gate's gradient is made where its activation stands.
            out.copy_from_slice(gate);
            act(activation).apply(out);
            // Known before the loop, so that the compiler may use vectors in it.
            match activation {
                Activation::Silu => part_back(gate, up, inner, out, |x, y| slope(Activation::Silu, x, y)),
                Activation::GeluTanh => {
                    part_back(gate, up, inner, out, |x, y| slope(Activation::GeluTanh, x, y));
                }
                other => part_back(gate, up, inner, out, |x, y| slope(other, x, y)),
            }
        }
    });
    gate_gradient
}

/// A part of [`gated_back`]: `out`, the activated gate, becomes the gate's gradient.
#[inline(always)]
fn part_back(gate: &[f32], up: &[f32], inner: &mut [f32], out: &mut [f32], slope: impl Fn(f32, f32) -> f32) {
    for (((inner, out), gate), up) in inner.iter_mut().zip(out).zip(gate).zip(up) {
        let (gradient, value) = (*inner, *out);
        *out = gradient * up * slope(*gate, value);
        *inner = gradient * value;
    }
}

/// Sum of the cross-entropies in nats of `targets` under rows of `logits`, which become `share` times their own gradient.
pub(super) fn cross_entropy(logits: &mut [f32], targets: &[u32], share: f32, threads: &Threads) -> f64 {
    let vocab = (logits.len() / targets.len().max(1)).max(1);
    threads.for_each_chunk(logits, vocab, |_, row| ops::softmax(row));
    let mut sum = 0.0;
    for (row, &target) in logits.chunks_exact_mut(vocab).zip(targets) {
        // A probability that is too small for a float counts as the smallest; NaN stays.
        let probability = row[target as usize];
        let rounded_away = probability < f32::MIN_POSITIVE;
        sum -= f64::from(if rounded_away { f32::MIN_POSITIVE } else { probability }.ln());
        row[target as usize] -= 1.0;
    }
    threads.for_each_chunk(logits, vocab, |_, row| ops::scale(row, share));
    sum
}

#[cfg(test)]
mod tests {
    use crayon_model::act;

    use super::*;

    #[test]
    fn slopes_are_those_of_small_steps() {
        for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu] {
            for x in [-3.0f32, -0.7, 0.0, 0.2, 2.5] {
                let at = |x: f32| {
                    let mut value = [x];
                    act(activation).apply(&mut value);
                    value[0]
                };
                let step = 1e-2;
                let expected = (at(x + step) - at(x - step)) / (2.0 * step);
                let found = slope(activation, x, at(x));
                assert!((found - expected).abs() < 1e-3, "{activation:?} at {x}: {found} {expected}");
            }
        }
    }

    #[test]
    fn the_loss_and_its_gradient_are_those_of_small_steps() {
        let logits = [0.3f32, -1.0, 2.0, 0.1, 0.5, -0.2];
        let (targets, threads) = ([2, 0], Threads::new(1));
        let loss = |logits: &[f32]| cross_entropy(&mut logits.to_vec(), &targets, 1.0, &threads);
        let mut gradient = logits.to_vec();
        cross_entropy(&mut gradient, &targets, 0.5, &threads);
        for at in 0..logits.len() {
            let moved = |by: f32| {
                let mut logits = logits.to_vec();
                logits[at] += by;
                loss(&logits)
            };
            let expected = 0.5 * (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((f64::from(gradient[at]) - expected).abs() < 1e-3, "{at}");
        }
    }
}
