//! Logits and attention of every family against the reference implementation's.

mod common;

use std::sync::Mutex;

use common::{cases, data, json, relative_difference};
use crayon_formats::Checkpoint;
use crayon_kernels::{Mode, Threads};
use crayon_model::{Decoder, ScoreTap, Scratch, Step, Want};
use crayon_pot::{KvStorage, Slab};

const TOLERANCE: f32 = 1e-4;

fn logits(checkpoint: &Checkpoint, tokens: &[u32], tap: Option<&dyn ScoreTap>) -> Vec<f32> {
    let decoder = Decoder::open(checkpoint, Mode::Exact).unwrap();
    let mut memory = Slab::plain(decoder.spec(), tokens.len(), KvStorage::F32);
    let mut step = Step::new(tokens, &mut memory);
    step.tap = tap;
    let mut scratch = Scratch::new();
    decoder.forward(&Threads::new(2), &mut [step.wanting(Want::All)], &mut scratch).unwrap().to_vec()
}

#[test]
fn the_decoder_computes_the_reference_logits() {
    for case in cases() {
        let found = logits(&case.checkpoint, &case.tokens, None);
        let difference = relative_difference(&found, &case.logits.concat());
        assert!(difference < TOLERANCE, "{}: {difference}", case.name);
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<Seen>>);

/// One call of the tap.
struct Seen {
    layer: usize,
    head: usize,
    row: usize,
    first: usize,
    probabilities: Vec<f32>,
}

impl ScoreTap for Recorder {
    fn scores(&self, layer: usize, head: usize, row: usize, first: usize, probabilities: &[f32]) {
        let probabilities = probabilities.to_vec();
        self.0.lock().unwrap().push(Seen { layer, head, row, first, probabilities });
    }
}

#[test]
fn the_score_tap_sees_the_reference_attention() {
    let mut compared = 0;
    for case in cases() {
        let recorder = Recorder::default();
        logits(&case.checkpoint, &case.tokens, Some(&recorder));
        for Seen { layer, head, row, first, probabilities: found } in recorder.0.into_inner().unwrap() {
            let Some((_, heads)) = case.attention.iter().find(|(recorded, _)| *recorded == layer) else {
                continue;
            };
            let expected = &heads[head][row];
            assert!(expected[..first].iter().all(|&p| p == 0.0), "{}: window", case.name);
            for (found, expected) in found.iter().zip(&expected[first..]) {
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{} {layer} {head} {row}: {found} {expected}",
                    case.name
                );
            }
            compared += found.len();
        }
    }
    assert!(compared > 10_000, "only {compared} probabilities compared");
}

#[test]
fn a_published_model_computes_the_reference_logits() {
    let Some(data) = data("a_published_model_computes_the_reference_logits") else { return };
    let checkpoint = Checkpoint::open(&data.join("tinystories656k")).unwrap();
    let expected = json(&common::fixtures().join("tinystories656k.json"));
    let ids = |value: &serde_json::Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    let prompts = expected["sequences"].as_array().expect("sequences");
    assert_eq!(prompts.len(), 2);
    for prompt in prompts {
        let tokens = ids(&prompt["token_ids"]);
        let found = logits(&checkpoint, &tokens, None);
        let last: Vec<f32> = prompt["last_logits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|logit| logit.as_f64().unwrap() as f32)
            .collect();
        let difference = relative_difference(&found[found.len() - last.len()..], &last);
        assert!(difference < TOLERANCE, "{difference}");
    }
    let window = &expected["window"];
    let tokens = ids(&window["token_ids"]);
    let found = logits(&checkpoint, &tokens, None);
    let vocab = checkpoint.spec.vocab;
    let nll = |(row, target): (&[f32], &u32)| {
        let largest = row.iter().copied().fold(f32::MIN, f32::max);
        let sum: f64 = row.iter().map(|logit| f64::from(logit - largest).exp()).sum();
        sum.ln() - f64::from(row[*target as usize] - largest)
    };
    let total: f64 = found.chunks(vocab).zip(&tokens[1..]).map(nll).sum();
    let mean = total / (tokens.len() - 1) as f64;
    assert!((mean - window["nll"].as_f64().unwrap()).abs() < 1e-4, "{mean}");
}
