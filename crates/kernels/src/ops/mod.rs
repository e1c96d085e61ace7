//! Everything between products: norms, activations, softmax, rotary positions and small row operations.
//!
//! Rows are contiguous: a function over rows takes `[m, width]` and finds `width` in its other arguments.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod portable;
#[cfg(test)]
mod tests;

use crate::products::sum_lanes;
use crate::variant;

/// The activation of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// GELU by the error function.
    Gelu,
    /// `x * sigmoid(1.702 x)`.
    QuickGelu,
}

impl Act {
    /// Applies it in place.
    pub fn apply(self, x: &mut [f32]) {
        match self {
            Act::Silu => silu(x),
            Act::GeluTanh => gelu_tanh(x),
            Act::Gelu => gelu(x),
            Act::QuickGelu => quick_gelu(x),
        }
    }
}

fn lane_sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; 8];
    let (eights, tail) = x.as_chunks::<8>();
    for eight in eights {
        for lane in 0..8 {
            lanes[lane] += f(eight[lane]);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(tail) {
        *lane += f(*value);
    }
    sum_lanes(lanes)
}

/// Root-mean-square norm of each row: `x / sqrt(mean(x^2) + eps) * weight`. `x` and `out` are `[m, weight.len()]`.
///
/// Panics when lengths disagree.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    assert!(x.len() == out.len() && width > 0 && x.len().is_multiple_of(width), "rows of {width} values");
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let factor = 1.0 / (lane_sum(x, |v| v * v) / width as f32 + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * factor * weight;
        }
    }
}

/// [`rms_norm`] of each row in place.
pub fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    let width = weight.len();
    assert!(width > 0 && x.len().is_multiple_of(width), "rows of {width} values");
    for x in x.chunks_exact_mut(width) {
        let factor = 1.0 / (lane_sum(x, |v| v * v) / width as f32 + eps).sqrt();
        for (x, weight) in x.iter_mut().zip(weight) {
            *x = *x * factor * weight;
        }
    }
}

/// Layer norm of each row: `(x - mean) / sqrt(variance + eps) * weight + bias`. `x` and `out` are
/// `[m, weight.len()]`, `bias` is `[weight.len()]`.
///
/// Panics when lengths disagree.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    let width = weight.len();
    assert!(x.len() == out.len() && width > 0 && x.len().is_multiple_of(width), "rows of {width} values");
    assert!(bias.is_none_or(|bias| bias.len() == width), "bias of {width} values");
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean = lane_sum(x, |v| v) / width as f32;
        let variance = lane_sum(x, |v| (v - mean) * (v - mean)) / width as f32;
        let factor = 1.0 / (variance + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = (x - mean) * factor * weight;
        }
        if let Some(bias) = bias {
            add(out, bias);
        }
    }
}

/// The largest value, leaving NaNs out; negative infinity when there is none.
pub fn largest(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 32];
    let (whole, tail) = x.as_chunks::<32>();
    let most = |a: f32, b: f32| if b > a { b } else { a };
    for some in whole {
        for (lane, value) in lanes.iter_mut().zip(some) {
            *lane = most(*lane, *value);
        }
    }
    lanes.into_iter().chain(tail.iter().copied()).fold(f32::NEG_INFINITY, most)
}

/// Softmax in place: all values at least 0, with sum 1. NaN anywhere makes every value NaN.
pub fn softmax(x: &mut [f32]) {
    softmax_with(variant::chosen().exp_sum, x);
}

pub(crate) fn softmax_with(exp_sum: fn(&mut [f32], f32) -> f32, x: &mut [f32]) {
    let sum = exp_sum(x, largest(x));
    scale(x, 1.0 / sum);
}

/// `ln` of the sum of `e^x`. NaN when a value is NaN or positive infinity, negative infinity without a value above that.
pub fn log_sum_exp(x: &[f32]) -> f32 {
    const PART: usize = 1024;
    let largest = largest(x);
    if largest == f32::NEG_INFINITY {
        return if x.iter().any(|x| x.is_nan()) { f32::NAN } else { largest };
    }
    let exp_sum = variant::chosen().exp_sum;
    let mut part = [0.0; PART];
    let mut sum = 0.0;
    for x in x.chunks(PART) {
        let part = &mut part[..x.len()];
        part.copy_from_slice(x);
        sum += f64::from(exp_sum(part, largest));
    }
    largest + sum.ln() as f32
}

/// `ln` of the softmax of `x` at `index`. Leaves nothing usable in `x`.
pub fn log_probability(x: &mut [f32], index: usize) -> f32 {
    let largest = largest(x);
    let chosen = x[index] - largest;
    let sum = (variant::chosen().exp_sum)(x, largest);
    chosen - sum.ln()
}

/// `x * sigmoid(x)` in place.
pub fn silu(x: &mut [f32]) {
    (variant::chosen().silu)(x);
}

/// GELU by its tanh approximation, `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`, in place.
pub fn gelu_tanh(x: &mut [f32]) {
    (variant::chosen().gelu_tanh)(x);
}

/// GELU by the error function, `x/2 * (1 + erf(x / sqrt(2)))`, in place, to 2e-7 of the size of `x`.
///
/// The error function is Abramowitz and Stegun's 7.1.26, a polynomial times `e^(-x^2 / 2)`.
pub fn gelu(x: &mut [f32]) {
    const PART: usize = 512;
    const SLOPE: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    const SERIES: [f32; 5] = [0.254_829_6, -0.284_496_74, 1.421_413_8, -1.453_152, 1.061_405_4];
    let exp_sum = variant::chosen().exp_sum;
    let mut part = [0.0; PART];
    for x in x.chunks_mut(PART) {
        let tails = &mut part[..x.len()];
        for (tail, x) in tails.iter_mut().zip(&*x) {
            *tail = -0.5 * x * x;
        }
        exp_sum(tails, 0.0);
        for (x, tail) in x.iter_mut().zip(tails) {
            let t = 1.0 / (1.0 + SLOPE * x.abs());
            let series = SERIES.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
            // What lies beyond |x| on one side.
            let beyond = 0.5 * series * *tail;
            *x *= if *x > 0.0 { 1.0 - beyond } else { beyond };
        }
    }
}

/// `x * sigmoid(1.702 x)` in place.
pub fn quick_gelu(x: &mut [f32]) {
    (variant::chosen().quick_gelu)(x);
}

/// How steep the logistic function is that comes nearest to the normal distribution's.
pub(crate) const STEEP: f32 = 1.702;

/// `gate = act(gate) * up`, elementwise.
///
/// Panics when lengths disagree.
pub fn gate_mul(act: Act, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "gate and up");
    // In pieces that stay in the first-level cache between the two passes.
    for (gate, up) in gate.chunks_mut(2048).zip(up.chunks(2048)) {
        act.apply(gate);
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate *= up;
        }
    }
}

/// Rotates the first `2 * cos.len()` values of one head `x` by the angles whose cosines and sines are given; pairs
/// are `(2i, 2i + 1)` when `interleaved`, else `(i, i + cos.len())`. Values after them stay.
///
/// Panics when `cos` and `sin` differ in length or `x` is too short.
pub fn rope(x: &mut [f32], cos: &[f32], sin: &[f32], interleaved: bool) {
    let half = cos.len();
    assert!(sin.len() == half && x.len() >= 2 * half, "{half} angles for {} values", x.len());
    if interleaved {
        for ((pair, cos), sin) in x.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
            let [a, b] = *pair;
            *pair = [a * cos - b * sin, b * cos + a * sin];
        }
    } else {
        let (first, second) = x[..2 * half].split_at_mut(half);
        for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

/// `x += y`, elementwise.
///
/// Panics when lengths disagree.
pub fn add(x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "terms of a sum");
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Adds `bias` to each row of `x`, `[m, bias.len()]`.
///
/// Panics when `x` is not whole rows.
pub fn add_bias(x: &mut [f32], bias: &[f32]) {
    assert!(!bias.is_empty() && x.len().is_multiple_of(bias.len()), "rows of {} values", bias.len());
    for row in x.chunks_exact_mut(bias.len()) {
        add(row, bias);
    }
}

/// `x *= factor`.
pub fn scale(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}

/// `x = cap * tanh(x / cap)`: values stay between `-cap` and `cap`.
pub fn softcap(x: &mut [f32], cap: f32) {
    let inverse = 1.0 / cap;
    for x in x {
        *x = cap * (*x * inverse).tanh();
    }
}
