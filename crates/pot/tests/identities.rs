//! What must hold exactly, on every network with rotary positions.

use std::ops::ControlFlow;
use std::path::Path;

use crayon_errors::Explain as _;
use crayon_formats::Checkpoint;
use crayon_formats::spec::Positions;
use crayon_kernels::{KvSlice, Mode, Threads};
use crayon_model::{Decoder, KvMemory, Scratch, Step, Want};
use crayon_pot::{KvStorage, Network, POLICIES, Pot, PotError, PotOptions, Slab};

/// Every committed tiny network that has rotary positions.
fn networks() -> Vec<(String, Decoder)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.join("config.json").exists() {
            let checkpoint = Checkpoint::open(&path).unwrap();
            if checkpoint.spec.positions != Positions::Learned {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                found.push((name, Decoder::open(&checkpoint, Mode::Exact).unwrap()));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() >= 12, "only {} networks", found.len());
    found
}

fn network(name: &str) -> Decoder {
    networks().into_iter().find(|(found, _)| found == name).unwrap().1
}

/// Token ids without pattern.
fn tokens(decoder: &Decoder, count: usize) -> Vec<u32> {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    (0..count).map(|_| (next() % decoder.spec().vocab) as u32).collect()
}

fn options(policy: &str) -> PotOptions {
    PotOptions {
        keep: Some(16),
        sinks: 2,
        recent: 2,
        policy: policy.to_owned(),
        storage: KvStorage::F32,
        ..PotOptions::new(32, vec![3, 5, 7])
    }
}

/// Reads `parts` one call each; returns the pot and the last logits.
fn read(decoder: &Decoder, mut pot: Pot, threads: usize, parts: &[&[u32]]) -> (Pot, Vec<f32>) {
    let (pool, mut scratch, mut logits) = (Threads::new(threads), Scratch::new(), Vec::new());
    let mut network = Network { decoder, pool: &pool, adapter: None, scratch: &mut scratch };
    for part in parts {
        pot.read(&mut network, part, &mut logits, None, &mut |_| ControlFlow::Continue(())).unwrap();
        for layer in 0..pot.slab().layers() {
            assert!(pot.slab().len(layer) <= pot.slab().capacity(layer));
        }
    }
    (pot, logits)
}

fn pot(decoder: &Decoder, policy: &str) -> Pot {
    Pot::new(decoder.spec(), options(policy), 0, None).unwrap()
}

fn origins(pot: &Pot) -> Vec<Vec<u32>> {
    let slab = pot.slab();
    let heads = (0..slab.layers()).flat_map(|l| (0..slab.kv_heads()).map(move |h| (l, h)));
    heads.map(|(layer, head)| slab.origins(layer, head).to_vec()).collect()
}

fn key(slab: &Slab, layer: usize, head: usize, slot: usize) -> Vec<f32> {
    let mut out = vec![0.0; slab.head_dim()];
    slab.key(layer, head, slot, &mut out);
    out
}

fn values(memory: &dyn KvMemory, layer: usize, head: usize, dim: usize) -> Vec<Vec<f32>> {
    match memory.head(layer, head).values {
        KvSlice::F32(values) => values.chunks(dim).map(<[f32]>::to_vec).collect(),
        _ => panic!("not f32"),
    }
}

#[test]
fn a_text_that_fits_is_read_as_with_a_full_cache() {
    for (name, decoder) in networks() {
        let tokens = tokens(&decoder, 29);
        let mut memory = Slab::plain(decoder.spec(), 32, KvStorage::F32);
        let (pool, mut scratch) = (Threads::new(2), Scratch::new());
        let step = &mut [Step::new(&tokens, &mut memory)];
        let expected = decoder.forward(&pool, step, &mut scratch).unwrap().to_vec();
        // 29 tokens are all that fits beside a catalyst of three.
        let (found, logits) = read(&decoder, pot(&decoder, "infinipot"), 2, &[&tokens]);
        assert_eq!((found.distillations(), found.kept()), (0, 29), "{name}");
        assert_eq!(logits, expected, "{name}");
        let (full, logits) = read(&decoder, Pot::full(decoder.spec(), 32, KvStorage::F32), 2, &[&tokens]);
        assert_eq!((full.kept(), logits), (29, expected), "{name}");
    }
}

#[test]
fn every_policy_keeps_as_many_as_it_should_in_order_with_sinks_and_pins() {
    for (name, decoder) in networks() {
        let tokens = tokens(&decoder, 150);
        for policy in &POLICIES {
            let budgets: Vec<f32> = (1..=decoder.spec().layers).map(|layer| layer as f32).collect();
            let mut made = Pot::new(decoder.spec(), options(policy.name), 2, Some(&budgets)).unwrap();
            made.pin(decoder.spec(), std::iter::once(40..42).collect()).unwrap();
            // Read up to a distillation, so that exactly the kept entries are there.
            let (pool, mut scratch, mut logits) = (Threads::new(1), Scratch::new(), Vec::new());
            let mut network =
                Network { decoder: &decoder, pool: &pool, adapter: None, scratch: &mut scratch };
            made.read(&mut network, &tokens, &mut logits, None, &mut |_| ControlFlow::Continue(())).unwrap();
            assert!(made.distillations() >= 5, "{name} {}", policy.name);
            assert_eq!(made.tokens_read(), 150);
            let total: usize = (0..made.slab().layers()).map(|layer| made.slab().capacity(layer)).sum();
            assert_eq!(total, 32 * decoder.spec().layers, "{name} {}", policy.name);
            for (at, kept) in origins(&made).into_iter().enumerate() {
                assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "{name} {}: {kept:?}", policy.name);
                assert!(kept.iter().all(|origin| *origin < 150));
                if made.slab().slides(at / made.slab().kv_heads()) {
                    let latest: Vec<u32> = (150 - kept.len() as u32..150).collect();
                    assert_eq!(kept, latest, "{name} {}", policy.name);
                    continue;
                }
                for stays in [0, 1, 40, 41, 148, 149] {
                    assert!(kept.contains(&stays), "{name} {}: {stays} is gone from {kept:?}", policy.name);
                }
            }
        }
    }
}

#[test]
fn how_a_text_is_divided_into_calls_and_threads_changes_nothing() {
    for (name, decoder) in
        networks().into_iter().filter(|(name, _)| ["llama", "gemma3", "qwen2"].contains(&name.as_str()))
    {
        let tokens = tokens(&decoder, 120);
        for policy in &POLICIES {
            let whole = read(&decoder, pot(&decoder, policy.name), 1, &[&tokens]);
            let single: Vec<&[u32]> = tokens.chunks(1).collect();
            let odd: Vec<&[u32]> = tokens.chunks(7).collect();
            for (threads, parts) in [(1, single), (3, odd), (2, vec![&tokens[..]])] {
                let other = read(&decoder, pot(&decoder, policy.name), threads, &parts);
                assert_eq!(origins(&other.0), origins(&whole.0), "{name} {}", policy.name);
                assert_eq!(other.1, whole.1, "{name} {}", policy.name);
            }
        }
    }
}

#[test]
fn a_moved_key_is_the_key_computed_at_its_new_position() {
    for (name, decoder) in networks() {
        let tokens = tokens(&decoder, 100);
        let (found, _) = read(&decoder, pot(&decoder, "infinipot"), 1, &[&tokens]);
        let slab = found.slab();
        for head in 0..slab.kv_heads() {
            let kept: Vec<u32> =
                slab.origins(0, head).iter().map(|&origin| tokens[origin as usize]).collect();
            // In the first layer keys depend on token and position alone: read the kept tokens as a text.
            let (fresh, _) = read(&decoder, Pot::full(decoder.spec(), 32, KvStorage::F32), 1, &[&kept]);
            for slot in 0..kept.len() {
                let (moved, computed) = (key(slab, 0, head, slot), key(fresh.slab(), 0, head, slot));
                let largest = computed.iter().fold(1e-6f32, |most, x| most.max(x.abs()));
                for (a, b) in moved.iter().zip(&computed) {
                    assert!((a - b).abs() <= 2e-5 * largest, "{name} head {head} slot {slot}: {a} {b}");
                }
            }
        }
    }
}

#[test]
fn the_catalyst_leaves_no_trace() {
    let decoder = network("llama");
    let tokens = tokens(&decoder, 29 + 1);
    let dim = decoder.spec().head_dim;
    let (before, _) = read(&decoder, Pot::full(decoder.spec(), 32, KvStorage::F32), 1, &[&tokens[..29]]);
    let (after, _) = read(&decoder, pot(&decoder, "infinipot"), 1, &[&tokens]);
    assert_eq!((after.distillations(), after.tokens_read(), after.kept()), (1, 30, 17));
    for layer in 0..decoder.spec().layers {
        for head in 0..decoder.spec().kv_heads {
            let old = values(before.slab(), layer, head, dim);
            let new = values(after.slab(), layer, head, dim);
            let origins = after.slab().origins(layer, head);
            // All but the token read since: values do not turn, so they are the very bits.
            for (origin, new) in origins.iter().zip(&new).take(16) {
                assert_eq!(&old[*origin as usize], new);
            }
            assert_eq!(origins[16], 29);
        }
    }
    // Reading on from there is the same whether the prompt was long or short, as long as the choice is the same.
    let mut other = options("infinipot");
    other.novelty = 1.0;
    let mut longer = other.clone();
    longer.catalyst = vec![9; 3];
    let made = |options: PotOptions| Pot::new(decoder.spec(), options, 0, None).unwrap();
    let (a, b) = (read(&decoder, made(other), 1, &[&tokens]), read(&decoder, made(longer), 1, &[&tokens]));
    assert_eq!((origins(&a.0), a.1), (origins(&b.0), b.1));
}

#[test]
fn all_novelty_ignores_the_catalyst_and_no_novelty_ignores_the_past() {
    let decoder = network("llama");
    let tokens = tokens(&decoder, 100);
    let made = |novelty, catalyst: Vec<u32>, policy: &str| {
        let options = PotOptions { novelty, catalyst, ..options(policy) };
        origins(&read(&decoder, Pot::new(decoder.spec(), options, 0, None).unwrap(), 1, &[&tokens]).0)
    };
    let novel = made(1.0, vec![3, 5, 7], "infinipot");
    assert_eq!(novel, made(1.0, vec![11, 2, 1], "infinipot"));
    assert_eq!(novel, made(0.3, vec![3], "sirllm"));
    assert!(novel.iter().all(|head| *head == novel[0]), "novelty is one number a token");
    let important = made(0.0, vec![3, 5, 7], "infinipot");
    assert_ne!(important, made(0.0, vec![11, 2, 1], "infinipot"), "the prompt decides");
    assert!(important.iter().any(|head| *head != important[0]), "heads keep their own");
    // Without novelty the output layer is never asked for a token of the text.
    assert!(
        !crayon_pot::named("infinipot")
            .unwrap()
            .make(&PotOptions { novelty: 0.0, ..PotOptions::new(64, vec![1]) })
            .needs()
            .novelty
    );
}

#[test]
fn novelty_is_the_surprise_of_a_full_cache_before_anything_is_forgotten() {
    let decoder = network("qwen3");
    let tokens = tokens(&decoder, 29);
    let (pool, mut scratch) = (Threads::new(2), Scratch::new());
    let mut memory = Slab::plain(decoder.spec(), 32, KvStorage::F32);
    let step = &mut [Step::new(&tokens, &mut memory).wanting(Want::All)];
    let rows = decoder.forward(&pool, step, &mut scratch).unwrap().to_vec();
    let mut surprise = Vec::new();
    let mut made = pot(&decoder, "infinipot");
    let mut network = Network { decoder: &decoder, pool: &pool, adapter: None, scratch: &mut scratch };
    let go_on = &mut |_| ControlFlow::Continue(());
    made.read(&mut network, &tokens, &mut Vec::new(), Some(&mut surprise), go_on).unwrap();
    assert_eq!(surprise.len(), 28);
    for (at, found) in surprise.iter().enumerate() {
        let row = &rows[at * decoder.spec().vocab..(at + 1) * decoder.spec().vocab];
        let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
        let expected = sum.ln() - f64::from(row[tokens[at + 1] as usize]);
        assert!((f64::from(*found) - expected).abs() < 1e-4, "{at}: {found} {expected}");
        assert_eq!(made.slab().novelty(0, 0)[at + 1], *found);
    }
}

#[test]
fn smaller_numbers_stay_near_the_exact_ones() {
    for (name, decoder) in networks() {
        let tokens = tokens(&decoder, 29);
        let exact = read(&decoder, Pot::full(decoder.spec(), 32, KvStorage::F32), 1, &[&tokens]).1;
        let size = exact.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        for (storage, tolerance) in [(KvStorage::F16, 4e-3), (KvStorage::I8, 6e-2)] {
            let rounded = read(&decoder, Pot::full(decoder.spec(), 32, storage), 1, &[&tokens]).1;
            let worst = exact.iter().zip(&rounded).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(worst <= tolerance * size, "{name} {}: {worst} of {size}", storage.name());
            assert!(worst > 0.0, "{name} {}: nothing was rounded", storage.name());
        }
        // A pot of small numbers works through many distillations.
        let long = self::tokens(&decoder, 150);
        let options = PotOptions { storage: KvStorage::I8, ..options("infinipot") };
        let (done, logits) = read(&decoder, Pot::new(decoder.spec(), options, 0, None).unwrap(), 2, &[&long]);
        assert!(done.distillations() > 5 && logits.iter().all(|logit| logit.is_finite()), "{name}");
    }
}

#[test]
fn tokens_since_the_last_distillation_can_be_taken_back() {
    let decoder = network("llama");
    let tokens = tokens(&decoder, 100);
    let (plain, expected) = read(&decoder, pot(&decoder, "infinipot"), 1, &[&tokens]);
    let (mut changed, _) = read(&decoder, pot(&decoder, "infinipot"), 1, &[&tokens[..95], &[1, 2, 3]]);
    assert!(changed.rewind(95));
    let (changed, logits) = read(&decoder, changed, 1, &[&tokens[94..94], &tokens[95..]]);
    assert_eq!(origins(&changed), origins(&plain));
    assert_eq!(logits, expected);
    let mut changed = changed;
    assert!(!changed.rewind(20), "what was distilled cannot come back");
    assert!(changed.rewind(0));
    assert!(changed.slab().is_empty());
}

#[test]
fn a_pot_that_cannot_work_is_refused_with_the_size_that_can() {
    let decoder = network("llama");
    let spec = decoder.spec();
    for (sinks, recent, catalyst, pinned) in [(4, 4, 15, 0), (0, 0, 1, 0), (4, 0, 3, 20), (2, 2, 12, 9)] {
        let with = |entries| PotOptions {
            keep: None,
            sinks,
            recent,
            catalyst: vec![1; catalyst],
            ..PotOptions::new(entries, Vec::new())
        };
        let error = with(1).check(spec, pinned).unwrap_err();
        let PotError::TooSmall { smallest, .. } = error else { panic!("{error}") };
        assert!(error.hint().unwrap().contains(&smallest.to_string()));
        assert!(with(smallest - 1).check(spec, pinned).is_err());
        if smallest <= spec.context {
            let keep = with(smallest).check(spec, pinned).unwrap();
            assert!(keep + catalyst < smallest && keep > sinks + recent + pinned);
        }
    }
    // The size named works and no smaller one does, whatever the policy and the size that was refused.
    for policy in &POLICIES {
        let with = |entries| PotOptions { entries, keep: None, ..options(policy.name) };
        let works = |entries: usize| with(entries).check(spec, 5).is_ok();
        let smallest = (0..spec.context).find(|entries| works(*entries)).unwrap();
        assert!((smallest..spec.context).all(works), "{}", policy.name);
        for entries in 0..smallest {
            let named = match with(entries).check(spec, 5).unwrap_err() {
                PotError::TooSmall { smallest, .. } => smallest,
                error => panic!("{error}"),
            };
            assert_eq!(named, smallest, "{} of {entries}", policy.name);
        }
    }
    let check = |options: PotOptions| options.check(spec, 0).unwrap_err();
    let error = check(PotOptions { smooth: 0, ..options("infinipot") });
    assert!(matches!(error, PotError::Smooth) && error.hint().unwrap().contains("1 for none"));
    assert!(matches!(check(PotOptions::new(spec.context + 1, vec![1])), PotError::BeyondContext { .. }));
    assert!(matches!(
        check(PotOptions { keep: Some(31), ..options("infinipot") }),
        PotError::Keep { most: 21, .. }
    ));
    assert!(matches!(check(PotOptions { novelty: 1.5, ..options("infinipot") }), PotError::Novelty { .. }));
    let error = check(options("magic"));
    assert!(matches!(error, PotError::Policy { .. }) && error.hint().unwrap().contains("snapkv"));
}

#[test]
fn the_question_is_the_catalyst_where_the_pot_can_take_it() {
    let decoder = network("llama");
    let spec = decoder.spec();
    for (general, question, pinned) in [(9, 5, 0), (9, 9, 3), (4, 6, 0), (4, 8, 20), (2, 12, 5)] {
        let chosen = |entries| {
            let mut options = PotOptions { keep: None, ..PotOptions::new(entries, vec![1; general]) };
            options.prefer(spec, vec![2; question], pinned);
            options
        };
        let works = |entries: usize| chosen(entries).check(spec, pinned);
        let smallest = (0..spec.context).find(|entries| works(*entries).is_ok()).unwrap();
        for entries in 0..smallest {
            let Err(PotError::TooSmall { smallest: named, .. }) = works(entries) else { panic!("{entries}") };
            assert_eq!(named, smallest, "{entries} with {general}, {question}, {pinned}");
        }
        assert!((smallest..=spec.context).all(|entries| works(entries).is_ok()));
        assert_eq!(chosen(spec.context).catalyst.len(), question, "a large pot takes any question");
    }
}

#[test]
fn learned_positions_are_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/gpt2");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let error = options("infinipot").check(&checkpoint.spec, 0).unwrap_err();
    assert!(matches!(error, PotError::LearnedPositions) && error.hint().is_some());
    assert!(!crayon_pot::distillable(&checkpoint.spec));
    // Keeping everything works for any network.
    let decoder = Decoder::open(&checkpoint, Mode::Exact).unwrap();
    let (full, _) = read(&decoder, Pot::full(decoder.spec(), 20, KvStorage::F32), 1, &[&[1, 2, 3]]);
    assert_eq!(full.kept(), 3);
}

#[test]
fn a_pot_without_policy_refuses_what_does_not_fit_and_reads_none_of_it() {
    let decoder = network("llama");
    let (pool, mut scratch) = (Threads::new(1), Scratch::new());
    let mut network = Network { decoder: &decoder, pool: &pool, adapter: None, scratch: &mut scratch };
    let mut full = Pot::full(decoder.spec(), 8, KvStorage::F32);
    let error = full.read(&mut network, &[1; 9], &mut Vec::new(), None, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(
        error,
        Err(PotError::Model(crayon_model::ModelError::MemoryFull { needed: 9, capacity: 8 }))
    ));
    assert!(full.slab().is_empty());
}

#[test]
fn sensitivity_is_one_number_a_layer_and_none_for_the_first() {
    let decoder = network("llama");
    let (pool, mut scratch) = (Threads::new(1), Scratch::new());
    let mut network = Network { decoder: &decoder, pool: &pool, adapter: None, scratch: &mut scratch };
    let found = crayon_pot::budget::sensitivity(&mut network, &tokens(&decoder, 48)).unwrap();
    assert_eq!(found.len(), decoder.spec().layers);
    // Keys of the first layer see nothing of the past.
    assert!(found[0].abs() < 1e-5, "{found:?}");
    assert!(found[1..].iter().all(|value| *value > 1e-6), "{found:?}");
}
