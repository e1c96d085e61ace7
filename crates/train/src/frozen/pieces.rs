//! Norms, activations and the loss, forward and backward. Rows are contiguous.

use std::f32::consts::{FRAC_2_SQRT_PI, SQRT_2};

use crayon_formats::Checkpoint;
use crayon_formats::spec::{Activation, Norm};
use crayon_kernels::ops;

use super::linear::parameter;
use crate::TrainError;

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

    pub(super) fn forward(&self, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; x.len()];
        match self.kind {
            Norm::Rms { eps } => ops::rms_norm(x, &self.weight, eps, &mut out),
            Norm::Layer { eps } => ops::layer_norm(x, &self.weight, self.bias.as_deref(), eps, &mut out),
        }
        out
    }

    /// Gradient of the output, for input `x`, to that of the input, in place.
    pub(super) fn backward(&self, x: &[f32], gradient: &mut [f32]) {
        let width = self.weight.len();
        let n = width as f32;
        for (x, gradient) in x.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
            gradient.iter_mut().zip(&self.weight).for_each(|(gradient, weight)| *gradient *= weight);
            let (mean, eps) = match self.kind {
                Norm::Rms { eps } => (0.0, eps),
                Norm::Layer { eps } => (x.iter().sum::<f32>() / n, eps),
            };
            let square = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / n;
            let inverse = 1.0 / (square + eps).sqrt();
            let along = x.iter().zip(&*gradient).map(|(x, g)| (x - mean) * g).sum::<f32>();
            let along = along * inverse * inverse / n;
            let shift = match self.kind {
                Norm::Rms { .. } => 0.0,
                Norm::Layer { .. } => gradient.iter().sum::<f32>() / n,
            };
            for (gradient, x) in gradient.iter_mut().zip(x) {
                *gradient = inverse * (*gradient - shift - (x - mean) * along);
            }
        }
    }
}

/// Derivative at `x`, given the activation's `value` there.
pub(super) fn slope(activation: Activation, x: f32, value: f32) -> f32 {
    /// `1 / sqrt(2 pi)`.
    const DENSITY: f32 = 0.5 * FRAC_2_SQRT_PI / SQRT_2;
    /// `sqrt(2 / pi)` and the cubic term of the tanh form.
    const TANH: [f32; 2] = [FRAC_2_SQRT_PI / SQRT_2, 0.044_715];
    // Where x is 0 the share `value / x` is one half in all three.
    let share = if x == 0.0 { 0.5 } else { value / x };
    match activation {
        Activation::Silu => share + value * (1.0 - share),
        Activation::Gelu => share + x * DENSITY * (-0.5 * x * x).exp(),
        Activation::GeluTanh => {
            let tanh = 2.0 * share - 1.0;
            share + 0.5 * x * (1.0 - tanh * tanh) * TANH[0] * (1.0 + 3.0 * TANH[1] * x * x)
        }
    }
}

/// Sum of the cross-entropies in nats of `targets` under rows of `logits`, which become `share` times their own gradient.
pub(super) fn cross_entropy(logits: &mut [f32], targets: &[u32], share: f32) -> f64 {
    let vocab = logits.len() / targets.len().max(1);
    let mut sum = 0.0;
    for (row, &target) in logits.chunks_exact_mut(vocab.max(1)).zip(targets) {
        ops::softmax(row);
        // A probability that is too small for a float counts as the smallest; NaN stays.
        let probability = row[target as usize];
        let rounded_away = probability < f32::MIN_POSITIVE;
        sum -= f64::from(if rounded_away { f32::MIN_POSITIVE } else { probability }.ln());
        row[target as usize] -= 1.0;
        ops::scale(row, share);
    }
    sum
}

#[cfg(test)]
mod tests {
    use crayon_model::act;

    use super::*;

    #[test]
    fn slopes_are_those_of_small_steps() {
        for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
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
        let targets = [2, 0];
        let loss = |logits: &[f32]| cross_entropy(&mut logits.to_vec(), &targets, 1.0);
        let mut gradient = logits.to_vec();
        cross_entropy(&mut gradient, &targets, 0.5);
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
