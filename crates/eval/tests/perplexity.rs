//! Perplexity against its definition, computed with the plain form of the network.

mod common;

use std::ops::ControlFlow;

use common::{CONTEXT, checkpoint, engine, go_on, ids, log_softmax, plain_logits};
use crayon_engine::{Engine, ModelSource, Settings};
use crayon_errors::Explain as _;
use crayon_eval::pots::perplexity_through_pot;
use crayon_eval::{EvalError, logits, perplexity, perplexity_of_text};
use crayon_pot::{Attention, POLICIES};
use crayon_text::Special;

/// Sum of negative log-likelihoods of all but the first of `window`.
fn direct(window: &[u32]) -> f64 {
    let logits = plain_logits(&checkpoint(1, false), window);
    window[1..].iter().zip(&logits).map(|(&id, row)| -log_softmax(row, id)).sum()
}

#[test]
fn windows_are_independent_and_their_first_tokens_are_not_scored() {
    let engine = engine(1, false);
    let ids = ids(24);
    // 9 + 9 + 6 tokens: 8 + 8 + 5 scored.
    let expected = ids.chunks(9).map(direct).sum::<f64>() / 21.0;
    let result = perplexity(&engine, &ids, Some(9), &mut go_on).unwrap();
    assert_eq!((result.tokens, result.windows, result.window, result.dropped), (21, 3, 9, 0));
    assert!((result.nll - expected).abs() < 1e-5, "{} {expected}", result.nll);
    assert!((result.perplexity - expected.exp()).abs() < 1e-3 * expected.exp());
    // One window over all of it is another number, so the comparison above can fail.
    let whole = perplexity(&engine, &ids, None, &mut go_on).unwrap();
    assert_eq!((whole.tokens, whole.window), (23, CONTEXT));
    assert!((whole.nll - direct(&ids) / 23.0).abs() < 1e-5);
    assert!((whole.nll - result.nll).abs() > 1e-3, "{} {}", whole.nll, result.nll);
}

#[test]
fn the_first_token_of_a_window_is_read_though_not_scored() {
    let engine = engine(1, false);
    let mut other = ids(10);
    let before = perplexity(&engine, &other, Some(5), &mut go_on).unwrap();
    other[5] = 3;
    let after = perplexity(&engine, &other, Some(5), &mut go_on).unwrap();
    assert_eq!(before.tokens, after.tokens);
    assert!((before.nll - after.nll).abs() > 1e-4);
}

#[test]
fn a_last_window_of_one_token_scores_nothing() {
    let engine = engine(1, false);
    let ids = ids(11);
    let with = perplexity(&engine, &ids, Some(5), &mut go_on).unwrap();
    let without = perplexity(&engine, &ids[..10], Some(5), &mut go_on).unwrap();
    assert_eq!((with.tokens, with.windows, with.dropped), (8, 2, 1));
    assert_eq!(with.nll, without.nll);
}

#[test]
fn text_is_encoded_plainly_and_counted_in_bytes() {
    let engine = engine(1, true);
    let text = "the café, a <|end|> of the thing";
    let tokens = engine.tokenizer().unwrap().encode(text, Special::Plain).unwrap();
    let from_ids = perplexity(&engine, &tokens, Some(10), &mut go_on).unwrap();
    let from_text = perplexity_of_text(&engine, text, Some(10), &mut go_on).unwrap();
    assert_eq!(from_text.nll, from_ids.nll);
    assert_eq!(from_ids.bits_per_byte, None);
    let tokenizer = engine.tokenizer().unwrap();
    let scored = tokens.iter().enumerate().filter(|(at, _)| at % 10 != 0);
    let bytes: usize = scored.map(|(_, &id)| tokenizer.bytes(id).unwrap().len()).sum();
    let expected = from_ids.nll * from_ids.tokens as f64 / std::f64::consts::LN_2 / bytes as f64;
    assert!((from_text.bits_per_byte.unwrap() - expected).abs() < 1e-9);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let engine = engine(1, false);
    let refused = |ids: &[u32], window| perplexity(&engine, ids, window, &mut go_on).unwrap_err();
    assert!(matches!(refused(&ids(9), Some(1)), EvalError::Option { .. }));
    let error = refused(&ids(9), Some(CONTEXT + 1));
    assert!(error.to_string().contains("64") && error.hint().is_some(), "{error}");
    assert!(matches!(refused(&[5], None), EvalError::TooShort { found: 1 }));
    let error = refused(&[5, 100_000, 7], None);
    assert!(error.is_mistake() && error.to_string().contains("100000"), "{error}");
    let mut stop = |_: usize, _: usize| ControlFlow::Break(());
    assert!(perplexity(&engine, &ids(20), Some(5), &mut stop).is_err());
}

#[test]
fn progress_reaches_the_end() {
    let engine = engine(1, false);
    let mut seen = Vec::new();
    let mut watch = |done, total| {
        seen.push((done, total));
        ControlFlow::Continue(())
    };
    perplexity(&engine, &ids(12), Some(5), &mut watch).unwrap();
    assert_eq!(seen, [(5, 12), (10, 12), (12, 12)]);
}

#[test]
fn logits_are_those_of_the_plain_form() {
    let engine = engine(2, false);
    let ids = ids(20);
    let expected = plain_logits(&checkpoint(2, false), &ids);
    let all = logits(&engine, &ids, true).unwrap().logits;
    let last = logits(&engine, &ids, false).unwrap().logits;
    assert_eq!((all.len(), last.len()), (20, 1));
    assert_eq!(all[19], last[0]);
    for (row, expected) in all.iter().zip(&expected) {
        for (a, b) in row.iter().zip(expected) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
    assert!(logits(&engine, &[], true).is_err());
    assert!(logits(&engine, &common::ids(CONTEXT + 1), true).unwrap_err().to_string().contains("65"));
}

#[test]
fn token_ids_need_no_tokenizer_unless_the_policy_asks_in_words() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/llama");
    let engine = Engine::open(&ModelSource::Path(folder), &Settings::default()).unwrap();
    assert!(engine.tokenizer().is_err());
    let ids: Vec<u32> = (0..60).map(|id| id % 20).collect();
    assert_eq!(perplexity(&engine, &ids, None, &mut go_on).unwrap().tokens, 59);
    for policy in &POLICIES {
        let mut options = engine.pot_options(32).unwrap();
        options.policy = policy.name.to_owned();
        let needs = policy.make(&options).needs();
        let in_words = needs.attention == Attention::Catalyst || needs.budgets;
        match perplexity_through_pot(&engine, &ids, options, &mut go_on) {
            Ok(result) => assert!(!in_words && result.distillations > 0, "{}", policy.name),
            Err(error) => assert!(in_words && error.to_string().contains("no tokenizer"), "{error}"),
        }
    }
}
