//! The plain form against the reference implementation and against the decoder that answers; gradients reach every variable.

#[path = "../../model/tests/common/mod.rs"]
mod common;

use candle_core::{Device, Tensor, Var};
use common::{cases, named, relative_difference};
use crayon_kernels::{Mode, Threads};
use crayon_model::{Adapter, Decoder, LowRank, LowRankPair, Projection, Scratch, Site, Step, Want};
use crayon_pot::{KvStorage, Slab};
use crayon_train::plain::{PlainDecoder, PlainLowRank, PlainPass, Train, cross_entropy};

#[test]
fn the_plain_decoder_computes_the_reference_logits() {
    for case in cases() {
        let plain = PlainDecoder::open(&case.checkpoint, &Device::Cpu, Train::Nothing).unwrap();
        let tokens = Tensor::new(&case.tokens[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let found = plain.forward(&tokens, PlainPass::default()).unwrap();
        let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let difference = relative_difference(&found, &case.logits.concat());
        assert!(difference < 1e-4, "{}: {difference}", case.name);
    }
}

#[test]
fn the_plain_decoder_batches() {
    let case = named("llama-sharded");
    let plain = PlainDecoder::open(&case.checkpoint, &Device::Cpu, Train::Nothing).unwrap();
    let reversed: Vec<u32> = case.tokens.iter().rev().copied().collect();
    let forward = |rows: &[&[u32]]| {
        let tokens = Tensor::new(rows.concat(), &Device::Cpu).unwrap().reshape((rows.len(), ())).unwrap();
        let logits = plain.forward(&tokens, PlainPass::default()).unwrap();
        logits.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let together = forward(&[&case.tokens, &reversed]);
    let apart = [forward(&[&case.tokens]), forward(&[&reversed])].concat();
    assert!(relative_difference(&together, &apart) < 1e-5);
}

/// Deterministic values of either sign.
fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| (((i + seed) * 2_654_435_761) % 1000) as f32 / 1000.0 - 0.5).collect()
}

#[test]
fn adapters_attach_to_every_linear_layer() {
    for name in ["llama", "gpt2", "qwen2", "phi3"] {
        let case = named(name);
        let decoder = Decoder::open(&case.checkpoint, Mode::Exact).unwrap();
        let plain = PlainDecoder::open(&case.checkpoint, &Device::Cpu, Train::Nothing).unwrap();
        let spec = decoder.spec().clone();
        let pool = Threads::new(2);
        let run = |adapter: Option<&dyn Adapter>| {
            let mut memory = Slab::plain(&spec, case.tokens.len(), KvStorage::F32);
            let mut steps = [Step { adapter, want: Want::All, ..Step::new(&case.tokens, &mut memory) }];
            decoder.forward(&pool, &mut steps, &mut Scratch::new()).unwrap().to_vec()
        };
        let base = run(None);
        for site in decoder.sites().filter(|site| site.layer == 1) {
            let (input, output) = site.projection.size(&spec);
            let (rank, scale) = (3, 0.7);
            let (a, b) = (values(rank * input, 1), values(output * rank, 2));
            let mut adapter = LowRank::default();
            adapter.insert(&spec, site, LowRankPair { a: a.clone(), b: b.clone(), rank, scale }).unwrap();
            let adapted = run(Some(&adapter));
            assert!(relative_difference(&adapted, &base) > 1e-3, "{name} {site} changes nothing");

            let mut beside = PlainLowRank::default();
            let var = |values: Vec<f32>, shape| Var::from_vec(values, shape, &Device::Cpu).unwrap();
            beside.insert(site, var(a, (rank, input)), var(b, (output, rank)), f64::from(scale));
            let tokens = Tensor::new(&case.tokens[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
            let pass = PlainPass { adapter: Some(&beside), ..PlainPass::default() };
            let expected =
                plain.forward(&tokens, pass).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(relative_difference(&adapted, &expected) < 1e-4, "{name} {site}");
        }
    }
}

/// Cross-entropy of predicting each next token.
fn loss(plain: &PlainDecoder, tokens: &[u32], pass: PlainPass<'_>) -> Tensor {
    let row = |ids: &[u32]| Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let logits = plain.forward(&row(&tokens[..tokens.len() - 1]), pass).unwrap();
    let targets = row(&tokens[1..]);
    let weights = targets.ones_like().unwrap();
    cross_entropy(&logits, &targets, &weights).unwrap()
}

fn largest(gradient: &Tensor) -> f32 {
    gradient.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap()
}

#[test]
fn every_variable_of_every_family_gets_a_gradient() {
    for case in cases() {
        let plain = PlainDecoder::open(&case.checkpoint, &Device::Cpu, Train::Everything).unwrap();
        let gradients = loss(&plain, &case.tokens, PlainPass::default()).backward().unwrap();
        assert!(!plain.variables().is_empty());
        for (name, variable) in plain.variables() {
            let gradient =
                gradients.get(variable).unwrap_or_else(|| panic!("{}: none for {name}", case.name));
            let size = largest(gradient);
            // A bias on all keys moves every score of a query alike, which softmax does not see.
            let shift_of_keys = name.ends_with("attn_k.bias")
                && case.checkpoint.spec.positions == crayon_formats::spec::Positions::Learned;
            assert!(size.is_finite() && (size > 0.0 || shift_of_keys), "{}: {name} {size}", case.name);
        }
    }
}

#[test]
fn low_rank_pairs_learn_beside_a_frozen_network() {
    let case = named("llama-llama3");
    let plain = PlainDecoder::open(&case.checkpoint, &Device::Cpu, Train::Nothing).unwrap();
    let spec = plain.spec().clone();
    let mut adapter = PlainLowRank::default();
    for layer in 0..spec.layers {
        for projection in Projection::ALL {
            let (input, output) = projection.size(&spec);
            let var = |values: Vec<f32>, shape| Var::from_vec(values, shape, &Device::Cpu).unwrap();
            let a = var(values(2 * input, layer), (2, input));
            let b = var(values(output * 2, layer + 7), (output, 2));
            adapter.insert(Site { layer, projection }, a, b, 0.1);
        }
    }
    let pass = || PlainPass { adapter: Some(&adapter), ..PlainPass::default() };
    let before = loss(&plain, &case.tokens, pass());
    let gradients = before.backward().unwrap();
    assert!(plain.variables().is_empty());
    for (site, a, b) in adapter.variables() {
        for variable in [a, b] {
            let gradient = gradients.get(variable).unwrap_or_else(|| panic!("no gradient at {site}"));
            assert!(largest(gradient) > 0.0, "{site}");
            variable.set(&(variable.as_tensor() - (gradient * 0.05).unwrap()).unwrap()).unwrap();
        }
    }
    let scalar = |tensor: &Tensor| tensor.to_scalar::<f32>().unwrap();
    assert!(scalar(&loss(&plain, &case.tokens, pass())) < scalar(&before));
}
