//! The small files beside the weights: tokenizer and chat template.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::json::parse_object;
use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::tokenizer_source::TokenizerSource;

/// The tokenizer files of `folder`, the most complete kind first.
pub(crate) fn tokenizer(folder: &Path) -> Result<TokenizerSource> {
    let path = |name: &str| folder.join(name);
    if path("tokenizer.json").is_file() {
        return Ok(TokenizerSource::Json(Bytes::map(&path("tokenizer.json"))?));
    }
    if path("vocab.json").is_file() && path("merges.txt").is_file() {
        let (vocab, merges) = (Bytes::map(&path("vocab.json"))?, Bytes::map(&path("merges.txt"))?);
        return Ok(TokenizerSource::Gpt2 { vocab, merges });
    }
    if path("tokenizer.model").is_file() {
        return Ok(TokenizerSource::SentencePiece(Bytes::map(&path("tokenizer.model"))?));
    }
    Ok(TokenizerSource::None)
}

/// `tokenizer_config.json` with what two older files beside it add, as transformers puts them together: the special
/// tokens of `special_tokens_map.json` and, as `added_tokens_decoder`, those of `added_tokens.json`. `None` if there is
/// none of the three.
pub(crate) fn tokenizer_config(folder: &Path) -> Result<Option<Value>> {
    const ADDED: &str = "added_tokens_decoder";
    let mut config = object(&folder.join("tokenizer_config.json"))?;
    if config.as_ref().is_some_and(|config| config.contains_key(ADDED)) {
        return Ok(config.map(Value::Object));
    }
    if let Some(named) = object(&folder.join("special_tokens_map.json"))? {
        config.get_or_insert_default().extend(named);
    }
    let path = folder.join("added_tokens.json");
    if let Some(added) = object(&path)? {
        let config = config.get_or_insert_default();
        let special = special_names(config);
        let mut decoder = Map::new();
        for (content, id) in &added {
            let id = id
                .as_u64()
                .ok_or_else(|| Error::key(&path.display().to_string(), content, "should be a token id"))?;
            let special = special.contains(content);
            let token = json!({"content": content, "special": special, "normalized": !special});
            decoder.insert(id.to_string(), token);
        }
        config.insert(ADDED.to_owned(), Value::Object(decoder));
    }
    Ok(config.map(Value::Object))
}

/// Names of the special tokens of a `tokenizer_config.json`: a string or an object each, or lists of them.
fn special_names(config: &Map<String, Value>) -> Vec<String> {
    let name = |value: &Value| value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned);
    let lists = ["additional_special_tokens", "extra_special_tokens"];
    let listed = lists.iter().filter_map(|key| config.get(*key)?.as_array()).flatten();
    let named = config.iter().filter(|(key, _)| key.ends_with("_token")).map(|(_, value)| value);
    named.chain(listed).filter_map(name).collect()
}

/// The chat template: a file of its own, or inside `tokenizer_config.json` as a string or a list of named ones.
pub(crate) fn chat_template(folder: &Path, tokenizer_config: Option<&Value>) -> Result<Option<String>> {
    let own = folder.join("chat_template.jinja");
    if own.is_file() {
        let bytes = Bytes::map(&own)?;
        return match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(Error::file(&own.display().to_string(), "is not UTF-8")),
        };
    }
    let path = folder.join("chat_template.json");
    let json = object(&path)?;
    if let Some(template) = json.as_ref().map(|map| template_of(&path, map)).transpose()?.flatten() {
        return Ok(Some(template));
    }
    let config = tokenizer_config.and_then(Value::as_object);
    let path = folder.join("tokenizer_config.json");
    Ok(config.map(|map| template_of(&path, map)).transpose()?.flatten())
}

/// The template under `chat_template`: a text, or a list of named ones of which `default` counts, or the only one.
fn template_of(path: &Path, map: &Map<String, Value>) -> Result<Option<String>> {
    const KEY: &str = "chat_template";
    let wrong = |what: String| Error::key(&path.display().to_string(), KEY, what);
    let list = match map.get(KEY) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text.clone())),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong("should be a text or a list of named ones".to_owned())),
    };
    let mut named = Vec::with_capacity(list.len());
    for entry in list {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        match (text("name"), text("template")) {
            (Some(name), Some(template)) => named.push((name, template)),
            _ => return Err(wrong("lists a template without a name or a text".to_owned())),
        }
    }
    match (named.iter().find(|(name, _)| *name == "default"), named.as_slice()) {
        (Some((_, template)), _) | (None, [(_, template)]) => Ok(Some((*template).to_owned())),
        (None, []) => Ok(None),
        (None, several) => {
            let names: Vec<String> = several.iter().map(|(name, _)| crate::error::shown(name)).collect();
            Err(wrong(format!("lists {} and none called default", names.join(", ")))
                .with_hint("put the one to use into a file chat_template.jinja beside it"))
        }
    }
}

/// The JSON object in the file at `path`; `None` if there is no such file.
pub(super) fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    if !path.is_file() {
        return Ok(None);
    }
    parse_object(&path.display().to_string(), &Bytes::map(path)?).map(Some)
}
