//! The small files beside the weights: tokenizer, chat template, generation settings.

use std::path::Path;

use serde_json::{Map, Value};

use super::json::{Object, parse_object};
use crate::bytes::Bytes;
use crate::checkpoint::{Generation, TokenizerSource};
use crate::error::{Error, Result};

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

/// `tokenizer_config.json`, if there is one.
pub(crate) fn tokenizer_config(folder: &Path) -> Result<Option<Value>> {
    Ok(object(&folder.join("tokenizer_config.json"))?.map(Value::Object))
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
    let json = object(&folder.join("chat_template.json"))?;
    let config = tokenizer_config.and_then(Value::as_object);
    let template = json.as_ref().and_then(template_of).or_else(|| config.and_then(template_of));
    Ok(template)
}

fn template_of(map: &Map<String, Value>) -> Option<String> {
    match map.get("chat_template")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => {
            let named = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
            let entry = list.iter().find(named).or_else(|| list.first())?;
            entry.get("template")?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// Generation settings: `generation_config.json`, and for ids it does not give, `config.json`.
pub(crate) fn generation(folder: &Path, config: &Map<String, Value>) -> Result<Generation> {
    let config_file = folder.join("config.json").display().to_string();
    let config = Object { file: &config_file, map: config };
    let path = folder.join("generation_config.json");
    let file = path.display().to_string();
    let own = object(&path)?.unwrap_or_default();
    let own = Object { file: &file, map: &own };
    let text = config.object("text_config")?;
    let ids = |key: &str| -> Result<Option<Vec<u32>>> {
        if let Some(ids) = own.ids(key)? {
            return Ok(Some(ids));
        }
        if let Some(ids) = config.ids(key)? {
            return Ok(Some(ids));
        }
        text.map_or(Ok(None), |text| text.ids(key))
    };
    let first = |key: &str| Ok::<_, Error>(ids(key)?.and_then(|ids| ids.first().copied()));
    Ok(Generation {
        eos: ids("eos_token_id")?.unwrap_or_default(),
        bos: first("bos_token_id")?,
        pad: first("pad_token_id")?,
        add_bos: None,
        add_eos: None,
        sample: own.bool("do_sample")?,
        temperature: own.f32("temperature")?,
        top_k: own.usize("top_k")?,
        top_p: own.f32("top_p")?,
        min_p: own.f32("min_p")?,
        repetition_penalty: own.f32("repetition_penalty")?,
    })
}

fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    if !path.is_file() {
        return Ok(None);
    }
    parse_object(&path.display().to_string(), &Bytes::map(path)?).map(Some)
}
