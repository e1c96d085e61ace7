//! Rounding of weights on slices: the same arithmetic as the differentiable form, for what is exported.

use crayon_formats::{Format, Tensor};
use crayon_kernels::{Rounding, quantize_channels, quantize_rows};
use crayon_train::quantised::WeightRounding;

use crate::Form;

/// Largest magnitude, or least and largest value, of a group.
fn ends(values: &[f32]) -> (f32, f32) {
    values.iter().fold((0.0f32, 0.0f32), |(low, high), value| (low.min(*value), high.max(*value)))
}

/// The nearest integer, ties to even, of numbers that are small or will be clipped: adding and taking away is a vector operation
/// on every processor.
#[inline(always)]
pub(crate) fn nearest(value: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    value.clamp(-1e6, 1e6) + ROUND - ROUND
}

/// Width of a step of a symmetric range that reaches to `largest`; 1 for a group of zeros.
fn step(bits: u8, largest: f32) -> f32 {
    let step = largest / ((1u32 << (bits - 1)) - 1) as f32;
    if step > 0.0 { step } else { 1.0 }
}

/// Widths of the steps of symmetric ranges of groups, each of its largest magnitude times its share.
pub fn steps(values: &[f32], group: usize, bits: u8, shares: &[f32]) -> Vec<f32> {
    let of_group = |(values, share): (&[f32], &f32)| {
        let (low, high) = ends(values);
        step(bits, share * high.max(-low))
    };
    values.chunks_exact(group).zip(shares).map(of_group).collect()
}

/// Rounds each group of `values` by its own range times its share.
pub fn round(values: &mut [f32], group: usize, bits: u8, symmetric: bool, shares: &[f32]) {
    for (values, share) in values.chunks_exact_mut(group).zip(shares) {
        round_group(values, bits, symmetric, *share);
    }
}

fn round_group(values: &mut [f32], bits: u8, symmetric: bool, share: f32) {
    let (low, high) = ends(values);
    if !symmetric {
        return Rounding::fixed(bits, share * low, share * high).apply(values);
    }
    let (half, step) = ((1u32 << (bits - 1)) as f32, step(bits, share * high.max(-low)));
    let inverse = 1.0 / step;
    for value in values {
        *value = step * nearest(*value * inverse).max(-half).min(half - 1.0);
    }
}

/// For each group the share of its range that loses least by squared error, from the whole down to a third.
pub fn best_shares(values: &[f32], group: usize, bits: u8, symmetric: bool) -> Vec<f32> {
    const CANDIDATES: i32 = 20;
    let mut rounded = vec![0.0; group];
    let best = |values: &[f32]| {
        let mut best = (f64::INFINITY, 1.0);
        for candidate in 0..CANDIDATES {
            let share = 1.06f32.powi(-candidate);
            rounded.copy_from_slice(values);
            round_group(&mut rounded, bits, symmetric, share);
            let error: f64 = rounded.iter().zip(values).map(|(r, v)| f64::from((r - v) * (r - v))).sum();
            if error < best.0 {
                best = (error, share);
            }
        }
        best.1
    };
    values.chunks_exact(group).map(best).collect()
}

/// The weight `[out, in]` as it is kept: f32 `tensor` rounded with `shares` of the groups' ranges.
pub fn finished(
    tensor: &Tensor,
    rounding: WeightRounding,
    shares: &[f32],
    form: Form,
    blocks: Format,
) -> Tensor {
    let [rows, cols] = tensor.shape[..] else { return tensor.clone() };
    let mut values = tensor.to_f32();
    let group = rounding.groups.size(rows, cols);
    let mut data = Vec::new();
    let format = match form {
        Form::Floats => {
            round(&mut values, group, rounding.bits, rounding.symmetric, shares);
            return Tensor::from_f32(&tensor.name, tensor.shape.clone(), &values);
        }
        Form::Blocks if blocks.row_bytes(cols).is_some() => {
            quantize_rows(blocks, cols, &values, &mut data);
            blocks
        }
        Form::Blocks => return tensor.clone(),
        Form::Rows => {
            let format = if rounding.bits == 4 { Format::W4A8 } else { Format::W8A8 };
            let steps = steps(&values, group, rounding.bits, shares);
            let scales: Vec<f32> =
                steps.into_iter().flat_map(|step| std::iter::repeat_n(step, group / cols)).collect();
            quantize_channels(format, cols, &values, &scales, &mut data);
            format
        }
    };
    Tensor { name: tensor.name.clone(), format, shape: tensor.shape.clone(), data: data.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bits_clip_what_stands_out() {
        let mut values: Vec<f32> = (0..256).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        values[7] = 9.0;
        let share = best_shares(&values, 256, 4, true)[0];
        assert!(share < 0.9, "{share}");
        assert_eq!(best_shares(&[0.0; 8], 8, 4, true), [1.0]);
        let fine = best_shares(&(0..100).map(|i| i as f32).collect::<Vec<_>>(), 100, 8, false)[0];
        assert!(fine > 0.99, "{fine}");
    }
}
