//! Activations and exponentials in plain loops.

use crate::products::sum_lanes;

pub(crate) fn silu(x: &mut [f32]) {
    for x in x {
        *x /= 1.0 + (-*x).exp();
    }
}

pub(crate) fn gelu_tanh(x: &mut [f32]) {
    // sqrt(2 / pi).
    const FACTOR: f32 = 0.797_884_6;
    for x in x {
        let inner = FACTOR * (*x + 0.044_715 * *x * *x * *x);
        *x = 0.5 * *x * (1.0 + inner.tanh());
    }
}

pub(crate) fn quick_gelu(x: &mut [f32]) {
    for x in x {
        *x /= 1.0 + (-super::STEEP * *x).exp();
    }
}

/// What [`super::gelu`] comes near to.
#[cfg(test)]
pub(crate) fn gelu(x: &mut [f32]) {
    for x in x {
        let wide = f64::from(*x);
        *x = (0.5 * wide * (1.0 + erf(wide * std::f64::consts::FRAC_1_SQRT_2))) as f32;
    }
}

/// The error function, by the series `2/sqrt(pi) e^(-x^2) sum 2^n x^(2n+1) / (1 * 3 * ... (2n+1))`, whose terms all
/// have the sign of `x`, so that none is lost to cancellation.
#[cfg(test)]
fn erf(x: f64) -> f64 {
    // erf(6) is 1 to more than the precision of f64.
    if x.abs() >= 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > sum.abs() * 1e-17 {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

pub(crate) fn softmax(x: &mut [f32]) {
    super::softmax_with(exp_sum, x);
}

pub(crate) fn exp_sum(x: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0.0; 8];
    for eight in x.chunks_mut(8) {
        for (lane, x) in lanes.iter_mut().zip(eight) {
            *x = (*x - shift).exp();
            *lane += *x;
        }
    }
    sum_lanes(lanes)
}
