//! A GGUF file's byte-level BPE vocabulary as `tokenizer.json` and `tokenizer_config.json`.

use serde_json::{Map, Value, json};

use super::steps::SPLITS;
use super::vocabulary::{CONTROL, NORMAL, UNUSED, WHOLE};
use crate::error::Result;
use crate::gguf::Metadata;

/// `tokenizer.json` of the vocabulary in `metadata`, the one kept whole in it where there is one; `None` for kinds of vocabulary other than byte-level BPE with a
/// known split, which this layout cannot express.
pub(super) fn tokenizer_json(metadata: &Metadata) -> Result<Option<Value>> {
    if let Some(whole) = metadata.str(WHOLE)? {
        return Ok(serde_json::from_str(whole).ok());
    }
    if metadata.str("tokenizer.ggml.model")? != Some("gpt2") {
        return Ok(None);
    }
    let pre_tokenizer = match metadata.str("tokenizer.ggml.pre")? {
        Some("gpt-2") => bytes_step(true),
        Some(name) => match SPLITS.iter().find(|(known, _)| *known == name) {
            Some((_, regex)) => json!({
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
                    bytes_step(false),
                ],
            }),
            None => return Ok(None),
        },
        None => return Ok(None),
    };
    let (Some(tokens), Some(merges)) =
        (metadata.strings("tokenizer.ggml.tokens")?, metadata.strings("tokenizer.ggml.merges")?)
    else {
        return Ok(None);
    };
    let kinds = metadata.i32s("tokenizer.ggml.token_type")?;
    let kind = |id: usize| kinds.as_ref().and_then(|kinds| kinds.get(id)).copied().unwrap_or(NORMAL);

    let mut vocab = Map::new();
    let mut added = Vec::new();
    for (id, text) in tokens.iter().enumerate() {
        if kind(id) == UNUSED {
            continue;
        }
        vocab.insert(text.to_string(), json!(id));
        if kind(id) != NORMAL {
            added.push(json!({
                "id": id, "content": text, "special": kind(id) == CONTROL,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            }));
        }
    }
    Ok(Some(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": beginning(metadata)?,
        "decoder": bytes_step(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocab, "merges": merges,
        },
    })))
}

/// `tokenizer_config.json` that goes with it.
pub(super) fn tokenizer_config(metadata: &Metadata, context: usize) -> Result<Map<String, Value>> {
    let mut config = Map::new();
    config.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
    config.insert("model_max_length".to_owned(), json!(context));
    config.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    for name in ["bos_token", "eos_token", "unk_token", "pad_token"] {
        let key = match name {
            "unk_token" => "tokenizer.ggml.unknown_token_id".to_owned(),
            "pad_token" => "tokenizer.ggml.padding_token_id".to_owned(),
            _ => format!("tokenizer.ggml.{name}_id"),
        };
        if let Some(text) = token(metadata, &key)? {
            config.insert(name.to_owned(), json!(text));
        }
    }
    if let Some(add) = metadata.bool("tokenizer.ggml.add_bos_token")? {
        config.insert("add_bos_token".to_owned(), json!(add));
    }
    Ok(config)
}

fn bytes_step(regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex})
}

/// The step that puts the beginning-of-text token in front, for models that want one.
fn beginning(metadata: &Metadata) -> Result<Value> {
    const BOS: &str = "tokenizer.ggml.bos_token_id";
    let wanted = metadata.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(false);
    let (true, Some(id), Some(text)) = (wanted, metadata.u32(BOS)?, token(metadata, BOS)?) else {
        return Ok(Value::Null);
    };
    let special = json!({"SpecialToken": {"id": text, "type_id": 0}});
    let sequence = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    let mut tokens = Map::new();
    tokens.insert(text.clone(), json!({"id": text, "ids": [id], "tokens": [text]}));
    Ok(json!({
        "type": "TemplateProcessing",
        "single": [special, sequence("A")],
        "pair": [special, sequence("A"), sequence("B")],
        "special_tokens": tokens,
    }))
}

/// The vocabulary entry whose id stands at `key`.
fn token(metadata: &Metadata, key: &str) -> Result<Option<String>> {
    let tokens = metadata.strings("tokenizer.ggml.tokens")?;
    Ok(match (metadata.u32(key)?, tokens) {
        (Some(id), Some(tokens)) => tokens.get(id as usize).map(|text| text.to_string()),
        _ => None,
    })
}
