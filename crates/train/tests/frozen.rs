//! The frozen form against the plain one: the same loss and the same gradients of what stands beside, on every family.

#[path = "../../model/tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use common::{cases, named, relative_difference};
use crayon_formats::spec::Spec;
use crayon_kernels::{Mode, Threads};
use crayon_model::{ModelError, Projection, Site};
use crayon_train::TrainError;
use crayon_train::frozen::{FrozenDecoder, Loss, Sequence, TrainableAdapter};
use crayon_train::plain::{PlainDecoder, PlainLowRank, PlainPass, Train, cross_entropy};

const RANK: usize = 3;
const SCALE: f32 = 0.7;

/// A `[RANK, in]` and B `[out, RANK]` with their gradients.
#[derive(Default)]
struct Pair {
    a: Vec<f32>,
    b: Vec<f32>,
    a_gradient: Vec<f32>,
    b_gradient: Vec<f32>,
}

/// Low-rank pairs in the plainest form: inner values are computed again on the way back.
#[derive(Default)]
struct Pairs {
    pairs: BTreeMap<Site, Pair>,
    together: bool,
}

/// `x Wᵀ` for `x` `[rows, cols]` and W `[out, cols]`.
fn product(x: &[f32], cols: usize, weight: &[f32]) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum();
    x.chunks(cols).flat_map(|x| weight.chunks(cols).map(move |w| dot(x, w))).collect()
}

fn transpose(values: &[f32], cols: usize) -> Vec<f32> {
    (0..cols).flat_map(|col| values.iter().skip(col).step_by(cols)).copied().collect()
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + seed * 101) % 113) as f32 / 113.0 - 0.5).collect()
}

impl Pairs {
    fn new(spec: &Spec) -> Pairs {
        let mut pairs = BTreeMap::new();
        for layer in 0..spec.layers {
            for projection in Projection::ALL {
                if projection != Projection::Gate || spec.gated {
                    let (input, output) = projection.size(spec);
                    let seed = layer * 10 + projection as usize;
                    let pair = Pair {
                        a: numbers(RANK * input, seed),
                        b: numbers(output * RANK, seed + 5).iter().map(|value| value * 0.3).collect(),
                        ..Pair::default()
                    };
                    pairs.insert(Site { layer, projection }, pair);
                }
            }
        }
        Pairs { pairs, together: false }
    }
}

impl TrainableAdapter for Pairs {
    fn alike(&self) -> bool {
        self.together
    }

    fn forward(&mut self, site: Site, x: &[f32], rows: usize, y: &mut [f32], _: &Threads) {
        let pair = &self.pairs[&site];
        let inner = product(x, x.len() / rows, &pair.a);
        let out = product(&inner, RANK, &pair.b);
        y.iter_mut().zip(out).for_each(|(y, out)| *y += SCALE * out);
    }

    fn backward(
        &mut self,
        site: Site,
        x: &[f32],
        gradient: &[f32],
        rows: usize,
        x_gradient: &mut [f32],
        _: &Threads,
    ) {
        let pair = self.pairs.get_mut(&site).unwrap();
        let (input, output) = (x.len() / rows, gradient.len() / rows);
        let gradient: Vec<f32> = gradient.iter().map(|value| SCALE * value).collect();
        let inner = product(x, input, &pair.a);
        pair.b_gradient = product(&transpose(&gradient, output), rows, &transpose(&inner, RANK));
        let inner = product(&gradient, output, &transpose(&pair.b, RANK));
        pair.a_gradient = product(&transpose(&inner, RANK), rows, &transpose(x, input));
        let flows = product(&inner, RANK, &transpose(&pair.a, input));
        x_gradient.iter_mut().zip(flows).for_each(|(sum, value)| *sum += value);
    }
}

#[test]
fn loss_and_gradients_are_those_of_the_plain_form() {
    let threads = Threads::new(2);
    let mut families = std::collections::BTreeSet::new();
    for case in cases() {
        let spec = &case.checkpoint.spec;
        families.insert(format!("{:?}", spec.family));
        let mut pairs = Pairs::new(spec);
        let decoder = FrozenDecoder::open(&case.checkpoint, Mode::Exact, &threads).unwrap();
        let texts = [(&case.tokens[..], 3), (&case.tokens[2..case.tokens.len() - 3], 1)];
        let sequences = texts.map(|(tokens, answer)| Sequence { tokens, answer });
        let loss = decoder.loss(&sequences, &mut pairs, true, &threads).unwrap();

        let device = Device::Cpu;
        let plain = PlainDecoder::open(&case.checkpoint, &device, Train::Nothing).unwrap();
        let mut adapter = PlainLowRank::default();
        let mut variables: BTreeMap<Site, (Var, Var)> = BTreeMap::new();
        for (site, pair) in &pairs.pairs {
            let (input, output) = site.projection.size(spec);
            let var = |values: &Vec<f32>, shape: (usize, usize)| {
                Var::from_tensor(&Tensor::from_vec(values.clone(), shape, &device).unwrap()).unwrap()
            };
            let (a, b) = (var(&pair.a, (RANK, input)), var(&pair.b, (output, RANK)));
            adapter.insert(*site, a.clone(), b.clone(), f64::from(SCALE));
            variables.insert(*site, (a, b));
        }
        // One text at a time: the plain form would have to pad.
        let mut sum: Option<Tensor> = None;
        for (tokens, answer) in texts {
            let (count, device) = (tokens.len() - 1, &device);
            let input = Tensor::from_vec(tokens[..count].to_vec(), (1, count), device).unwrap();
            let targets = Tensor::from_vec(tokens[1..].to_vec(), (1, count), device).unwrap();
            let weights: Vec<f32> = (1..=count).map(|at| f32::from(u8::from(at >= answer))).collect();
            let weights = Tensor::from_vec(weights, (1, count), device).unwrap();
            let pass = PlainPass { adapter: Some(&adapter), ..PlainPass::default() };
            let logits = plain.forward(&input, pass).unwrap();
            let part = cross_entropy(&logits, &targets, &weights).unwrap();
            let part = (part * (tokens.len() - answer) as f64).unwrap();
            sum = Some(sum.map_or(part.clone(), |sum| (sum + part).unwrap()));
        }
        let expected = (sum.unwrap() / loss.tokens as f64).unwrap();
        let apart = (loss.mean() - f64::from(expected.to_scalar::<f32>().unwrap())).abs();
        assert!(apart < 1e-4, "{}: {loss:?} {expected:?}", case.name);

        let gradients = expected.backward().unwrap();
        for (site, (a, b)) in &variables {
            let pair = &pairs.pairs[site];
            for (variable, found) in [(a, &pair.a_gradient), (b, &pair.b_gradient)] {
                let expected =
                    gradients.get(variable).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert!(expected.iter().any(|value| *value != 0.0), "{} {site}", case.name);
                let apart = relative_difference(found, &expected);
                assert!(apart < 2e-3, "{} {site}: {apart}", case.name);
            }
        }
    }
    assert!(families.len() >= 8, "{families:?}");
}

#[test]
fn neither_threads_nor_neighbours_change_the_loss_of_a_text() {
    let (case, threads) = (named("llama"), Threads::new(1));
    let decoder = FrozenDecoder::open(&case.checkpoint, Mode::Exact, &threads).unwrap();
    let (one, other) = (
        Sequence { tokens: &case.tokens[..9], answer: 4 },
        Sequence { tokens: &case.tokens[3..], answer: 2 },
    );
    let loss = |sequences: &[Sequence<'_>], threads: usize| {
        let mut pairs = Pairs::new(&case.checkpoint.spec);
        let loss = decoder.loss(sequences, &mut pairs, true, &Threads::new(threads)).unwrap();
        let gradients: Vec<Vec<f32>> = pairs.pairs.into_values().map(|pair| pair.a_gradient).collect();
        (loss, gradients)
    };
    assert_eq!(loss(&[one, other], 1), loss(&[one, other], 3));
    let (alone, other, both) = (loss(&[one], 1).0, loss(&[other], 1).0, loss(&[one, other], 1).0);
    assert!((alone.sum + other.sum - both.sum).abs() < 1e-4 && both.tokens == alone.tokens + other.tokens);
}

#[test]
fn what_cannot_be_read_is_refused() {
    let (case, threads) = (named("llama"), Threads::new(1));
    let decoder = FrozenDecoder::open(&case.checkpoint, Mode::Exact, &threads).unwrap();
    let vocab = case.checkpoint.spec.vocab as u32;
    let fail = |tokens: &[u32], answer: usize| {
        let sequences = [Sequence { tokens, answer }];
        decoder.loss(&sequences, &mut Pairs::new(&case.checkpoint.spec), false, &Threads::new(1)).unwrap_err()
    };
    assert!(
        matches!(fail(&[1, vocab, 2], 1), TrainError::Model(ModelError::Token { id, .. }) if id == vocab)
    );
    assert!(matches!(fail(&[1, 2, 3], 3), TrainError::NothingPredicted { .. }));
    assert!(matches!(fail(&[1, 2, 3], 0), TrainError::NothingPredicted { .. }));
    assert!(matches!(fail(&[], 1), TrainError::NothingPredicted { .. }));
}

/// Loss and the gradients of all A and B, in order.
fn learned(decoder: &FrozenDecoder, sequences: &[Sequence<'_>], together: bool) -> (Loss, Vec<Vec<f32>>) {
    let mut pairs = Pairs { together, ..Pairs::new(decoder.spec()) };
    let loss = decoder.loss(sequences, &mut pairs, true, &Threads::new(2)).unwrap();
    (loss, pairs.pairs.into_values().flat_map(|pair| [pair.a_gradient, pair.b_gradient]).collect())
}

#[test]
fn a_common_beginning_that_is_read_once_changes_nothing() {
    for case in cases() {
        let decoder = FrozenDecoder::open(&case.checkpoint, Mode::Exact, &Threads::new(1)).unwrap();
        let texts: Vec<Vec<u32>> = [&[9, 4, 2][..], &[3, 8], &[5, 5, 1, 6]]
            .into_iter()
            .map(|end| [&case.tokens[..5], end].concat())
            .collect();
        let sequences: Vec<Sequence<'_>> =
            texts.iter().map(|tokens| Sequence { tokens, answer: tokens.len() - 1 }).collect();
        let (apart, each) = learned(&decoder, &sequences, false);
        let (together, once) = learned(&decoder, &sequences, true);
        assert!(
            (apart.mean() - together.mean()).abs() < 1e-4 && apart.tokens == together.tokens,
            "{}",
            case.name
        );
        for (each, once) in each.iter().zip(&once) {
            let difference = relative_difference(once, each);
            assert!(difference < 2e-3, "{}: {difference}", case.name);
        }
    }
}
