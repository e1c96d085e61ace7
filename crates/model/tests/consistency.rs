//! What must not change an answer: how a text is cut into passes, what else is in the batch, the number of threads;
//! and what must: an adapter. Gradients reach every variable.

mod common;

use candle_core::{Device, Tensor, Var};
use common::{cases, named, relative_difference};
use crayon_kernels::{Mode, Threads};
use crayon_model::plain::{PlainDecoder, PlainLowRank, PlainPass, Train, cross_entropy};
use crayon_model::{
    Adapter, Decoder, FullMemory, KvMemory, KvType, LowRank, LowRankPair, ModelError, Projection, Scratch,
    Site, Step, Want,
};

fn run(decoder: &Decoder, pool: &Threads, chunks: &[&[u32]], capacity: usize, kv: KvType) -> Vec<f32> {
    let mut memory = FullMemory::new(decoder.spec(), capacity, kv);
    let mut scratch = Scratch::new();
    let mut all = Vec::new();
    for chunk in chunks {
        let mut steps = [Step::new(chunk, &mut memory)];
        all.extend_from_slice(decoder.forward(pool, &mut steps, Want::All, &mut scratch).unwrap());
    }
    all
}

#[test]
fn stepping_equals_a_full_prefill() {
    for case in cases() {
        for mode in [Mode::Exact, Mode::Fast] {
            let decoder = Decoder::open(&case.checkpoint, mode).unwrap();
            let (pool, tokens) = (Threads::new(1), &case.tokens[..]);
            let whole = run(&decoder, &pool, &[tokens], tokens.len(), KvType::F32);
            let single: Vec<&[u32]> = tokens.chunks(1).collect();
            let stepped = run(&decoder, &pool, &single, tokens.len(), KvType::F32);
            assert!(relative_difference(&stepped, &whole) < 1e-5, "{}", case.name);
            let uneven =
                run(&decoder, &pool, &[&tokens[..7], &tokens[7..8], &tokens[8..]], tokens.len(), KvType::F32);
            assert!(relative_difference(&uneven, &whole) < 1e-5, "{}", case.name);
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for case in cases() {
        let decoder = Decoder::open(&case.checkpoint, Mode::Fast).unwrap();
        let tokens = &case.tokens[..];
        let one = run(&decoder, &Threads::new(1), &[tokens], tokens.len(), KvType::F16);
        for threads in [2, 3] {
            assert_eq!(
                one,
                run(&decoder, &Threads::new(threads), &[tokens], tokens.len(), KvType::F16),
                "{}",
                case.name
            );
        }
    }
}

#[test]
fn a_sequence_is_the_same_alone_and_in_a_batch() {
    for case in cases() {
        let decoder = Decoder::open(&case.checkpoint, Mode::Exact).unwrap();
        let (pool, tokens) = (Threads::new(2), &case.tokens[..]);
        let capacity = tokens.len();
        let alone = run(&decoder, &pool, &[tokens], capacity, KvType::F32);
        let reversed: Vec<u32> = tokens.iter().rev().take(11).copied().collect();
        let other = run(&decoder, &pool, &[&reversed], capacity, KvType::F32);

        let mut memories = [(); 2].map(|()| FullMemory::new(decoder.spec(), capacity, KvType::F32));
        let [first, second] = &mut memories;
        let mut steps = [Step::new(tokens, first), Step::new(&reversed, second)];
        let mut scratch = Scratch::new();
        let together = decoder.forward(&pool, &mut steps, Want::All, &mut scratch).unwrap().to_vec();
        let (a, b) = together.split_at(alone.len());
        assert!(relative_difference(a, &alone) < 1e-5, "{}", case.name);
        assert!(relative_difference(b, &other) < 1e-5, "{}", case.name);

        // Last rows only.
        let mut memories = [(); 2].map(|()| FullMemory::new(decoder.spec(), capacity, KvType::F32));
        let [first, second] = &mut memories;
        let mut steps = [Step::new(tokens, first), Step::new(&reversed, second)];
        let last = decoder.forward(&pool, &mut steps, Want::Last, &mut scratch).unwrap();
        let vocab = decoder.spec().vocab;
        assert!(relative_difference(&last[..vocab], &alone[alone.len() - vocab..]) < 1e-5, "{}", case.name);
        assert!(relative_difference(&last[vocab..], &other[other.len() - vocab..]) < 1e-5, "{}", case.name);
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

#[test]
fn half_precision_memory_stays_close() {
    for name in ["llama", "qwen3", "gemma3"] {
        let case = named(name);
        let decoder = Decoder::open(&case.checkpoint, Mode::Exact).unwrap();
        let tokens = &case.tokens[..];
        let exact = run(&decoder, &Threads::new(1), &[tokens], tokens.len(), KvType::F32);
        let half = run(&decoder, &Threads::new(1), &[tokens], tokens.len(), KvType::F16);
        let difference = relative_difference(&half, &exact);
        assert!(difference > 0.0 && difference < 1e-2, "{name}: {difference}");
    }
}

#[test]
fn rewinding_forgets_what_came_after() {
    let case = named("qwen2");
    let decoder = Decoder::open(&case.checkpoint, Mode::Exact).unwrap();
    let (pool, tokens) = (Threads::new(1), &case.tokens[..]);
    let mut memory = FullMemory::new(decoder.spec(), tokens.len(), KvType::F32);
    let mut scratch = Scratch::new();
    let first = decoder.forward(&pool, &mut [Step::new(tokens, &mut memory)], Want::Last, &mut scratch);
    let first = first.unwrap().to_vec();
    memory.truncate(5);
    assert_eq!((memory.len(), memory.position()), (5, 5));
    let again = decoder.forward(&pool, &mut [Step::new(&tokens[5..], &mut memory)], Want::Last, &mut scratch);
    assert!(relative_difference(again.unwrap(), &first) < 1e-5);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_changes() {
    let case = named("gpt2");
    let decoder = Decoder::open(&case.checkpoint, Mode::Exact).unwrap();
    let (pool, mut scratch) = (Threads::new(1), Scratch::new());
    let mut memory = FullMemory::new(decoder.spec(), 4, KvType::F32);
    let full =
        decoder.forward(&pool, &mut [Step::new(&[1, 2, 3, 4, 5], &mut memory)], Want::Last, &mut scratch);
    assert!(matches!(full, Err(ModelError::MemoryFull { needed: 5, capacity: 4 })));
    let vocab = decoder.spec().vocab;
    let unknown =
        decoder.forward(&pool, &mut [Step::new(&[vocab as u32], &mut memory)], Want::Last, &mut scratch);
    assert!(matches!(unknown, Err(ModelError::Token { .. })));
    let context = decoder.spec().context;
    let mut memory = FullMemory::new(decoder.spec(), context + 1, KvType::F32);
    let long = vec![1; context + 1];
    let beyond = decoder.forward(&pool, &mut [Step::new(&long, &mut memory)], Want::Last, &mut scratch);
    assert!(matches!(beyond, Err(ModelError::Position { .. })));
    assert_eq!(memory.len(), 0);
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
        let base = run(&decoder, &pool, &[&case.tokens], case.tokens.len(), KvType::F32);
        for site in decoder.sites().filter(|site| site.layer == 1) {
            let (input, output) = site.projection.size(&spec);
            let (rank, scale) = (3, 0.7);
            let (a, b) = (values(rank * input, 1), values(output * rank, 2));
            let mut adapter = LowRank::default();
            adapter.insert(&spec, site, LowRankPair { a: a.clone(), b: b.clone(), rank, scale }).unwrap();
            let mut memory = FullMemory::new(&spec, case.tokens.len(), KvType::F32);
            let mut step = Step::new(&case.tokens, &mut memory);
            step.adapter = Some(&adapter as &dyn Adapter);
            let mut scratch = Scratch::new();
            let adapted = decoder.forward(&pool, &mut [step], Want::All, &mut scratch).unwrap().to_vec();
            assert!(relative_difference(&adapted, &base) > 1e-3, "{name} {site} changes nothing");

            let mut beside = PlainLowRank::default();
            let var = |values: Vec<f32>, shape| Var::from_vec(values, shape, &Device::Cpu).unwrap();
            beside.insert(site, var(a, (rank, input)), var(b, (output, rank)), f64::from(scale));
            let tokens = Tensor::new(&case.tokens[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
            let pass = PlainPass { adapter: Some(&beside), tap: None };
            let expected =
                plain.forward(&tokens, pass).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(relative_difference(&adapted, &expected) < 1e-4, "{name} {site}");
        }
    }
}

#[test]
fn an_adapter_of_the_wrong_shape_is_refused() {
    let case = named("llama");
    let mut adapter = LowRank::default();
    let site = Site { layer: 0, projection: Projection::Q };
    let pair = LowRankPair { a: vec![0.0; 3], b: vec![0.0; 3], rank: 1, scale: 1.0 };
    let error = adapter.insert(&case.checkpoint.spec, site, pair.clone()).unwrap_err().to_string();
    assert!(error.contains("blk.0.attn_q") && error.contains("expected"), "{error}");
    let beyond = Site { layer: 99, projection: Projection::Q };
    assert!(adapter.insert(&case.checkpoint.spec, beyond, pair).is_err());
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
    let pass = || PlainPass { adapter: Some(&adapter), tap: None };
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
