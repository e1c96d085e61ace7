//! The identities of blending: what must hold exactly, whatever the adapters are.

mod common;

use common::{adapted, base, difference, logits, made_up, numbers};
use crayon_adapters::{
    Blended, Form, Keys, Lora, Member, Pool, Query, QueryEncoder, Stack, blend, peft, weights,
};
use crayon_errors::Explain as _;
use crayon_kernels::{Mode, Threads};
use crayon_model::Projection::{self, Down, Q, V};
use crayon_model::{Adapter, Decoder, Scratch, Step, Want};
use crayon_pot::{KvStorage, Slab};
use proptest::prelude::*;

const TOKENS: [u32; 6] = [3, 14, 15, 9, 26, 5];

fn loras(ranks: &[usize]) -> Vec<Lora> {
    let checkpoint = base("qwen2");
    ranks
        .iter()
        .enumerate()
        .map(|(i, &rank)| made_up(&checkpoint, &[Q, V, Down], rank, i as u64 + 1))
        .collect()
}

fn blended(loras: &[Lora], weights: &[f32], form: Form) -> Lora {
    let parts: Vec<(&Lora, f32)> = loras.iter().zip(weights.iter().copied()).collect();
    blend(&parts, form, &Threads::new(2)).unwrap()
}

/// `sum of w * scale * B A` of every place, f64, the slow way.
fn dense(loras: &[Lora], weights: &[f32]) -> Vec<f32> {
    let checkpoint = base("qwen2");
    let mut out = Vec::new();
    for layer in 0..checkpoint.spec.layers {
        for projection in [Q, V, Down] {
            let (input, output) = projection.size(&checkpoint.spec);
            let mut sum = vec![0.0f64; input * output];
            for (lora, weight) in loras.iter().zip(weights) {
                let pair = &lora.pairs[&crayon_model::Site { layer, projection }];
                for row in 0..output {
                    for column in 0..input {
                        let product: f64 = (0..pair.rank)
                            .map(|k| {
                                f64::from(pair.b[row * pair.rank + k]) * f64::from(pair.a[k * input + column])
                            })
                            .sum();
                        sum[row * input + column] += f64::from(*weight) * f64::from(pair.scale) * product;
                    }
                }
            }
            out.extend(sum.iter().map(|value| *value as f32));
        }
    }
    out
}

fn same(a: &Lora, b: &Lora) -> bool {
    a.pairs.len() == b.pairs.len()
        && a.pairs.iter().all(|(site, one)| {
            let other = &b.pairs[site];
            (one.rank, one.scale, &one.a, &one.b) == (other.rank, other.scale, &other.a, &other.b)
        })
}

#[test]
fn one_hot_weights_reproduce_an_adapter_bit_by_bit() {
    let loras = loras(&[2, 4, 3]);
    for n in 0..3 {
        let mut one_hot = [0.0; 3];
        one_hot[n] = 1.0;
        for form in Form::ALL {
            assert!(same(&blended(&loras, &one_hot, form), &loras[n]), "{form:?} {n}");
        }
    }
}

#[test]
fn concatenation_is_the_sum() {
    let (loras, weights) = (loras(&[2, 4, 3]), [0.5, 0.2, 0.3]);
    let exact = blended(&loras, &weights, Form::Exact);
    assert_eq!(exact.rank(), 9);
    assert!(difference(&dense(&[exact], &[1.0]), &dense(&loras, &weights)) < 1e-6);
}

#[test]
fn merging_the_sum_and_running_it_beside_agree() {
    let (checkpoint, loras, weights) = (base("qwen2"), loras(&[2, 4]), [0.7, 0.3]);
    let exact = blended(&loras, &weights, Form::Exact);
    let merged = logits(&exact.merge(&checkpoint).unwrap(), None, &TOKENS);
    let one_by_one = {
        let scaled = |lora: &Lora, weight: f32| blended(std::slice::from_ref(lora), &[weight], Form::Exact);
        let first = scaled(&loras[0], 0.7).merge(&checkpoint).unwrap();
        logits(&scaled(&loras[1], 0.3).merge(&first).unwrap(), None, &TOKENS)
    };
    let beside = logits(&checkpoint, Some(exact), &TOKENS);
    assert!(difference(&beside, &merged) < 1e-5 && difference(&one_by_one, &merged) < 1e-5);
}

#[test]
fn the_cut_sum_is_nearer_than_averaged_factors_and_whole_when_the_rank_suffices() {
    let (loras, weights) = (loras(&[4, 4, 4]), [0.4, 0.35, 0.25]);
    let exact = dense(&loras, &weights);
    let distance = |lora: Lora| {
        let found = dense(&[lora], &[1.0]);
        found.iter().zip(&exact).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    };
    let svd = blended(&loras, &weights, Form::Svd);
    assert_eq!(svd.rank(), 4);
    let (svd, factor) = (distance(svd), distance(blended(&loras, &weights, Form::Factor)));
    assert!(svd > 0.0 && svd < factor, "svd {svd}, factor {factor}");
    // Three times the same adapter has its rank: nothing is cut.
    let again = [loras[0].clone(), loras[0].clone(), loras[0].clone()];
    let cut = blended(&again, &weights, Form::Svd);
    assert_eq!(cut.rank(), 4);
    assert!(difference(&dense(&[cut], &[1.0]), &dense(&loras[..1], &[1.0])) < 1e-5);
}

#[test]
fn factors_of_different_ranks_are_not_averaged() {
    let loras = loras(&[2, 4]);
    let parts = [(&loras[0], 0.5), (&loras[1], 0.5)];
    let error = blend(&parts, Form::Factor, &Threads::new(1)).unwrap_err();
    assert!(error.to_string().contains("ranks 2 and 4") && error.hint().unwrap().contains("svd"), "{error}");
}

fn pool(order: &[usize]) -> Pool {
    let loras = loras(&[2, 4, 3]);
    let member = |&n: &usize| Member { name: format!("m{n}"), examples: n, lora: loras[n].clone() };
    let checkpoint = base("qwen2");
    let keys = order.iter().map(|&n| numbers(32, 77 + n as u64)).collect();
    Pool {
        members: order.iter().map(member).collect(),
        keys: Keys { keys, mean: numbers(32, 5), floor: 0.1, ..Keys::default() },
        temperature: 0.1,
        base: checkpoint.fingerprint(),
        base_name: "qwen2".to_owned(),
    }
}

#[test]
fn the_order_of_a_pool_changes_nothing() {
    let query = Query::from(numbers(32, 1));
    let threads = Threads::new(1);
    let make = |order: &[usize]| -> Blended {
        let pool = pool(order);
        pool.blend(&pool.keys.scores(&query), 0.1, Form::Exact, &threads).unwrap()
    };
    let (one, other) = (make(&[0, 1, 2]), make(&[2, 0, 1]));
    assert_eq!([one.weights[2], one.weights[0], one.weights[1]], other.weights[..]);
    assert!(difference(&dense(&[other.lora], &[1.0]), &dense(&[one.lora], &[1.0])) < 1e-6);
}

#[test]
fn a_pool_reads_back_as_it_was_written_or_not_at_all() {
    let (checkpoint, folder) = (base("qwen2"), tempfile::tempdir().unwrap());
    let whole = pool(&[0, 1, 2]);
    whole.save(folder.path(), &checkpoint.spec, 0).unwrap();
    let open = || Pool::open(folder.path(), &checkpoint, "qwen2");
    let again = open().unwrap();
    assert_eq!(again.keys, whole.keys);
    for (a, b) in again.members.iter().zip(&whole.members) {
        assert!(a.name == b.name && a.examples == b.examples && same(&a.lora, &b.lora));
    }
    // Another model of the same shape is refused by its fingerprint.
    let other = base("qwen2-window");
    let error = Pool::open(folder.path(), &other, "other").unwrap_err().to_string();
    assert!(error.contains("another model"), "{error}");
    // Every file matters: without its end, and missing.
    let files =
        ["pool.safetensors", "adapters/001/adapter_model.safetensors", "adapters/002/adapter_config.json"];
    for name in files {
        let path = folder.path().join(name);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = open().unwrap_err();
        assert!(
            error.is_mistake() && error.to_string().contains(name.rsplit('/').next().unwrap()),
            "{error}"
        );
        std::fs::remove_file(&path).unwrap();
        open().unwrap_err();
        std::fs::write(&path, bytes).unwrap();
    }
    open().unwrap();
}

#[test]
fn a_stack_weighs_its_adapters_like_the_sum() {
    let (checkpoint, loras, threads) = (base("qwen2"), loras(&[2, 4, 3]), Threads::new(2));
    let members: Vec<&Lora> = loras.iter().collect();
    let stack = std::sync::Arc::new(Stack::new(&members, &checkpoint.spec, &threads).unwrap());
    let through = |weights: &[f32]| adapted(&checkpoint, Some(&stack.weigh(weights).unwrap()), &TOKENS);
    for weights in [[0.5, 0.2, 0.3], [0.0, 1.0, 0.0], [1.0, -1.0, 0.25]] {
        let sum = logits(&checkpoint, Some(blended(&loras, &weights, Form::Exact)), &TOKENS);
        assert!(difference(&through(&weights), &sum) < 1e-5, "{weights:?}");
    }
    assert!(difference(&through(&[0.0; 3]), &logits(&checkpoint, None, &TOKENS)) < 1e-6);
    let print = |weights: &[f32]| stack.weigh(weights).unwrap().fingerprint();
    assert_eq!(print(&[0.1, 0.2, 0.7]), print(&[0.1, 0.2, 0.7]));
    assert_ne!(print(&[0.1, 0.2, 0.7]), print(&[0.2, 0.1, 0.7]));
    assert!(stack.weigh(&[1.0]).is_err() && stack.weigh(&[1.0, f32::NAN, 0.0]).is_err());
}

/// Neighbours in a pass that weigh the same stack are run together; others stand between and beside them.
#[test]
fn people_in_one_pass_get_to_the_bit_what_each_gets_alone() {
    let (checkpoint, loras, threads) = (base("qwen2"), loras(&[2, 4, 3]), Threads::new(2));
    let stacked = |loras: &[Lora]| {
        let members: Vec<&Lora> = loras.iter().collect();
        std::sync::Arc::new(Stack::new(&members, &checkpoint.spec, &threads).unwrap())
    };
    let (stack, other) = (stacked(&loras), stacked(&loras[..2]));
    let own = loras[2].clone().attach(&checkpoint.spec).unwrap();
    let [anna, ben, clara] =
        [[0.5, 0.2, 0.3], [0.0, 1.0, 0.0], [1.0, -1.0, 0.25]].map(|weights| stack.weigh(&weights).unwrap());
    let david = other.weigh(&[0.5, 0.2]).unwrap();
    let people: [(Option<&dyn Adapter>, &[u32]); 8] = [
        (Some(&anna), &TOKENS),
        (Some(&ben), &TOKENS[..1]),
        (Some(&clara), &TOKENS[1..3]),
        (None, &TOKENS),
        (Some(&ben), &TOKENS),
        (Some(&david), &TOKENS),
        (Some(&own), &TOKENS),
        (Some(&anna), &TOKENS[2..]),
    ];
    let decoder = Decoder::open(&checkpoint, Mode::Exact).unwrap();
    let mut memories: Vec<Slab> = people
        .iter()
        .map(|(_, tokens)| Slab::plain(&checkpoint.spec, tokens.len(), KvStorage::F32))
        .collect();
    let mut steps = Vec::new();
    for ((adapter, tokens), memory) in people.iter().zip(&mut memories) {
        let mut step = Step::new(tokens, memory).wanting(Want::All);
        step.adapter = *adapter;
        steps.push(step);
    }
    let together = decoder.forward(&threads, &mut steps, &mut Scratch::new()).unwrap().to_vec();
    let alone: Vec<f32> =
        people.iter().flat_map(|(adapter, tokens)| adapted(&checkpoint, *adapter, tokens)).collect();
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&together), bits(&alone));
}

#[test]
fn scores_that_do_not_fit_a_pool_are_refused() {
    let (pool, threads) = (pool(&[0, 1, 2]), Threads::new(1));
    assert!(pool.blend(&[0.1, 0.2], 0.1, Form::Exact, &threads).is_err());
    assert!(pool.blend(&[0.1, 0.2, f32::NAN], 0.1, Form::Exact, &threads).is_err());
    assert!(pool.keys.near(&[0.0, 0.2, 0.0]) && !pool.keys.near(&[0.0, 0.05, -1.0]));
}

#[test]
fn queries_do_not_depend_on_the_order_of_tokens_or_of_stored_rows() {
    let checkpoint = base("llama");
    let threads = Threads::new(1);
    let query = |checkpoint: &crayon_formats::Checkpoint, tokens: &[u32]| {
        QueryEncoder::open(checkpoint).unwrap().query(tokens, &threads).unwrap()
    };
    let one = query(&checkpoint, &[4, 8, 15]);
    assert_eq!(one.len(), Projection::Q.size(&checkpoint.spec).1);
    assert!(difference(&query(&checkpoint, &[15, 4, 8]), &one) < 1e-6);
    assert!(difference(&query(&checkpoint, &[16, 23, 42]), &one) > 0.1);
    // The mean of single tokens.
    let singles: Vec<Vec<f32>> = [4, 8, 15].iter().map(|id| query(&checkpoint, &[*id])).collect();
    let mean: Vec<f32> = (0..one.len()).map(|i| singles.iter().map(|q| q[i]).sum::<f32>() / 3.0).collect();
    assert!(difference(&mean, &one) < 1e-5);
    // A GGUF file stores the rows in another order; the query is the same.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("llama.gguf");
    let options = crayon_formats::export::ExportOptions::default();
    crayon_formats::export::write_gguf(&checkpoint, &path, options, &mut |_| {}).unwrap();
    let gguf = crayon_formats::Checkpoint::open(&path).unwrap();
    assert!(difference(&query(&gguf, &[4, 8, 15]), &one) < 1e-5);
    assert!(QueryEncoder::open(&checkpoint).unwrap().query(&[9999], &threads).is_err());
    // A pool's adapters survive the way through PEFT's files of the fused kind.
    let phi3 = base("phi3");
    let lora = made_up(&phi3, &[Q, V], 2, 9);
    let written = folder.path().join("adapter");
    peft::write(&written, &lora, &phi3.spec).unwrap();
    assert!(same(&peft::read(&written, &phi3.spec).unwrap(), &lora));
}

proptest! {
    #[test]
    fn weights_always_sum_to_one(scores in prop::collection::vec(-1.0f32..1.0, 1..40), temperature in 0.001f32..100.0) {
        let weights = weights(&scores, temperature);
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        prop_assert!((sum - 1.0).abs() < 1e-5);
        prop_assert!(weights.iter().all(|weight| (0.0..=1.0).contains(weight)));
    }
}

#[test]
fn memory_of_an_earlier_blend_leaves_no_trace() {
    let (checkpoint, threads) = (base("llama"), Threads::new(2));
    let loras: Vec<Lora> =
        (0..3).map(|n| made_up(&checkpoint, &[Projection::Q, Projection::V], 2, n)).collect();
    let parts = |weights: [f32; 3]| -> Vec<(&Lora, f32)> { loras.iter().zip(weights).collect() };
    for form in Form::ALL {
        let mut reused = Lora::default();
        for weights in [[0.2, 0.3, 0.5], [0.9, 0.0, 0.1], [0.1, 0.8, 0.1]] {
            crayon_adapters::blend_into(&parts(weights), form, &threads, &mut reused).unwrap();
            let fresh = blend(&parts(weights), form, &threads).unwrap();
            let (a, b) = (
                logits(&checkpoint, Some(reused.clone()), &[1, 2, 3]),
                logits(&checkpoint, Some(fresh), &[1, 2, 3]),
            );
            assert_eq!(a, b, "{form:?} {weights:?}");
        }
    }
}
