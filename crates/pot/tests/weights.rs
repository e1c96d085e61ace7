//! Weights of keys: what must hold exactly.

use std::ops::{ControlFlow, Range};
use std::path::Path;

use crayon_formats::Checkpoint;
use crayon_formats::spec::Positions;
use crayon_kernels::{Mode, Threads};
use crayon_model::{Decoder, Scratch};
use crayon_pot::{KeyWeights, KvStorage, Network, Pot, PotOptions};

fn networks() -> Vec<(String, Decoder)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<(String, Decoder)> = entries
        .filter(|path| path.join("config.json").exists())
        .map(|path| {
            let decoder = Decoder::open(&Checkpoint::open(&path).unwrap(), Mode::Exact).unwrap();
            (path.file_name().unwrap().to_string_lossy().into_owned(), decoder)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() >= 12, "only {} networks", found.len());
    found
}

fn tokens(decoder: &Decoder, count: usize) -> Vec<u32> {
    (0..count).map(|i| (i * i * 7 + i * 3) as u32 % decoder.spec().vocab as u32).collect()
}

fn weights(places: &[(Range<u32>, f32)]) -> KeyWeights {
    KeyWeights::new(places.to_vec())
}

/// Reads `tokens` into a pot with weights; the pot and the last logits.
fn read(decoder: &Decoder, mut pot: Pot, weights: KeyWeights, parts: &[&[u32]]) -> (Pot, Vec<f32>) {
    let (pool, mut scratch, mut logits) = (Threads::new(2), Scratch::new(), Vec::new());
    let mut network = Network { decoder, pool: &pool, adapter: None, scratch: &mut scratch };
    pot.weigh(weights);
    // Networks with longrope scaling want to know how long the text is going to be.
    pot.expect(pot.tokens_read() + parts.iter().map(|part| part.len()).sum::<usize>());
    for part in parts {
        pot.read(&mut network, part, &mut logits, None, &mut |_| ControlFlow::Continue(())).unwrap();
    }
    (pot, logits)
}

fn full(decoder: &Decoder) -> Pot {
    Pot::full(decoder.spec(), 64, KvStorage::F32)
}

#[test]
fn a_weight_of_one_changes_no_bit_and_a_larger_one_changes_the_logits() {
    for (name, decoder) in networks() {
        let tokens = tokens(&decoder, 24);
        let plain = read(&decoder, full(&decoder), KeyWeights::default(), &[&tokens]).1;
        let ones = read(&decoder, full(&decoder), weights(&[(18..22, 1.0)]), &[&tokens]).1;
        assert_eq!(plain, ones, "{name}");
        let more = read(&decoder, full(&decoder), weights(&[(18..22, 4.0)]), &[&tokens]).1;
        assert_ne!(plain, more, "{name}");
    }
}

#[test]
fn what_a_hidden_token_says_does_not_matter() {
    for (name, decoder) in networks() {
        let one = tokens(&decoder, 24);
        let mut other = one.clone();
        other[20] = (one[20] + 11) % decoder.spec().vocab as u32;
        other[21] = (one[21] + 5) % decoder.spec().vocab as u32;
        let hidden = || weights(&[(20..22, 0.0)]);
        let a = read(&decoder, full(&decoder), hidden(), &[&one]).1;
        let b = read(&decoder, full(&decoder), hidden(), &[&other]).1;
        assert_eq!(a, b, "{name}");
        let seen = read(&decoder, full(&decoder), KeyWeights::default(), &[&other]).1;
        assert_ne!(b, seen, "{name}");
    }
}

#[test]
fn calls_change_nothing_and_new_weights_are_as_if_they_had_been_there() {
    for (name, decoder) in networks() {
        let tokens = tokens(&decoder, 30);
        let heavy = || weights(&[(5..8, 3.0), (20..21, 0.2)]);
        let (_, whole) = read(&decoder, full(&decoder), heavy(), &[&tokens]);
        let (_, parts) =
            read(&decoder, full(&decoder), heavy(), &[&tokens[..6], &tokens[6..20], &tokens[20..]]);
        assert_eq!(whole, parts, "{name}");
        // What lies before the first weighted place stays; the rest is read again.
        let (mut pot, _) = read(&decoder, full(&decoder), KeyWeights::default(), &[&tokens]);
        pot.weigh(heavy());
        assert_eq!(pot.tokens_read(), 5, "{name}");
        let (pot, again) = read(&decoder, pot, heavy(), &[&tokens[5..]]);
        assert_eq!(whole, again, "{name}");
        // And away again.
        let plain = read(&decoder, full(&decoder), KeyWeights::default(), &[&tokens]).1;
        let (_, without) = read(&decoder, pot, KeyWeights::default(), &[&tokens[5..]]);
        assert_eq!(plain, without, "{name}");
    }
}

#[test]
fn weights_stay_with_the_entries_a_pot_keeps() {
    for (name, decoder) in networks() {
        if decoder.spec().positions == Positions::Learned {
            continue;
        }
        let options = PotOptions {
            keep: Some(16),
            sinks: 2,
            recent: 2,
            storage: KvStorage::F32,
            ..PotOptions::new(32, vec![3, 5, 7])
        };
        let pot = Pot::new(decoder.spec(), options, 0, None).unwrap();
        let heavy = weights(&[(0..2, 5.0), (30..60, 2.0), (90..100, 0.5)]);
        let tokens = tokens(&decoder, 130);
        let (pot, _) = read(&decoder, pot, heavy.clone(), &[&tokens]);
        assert!(pot.distillations() >= 4, "{name}");
        let (slab, mut weighted) = (pot.slab(), 0);
        for layer in 0..slab.layers() {
            for head in 0..slab.kv_heads() {
                let logs = slab.log_weights(layer, head);
                let expected: Vec<f32> = slab.origins(layer, head).iter().map(|at| heavy.log(*at)).collect();
                assert_eq!(logs, expected, "{name}");
                weighted += logs.iter().filter(|log| **log != 0.0).count();
            }
        }
        assert!(weighted > 0, "{name}");
    }
}

#[test]
fn a_catalyst_has_no_weights_and_leaves_no_trace() {
    let (_, decoder) = networks().into_iter().find(|(name, _)| name.starts_with("llama")).unwrap();
    let options =
        PotOptions { keep: Some(16), storage: KvStorage::F32, ..PotOptions::new(32, vec![3, 5, 7]) };
    let made = || Pot::new(decoder.spec(), options.clone(), 0, None).unwrap();
    let tokens = tokens(&decoder, 60);
    // Behind the first chunk of 29 tokens the catalyst is read at places 29 to 31; weights of the text's own tokens there must not
    // change what is kept of those before.
    let kept = |weights: KeyWeights| {
        let (pot, _) = read(&decoder, made(), weights, &[&tokens[..30]]);
        let slab = pot.slab();
        (0..slab.layers()).map(|layer| slab.origins(layer, 0).to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(kept(KeyWeights::default()), kept(weights(&[(29..32, 50.0)])));
    assert_ne!(kept(KeyWeights::default()), kept(weights(&[(6..20, 50.0)])));
}
