//! Which rules of a `tokenizer.json` the `tokenizer.ggml.*` keys have no word for.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::steps::{flag, kind_of, split_name, steps};
use crate::spec::Family;

type Json = Map<String, Value>;

/// The rules of a byte-level vocabulary that are lost in model `gpt2`, each a clause.
pub(super) fn lost_of_bytes(json: &Json, model: &Json, family: Family) -> Vec<&'static str> {
    let mut lost = common(json, model, family);
    if !steps(json, "normalizer", "normalizers").is_empty() {
        lost.push("texts are normalised");
    }
    match split_name(json) {
        // llama.cpp takes whole words of the vocabulary in this family, and merges in all others.
        Some(name) if flag(model, "ignore_merges", false) != (name == "llama-bpe") => {
            lost.push("whole words are taken or merged otherwise");
        }
        Some(_) => {}
        None => lost.push("words are cut in a way that is none of gpt-2, llama-bpe, qwen2"),
    }
    lost
}

/// The rules of a vocabulary of characters that are lost in model `llama`.
pub(super) fn lost_of_characters(
    json: &Json,
    model: &Json,
    merges: &[(&str, &str)],
    family: Family,
) -> Vec<&'static str> {
    let mut lost = common(json, model, family);
    let normal = |step: &&Json| match kind_of(step) {
        "Prepend" => step.get("prepend").and_then(Value::as_str) != Some("\u{2581}"),
        "Replace" => {
            pattern(step) != Some(" ") || step.get("content").and_then(Value::as_str) != Some("\u{2581}")
        }
        _ => true,
    };
    if steps(json, "normalizer", "normalizers").iter().any(normal) {
        lost.push("texts are normalised");
    }
    let cuts = |step: &&Json| match kind_of(step) {
        "Metaspace" => {
            let scheme = step.get("prepend_scheme").and_then(Value::as_str).unwrap_or("always");
            scheme != "never" || flag(step, "split", true)
        }
        // Blanks are no longer blanks where this runs.
        "Split" => pattern(step) != Some(" ") || steps(json, "normalizer", "normalizers").is_empty(),
        _ => true,
    };
    if steps(json, "pre_tokenizer", "pretokenizers").iter().any(cuts) {
        lost.push("words are cut or get blanks in front in a way of their own");
    }
    if !flag(model, "byte_fallback", false) {
        lost.push("single bytes have no tokens");
    }
    if !all_merge(model, merges) {
        lost.push("only some of the pairs that make up a token merge");
    }
    lost
}

fn common(json: &Json, model: &Json, family: Family) -> Vec<&'static str> {
    let mut lost = Vec::new();
    let text = |key: &str| model.get(key).and_then(Value::as_str).unwrap_or_default();
    if !text("continuing_subword_prefix").is_empty() || !text("end_of_word_suffix").is_empty() {
        lost.push("the middle or the end of words is marked");
    }
    let added = json.get("added_tokens").and_then(Value::as_array);
    // Of Phi-3's control tokens everybody knows that they swallow the blanks behind them.
    let swallows = |token: &Json| {
        flag(token, "lstrip", false)
            || flag(token, "single_word", false)
            || (flag(token, "rstrip", false) && family != Family::Phi3)
    };
    if added.into_iter().flatten().filter_map(Value::as_object).any(swallows) {
        lost.push("tokens swallow blanks or stand as whole words only");
    }
    lost
}

/// Whether every pair of tokens that together are a token is a merge, as SentencePiece takes them.
fn all_merge(model: &Json, merges: &[(&str, &str)]) -> bool {
    let Some(vocab) = model.get("vocab").and_then(Value::as_object) else { return false };
    let merges: HashSet<(&str, &str)> = merges.iter().copied().collect();
    let unknown = model.get("unk_token").and_then(Value::as_str);
    let is_text = |token: &str| {
        let is_byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
        !is_byte && Some(token) != unknown
    };
    vocab.keys().filter(|token| is_text(token)).all(|token| {
        token.char_indices().skip(1).all(|(at, _)| {
            let (left, right) = token.split_at(at);
            !vocab.contains_key(left) || !vocab.contains_key(right) || merges.contains(&(left, right))
        })
    })
}

fn pattern(step: &Json) -> Option<&str> {
    step.get("pattern")?.get("String")?.as_str()
}
