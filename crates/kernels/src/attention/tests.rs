//! Attention against a double loop in f64, and its rows against one another.

use proptest::prelude::*;

use super::*;
use crate::products::tests::noise;

/// `(row, first slot, probabilities)`.
type Tapped = (usize, usize, Vec<f32>);

#[derive(Clone, Copy, Debug)]
enum Format {
    F32,
    F16,
    I8Channels,
    I8Slots,
}

impl Format {
    const ALL: [Format; 4] = [Format::F32, Format::F16, Format::I8Channels, Format::I8Slots];

    fn any() -> impl Strategy<Value = Format> {
        prop::sample::select(&Format::ALL[..])
    }
}

/// Keys or values in some format, `[slots, dim]`.
struct Stored {
    format: Format,
    dim: usize,
    floats: Vec<f32>,
    halves: Vec<f16>,
    integers: Vec<i8>,
    scales: Vec<f32>,
}

impl Stored {
    fn new(format: Format, dim: usize, floats: &[f32]) -> Stored {
        let halves = floats.iter().map(|v| f16::from_f32(*v)).collect();
        // Which scale belongs to a number, and how many there are.
        let (owner, scales): (fn(usize, usize) -> usize, usize) = match format {
            Format::I8Channels => (|i, dim| i % dim, dim),
            _ => (|i, dim| i / dim, floats.len() / dim),
        };
        let mut largest = vec![0f32; scales];
        for (i, v) in floats.iter().enumerate() {
            let largest = &mut largest[owner(i, dim)];
            // NaN stays.
            *largest = if largest.is_nan() || *largest >= v.abs() { *largest } else { v.abs() };
        }
        let scales: Vec<f32> = largest.into_iter().map(|v| v / 127.0).collect();
        let code = |(i, v): (usize, &f32)| (v / scales[owner(i, dim)]).round() as i8;
        let integers = floats.iter().enumerate().map(code).collect();
        Stored { format, dim, floats: floats.to_vec(), halves, integers, scales }
    }

    fn slice(&self) -> KvSlice<'_> {
        match self.format {
            Format::F32 => KvSlice::F32(&self.floats),
            Format::F16 => KvSlice::F16(&self.halves),
            Format::I8Channels => KvSlice::I8Channels { values: &self.integers, scales: &self.scales },
            Format::I8Slots => KvSlice::I8Slots { values: &self.integers, scales: &self.scales },
        }
    }

    /// The numbers it stands for, exactly.
    fn widened(&self) -> Vec<f64> {
        let number = |i: usize| match self.format {
            Format::F32 => f64::from(self.floats[i]),
            Format::F16 => self.halves[i].to_f64(),
            Format::I8Channels => f64::from(self.integers[i]) * f64::from(self.scales[i % self.dim]),
            Format::I8Slots => f64::from(self.integers[i]) * f64::from(self.scales[i / self.dim]),
        };
        (0..self.floats.len()).map(number).collect()
    }
}

struct Case {
    dim: usize,
    rows: usize,
    past: usize,
    side_by_side: bool,
    softcap: Option<f32>,
    window: Option<usize>,
    bias: Option<Vec<f32>>,
    formats: (Format, Format),
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
            side_by_side: false,
            softcap: None,
            window: None,
            bias: None,
            formats: (Format::F32, Format::F32),
            q: noise(seed, rows * (dim + 3)),
            keys: noise(seed + 1, slots * dim),
            values: noise(seed + 2, slots * dim),
        }
    }

    /// Keys and values as they are stored.
    fn stored(&self) -> (Stored, Stored) {
        let (keys, values) = self.formats;
        (Stored::new(keys, self.dim, &self.keys), Stored::new(values, self.dim, &self.values))
    }

    /// Results `[rows, dim]` and what the tap received.
    fn run(&self, variant: &Variant, rows: std::ops::Range<usize>) -> (Vec<f32>, Vec<Tapped>) {
        let (keys, values) = self.stored();
        self.run_on(variant, rows, keys.slice(), values.slice())
    }

    fn run_on(
        &self,
        variant: &Variant,
        rows: std::ops::Range<usize>,
        keys: KvSlice<'_>,
        values: KvSlice<'_>,
    ) -> (Vec<f32>, Vec<Tapped>) {
        let shape = AttentionShape {
            dim: self.dim,
            scale: 0.7,
            softcap: self.softcap,
            window: self.window,
            key_bias: self.bias.as_deref(),
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
            past: if self.side_by_side { self.past } else { self.past + rows.start },
            side_by_side: self.side_by_side,
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
        let (keys, values) = self.stored();
        let (keys, values) = (keys.widened(), values.widened());
        let mut out = Vec::new();
        for row in 0..self.rows {
            let end = self.past + row + 1;
            let low = self.window.map_or(0, |w| end.saturating_sub(w));
            let logits: Vec<f64> = (low..end)
                .map(|slot| {
                    let pairs = (0..self.dim)
                        .map(|i| f64::from(self.q[row * (self.dim + 3) + i]) * keys[slot * self.dim + i]);
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
                let sum: f64 =
                    terms.map(|(slot, l)| (l - most).exp() / total * values[slot * self.dim + i]).sum();
                out.push(sum as f32);
            }
        }
        out
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn variants() -> impl Iterator<Item = &'static Variant> {
    variant::ALL.iter().copied().filter(|v| (v.available)())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn agrees_with_the_definition(
        dim in 1usize..150,
        rows in 1usize..14,
        past in 0usize..70,
        window in proptest::option::of(1usize..40),
        capped: bool,
        biased: bool,
        keys in Format::any(),
        values in Format::any(),
        seed in 0u64..1000,
    ) {
        let mut case = Case::new(dim, rows, past, seed);
        case.window = window;
        case.softcap = capped.then_some(5.0);
        case.bias = biased.then(|| noise(seed + 9, past + rows));
        case.formats = (keys, values);
        let naive = case.naive();
        let plain = case.run(&variant::PORTABLE, 0..rows).0;
        for variant in variants() {
            let (out, taps) = case.run(variant, 0..rows);
            for (a, b) in out.iter().zip(&naive) {
                prop_assert!((a - b).abs() <= 3e-5 * (1.0 + b.abs()), "{}: {} {}", variant.name, a, b);
            }
            for (a, b) in out.iter().zip(&plain) {
                let close = (a - b).abs() <= 3e-5 * (1.0 + b.abs());
                prop_assert!(close, "{} and portable: {} {}", variant.name, a, b);
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
                let (alone, tapped) = case.run(variant, row..row + 1);
                let together = &out[row * dim..(row + 1) * dim];
                prop_assert_eq!(bits(&alone), bits(together), "{} row {}", variant.name, row);
                prop_assert_eq!(bits(&tapped[0].2), bits(&taps[row].2), "{} row {}", variant.name, row);
            }
        }
    }

    /// A power of two commutes with rounding, so that it does not matter where it is multiplied in.
    #[test]
    fn scales_that_round_nothing_give_the_bits_of_floats(
        dim in 1usize..80,
        rows in 1usize..10,
        past in 0usize..40,
        window in proptest::option::of(1usize..20),
        key_slots: bool,
        value_slots: bool,
        seed in 0u64..1000,
    ) {
        let slots = past + rows;
        let mut case = Case::new(dim, rows, past, seed);
        case.window = window;
        // Probabilities stay far from what f32 can no longer hold in full.
        case.softcap = Some(20.0);
        let store = |per_slot: bool, seed: u64| {
            let (format, n) = if per_slot { (Format::I8Slots, slots) } else { (Format::I8Channels, dim) };
            let integers = noise(seed, slots * dim).iter().map(|v| (v * 128.0).floor() as i8).collect();
            let power = |v: &f32| (v * 4.0).floor().clamp(-4.0, 3.0).exp2() / 128.0;
            let scales = noise(seed + 1, n).iter().map(power).collect();
            let mut stored = Stored { integers, scales, ..Stored::new(format, dim, &vec![0.0; slots * dim]) };
            stored.floats = stored.widened().iter().map(|v| *v as f32).collect();
            stored
        };
        let (keys, values) = (store(key_slots, seed + 3), store(value_slots, seed + 5));
        let floats = (KvSlice::F32(&keys.floats), KvSlice::F32(&values.floats));
        for variant in variants() {
            let (out, taps) = case.run_on(variant, 0..rows, keys.slice(), values.slice());
            let (expected, expected_taps) = case.run_on(variant, 0..rows, floats.0, floats.1);
            prop_assert_eq!(bits(&out), bits(&expected), "{}", variant.name);
            prop_assert_eq!(taps, expected_taps, "{}", variant.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn heads_side_by_side_have_the_bits_of_single_ones(
        dim in 1usize..150,
        heads in 1usize..20,
        past in 0usize..150,
        window in proptest::option::of(1usize..40),
        biased: bool,
        keys in Format::any(),
        values in Format::any(),
        seed in 0u64..1000,
    ) {
        let mut case = Case::new(dim, heads, past, seed);
        case.side_by_side = true;
        case.window = window;
        case.bias = biased.then(|| noise(seed + 9, past + heads));
        case.formats = (keys, values);
        for variant in variants() {
            let (out, taps) = case.run(variant, 0..heads);
            prop_assert_eq!(taps.len(), heads);
            for head in 0..heads {
                // One row sees the same slots whether its kind is one or the other.
                let (alone, tapped) = case.run(variant, head..head + 1);
                prop_assert_eq!(bits(&alone), bits(&out[head * dim..(head + 1) * dim]), "{}", variant.name);
                prop_assert_eq!(taps[head].0, head);
                prop_assert_eq!(taps[head].1, tapped[0].1);
                prop_assert_eq!(bits(&taps[head].2), bits(&tapped[0].2), "{}", variant.name);
            }
        }
    }
}

#[test]
fn heads_side_by_side_see_one_position() {
    let (dim, heads, slots) = (24, 7, 11);
    let case = Case::new(dim, heads, slots - 1, 3);
    let shape = AttentionShape { dim, scale: 0.7, softcap: None, window: None, key_bias: None };
    let (keys, values) = (KvSlice::F32(&case.keys), KvSlice::F32(&case.values));
    let q = &case.q[..heads * dim];
    let mut together = vec![0.0; heads * dim];
    attend_heads(&shape, q, heads, slots, keys, values, &mut together, &mut Vec::new(), None);
    for (q, together) in q.chunks(dim).zip(together.chunks(dim)) {
        let mut alone = vec![0.0; dim];
        attend(&shape, q, dim, 1, slots - 1, keys, values, &mut alone, dim, &mut Vec::new(), None);
        assert_eq!(bits(&alone), bits(together));
    }
}

/// A head is attended to alike whatever the width of vectors; without AVX-512 there is nothing to compare.
#[cfg(target_arch = "x86_64")]
#[test]
fn wider_vectors_change_no_bit() {
    let narrow = &crate::products::avx2::VARIANT;
    for variant in variants().filter(|v| matches!(v.name, "amx" | "avx512")) {
        for (dim, rows, past) in
            [(64, 1, 40), (80, 9, 21), (20, 3, 17), (24, 7, 0), (128, 2, 9), (200, 16, 33)]
        {
            for format in Format::ALL {
                let mut case = Case::new(dim, rows, past, 31);
                case.formats = (format, format);
                case.window = (rows == 7).then_some(3);
                let (out, _) = case.run(variant, 0..rows);
                let (expected, _) = case.run(narrow, 0..rows);
                assert_eq!(bits(&out), bits(&expected), "{} {format:?} {dim}, {rows} rows", variant.name);
            }
        }
    }
}

#[test]
fn a_future_nan_does_not_reach_earlier_rows() {
    // The scale of a slot is NaN with it; that of a channel belongs to all slots.
    let formats = [Format::F32, Format::F16, Format::I8Slots];
    for (variant, format) in variants().flat_map(|v| formats.map(|format| (v, format))) {
        let (dim, rows) = (24, 9);
        let mut case = Case::new(dim, rows, 3, 5);
        case.formats = (format, format);
        let whole = case.run(variant, 0..rows).0;
        // Slot of row 6.
        case.keys[(3 + 6) * dim] = f32::NAN;
        case.values[(3 + 6) * dim + 1] = f32::NAN;
        let out = case.run(variant, 0..rows).0;
        assert_eq!(out[..6 * dim], whole[..6 * dim], "{} {format:?}", variant.name);
        assert!(out[6 * dim..].iter().all(|v| v.is_nan()), "{} {format:?}", variant.name);
    }
}

#[test]
fn the_tap_sees_probabilities_without_the_scales_of_values() {
    for variant in variants() {
        let mut case = Case::new(21, 7, 12, 4);
        let taps = Format::ALL.map(|format| {
            case.formats = (Format::I8Channels, format);
            case.run(variant, 0..7).1
        });
        assert!(taps.iter().all(|t| *t == taps[0]), "{}", variant.name);
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

/// One row of four channels over three slots.
fn attend_to_three(keys: KvSlice<'_>, values: KvSlice<'_>) {
    let shape = AttentionShape { dim: 4, scale: 1.0, softcap: None, window: None, key_bias: None };
    attend(&shape, &[0.0; 4], 4, 1, 2, keys, values, &mut [0.0; 4], 4, &mut Vec::new(), None);
}

#[test]
#[should_panic(expected = "keys for 3 slots")]
fn short_keys_are_a_mistake() {
    let kv = KvSlice::F32(&[0.0; 11]);
    attend_to_three(kv, kv);
}

#[test]
#[should_panic(expected = "values for 3 slots")]
fn short_integers_are_a_mistake() {
    let values = KvSlice::I8Slots { values: &[0; 11], scales: &[1.0; 3] };
    attend_to_three(KvSlice::F32(&[0.0; 12]), values);
}

#[test]
#[should_panic(expected = "scales of keys for 4 channels")]
fn a_missing_scale_of_a_channel_is_a_mistake() {
    let keys = KvSlice::I8Channels { values: &[0; 12], scales: &[1.0; 3] };
    attend_to_three(keys, KvSlice::F32(&[0.0; 12]));
}

#[test]
#[should_panic(expected = "scales of values for 3 slots")]
fn a_missing_scale_of_a_slot_is_a_mistake() {
    let values = KvSlice::I8Slots { values: &[0; 12], scales: &[1.0; 2] };
    attend_to_three(KvSlice::F32(&[0.0; 12]), values);
}
