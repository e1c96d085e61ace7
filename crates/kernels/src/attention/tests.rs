//! Attention against a double loop in f64, and its rows against one another.

use proptest::prelude::*;

use super::*;
use crate::products::tests::noise;

/// `(row, first slot, probabilities)`.
type Tapped = (usize, usize, Vec<f32>);

struct Case {
    dim: usize,
    rows: usize,
    past: usize,
    softcap: Option<f32>,
    window: Option<usize>,
    bias: Option<Vec<f32>>,
    half: bool,
    q: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Case {
    fn new(dim: usize, rows: usize, past: usize, seed: u64) -> Case {
        let slots = past + rows;
        Case {
            dim,
            rows,
            past,
            softcap: None,
            window: None,
            bias: None,
            half: false,
            q: noise(seed, rows * (dim + 3)),
            keys: noise(seed + 1, slots * dim),
            values: noise(seed + 2, slots * dim),
        }
    }

    /// Results `[rows, dim]` and what the tap received.
    fn run(&self, variant: &Variant, rows: std::ops::Range<usize>) -> (Vec<f32>, Vec<Tapped>) {
        let shape = AttentionShape {
            dim: self.dim,
            scale: 0.7,
            softcap: self.softcap,
            window: self.window,
            key_bias: self.bias.as_deref(),
        };
        let half = |values: &[f32]| values.iter().map(|v| f16::from_f32(*v)).collect::<Vec<_>>();
        let (half_keys, half_values) = (half(&self.keys), half(&self.values));
        let (keys, values) = match self.half {
            true => (KvSlice::F16(&half_keys), KvSlice::F16(&half_values)),
            false => (KvSlice::F32(&self.keys), KvSlice::F32(&self.values)),
        };
        let (stride, out_stride) = (self.dim + 3, self.dim + 1);
        let mut out = vec![-7.0; rows.len() * out_stride];
        let mut taps = Vec::new();
        let mut tap = |row: usize, first: usize, p: &[f32]| taps.push((row, first, p.to_vec()));
        let head = Head {
            shape: &shape,
            q: &self.q[rows.start * stride..],
            q_stride: stride,
            rows: rows.len(),
            past: self.past + rows.start,
            keys,
            values,
            out: &mut out,
            out_stride,
            scratch: &mut Vec::new(),
            tap: Some(&mut tap),
        };
        attend_with(variant, head);
        assert!(out.chunks(out_stride).all(|row| row[self.dim] == -7.0), "nothing is written between rows");
        (out.chunks(out_stride).flat_map(|row| row[..self.dim].to_vec()).collect(), taps)
    }

    /// The definition, in f64.
    fn naive(&self) -> Vec<f32> {
        let widen = |v: f32| f64::from(if self.half { f16::from_f32(v).to_f32() } else { v });
        let mut out = Vec::new();
        for row in 0..self.rows {
            let end = self.past + row + 1;
            let low = self.window.map_or(0, |w| end.saturating_sub(w));
            let logits: Vec<f64> = (low..end)
                .map(|slot| {
                    let pairs = (0..self.dim).map(|i| {
                        f64::from(self.q[row * (self.dim + 3) + i]) * widen(self.keys[slot * self.dim + i])
                    });
                    let mut logit = pairs.sum::<f64>() * f64::from(0.7f32);
                    if let Some(cap) = self.softcap {
                        logit = f64::from(cap) * (logit / f64::from(cap)).tanh();
                    }
                    logit + self.bias.as_ref().map_or(0.0, |bias| f64::from(bias[slot]))
                })
                .collect();
            let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = logits.iter().map(|l| (l - most).exp()).sum();
            for i in 0..self.dim {
                let terms = (low..end).zip(&logits);
                let sum: f64 = terms
                    .map(|(slot, l)| (l - most).exp() / total * widen(self.values[slot * self.dim + i]))
                    .sum();
                out.push(sum as f32);
            }
        }
        out
    }
}

fn variants() -> impl Iterator<Item = &'static Variant> {
    variant::ALL.iter().copied().filter(|v| (v.available)())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn agrees_with_the_definition(
        dim in 1usize..150,
        rows in 1usize..14,
        past in 0usize..70,
        window in proptest::option::of(1usize..40),
        capped: bool,
        biased: bool,
        half: bool,
        seed in 0u64..1000,
    ) {
        let mut case = Case::new(dim, rows, past, seed);
        case.window = window;
        case.softcap = capped.then_some(5.0);
        case.bias = biased.then(|| noise(seed + 9, past + rows));
        case.half = half;
        let naive = case.naive();
        for variant in variants() {
            let (out, taps) = case.run(variant, 0..rows);
            for (a, b) in out.iter().zip(&naive) {
                prop_assert!((a - b).abs() <= 3e-5 * (1.0 + b.abs()), "{}: {} {}", variant.name, a, b);
            }
            prop_assert_eq!(taps.len(), rows);
            for (i, (row, first, p)) in taps.iter().enumerate() {
                let end = past + i + 1;
                prop_assert_eq!(*row, i);
                prop_assert_eq!(*first, window.map_or(0, |w| end.saturating_sub(w)));
                prop_assert_eq!(p.len(), end - first);
                prop_assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
            // One row at a time, as in decoding, gives the same bits.
            for row in 0..rows {
                let (alone, _) = case.run(variant, row..row + 1);
                let together = &out[row * dim..(row + 1) * dim];
                prop_assert!(alone.iter().zip(together).all(|(a, b)| a.to_bits() == b.to_bits()), "{} row {}", variant.name, row);
            }
        }
    }
}

#[test]
fn a_future_nan_does_not_reach_earlier_rows() {
    for variant in variants() {
        let (dim, rows) = (24, 9);
        let mut case = Case::new(dim, rows, 3, 5);
        let whole = case.run(variant, 0..rows).0;
        // Slot of row 6.
        case.keys[(3 + 6) * dim] = f32::NAN;
        case.values[(3 + 6) * dim + 1] = f32::NAN;
        let out = case.run(variant, 0..rows).0;
        assert_eq!(out[..6 * dim], whole[..6 * dim], "{}", variant.name);
        assert!(out[6 * dim..].iter().all(|v| v.is_nan()), "{}", variant.name);
    }
}

#[test]
fn a_bias_is_a_weight() {
    // Doubling e^logit of a slot is the same as holding it twice.
    let dim = 16;
    let mut case = Case::new(dim, 1, 4, 8);
    case.bias = Some(vec![0.0, 0.0, 2f32.ln(), 0.0, 0.0]);
    let mut twice = Case::new(dim, 1, 5, 8);
    twice.q.clone_from(&case.q);
    for (to, from) in [(&mut twice.keys, &case.keys), (&mut twice.values, &case.values)] {
        to.clear();
        for slot in [0, 1, 2, 2, 3, 4] {
            to.extend_from_slice(&from[slot * dim..(slot + 1) * dim]);
        }
    }
    for variant in variants() {
        let (a, b) = (case.run(variant, 0..1).0, twice.run(variant, 0..1).0);
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5), "{}", variant.name);
    }
}

#[test]
#[should_panic(expected = "keys for 3 slots")]
fn short_keys_are_a_mistake() {
    let shape = AttentionShape { dim: 4, scale: 1.0, softcap: None, window: None, key_bias: None };
    let (q, kv) = ([0.0; 4], [0.0; 11]);
    let kv = KvSlice::F32(&kv);
    attend(&shape, &q, 4, 1, 2, kv, kv, &mut [0.0; 4], 4, &mut Vec::new(), None);
}
