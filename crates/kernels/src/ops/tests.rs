//! Identities of the small operations.

use super::*;

fn close(a: f32, b: f32, tolerance: f32) {
    assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{a} and {b}");
}

fn wave(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * i * 31 + i * 7) % 101) as f32 * 0.11 - 5.3).collect()
}

#[test]
fn the_logarithm_of_a_sum_is_that_of_a_softmax() {
    for n in [1, 7, 32, 33, 1024, 2500] {
        let x = wave(n);
        let naive = x.iter().map(|v| f64::from(*v).exp()).sum::<f64>().ln();
        close(log_sum_exp(&x), naive as f32, 1e-6);
        assert_eq!(largest(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let at = n / 2;
        close(log_probability(&mut x.clone(), at), x[at] - naive as f32, 1e-5);
    }
    assert!(log_sum_exp(&[1.0, f32::NAN, 2.0]).is_nan() && log_sum_exp(&[f32::NAN]).is_nan());
    assert!(log_sum_exp(&[0.0, f32::INFINITY]).is_nan());
    assert_eq!(log_sum_exp(&[f32::NEG_INFINITY; 3]), f32::NEG_INFINITY);
    assert_eq!(log_sum_exp(&[f32::NEG_INFINITY, 3.0]), 3.0);
}

#[test]
fn norms_have_the_moments_they_promise() {
    for width in [1, 5, 8, 64, 897] {
        let x = wave(3 * width);
        let ones = vec![1.0; width];
        let mut out = vec![0.0; 3 * width];
        rms_norm(&x, &ones, 1e-6, &mut out);
        for row in out.chunks(width) {
            close(row.iter().map(|v| v * v).sum::<f32>() / width as f32, 1.0, 1e-4);
        }
        let mut in_place = x.clone();
        rms_norm_in_place(&mut in_place, &ones, 1e-6);
        assert_eq!(in_place, out);
        let halves = vec![0.5; width];
        layer_norm(&x, &ones, Some(&halves), 1e-6, &mut out);
        for row in out.chunks(width) {
            close(row.iter().sum::<f32>() / width as f32, 0.5, 1e-4);
            if width > 1 {
                close(row.iter().map(|v| (v - 0.5).powi(2)).sum::<f32>() / width as f32, 1.0, 1e-3);
            }
        }
    }
    let mut out = [0.0; 2];
    rms_norm(&[3.0, 4.0], &[1.0, 2.0], 0.0, &mut out);
    close(out[0], 3.0 / 12.5f32.sqrt(), 1e-6);
    close(out[1], 8.0 / 12.5f32.sqrt(), 1e-6);
    layer_norm(&[1.0, 3.0], &[1.0, 1.0], None, 0.0, &mut out);
    assert_eq!(out, [-1.0, 1.0]);
}

#[test]
fn softmax_sums_to_one_and_ignores_a_shift() {
    for n in [1, 2, 7, 8, 9, 100, 1000] {
        let x = wave(n);
        let mut a = x.clone();
        softmax(&mut a);
        close(a.iter().sum(), 1.0, 1e-5);
        let mut b: Vec<f32> = x.iter().map(|v| v + 64.0).collect();
        softmax(&mut b);
        a.iter().zip(&b).for_each(|(a, b)| close(*a, *b, 1e-5));
        let total: f64 = x.iter().map(|v| f64::from(*v).exp()).sum();
        x.iter().zip(&a).for_each(|(x, a)| close(*a, (f64::from(*x).exp() / total) as f32, 1e-5));
    }
    let mut masked = [0.0, f32::NEG_INFINITY, 0.0];
    softmax(&mut masked);
    assert_eq!(masked, [0.5, 0.0, 0.5]);
    let mut broken = [0.0, f32::NAN, 0.0];
    softmax(&mut broken);
    assert!(broken.iter().all(|v| v.is_nan()));
}

#[test]
fn activations_at_known_points() {
    // Values from the definitions in double precision.
    for (x, silu_x, tanh_x, gelu_x) in [
        (0.0, 0.0, 0.0, 0.0),
        (1.0, 0.731_058_6, 0.841_192, 0.841_344_7),
        (-1.0, -0.268_941_4, -0.158_808, -0.158_655_3),
        (3.0, 2.857_722_5, 2.996_362_6, 2.995_950_3),
        (-20.0, -4.122_307e-8, 0.0, 0.0),
        (100.0, 100.0, 100.0, 100.0),
    ] {
        let mut v = [x; 3];
        silu(&mut v);
        v.iter().for_each(|v| close(*v, silu_x, 1e-6));
        let mut v = [x; 9];
        gelu_tanh(&mut v);
        v.iter().for_each(|v| close(*v, tanh_x, 1e-6));
        let mut v = [x; 3];
        gelu(&mut v);
        v.iter().for_each(|v| close(*v, gelu_x, 1e-6));
    }
    for act in [Act::Silu, Act::GeluTanh, Act::Gelu, Act::QuickGelu] {
        let mut gate = wave(5000);
        let up = vec![2.0; 5000];
        let mut twice = gate.clone();
        act.apply(&mut twice);
        gate_mul(act, &mut gate, &up);
        twice.iter_mut().for_each(|v| *v *= 2.0);
        assert_eq!(gate, twice);
        let mut broken = [f32::NAN; 11];
        act.apply(&mut broken);
        assert!(broken.iter().all(|v| v.is_nan()), "{act:?}");
    }
}

#[test]
fn vector_activations_agree_with_the_plain_ones() {
    let x: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.03).chain([0.0, -0.0, 1e30, -1e30, 1e-30]).collect();
    for variant in variant::ALL.iter().filter(|v| (v.available)()) {
        for n in [0, 1, 7, 8, 9, 15, 16, 17, 31, x.len()] {
            for (f, plain) in [
                (variant.silu, portable::silu as fn(&mut [f32])),
                (variant.gelu_tanh, portable::gelu_tanh as fn(&mut [f32])),
                (variant.quick_gelu, portable::quick_gelu as fn(&mut [f32])),
            ] {
                let (mut a, mut b) = (x[..n].to_vec(), x[..n].to_vec());
                f(&mut a);
                plain(&mut b);
                a.iter()
                    .zip(&b)
                    .for_each(|(a, b)| assert!((a - b).abs() <= 2e-6 * b.abs() + 1e-6, "{a} {b}"));
            }
            let (mut a, mut b) = (x[..n].to_vec(), x[..n].to_vec());
            let sum_a = (variant.exp_sum)(&mut a, 121.0);
            let sum_b = portable::exp_sum(&mut b, 121.0);
            if n < x.len() {
                close(sum_a, sum_b, 1e-6);
            }
            a.iter()
                .zip(&b)
                .for_each(|(a, b)| assert!(a == b || (a - b).abs() <= 2e-6 * b.abs() + 3e-33, "{a} {b}"));
        }
    }
}

#[test]
fn gelus_without_a_variant_of_their_own_are_what_they_say() {
    let x: Vec<f32> =
        (-4000..4000).map(|i| i as f32 * 0.003).chain([0.0, -0.0, 1e30, -1e30, 1e-30]).collect();
    for n in [0, 1, 511, 513, x.len()] {
        let (mut a, mut b) = (x[..n].to_vec(), x[..n].to_vec());
        gelu(&mut a);
        portable::gelu(&mut b);
        for ((a, b), x) in a.iter().zip(&b).zip(&x) {
            assert!((a - b).abs() <= 4e-7 * x.abs().max(1e-30), "gelu({x}) = {b}, not {a}");
        }
        let mut a = x[..n].to_vec();
        quick_gelu(&mut a);
        for (a, x) in a.iter().zip(&x) {
            let exact = f64::from(*x) / (1.0 + (-1.702 * f64::from(*x)).exp());
            assert!(
                (f64::from(*a) - exact).abs() <= 1e-6 * exact.abs() + 1e-6,
                "quick gelu({x}) = {exact}, not {a}"
            );
        }
    }
}

#[test]
fn rope_keeps_lengths_and_turns_back() {
    let angles = [0.3f32, 1.7, -0.4, 2.9];
    let cos = angles.map(f32::cos);
    let sin = angles.map(f32::sin);
    for interleaved in [false, true] {
        let x = wave(10);
        let mut y = x.clone();
        rope(&mut y, &cos, &sin, interleaved);
        assert_eq!(y[8..], x[8..]);
        let pair = |i: usize| if interleaved { (2 * i, 2 * i + 1) } else { (i, i + 4) };
        for i in 0..4 {
            let (a, b) = pair(i);
            close(y[a].hypot(y[b]), x[a].hypot(x[b]), 1e-6);
            close(y[a], x[a] * cos[i] - x[b] * sin[i], 1e-6);
        }
        rope(&mut y, &cos, &sin.map(|s| -s), interleaved);
        x.iter().zip(&y).for_each(|(x, y)| close(*y, *x, 1e-6));
    }
}

#[test]
fn rows_and_caps() {
    let mut x = vec![1.0, 2.0, 3.0, 4.0];
    add_bias(&mut x, &[10.0, 20.0]);
    assert_eq!(x, [11.0, 22.0, 13.0, 24.0]);
    scale(&mut x, 0.5);
    assert_eq!(x, [5.5, 11.0, 6.5, 12.0]);
    let mut x = vec![0.0, 1e6, -1e6, 30.0];
    softcap(&mut x, 30.0);
    assert_eq!(x[..3], [0.0, 30.0, -30.0]);
    close(x[3], 30.0 * 1f32.tanh(), 1e-6);
}

/// Vectors of sixteen do to each value, and to a sum, what vectors of eight do.
#[cfg(target_arch = "x86_64")]
#[test]
fn wider_vectors_change_no_value() {
    let eight = &crate::products::avx2::VARIANT;
    let x: Vec<f32> = (-9000..9000).map(|i| i as f32 * 0.011).chain([f32::INFINITY, -0.0, 1e30]).collect();
    let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for variant in variant::ALL.iter().filter(|v| (v.available)() && matches!(v.name, "amx" | "avx512")) {
        for n in [0, 1, 7, 8, 9, 15, 16, 17, 31, x.len()] {
            for (wide, narrow) in [
                (variant.silu, eight.silu),
                (variant.gelu_tanh, eight.gelu_tanh),
                (variant.quick_gelu, eight.quick_gelu),
            ] {
                let (mut a, mut b) = (x[..n].to_vec(), x[..n].to_vec());
                wide(&mut a);
                narrow(&mut b);
                assert_eq!(bits(&a), bits(&b), "{} values", n);
            }
            let (mut a, mut b) = (x[..n].to_vec(), x[..n].to_vec());
            let sums = ((variant.exp_sum)(&mut a, 99.0), (eight.exp_sum)(&mut b, 99.0));
            assert_eq!(bits(&a), bits(&b), "{} values", n);
            assert_eq!(sums.0.to_bits(), sums.1.to_bits());
        }
    }
}
