//! Training a pool: it learns, it is repeatable, it goes on after a stop, and nothing but A and B moves.

#[path = "../../adapters/tests/common/mod.rs"]
mod common;

use std::ops::ControlFlow;

use common::{base, difference, logits};
use crayon_adapters::{Form, Lora, Pool, Query, QueryEncoder, Sample, blend};
use crayon_errors::Explain as _;
use crayon_kernels::{Mode, Threads};
use crayon_model::LowRankPair;
use crayon_train::frozen::{FrozenDecoder, Sequence};
use crayon_train::pool::{Learner, Mixture, Own, TrainOptions, fit, go_on, loss, train};
use crayon_train::{Progress, TrainError, Trainable};

/// Two tasks that are told apart by their words and contradict each other in their answers.
fn samples(count: usize) -> Vec<Sample> {
    let checkpoint = base("llama");
    let encoder = QueryEncoder::open(&checkpoint).unwrap();
    let threads = Threads::new(1);
    (0..count as u32)
        .map(|i| {
            let (task, word, answer) = if i % 2 == 0 { ("even", 10, 50) } else { ("odd", 30, 60) };
            let prompt = vec![1, word + i % 5, word + i % 3, 7];
            let query = |tokens: &[u32]| encoder.query(tokens, &threads).unwrap();
            let query = Query { prompt: query(&prompt), answer: Some(query(&[answer])) };
            Sample { prompt, answer: vec![answer, 2], query, task: task.to_owned() }
        })
        .collect()
}

fn options() -> TrainOptions {
    TrainOptions {
        adapters: 2,
        rank: 2,
        alpha: 8.0,
        epochs: 8,
        batch: 4,
        rate: 2e-2,
        keep_every: 3,
        ..TrainOptions::default()
    }
}

fn bytes(pool: &Pool) -> Vec<Vec<f32>> {
    let pairs = pool.members.iter().flat_map(|member| member.lora.pairs.values());
    pairs.flat_map(|pair| [pair.a.clone(), pair.b.clone()]).collect()
}

fn go(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn a_pool_learns_tasks_and_blends_them_for_examples() {
    let (checkpoint, folder) = (base("llama"), tempfile::tempdir().unwrap());
    let samples = samples(40);
    let (pool, report) =
        train(&checkpoint, "llama", &samples, &options(), folder.path(), &Threads::new(2), &mut go).unwrap();
    assert!(report.loss < 0.5 * report.loss_before, "{report:?}");
    let mut names: Vec<&str> = pool.members.iter().map(|member| member.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["even", "odd"]);
    assert!(
        bytes(&pool).iter().all(|values| values.iter().any(|value| *value != 0.0)),
        "something did not learn"
    );

    // The blend for one task answers as that task does; the base model does not.
    let encoder = QueryEncoder::open(&checkpoint).unwrap();
    let threads = Threads::new(1);
    for (prompt, answer) in [([1, 10, 12, 7], 50), ([1, 30, 31, 7], 60)] {
        let query = |tokens: &[u32]| encoder.query(tokens, &threads).unwrap();
        let query = Query { prompt: query(&prompt), answer: Some(query(&[answer as u32])) };
        let query = pool.keys.centre(&query);
        let scores = pool.keys.scores(&query);
        assert!(pool.keys.near(&scores), "{scores:?}");
        let blended = pool.blend(&scores, pool.temperature, Form::Exact, &threads).unwrap();
        let after = logits(&checkpoint, Some(blended.lora), &prompt);
        let last = &after[after.len() - checkpoint.spec.vocab..];
        let best = (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
        assert_eq!(best, answer, "{:?}", blended.weights);
    }
}

#[test]
fn a_stopped_training_goes_on_to_the_same_pool() {
    let checkpoint = base("llama");
    let samples = samples(24);
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = TrainOptions { epochs: 3, ..options() };
    let (expected, _) =
        train(&checkpoint, "llama", &samples, &options, whole.path(), &Threads::new(1), &mut go).unwrap();
    // Twice stopped, once in the middle of an epoch.
    for stop in [4, 11] {
        let mut until = |progress: &Progress| match progress.step {
            step if step >= stop => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let error =
            train(&checkpoint, "llama", &samples, &options, broken.path(), &Threads::new(2), &mut until)
                .unwrap_err();
        assert!(matches!(error, TrainError::Stopped));
    }
    let (pool, report) =
        train(&checkpoint, "llama", &samples, &options, broken.path(), &Threads::new(2), &mut go).unwrap();
    assert_eq!(report.resumed, 11);
    assert_eq!(bytes(&pool), bytes(&expected));
    assert_eq!(pool.keys, expected.keys);
    // Other options do not go on from there.
    let other = TrainOptions { seed: 1, ..options };
    let (_, report) =
        train(&checkpoint, "llama", &samples, &other, broken.path(), &Threads::new(2), &mut go).unwrap();
    assert_eq!(report.resumed, 0);
}

#[test]
fn the_hard_variant_keeps_tasks_apart() {
    let (checkpoint, folder) = (base("llama"), tempfile::tempdir().unwrap());
    let options = TrainOptions { hard: true, epochs: 4, ..options() };
    let (pool, report) =
        train(&checkpoint, "llama", &samples(40), &options, folder.path(), &Threads::new(2), &mut go)
            .unwrap();
    assert!(report.loss < report.loss_before, "{report:?}");
    let prompt = [1, 10, 12, 7];
    let answers: Vec<Vec<f32>> =
        pool.members.iter().map(|member| logits(&checkpoint, Some(member.lora.clone()), &prompt)).collect();
    assert!(difference(&answers[0], &answers[1]) > 0.05);
}

#[test]
fn options_and_data_that_cannot_be_used_are_refused() {
    let (checkpoint, folder) = (base("llama"), tempfile::tempdir().unwrap());
    let check = |options: TrainOptions, count: usize, expected: &str| {
        let error =
            train(&checkpoint, "llama", &samples(count), &options, folder.path(), &Threads::new(2), &mut go)
                .unwrap_err();
        assert!(error.to_string().contains(expected) && error.hint().is_some(), "{error}");
        assert!(error.is_mistake());
    };
    check(TrainOptions { adapters: 0, ..options() }, 10, "1 or more");
    check(TrainOptions { rate: f64::NAN, ..options() }, 10, "learning rate");
    check(TrainOptions { validation: 1.0, ..options() }, 10, "validation");
    check(options(), 2, "too few");
    // Ten examples that are all the same cannot have two keys.
    let error = train(
        &checkpoint,
        "llama",
        &vec![samples(1)[0].clone(); 10],
        &options(),
        folder.path(),
        &Threads::new(2),
        &mut go,
    );
    assert!(error.unwrap_err().to_string().contains("differ"));
}

#[test]
fn one_adapter_learns_a_few_examples() {
    let checkpoint = base("llama");
    let threads = Threads::new(1);
    let decoder = FrozenDecoder::open(&checkpoint, Mode::Exact, &threads).unwrap();
    let samples: Vec<Sample> = samples(6).into_iter().step_by(2).collect();
    let options = TrainOptions { batch: 2, ..options() };
    let before = loss(&decoder, &Lora::default(), &samples, &threads).unwrap();
    let fitted = fit(&decoder, &samples, &options, 30, &threads).unwrap();
    let after = loss(&decoder, &fitted, &samples, &threads).unwrap();
    assert!(after < 0.5 * before, "{before} {after}");
    // The decoder that answers agrees with what was learned.
    let answer = logits(&checkpoint, Some(fitted), &samples[0].prompt);
    let last = &answer[answer.len() - checkpoint.spec.vocab..];
    let best = (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
    assert_eq!(best as u32, samples[0].answer[0]);
    assert!(fit(&decoder, &[], &options, 3, &threads).is_err());
}

#[test]
fn an_adapter_learns_on_top_of_another() {
    let checkpoint = base("llama");
    let threads = Threads::new(1);
    let decoder = FrozenDecoder::open(&checkpoint, Mode::Exact, &threads).unwrap();
    let samples = samples(6);
    let options = TrainOptions { batch: 2, ..options() };
    let below = fit(&decoder, &samples[..1], &options, 10, &threads).unwrap();
    let own = Own::new(decoder.spec(), &options, Some(&below));
    let mut learner = Learner::new(&decoder, samples.iter().collect(), own, &options, 40, &threads).unwrap();
    while !learner.ended() {
        learner.step().unwrap();
    }
    let learned = learner.learned().lora();
    let sum = blend(&[(&below, 1.0), (&learned, 1.0)], Form::Exact, &threads).unwrap();
    let after = loss(&decoder, &sum, &samples, &threads).unwrap();
    assert!(after < 0.5 * loss(&decoder, &below, &samples, &threads).unwrap(), "{after}");
}

#[test]
fn weights_of_adapters_learn_by_their_own_gradient() {
    let checkpoint = base("llama");
    let threads = Threads::new(1);
    let decoder = FrozenDecoder::open(&checkpoint, Mode::Exact, &threads).unwrap();
    let samples = samples(6);
    let (even, odd): (Vec<_>, Vec<_>) = samples.iter().cloned().partition(|sample| sample.task == "even");
    let options = TrainOptions { batch: 8, rate: 0.1, ..options() };
    let members = [&even, &odd].map(|own| fit(&decoder, own, &options, 20, &threads).unwrap());
    let members: Vec<&Lora> = members.iter().collect();
    let at = |weights: [f32; 2]| {
        let parts: Vec<(&Lora, f32)> = members.iter().copied().zip(weights).collect();
        loss(&decoder, &blend(&parts, Form::Exact, &threads).unwrap(), &even, &threads).unwrap()
    };
    // The gradient of a first pass is that of small steps.
    let start = [0.3, 0.4];
    let mut mixture = Mixture::new(&members, &start);
    let texts: Vec<Vec<u32>> = even.iter().map(|one| [&one.prompt[..], &one.answer].concat()).collect();
    let sequences: Vec<Sequence<'_>> =
        texts.iter().map(|tokens| Sequence { tokens, answer: even[0].prompt.len() }).collect();
    let value = decoder.loss(&sequences, &mut mixture, true, &threads).unwrap().mean();
    assert!((value - at(start)).abs() < 1e-4, "{value} {}", at(start));
    let step = 1e-2;
    for n in 0..2 {
        let moved = |by: f32| {
            let mut weights = start;
            weights[n] += by;
            at(weights)
        };
        let expected = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
        let found = f64::from(mixture.variables()[0].gradient[n]);
        assert!((found - expected).abs() < 2e-3 + 0.02 * expected.abs(), "{n}: {found} {expected}");
    }
    // Of two adapters the one that knows the task is taken.
    let mixture = Mixture::new(&members, &[0.5, 0.5]);
    let mut learner = Learner::new(&decoder, even.iter().collect(), mixture, &options, 15, &threads).unwrap();
    while !learner.ended() {
        learner.step().unwrap();
    }
    let weights = learner.learned().weights(0);
    assert!(weights[0] > weights[1] && at([weights[0], weights[1]]) < at([0.5, 0.5]), "{weights:?}");
}

#[test]
fn without_centring_all_keys_are_alike() {
    let (checkpoint, folder) = (base("llama"), tempfile::tempdir().unwrap());
    let options = TrainOptions { centred: false, epochs: 1, ..options() };
    let (pool, _) =
        train(&checkpoint, "llama", &samples(40), &options, folder.path(), &Threads::new(1), &mut go)
            .unwrap();
    assert!(pool.keys.mean.iter().all(|value| *value == 0.0));
    let alike = pool.keys.scores(&pool.keys.keys[0].clone().into());
    assert!(alike[1] > 0.0, "{alike:?}");
}

#[test]
fn a_pool_is_gone_on_with_from_where_it_was() {
    let (checkpoint, folder) = (base("llama"), tempfile::tempdir().unwrap());
    let (samples, threads) = (samples(40), Threads::new(1));
    // An earlier pool, whose keys look at prompts alone.
    let options = TrainOptions { prompt_keys: true, fixed_keys: true, ..options() };
    let (pool, before) =
        train(&checkpoint, "llama", &samples, &options, folder.path(), &threads, &mut go).unwrap();
    assert!(pool.keys.answers.is_none() && pool.keys.rest.is_none());
    // A step of no length: what comes out is what went in, but for the score of no adapter.
    let options = TrainOptions { epochs: 1, rate: 1e-12, adapters: 7, rank: 9, ..TrainOptions::default() };
    let other = tempfile::tempdir().unwrap();
    let (same, after) =
        go_on(&checkpoint, &pool, &samples, &options, other.path(), &threads, &mut go).unwrap();
    assert!(after.loss_before < 0.6 * before.loss_before, "{before:?} {after:?}");
    assert_eq!(same.keys.mean, pool.keys.mean);
    let answers = same.keys.answers.as_ref().unwrap();
    assert!(answers.keys.len() == 2 && same.keys.rest.is_some());
    for (one, other) in same.members.iter().zip(&pool.members) {
        for (site, pair) in &other.lora.pairs {
            let found = &one.lora.pairs[site];
            let scaled =
                |pair: &LowRankPair| pair.b.iter().map(|value| value * pair.scale).collect::<Vec<_>>();
            assert!(difference(&found.a, &pair.a) < 1e-5 && difference(&scaled(found), &scaled(pair)) < 1e-5);
        }
    }
}
