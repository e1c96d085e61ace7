//! Finding scales for a block: which step (and minimum) loses least.
//!
//! A block's range fixes a first step; rounding then decides the codes, and given the codes the best step is a
//! least-squares solution. Trying a few first steps and keeping the best squared error, weighted towards large
//! values because those move a product most, gets most of what an exhaustive search would.

/// The largest magnitude, or NaN when a value is not finite.
pub(super) fn largest(values: &[f32]) -> f32 {
    if values.iter().all(|v| v.is_finite()) {
        values.iter().fold(0.0, |most, v| v.abs().max(most))
    } else {
        f32::NAN
    }
}

/// `1 / value`, or 0 where that is not a finite number.
pub(super) fn inverse(value: f32) -> f32 {
    let inverse = 1.0 / value;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The nearest integer in `low..=high`; 0 (or the nearest bound) for NaN.
pub(super) fn code(value: f32, low: i8, high: i8) -> i8 {
    /// Added to a small number, it leaves no place for a fraction.
    const WHOLE: f32 = 12_582_912.0;
    let near = (value.clamp(f32::from(low), f32::from(high)) + WHOLE) - WHOLE;
    // The cast sends NaN to 0.
    (near as i32).clamp(i32::from(low), i32::from(high)) as i8
}

/// `value ~ scale * code`, codes in `-span..span`.
pub(super) struct Symmetric<const N: usize> {
    pub(super) scale: f32,
    pub(super) codes: [i8; N],
}

/// Weight of a value in the squared error.
fn weight(value: f32, mean_square: f32) -> f32 {
    mean_square.sqrt() + value.abs()
}

/// Fits codes `-span..=span - 1`. The scale is negative when the value of largest size is positive: the side with
/// one more code then holds it.
pub(super) fn symmetric<const N: usize>(values: &[f32; N], span: i8) -> Symmetric<N> {
    let size = largest(values);
    if size == 0.0 || size.is_nan() {
        // The scale carries a NaN.
        return Symmetric { scale: size, codes: [0; N] };
    }
    let peak = values.iter().copied().fold(0.0f32, |a, b| if b.abs() > a.abs() { b } else { a });
    // In units of the peak, so that squares neither overflow nor vanish.
    let unit = inverse(size);
    if unit == 0.0 {
        return Symmetric { scale: 0.0, codes: [0; N] };
    }
    let scaled = values.map(|v| v * unit);
    let mean_square = scaled.iter().map(|v| v * v).sum::<f32>() / N as f32;
    let mut best = Symmetric { scale: 0.0, codes: [0; N] };
    let mut best_gain = -1.0;
    for step in -9..=9 {
        let inverse = -(f32::from(span) + 0.1 * step as f32) * peak.signum();
        let codes = scaled.map(|v| code(v * inverse, -span, span - 1));
        let (mut cross, mut square) = (0.0f32, 0.0f32);
        for (v, c) in scaled.iter().zip(codes) {
            let (w, c) = (weight(*v, mean_square), f32::from(c));
            cross += w * v * c;
            square += w * c * c;
        }
        // With the best scale cross/square, the error is a constant less this gain.
        let gain = if square > 0.0 { cross * cross / square } else { 0.0 };
        if gain > best_gain {
            best_gain = gain;
            best = Symmetric { scale: if square > 0.0 { cross / square * size } else { 0.0 }, codes };
        }
    }
    best
}

/// `value ~ scale * code + minimum`, codes in `0..=top`.
#[derive(Clone, Copy)]
pub(super) struct WithMinimum {
    pub(super) scale: f32,
    pub(super) minimum: f32,
    pub(super) codes: [u8; 32],
}

impl Default for WithMinimum {
    fn default() -> WithMinimum {
        WithMinimum { scale: 0.0, minimum: 0.0, codes: [0; 32] }
    }
}

/// Fits codes `0..=top` with a minimum of either sign (Q4_1, Q5_1).
pub(super) fn with_minimum(values: &[f32; 32], top: u8) -> WithMinimum {
    fit_line(values, top, |minimum| minimum)
}

/// Fits codes `0..=top` with a minimum that is not positive (K-quants store its size).
pub(super) fn with_minimum_below_zero(values: &[f32; 32], top: u8) -> WithMinimum {
    fit_line(values, top, |minimum| minimum.min(0.0))
}

fn fit_line(values: &[f32; 32], top: u8, bound: impl Fn(f32) -> f32) -> WithMinimum {
    let size = largest(values);
    let unit = inverse(size);
    if size.is_nan() || unit == 0.0 {
        return WithMinimum { scale: 0.0 * size, minimum: 0.0 * size, codes: [0; 32] };
    }
    let scaled = values.map(|v| v * unit);
    let low = bound(scaled.iter().copied().fold(f32::INFINITY, f32::min));
    let high = scaled.iter().copied().fold(low, f32::max);
    if high == low {
        return WithMinimum { scale: 0.0, minimum: low * size, codes: [0; 32] };
    }
    let mean_square = scaled.iter().map(|v| v * v).sum::<f32>() / 32.0;
    let mut best = WithMinimum::default();
    let mut best_error = f32::INFINITY;
    let mut consider = |scale: f32, minimum: f32, codes: &[u8; 32]| {
        let error: f32 = scaled
            .iter()
            .zip(codes)
            .map(|(v, c)| weight(*v, mean_square) * (scale * f32::from(*c) + minimum - v).powi(2))
            .sum();
        if error < best_error {
            best_error = error;
            best = WithMinimum { scale: scale * size, minimum: minimum * size, codes: *codes };
        }
    };
    for step in -10..=10 {
        let inverse = (f32::from(top) + 0.1 * step as f32) / (high - low);
        let codes = scaled.map(|v| code((v - low) * inverse, 0, top.cast_signed()).cast_unsigned());
        consider(1.0 / inverse, low, &codes);
        // Weighted least squares for scale and minimum given the codes.
        let (mut w, mut wc, mut wcc, mut wv, mut wcv) = (0.0f32, 0.0f32, 0.0f32, 0.0f32, 0.0f32);
        for (v, c) in scaled.iter().zip(codes) {
            let (weight, c) = (weight(*v, mean_square), f32::from(c));
            w += weight;
            wc += weight * c;
            wcc += weight * c * c;
            wv += weight * v;
            wcv += weight * c * v;
        }
        let determinant = w * wcc - wc * wc;
        if determinant > 0.0 {
            let free = (wv * wcc - wc * wcv) / determinant;
            let minimum = bound(free);
            let scale =
                if minimum == free { (w * wcv - wc * wv) / determinant } else { (wcv - minimum * wc) / wcc };
            if scale > 0.0 {
                let codes = scaled.map(|v| code((v - minimum) / scale, 0, top.cast_signed()).cast_unsigned());
                consider(scale, minimum, &codes);
            }
        }
    }
    best
}

/// The pair of 6-bit factor and minimum next to a first guess that loses least, once both are integers.
pub(super) fn refine(
    values: &[f32; 32],
    top: u8,
    scale: f32,
    minimum: f32,
    factor: u8,
    floor: u8,
) -> (u8, u8) {
    if !(scale.is_finite() && minimum.is_finite()) {
        return (factor, floor);
    }
    let mean_square = values.iter().map(|v| v * v).sum::<f32>() / 32.0;
    let mut best = (factor, floor);
    let mut best_error = f32::INFINITY;
    for factor in factor.saturating_sub(1)..=(factor + 1).min(63) {
        for floor in floor.saturating_sub(1)..=(floor + 1).min(63) {
            let (step, offset) = (scale * f32::from(factor), minimum * f32::from(floor));
            let inverse = inverse(step);
            let error: f32 = values
                .iter()
                .map(|v| {
                    let c = f32::from(code((v + offset) * inverse, 0, top.cast_signed()));
                    weight(*v, mean_square) * (step * c - offset - v).powi(2)
                })
                .sum();
            if error < best_error {
                (best, best_error) = ((factor, floor), error);
            }
        }
    }
    best
}
