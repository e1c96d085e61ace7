//! What a tokenizer.json says of itself, step by step.

use serde_json::{Map, Value};

/// Splits llama.cpp has a name for.
pub(super) const SPLITS: [(&str, &str); 2] = [
    (
        "llama-bpe",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    (
        "qwen2",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
];

/// Whether a token stands for one byte, `<0xAB>`.
pub(super) fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// The steps of a pre-tokenizer, normalizer or post-processor, with `Sequence`s opened.
pub(super) fn steps<'a>(json: &'a Map<String, Value>, key: &str, inner: &str) -> Vec<&'a Map<String, Value>> {
    fn open<'a>(value: &'a Value, inner: &str, depth: usize, out: &mut Vec<&'a Map<String, Value>>) {
        let Some(map) = value.as_object() else { return };
        match map.get(inner).and_then(Value::as_array) {
            Some(list) if depth < 8 => list.iter().for_each(|value| open(value, inner, depth + 1, out)),
            _ => out.push(map),
        }
    }
    let mut out = Vec::new();
    if let Some(value) = json.get(key) {
        open(value, inner, 0, &mut out);
    }
    out
}

pub(super) fn kind_of(step: &Map<String, Value>) -> &str {
    step.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// llama.cpp's name for the way words are cut; `None` if it has none.
pub(super) fn split_name(json: &Map<String, Value>) -> Option<&'static str> {
    let steps = steps(json, "pre_tokenizer", "pretokenizers");
    match steps.as_slice() {
        [bytes] if kind_of(bytes) == "ByteLevel" => {
            let flag = |key: &str, default: bool| bytes.get(key).and_then(Value::as_bool).unwrap_or(default);
            (flag("use_regex", true) && !flag("add_prefix_space", true)).then_some("gpt-2")
        }
        [split, bytes] if kind_of(split) == "Split" && kind_of(bytes) == "ByteLevel" => {
            let regex = split.get("pattern")?.get("Regex")?.as_str()?;
            SPLITS.iter().find(|(_, known)| *known == regex).map(|(name, _)| *name)
        }
        _ => None,
    }
}

pub(super) fn flag(map: &Map<String, Value>, key: &str, default: bool) -> bool {
    map.get(key).and_then(Value::as_bool).unwrap_or(default)
}
