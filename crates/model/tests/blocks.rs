//! The blocks on their own, as a network that is not a decoder uses them.

use crayon_formats::Tensor;
use crayon_formats::spec::{Activation, Norm};
use crayon_kernels::{Activations, KvSlice, Mode, Threads};
use crayon_model::{Attention, HeadView, Linear, Mlp, ModelError, Projector, RowNorm, Sight, split_heads};

/// Numbers without pattern between -1 and 1.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn assert_near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-4, "{what}: {found} {expected}");
    }
}

/// Attention written out: `q` `[rows, heads, dim]`, `k` and `v` `[rows, kv_heads, dim]`.
fn written_out(attention: &Attention<'_>, q: &[f32], k: &[f32], v: &[f32], rows: usize) -> Vec<f32> {
    let (heads, kv_heads, dim) = (attention.heads, attention.kv_heads, attention.dim);
    let mut out = vec![0.0; q.len()];
    for row in 0..rows {
        for head in 0..heads {
            let kv = |slot: usize| (slot * kv_heads + head / (heads / kv_heads)) * dim;
            let seen = match attention.sight {
                Sight::All => 0..rows,
                Sight::Causal { window } => (row + 1).saturating_sub(window.unwrap_or(rows))..row + 1,
            };
            let at = (row * heads + head) * dim;
            let score = |slot: usize| -> f64 {
                let pairs = q[at..at + dim].iter().zip(&k[kv(slot)..]);
                f64::from(attention.scale) * pairs.map(|(q, k)| f64::from(q * k)).sum::<f64>()
            };
            let powers: Vec<f64> = seen.clone().map(|slot| score(slot).exp()).collect();
            let sum: f64 = powers.iter().sum();
            for (slot, power) in seen.zip(powers) {
                for (out, v) in out[at..at + dim].iter_mut().zip(&v[kv(slot)..]) {
                    *out += (power / sum) as f32 * v;
                }
            }
        }
    }
    out
}

#[test]
fn rows_see_what_their_sight_says() {
    for (heads, kv_heads, dim, rows) in [(2, 2, 8, 1), (4, 2, 16, 5), (3, 1, 20, 50), (12, 12, 64, 17)] {
        for sight in [Sight::All, Sight::Causal { window: None }, Sight::Causal { window: Some(4) }] {
            let attention = Attention { heads, kv_heads, dim, scale: 0.3, softcap: None, sight, tap: None };
            let q = numbers(rows * heads * dim, 1);
            let (k, v) = (numbers(rows * kv_heads * dim, 2), numbers(rows * kv_heads * dim, 3));
            let expected = written_out(&attention, &q, &k, &v, rows);
            for threads in [Threads::new(1), Threads::new(3)] {
                let mut split = [vec![0.0; k.len()], vec![0.0; v.len()]];
                for (x, out) in [&k, &v].into_iter().zip(&mut split) {
                    split_heads(&threads, x, kv_heads, dim, out);
                }
                let [keys, values] = &split;
                let kv = |head: usize| {
                    let own = head * rows * dim..(head + 1) * rows * dim;
                    let (keys, values) = (KvSlice::F32(&keys[own.clone()]), KvSlice::F32(&values[own]));
                    HeadView { keys, values, slots: rows, key_bias: None }
                };
                let mut out = vec![0.0; q.len()];
                attention.mix(&threads, &q, rows, &kv, &mut Vec::new(), &mut out);
                assert_near(&out, &expected, &format!("{heads} heads, {rows} rows, {sight:?}"));
                let mut alone = vec![0.0; q.len()];
                attention.mix_alone(&q, rows, &kv, &mut alone);
                assert_eq!(alone, out, "{heads} heads, {rows} rows, {sight:?}, one thread");
            }
        }
    }
}

#[test]
fn the_tap_sees_every_row_in_all_directions() {
    let (heads, dim, rows) = (2, 8, 5);
    let seen = std::sync::Mutex::new(std::collections::BTreeSet::new());
    let tap = |head: usize, row: usize, first: usize, probabilities: &[f32]| {
        let sum: f32 = probabilities.iter().sum();
        assert!(first == 0 && probabilities.len() == rows && (sum - 1.0).abs() < 1e-5);
        seen.lock().unwrap().insert((head, row));
    };
    let (sight, tap) = (Sight::All, Some(&tap as &crayon_model::HeadTap<'_>));
    let attention = Attention { heads, kv_heads: heads, dim, scale: 1.0, softcap: None, sight, tap };
    let (q, kv) = (numbers(rows * heads * dim, 1), numbers(rows * dim, 2));
    let view =
        |_| HeadView { keys: KvSlice::F32(&kv), values: KvSlice::F32(&kv), slots: rows, key_bias: None };
    attention.mix(&Threads::new(2), &q, rows, &view, &mut Vec::new(), &mut vec![0.0; q.len()]);
    assert_eq!(seen.into_inner().unwrap().len(), heads * rows);
}

fn linear(output: usize, input: usize, seed: u64, bias: bool) -> (Linear, Vec<f32>, Vec<f32>) {
    let weight = numbers(output * input, seed);
    let offsets = if bias { numbers(output, seed + 1) } else { vec![0.0; output] };
    let tensor = Tensor::from_f32("w", vec![output, input], &weight);
    (Linear::new(tensor, bias.then(|| offsets.clone())).unwrap(), weight, offsets)
}

fn product(x: &[f32], rows: usize, weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let cols = x.len() / rows;
    let row = |x: &[f32]| -> Vec<f32> {
        let lines = weight.chunks_exact(cols).zip(bias);
        lines.map(|(line, bias)| line.iter().zip(x).map(|(w, x)| w * x).sum::<f32>() + bias).collect()
    };
    x.chunks_exact(cols).flat_map(row).collect()
}

#[test]
fn layers_without_a_site_take_no_adapter_and_make_an_mlp() {
    let (width, inner, rows) = (24, 40, 3);
    let x = numbers(rows * width, 9);
    let (mut activations, threads) = (Activations::new(), Threads::new(2));
    let adapt = |_, _: &[f32], _: &mut [f32]| panic!("no layer has a site");
    let mut project =
        Projector { threads: &threads, mode: Mode::Exact, activations: &mut activations, adapt: &adapt };
    for gated in [false, true] {
        let (up, up_weight, up_bias) = linear(inner, width, 1, true);
        let (down, down_weight, down_bias) = linear(width, inner, 3, true);
        let (gate, gate_weight, gate_bias) = linear(inner, width, 5, false);
        let mlp = Mlp { gate: gated.then_some(gate), up, down, activation: Activation::Silu };
        let silu = |x: f32| x / (1.0 + (-x).exp());
        let raised = product(&x, rows, &up_weight, &up_bias);
        let between: Vec<f32> = match gated {
            true => {
                let gate = product(&x, rows, &gate_weight, &gate_bias);
                gate.iter().zip(&raised).map(|(gate, up)| silu(*gate) * up).collect()
            }
            false => raised.into_iter().map(silu).collect(),
        };
        let mut out = Vec::new();
        mlp.forward(&mut project, &x, rows, [&mut Vec::new(), &mut Vec::new()], &mut out);
        assert_near(&out, &product(&between, rows, &down_weight, &down_bias), "MLP");

        let before = numbers(out.len(), 11);
        let mut onto = before.clone();
        mlp.add(&mut project, &x, rows, [&mut Vec::new(), &mut Vec::new(), &mut Vec::new()], &mut onto);
        let expected: Vec<f32> = before.iter().zip(&out).map(|(before, out)| before + out).collect();
        assert_eq!(onto, expected, "MLP added to what was there");
    }
}

#[test]
fn norms_are_those_of_the_papers() {
    let x = numbers(2 * 12, 4);
    let (weight, bias) = (numbers(12, 5), numbers(12, 6));
    let mut out = vec![0.0; x.len()];
    RowNorm::new(Norm::Layer { eps: 1e-5 }, weight.clone(), Some(bias.clone())).apply(&x, &mut out);
    for (x, out) in x.chunks(12).zip(out.chunks(12)) {
        let mean = x.iter().sum::<f32>() / 12.0;
        let deviation = (x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / 12.0 + 1e-5).sqrt();
        let expected: Vec<f32> = (0..12).map(|i| (x[i] - mean) / deviation * weight[i] + bias[i]).collect();
        assert_near(out, &expected, "LayerNorm");
    }
}

#[test]
fn a_weight_and_a_bias_that_do_not_fit_are_refused() {
    let bias = Linear::new(Tensor::from_f32("w", vec![2, 4], &[0.0; 8]), Some(vec![0.0; 3]));
    assert!(matches!(bias, Err(ModelError::Weight { .. })));
    let flat = Linear::new(Tensor::from_f32("w", vec![8], &[0.0; 8]), None);
    assert!(matches!(flat, Err(ModelError::Weight { .. })));
}
