//! Variants against the plain twin, threads, batches, unaligned data, NaN.

use half::f16;
use proptest::prelude::*;

use super::*;
use crate::{Format, dequantize_rows, quantize_rows};

/// Made-up values of both signs and several sizes, the same for the same seed.
pub(crate) fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let uniform = (state >> 40) as f32 / (1u64 << 24) as f32;
            (uniform - 0.5) * if state & 31 == 0 { 8.0 } else { 2.0 }
        })
        .collect()
}

/// Bytes of a matrix behind `offset` unused ones, so that blocks are unaligned.
fn matrix_bytes(format: Format, rows: usize, cols: usize, seed: u64, offset: usize) -> Vec<u8> {
    let mut bytes = vec![0; offset];
    quantize_rows(format, cols, &noise(seed, rows * cols), &mut bytes);
    bytes
}

pub(super) fn product(
    variant: &Variant,
    threads: usize,
    x: &[f32],
    m: usize,
    weight: Matrix<'_>,
    mode: Mode,
) -> Vec<f32> {
    let pool = Threads::new(threads);
    let mut activations = Activations::new();
    activations.set(x, m, weight.cols);
    activations.prepare_for(variant, &pool, [weight.format].into_iter(), mode);
    let mut out = vec![f32::NAN; m * weight.rows];
    matmul_with(variant, &pool, &activations, &mut [Product { weight, out: &mut out }], mode);
    out
}

pub(super) fn variants() -> impl Iterator<Item = &'static Variant> {
    variant::ALL.iter().copied().filter(|v| (v.available)())
}

pub(super) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Columns that are not a multiple of anything where the format allows it.
fn odd_cols(format: Format, blocks: usize) -> usize {
    if format.block_len() == 1 { blocks * 67 + 3 } else { blocks * format.block_len() }
}

#[test]
fn exact_products_are_sums_of_products() {
    for format in Format::ALL {
        let (rows, cols, m) = (5, odd_cols(format, 3), 7);
        let bytes = matrix_bytes(format, rows, cols, 1, 0);
        let weight = Matrix::new(format, rows, cols, &bytes).unwrap();
        let mut values = vec![0.0; rows * cols];
        dequantize_rows(format, cols, &bytes, &mut values);
        let x = noise(2, m * cols);
        for variant in variants() {
            let out = product(variant, 2, &x, m, weight, Mode::Exact);
            for i in 0..m {
                for r in 0..rows {
                    let terms =
                        (0..cols).map(|c| f64::from(x[i * cols + c]) * f64::from(values[r * cols + c]));
                    let size: f64 = terms.clone().map(f64::abs).sum();
                    let error = (f64::from(out[i * rows + r]) - terms.sum::<f64>()).abs();
                    assert!(error <= 1e-6 * size, "{} {format} [{i}, {r}]: off by {error}", variant.name);
                }
            }
        }
    }
}

#[test]
fn fast_products_stay_near_exact_ones() {
    for format in Format::ALL {
        let (rows, cols, m) = (33, 1024, 5);
        let bytes = matrix_bytes(format, rows, cols, 3, 0);
        let weight = Matrix::new(format, rows, cols, &bytes).unwrap();
        let x = noise(4, m * cols);
        for variant in variants() {
            let exact = product(variant, 1, &x, m, weight, Mode::Exact);
            let fast = product(variant, 1, &x, m, weight, Mode::Fast);
            let square = |v: &mut dyn Iterator<Item = f32>| v.map(|v| f64::from(v).powi(2)).sum::<f64>();
            let error =
                square(&mut exact.iter().zip(&fast).map(|(a, b)| a - b)) / square(&mut exact.iter().copied());
            // Rounding x to 8 bits with a shared scale loses about a hundredth.
            assert!(error.sqrt() < 0.02, "{} {format}: {}", variant.name, error.sqrt());
        }
    }
}

#[test]
fn threads_and_batches_change_no_bit() {
    for variant in variants() {
        for format in Format::ALL {
            let (rows, cols) = (37, odd_cols(format, if format.block_len() == 256 { 3 } else { 11 }));
            let bytes = matrix_bytes(format, rows, cols, 5, 1);
            let weight = Matrix::new(format, rows, cols, &bytes[1..]).unwrap();
            let x = noise(6, 33 * cols);
            for mode in [Mode::Exact, Mode::Fast] {
                let alone: Vec<f32> =
                    x.chunks(cols).flat_map(|x| product(variant, 1, x, 1, weight, mode)).collect();
                for m in [1, 2, 3, 5, 9, 16, 33] {
                    for threads in [1, 2, 3] {
                        let out = product(variant, threads, &x[..m * cols], m, weight, mode);
                        assert_eq!(
                            bits(&out),
                            bits(&alone[..m * rows]),
                            "{} {format} {mode:?}, {m} rows, {threads} threads",
                            variant.name
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn several_products_share_a_section() {
    let pool = Threads::new(2);
    let cols = 256;
    let format_of = |i: usize| Format::ALL[i % Format::ALL.len()];
    let data: Vec<Vec<u8>> = (0..20).map(|i| matrix_bytes(format_of(i), i, cols, i as u64, 0)).collect();
    let weights: Vec<Matrix<'_>> =
        data.iter().enumerate().map(|(i, d)| Matrix::new(format_of(i), i, cols, d).unwrap()).collect();
    let x = noise(9, 2 * cols);
    let mut activations = Activations::new();
    activations.set(&x, 2, cols);
    activations.prepare(&pool, Format::ALL.into_iter(), Mode::Fast);
    let mut outs: Vec<Vec<f32>> = weights.iter().map(|w| vec![0.0; 2 * w.rows]).collect();
    let mut products: Vec<Product<'_>> =
        weights.iter().zip(&mut outs).map(|(weight, out)| Product { weight: *weight, out }).collect();
    matmul(&pool, &activations, &mut products, Mode::Fast);
    for (weight, out) in weights.iter().zip(&outs) {
        assert_eq!(bits(out), bits(&product(variant::chosen(), 1, &x, 2, *weight, Mode::Fast)), "{weight:?}");
    }
}

#[test]
fn nan_goes_through() {
    for variant in variants() {
        for format in Format::ALL {
            let (rows, cols, m) = (19, odd_cols(format, 2), 18);
            let mut values = noise(10, rows * cols);
            values[4 * cols + cols - 1] = f32::NAN;
            let mut bytes = Vec::new();
            quantize_rows(format, cols, &values, &mut bytes);
            let weight = Matrix::new(format, rows, cols, &bytes).unwrap();
            let mut x = noise(11, m * cols);
            x[2 * cols + 1] = f32::NAN;
            for mode in [Mode::Exact, Mode::Fast] {
                for m in [3, 6, m] {
                    let out = product(variant, 1, &x[..m * cols], m, weight, mode);
                    for (at, value) in out.iter().enumerate() {
                        let broken = at % rows == 4 || at / rows == 2;
                        assert_eq!(value.is_nan(), broken, "{} {format} {mode:?} {at}", variant.name);
                    }
                }
            }
        }
    }
}

#[test]
fn any_bytes_are_weights() {
    // Codes, scales and signs that no quantiser writes: the extremes of every integer path.
    for format in Format::ALL.into_iter().filter(|f| !f.is_float()) {
        for fill in [0x00, 0x7f, 0x80, 0xff, 0x81] {
            let (rows, cols, m) = (37, 512, 20);
            let mut bytes = vec![fill; rows * format.row_bytes(cols).unwrap()];
            let per_channel = format.is_per_channel();
            let unit = if per_channel { format.row_bytes(cols).unwrap() } else { format.block_bytes() };
            for block in bytes.chunks_exact_mut(unit) {
                if per_channel {
                    block[..4].copy_from_slice(&0.07f32.to_le_bytes());
                    if format == Format::W4A8 {
                        // Grids that signed bytes hold.
                        block[4..]
                            .chunks_mut(36)
                            .for_each(|group| group[..4].copy_from_slice(&[17, fill % 17, 0x80, 0x88]));
                    }
                    continue;
                }
                // A finite scale, wherever the format keeps it.
                block[1] = 0x2c;
                if matches!(format, Format::Q6K) {
                    block[209] = 0x2c;
                }
                if matches!(format, Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K) {
                    block[3] = 0x2d;
                }
            }
            let weight = Matrix::new(format, rows, cols, &bytes).unwrap();
            // All codes 127 or -127.
            for sign in [1.0, -1.0] {
                let x = vec![sign; m * cols];
                let plain = product(&variant::PORTABLE, 1, &x, m, weight, Mode::Fast);
                assert!(plain.iter().all(|v| v.is_finite()));
                for variant in variants() {
                    for m in [1, 5, m] {
                        let out = product(variant, 1, &x[..m * cols], m, weight, Mode::Fast);
                        assert_eq!(
                            bits(&out),
                            bits(&plain[..m * rows]),
                            "{} {format} {fill:#x}",
                            variant.name
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn extremes_of_both_sides_are_exact() {
    // The largest codes on both sides, and every factor of a block of 256: sums of bytes and of pairs at their
    // widest, activation rows of changing signs.
    for format in Format::ALL.into_iter().filter(|f| !f.is_float() && !f.is_per_channel()) {
        let (rows, cols, m) = (33, 1024, 19);
        let mut bytes = vec![0; rows * format.row_bytes(cols).unwrap()];
        for (i, block) in bytes.chunks_exact_mut(format.block_bytes()).enumerate() {
            // Rows of all bits, of the most negative codes and of a pattern; factors in turn.
            for (at, byte) in block.iter_mut().enumerate() {
                *byte = [0xff, 0x80, 0x7f, (i * 37 + at * 11) as u8][(i + at / 64) % 4];
            }
            let one = f16::from_f32(0.03).to_le_bytes();
            match format {
                Format::Q6K => block[208..].copy_from_slice(&one),
                Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => {
                    block[..2].copy_from_slice(&one);
                    block[2..4].copy_from_slice(&f16::from_f32(-0.7).to_le_bytes());
                }
                _ => block[..2].copy_from_slice(&one),
            }
        }
        let weight = Matrix::new(format, rows, cols, &bytes).unwrap();
        let x: Vec<f32> = (0..m * cols)
            .map(|at| match at / cols % 3 {
                0 => 1.0,
                1 => -1.0,
                _ => [1.0, -1.0][at / 16 % 2],
            })
            .collect();
        let plain = product(&variant::PORTABLE, 1, &x, m, weight, Mode::Fast);
        assert!(plain.iter().all(|v| v.is_finite()));
        for variant in variants() {
            for m in [1, 7, m] {
                let out = product(variant, 1, &x[..m * cols], m, weight, Mode::Fast);
                assert_eq!(bits(&out), bits(&plain[..m * rows]), "{} {format} {m} rows", variant.name);
            }
        }
    }
}

/// Which variants of x86 compute floats with the same operations in the same order.
#[cfg(target_arch = "x86_64")]
#[test]
fn wider_vectors_change_no_float() {
    let wide: Vec<_> = variants().filter(|v| matches!(v.name, "amx" | "avx512")).collect();
    for variant in wide {
        // Tiles add products of bfloat16 numbers in an order of their own.
        for format in Format::ALL.into_iter().filter(|f| !(variant.parts && *f == Format::BF16)) {
            let (rows, cols) = (35, odd_cols(format, if format.block_len() == 256 { 2 } else { 9 }));
            let bytes = matrix_bytes(format, rows, cols, 12, 1);
            let weight = Matrix::new(format, rows, cols, &bytes[1..]).unwrap();
            let x = noise(13, 100 * cols);
            for m in [1, 4, 7, 100] {
                let narrow = product(&avx2::VARIANT, 1, &x[..m * cols], m, weight, Mode::Exact);
                let out = product(variant, 1, &x[..m * cols], m, weight, Mode::Exact);
                assert_eq!(bits(&out), bits(&narrow), "{} {format} {m} rows", variant.name);
            }
        }
    }
}

#[test]
#[should_panic(expected = "activations not prepared")]
fn unprepared_activations_are_a_mistake() {
    let bytes = matrix_bytes(Format::Q8_0, 1, 32, 1, 0);
    let mut x = Activations::new();
    x.set(&[0.0; 32], 1, 32);
    let weight = Matrix::new(Format::Q8_0, 1, 32, &bytes).unwrap();
    matmul(&Threads::new(1), &x, &mut [Product { weight, out: &mut [0.0] }], Mode::Fast);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn variants_agree_with_the_plain_twin(
        which in 0..Format::ALL.len(),
        rows in 1usize..70,
        blocks in 1usize..12,
        extra in 0usize..9,
        m in 1usize..36,
        offset in 0usize..5,
        seed in 0u64..1000,
        exact: bool,
    ) {
        let format = Format::ALL[which];
        let cols = if format.block_len() == 1 { blocks * 8 + extra } else { blocks.min(2048 / format.block_len()) * format.block_len() };
        let bytes = matrix_bytes(format, rows, cols, seed, offset);
        let weight = Matrix::new(format, rows, cols, &bytes[offset..]).unwrap();
        let x = noise(seed + 1, m * cols);
        let mode = if exact { Mode::Exact } else { Mode::Fast };
        let plain = product(&variant::PORTABLE, 1, &x, m, weight, mode);
        for variant in variants() {
            let out = product(variant, 2, &x, m, weight, mode);
            if mode == Mode::Fast && !format.is_float() {
                prop_assert_eq!(bits(&out), bits(&plain), "{} {}", variant.name, format);
            } else {
                for (a, b) in out.iter().zip(&plain) {
                    prop_assert!((a - b).abs() <= 1e-5 * (cols as f32).sqrt() * (1.0 + b.abs()), "{} {}: {a} {b}", variant.name, format);
                }
            }
        }
    }
}
