//! Per-channel products against arithmetic in f64, and at the edge of what 32 bits hold.

use proptest::prelude::*;

use super::tests::{bits, noise, product, variants};
use super::*;
use crate::{Format, Rounding, dequantize_rows, quantize_rows};

const FORMATS: [Format; 2] = [Format::W8A8, Format::W4A8];

/// What a row of activations becomes, in f64: its largest magnitude is code 127. Beside each value how far off it may be,
/// since a value between two codes may round either way.
fn rounded(x: &[f32]) -> Vec<(f64, f64)> {
    let scale = f64::from(x.iter().fold(0.0f32, |most, v| most.max(v.abs())) / 127.0);
    x.iter()
        .map(|v| {
            let code = f64::from(*v) / scale;
            let undecided = (code.fract().abs() - 0.5).abs() < 1e-4;
            (code.round() * scale, if undecided { scale } else { 0.0 })
        })
        .collect()
}

proptest! {
    #[test]
    fn the_plain_twin_is_a_sum_of_products(
        narrow: bool,
        rows in 1usize..6,
        cols in 1usize..300,
        m in 1usize..5,
        seed in 0u64..1000,
    ) {
        let format = FORMATS[usize::from(narrow)];
        let mut bytes = Vec::new();
        quantize_rows(format, cols, &noise(seed, rows * cols), &mut bytes);
        let mut weights = vec![0.0; rows * cols];
        dequantize_rows(format, cols, &bytes, &mut weights);
        let x = noise(seed + 1, m * cols);
        let weight = Matrix::new(format, rows, cols, &bytes).unwrap();
        let out = product(&variant::PORTABLE, 1, &x, m, weight, Mode::Fast);
        for (i, x) in x.chunks(cols).enumerate() {
            let x = rounded(x);
            for (r, weights) in weights.chunks(cols).enumerate() {
                let (mut sum, mut size, mut slack) = (0.0f64, 0.0f64, 0.0f64);
                for ((x, step), w) in x.iter().zip(weights) {
                    let w = f64::from(*w);
                    sum += x * w;
                    size += (x * w).abs();
                    slack += step * w.abs();
                }
                slack += 2e-6 * size;
                let found = f64::from(out[i * rows + r]);
                prop_assert!((found - sum).abs() <= slack, "{} [{}, {}]: {} and {}", format, i, r, found, sum);
            }
        }
    }
}

#[test]
fn the_longest_row_does_not_overflow() {
    let cols = Format::LONGEST_ROW;
    for format in FORMATS {
        let mut bytes = vec![0x80; format.row_bytes(cols).unwrap()];
        bytes[..4].copy_from_slice(&1f32.to_le_bytes());
        if format == Format::W4A8 {
            // Steps of 1 from -128, and their multiples by 0.
            bytes[4..].chunks_mut(36).for_each(|group| {
                group[..2].fill(1);
                group[4..].fill(0);
            });
        }
        let weight = Matrix::new(format, 1, cols, &bytes).unwrap();
        let sum = -128 * 127 * cols as i64;
        // All codes 127 with a scale of 1.
        let x = vec![127.0; 9 * cols];
        for variant in variants() {
            for m in [1, 5, 9] {
                let out = product(variant, 1, &x[..m * cols], m, weight, Mode::Fast);
                assert_eq!(bits(&out), bits(&vec![sum as f32; m]), "{} {format}", variant.name);
            }
        }
    }
}

#[test]
fn any_codes_mean_the_same_to_all() {
    let (rows, cols, m) = (37, 200, 9);
    for format in FORMATS {
        let row = format.row_bytes(cols).unwrap();
        let mut bytes: Vec<u8> = (0..rows * row).map(|i| ((i * 7919 + i / 13) % 256) as u8).collect();
        for (r, row) in bytes.chunks_exact_mut(row).enumerate() {
            row[..4].copy_from_slice(&0.5f32.to_le_bytes());
            if format == Format::W4A8 {
                // The widest steps and ends that signed bytes hold, and some between.
                for (g, group) in row[4..].chunks_mut(36).enumerate() {
                    let head = [[17, 8, 0x80, 7], [1, 16, 112, 0x88], [0, 5, 0xff, 0xd3]][(r + g) % 3];
                    group[..4].copy_from_slice(&head);
                }
            }
        }
        let weight = Matrix::new(format, rows, cols, &bytes).unwrap();
        let x = noise(6, m * cols);
        for m in [1, m] {
            let wanted = product(&variant::PORTABLE, 1, &x[..m * cols], m, weight, Mode::Fast);
            for variant in variants() {
                let out = product(variant, 2, &x[..m * cols], m, weight, Mode::Fast);
                assert_eq!(bits(&out), bits(&wanted), "{} {format} {m}", variant.name);
            }
        }
    }
}

#[test]
fn rows_of_any_length_agree() {
    // Around every border: of a vector, of a group of nibbles, of a chunk of a panel.
    for format in FORMATS {
        for cols in [1, 31, 32, 33, 63, 64, 65, 127, 511, 512, 513, 1023, 1024, 1025, 1100] {
            let mut bytes = vec![0; 3];
            // More than one tile of either side, in every variant.
            let (rows, most) = (37, 35);
            quantize_rows(format, cols, &noise(cols as u64, rows * cols), &mut bytes);
            let weight = Matrix::new(format, rows, cols, &bytes[3..]).unwrap();
            let x = noise(9, most * cols);
            let plain = product(&variant::PORTABLE, 1, &x, most, weight, Mode::Fast);
            for variant in variants() {
                for m in [1, 3, 4, 7, 16, 20, most] {
                    let out = product(variant, 2, &x[..m * cols], m, weight, Mode::Fast);
                    assert_eq!(
                        bits(&out),
                        bits(&plain[..m * rows]),
                        "{} {format} {cols}, {m} rows",
                        variant.name
                    );
                }
            }
        }
    }
}

#[test]
fn integers_mean_what_the_rounded_floats_do() {
    let (rows, cols, m) = (37, 130, 9);
    let x: Vec<f32> = noise(3, m * cols).iter().map(|v| v + 0.2).collect();
    for format in FORMATS {
        let mut bytes = Vec::new();
        quantize_rows(format, cols, &noise(4, rows * cols), &mut bytes);
        let mut floats = vec![0.0; rows * cols];
        dequantize_rows(format, cols, &bytes, &mut floats);
        let raw: Vec<u8> = floats.iter().flat_map(|v| v.to_le_bytes()).collect();
        let weight = Matrix::new(format, rows, cols, &bytes).unwrap();
        let plain = Matrix::new(Format::F32, rows, cols, &raw).unwrap();
        for rounding in
            [Rounding::Row { bits: 6 }, Rounding::fixed(8, -0.9, 1.1), Rounding::fixed(6, -0.4, 1.3)]
        {
            let run = |variant: &Variant, weight: Matrix<'_>| {
                let (pool, mut activations) = (Threads::new(2), Activations::new());
                activations.set(&x, m, cols);
                activations.round(rounding);
                activations.prepare_for(variant, &pool, [weight.format].into_iter(), Mode::Fast);
                let mut out = vec![0.0; m * rows];
                let product = Product { weight, out: &mut out };
                matmul_with(variant, &pool, &activations, &mut [product], Mode::Fast);
                out
            };
            // A zero point stands for what the sum of a row's weights takes away again.
            let (scale, zero) = match rounding {
                Rounding::Fixed { scale, zero, .. } => (scale, f32::from(zero)),
                Rounding::Row { .. } => (0.0, 0.0),
            };
            let sums: Vec<f32> = floats.chunks(cols).map(|row| row.iter().sum()).collect();
            for variant in variants() {
                let (integers, wanted) = (run(variant, weight), run(variant, plain));
                for (at, (found, wanted)) in integers.iter().zip(&wanted).enumerate() {
                    let found = found - scale * zero * sums[at % rows];
                    assert!(
                        (found - wanted).abs() < 2e-4,
                        "{} {format} {rounding:?}: {found} {wanted}",
                        variant.name
                    );
                }
            }
        }
    }
}
