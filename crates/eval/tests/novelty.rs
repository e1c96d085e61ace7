//! Novelty from the frequent part of a large vocabulary: what is summed, and that no way of reading changes a bit.

use crayon_engine::{Engine, ModelSource, PotOptions, Settings};
use crayon_eval::bench::{MadeUp, Scheme, Shape};
use crayon_eval::pots;
use crayon_formats::{Checkpoint, Format};
use crayon_kernels::{Mode, Threads};
use crayon_model::{Decoder, Scratch, Step, Summed, Want};
use crayon_pot::{KvStorage, Network, Pot, Reading, Slab};

const VOCAB: usize = 20_000;
const FREQUENT: usize = 8192;
const WIDE: Shape = Shape {
    name: "novelty-test",
    arch: "qwen2",
    vocab: VOCAB,
    hidden: 256,
    layers: 2,
    heads: 4,
    kv_heads: 2,
    intermediate: 512,
    context: 256,
    rope_theta: 1e4,
};

/// Tokens of both parts.
fn tokens(count: usize) -> Vec<u32> {
    (0..count).map(|at| (at * 7919 % VOCAB) as u32).collect()
}

fn decoder(format: Format, mode: Mode) -> (Decoder, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = MadeUp::write(folder.path(), &WIDE, Scheme::new(format)).unwrap().keep();
    (Decoder::open(&Checkpoint::open(&file).unwrap(), mode).unwrap(), folder)
}

#[test]
fn a_likelihood_is_summed_over_the_first_tokens_and_the_one_asked_for() {
    let (threads, read) = (Threads::new(2), tokens(40));
    for (format, mode) in [(Format::Q8_0, Mode::Fast), (Format::Q4K, Mode::Fast), (Format::F16, Mode::Exact)]
    {
        let (decoder, _folder) = decoder(format, mode);
        let (mut scratch, targets) = (Scratch::new(), &read[1..]);
        let mut memory = Slab::plain(decoder.spec(), read.len(), KvStorage::F32);
        let mut step = [Step::new(&read, &mut memory).wanting(Want::All)];
        let rows = decoder.forward(&threads, &mut step, &mut scratch).unwrap().to_vec();
        let rows: Vec<&[f32]> = rows.chunks_exact(VOCAB).take(targets.len()).collect();
        assert!(targets.iter().any(|id| *id as usize >= FREQUENT), "none beyond the sum");
        for summed in [Summed::All, Summed::Frequent] {
            let mut found = vec![0.0; targets.len()];
            decoder.log_likelihoods(&threads, 0, targets, summed, &mut found, &mut scratch);
            for ((found, row), target) in found.iter().zip(&rows).zip(targets) {
                assert_eq!(*found, summed.log_likelihood(row, *target), "{format} {summed:?} {target}");
                let exp = |id: usize| f64::from(row[id]).exp();
                let target = *target as usize;
                let within = if summed == Summed::All { VOCAB } else { FREQUENT };
                let beyond = if target < within { 0.0 } else { exp(target) };
                let expected = (exp(target) / ((0..within).map(exp).sum::<f64>() + beyond)).ln();
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-4,
                    "{format} {summed:?}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn the_size_of_passes_does_not_change_the_novelty_of_a_token() {
    let (decoder, _folder) = decoder(Format::Q8_0, Mode::Fast);
    let (threads, read) = (Threads::new(1), tokens(90));
    let novelty = |most: usize, exact_novelty: bool| {
        let options = PotOptions { exact_novelty, ..PotOptions::new(128, vec![1, 2, 3]) };
        let mut pot = Pot::new(decoder.spec(), options, 0, None).unwrap();
        let (mut reading, mut logits, mut scratch) = (Reading::new(read.clone()), Vec::new(), Scratch::new());
        let mut network = Network { decoder: &decoder, pool: &threads, adapter: None, scratch: &mut scratch };
        while let Some(step) = pot.next_step(&mut reading, &decoder, &logits, most).unwrap() {
            decoder.forward(&threads, &mut [step], network.scratch).unwrap();
            pot.absorb(&mut reading, &mut network, 0, &mut logits).unwrap();
        }
        assert_eq!(logits.len(), VOCAB, "logits after the last token");
        pot.slab().novelty(0, 0).to_vec()
    };
    let whole = novelty(usize::MAX, false);
    assert_eq!(whole.len(), read.len());
    assert!(whole[1..].iter().all(|value| *value > 0.0));
    assert_eq!(novelty(7, false), whole);
    assert_eq!(novelty(1, false), whole);
    let exact = novelty(usize::MAX, true);
    // A part of the sum is missing.
    assert!(exact[1..].iter().zip(&whole[1..]).all(|(exact, cheap)| exact > cheap));
}

#[test]
fn the_comparison_counts_tokens_and_orders_them_alike() {
    let folder = tempfile::tempdir().unwrap();
    let file = MadeUp::write(folder.path(), &WIDE, Scheme::new(Format::Q8_0)).unwrap();
    let engine = Engine::open(&ModelSource::Path(file.path().to_owned()), &Settings::default()).unwrap();
    let mut seen = Vec::new();
    let check = pots::novelty(&engine, &tokens(130), 64, 32, &mut |done, total| {
        seen.push((done, total));
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((check.tokens, seen), (2 * 63, vec![(1, 2), (2, 2)]));
    assert!(check.missing_nats > 0.0 && check.spearman.unwrap() > 0.9 && check.overlap > 0.8, "{check:?}");
    let error = pots::novelty(&engine, &tokens(10), 64, 32, &mut |_, _| std::ops::ControlFlow::Continue(()));
    assert!(error.is_err());
}
