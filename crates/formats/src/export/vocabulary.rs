//! Tokenizers as GGUF's `tokenizer.ggml.*` keys.
//!
//! Byte-level BPE becomes model `gpt2` (tokens, merges, the name of the split); SentencePiece, llama2.c and
//! Llama-like `tokenizer.json` files become model `llama` (tokens, scores, kinds).

use serde_json::{Map, Value, json};

use super::steps::{is_byte, kind_of, split_name, steps};
use super::{Notice, Notify, protobuf, rules};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::generation::Generation;
use crate::gguf::{Array, Metadata, Value as GgufValue};
use crate::huggingface::json::parse_object;
use crate::llama2c;
use crate::tokenizer_source::TokenizerSource;

/// Kinds of tokens, as in `tokenizer.ggml.token_type`.
pub(super) const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Writes the checkpoint's tokenizer, chat template and special ids into `metadata`.
///
/// # Errors
/// If the tokenizer's files are damaged or of a kind GGUF does not have.
pub fn tokenizer_metadata(
    checkpoint: &Checkpoint,
    metadata: &mut Metadata,
    notify: Notify<'_>,
) -> Result<()> {
    let file = format!("{} (tokenizer)", checkpoint.source.name);
    match &checkpoint.tokenizer {
        TokenizerSource::None => {
            notify(Notice::Warning(
                "the model has no tokenizer files; the new file will have none".to_owned(),
            ));
        }
        TokenizerSource::Gguf(source) => {
            for (key, value) in source.iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
                metadata.insert(key, value.clone());
            }
        }
        TokenizerSource::Json(bytes) => from_json(&file, bytes, checkpoint, metadata, notify)?,
        TokenizerSource::Gpt2 { vocab, merges } => {
            from_gpt2(&file, vocab, merges, checkpoint, metadata, notify)?
        }
        TokenizerSource::SentencePiece(bytes) => {
            from_sentencepiece(&file, bytes, checkpoint, metadata, notify)?
        }
        TokenizerSource::Llama2c(bytes) => from_llama2c(&file, bytes, checkpoint, metadata, notify)?,
    }
    let generation = &checkpoint.generation;
    let eos_keys = ["eos_token_id", "eot_token_id", "eom_token_id"];
    for (key, id) in eos_keys.into_iter().zip(&generation.eos) {
        metadata.insert(&format!("tokenizer.ggml.{key}"), *id);
    }
    if generation.eos.len() > eos_keys.len() {
        let what = format!("only {} of {} ids that end an answer fit", eos_keys.len(), generation.eos.len());
        notify(Notice::Warning(what));
    }
    for (key, id) in [("bos_token_id", generation.bos), ("padding_token_id", generation.pad)] {
        if let Some(id) = id {
            metadata.insert(&format!("tokenizer.ggml.{key}"), id);
        }
    }
    // Ids that only tokenizer_config.json gives, by name.
    for (name, key) in
        [("bos_token", "bos_token_id"), ("eos_token", "eos_token_id"), ("pad_token", "padding_token_id")]
    {
        let key = format!("tokenizer.ggml.{key}");
        let token = checkpoint.tokenizer_config.as_ref().and_then(|config| text_of(config.get(name)?));
        let Some(token) = token.filter(|_| metadata.get(&key).is_none()) else { continue };
        let tokens = metadata.strings("tokenizer.ggml.tokens")?.unwrap_or_default();
        if let Some(id) = tokens.iter().position(|text| text == token) {
            metadata.insert(&key, id as u32);
        }
    }
    for (key, flag) in [("add_bos_token", generation.add_bos), ("add_eos_token", generation.add_eos)] {
        if let Some(flag) = flag {
            metadata.insert(&format!("tokenizer.ggml.{key}"), flag);
        }
    }
    if let Some(template) = &checkpoint.chat_template {
        metadata.insert("tokenizer.chat_template", template.as_str());
    }
    let unkept = unkept(generation);
    if !unkept.is_empty() {
        let what = format!("GGUF has no keys for {}: the new file will not suggest them", unkept.join(", "));
        notify(Notice::Warning(what));
    }
    Ok(())
}

/// Suggestions about writing answers that GGUF has no keys for.
fn unkept(generation: &Generation) -> Vec<&'static str> {
    let bans = &generation.bans;
    [
        (
            generation.sample == Some(true) || generation.temperature.is_some_and(|t| t != 1.0),
            "sampling settings",
        ),
        (generation.repetition_penalty.is_some_and(|penalty| penalty != 1.0), "repetition_penalty"),
        (!generation.stop.is_empty(), "stop_strings"),
        (!bans.always.is_empty(), "suppress_tokens"),
        (!bans.first.is_empty(), "begin_suppress_tokens"),
        (!bans.sequences.is_empty(), "bad_words_ids"),
        (bans.min_tokens > 0, "min_new_tokens"),
        (bans.repeated > 0, "no_repeat_ngram_size"),
    ]
    .into_iter()
    .filter_map(|(given, name)| given.then_some(name))
    .collect()
}

/// Puts the tokens of `added_tokens_decoder` and those named in `tokenizer_config.json` among the added ones of a
/// tokenizer.json, where the former win; says whether that changed anything.
fn merge_added(json: &mut Map<String, Value>, config: Option<&Value>) -> bool {
    let own = json.get("added_tokens").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut list = own.clone();
    let decoder = config.and_then(|config| config.get("added_tokens_decoder")?.as_object());
    for (id, token) in decoder.into_iter().flatten() {
        let Ok(id) = id.parse::<u64>() else { continue };
        let flag = |key: &str| token.get(key).and_then(Value::as_bool);
        let whole = json!({
            "id": id, "content": token.get("content"), "single_word": flag("single_word").unwrap_or(false),
            "lstrip": flag("lstrip").unwrap_or(false), "rstrip": flag("rstrip").unwrap_or(false),
            "normalized": flag("normalized").unwrap_or(flag("special") != Some(true)),
            "special": flag("special").unwrap_or(false),
        });
        if !list.contains(&whole) {
            list.retain(|other| {
                other.get("id") != whole.get("id") && other.get("content") != whole.get("content")
            });
            list.push(whole);
        }
    }
    let vocab = json.get("model").and_then(|model| model.get("vocab")?.as_object());
    for name in named(config) {
        let known = list.iter().any(|token| token.get("content").and_then(Value::as_str) == Some(name));
        if let (false, Some(id)) = (known, vocab.and_then(|vocab| vocab.get(name))) {
            list.push(json!({
                "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": true,
            }));
        }
    }
    let changed = list != own;
    if changed {
        list.sort_by_key(|token| token.get("id").and_then(Value::as_u64));
        json.insert("added_tokens".to_owned(), Value::Array(list));
    }
    changed
}

/// Texts of the special tokens that a `tokenizer_config.json` names, but for single signs, which texts have, too.
fn named(config: Option<&Value>) -> impl Iterator<Item = &str> {
    let map = config.and_then(Value::as_object);
    let tokens = map.into_iter().flatten().filter(|(key, _)| key.ends_with("_token")).map(|(_, value)| value);
    tokens.filter_map(text_of).filter(|text| text.chars().count() > 2)
}

/// A token by its text, or as an object that has it.
fn text_of(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// Tokens by id with their kinds, padded to the rows of the embedding.
struct Tokens {
    texts: Vec<Option<String>>,
    kinds: Vec<i32>,
}

impl Tokens {
    fn new(checkpoint: &Checkpoint) -> Tokens {
        let rows = checkpoint.spec.vocab;
        Tokens { texts: vec![None; rows], kinds: vec![UNUSED; rows] }
    }

    /// Sets the tokens of `added_tokens_decoder` and makes those that are named control tokens; those the embedding has no
    /// row for are counted.
    fn add(&mut self, config: Option<&Value>) -> usize {
        let decoder = config.and_then(|config| config.get("added_tokens_decoder")?.as_object());
        let mut beyond = 0;
        for (id, token) in decoder.into_iter().flatten() {
            let text = token.get("content").and_then(Value::as_str);
            let (Ok(id), Some(text)) = (id.parse(), text) else { continue };
            let special = token.get("special").and_then(Value::as_bool).unwrap_or(false);
            // An unknown token stays one, whatever it is called beside.
            if self.kinds.get(id) != Some(&UNKNOWN) {
                beyond += usize::from(!self.set(id, text, if special { CONTROL } else { USER_DEFINED }));
            }
        }
        for name in named(config) {
            let id = self.texts.iter().position(|text| text.as_deref() == Some(name));
            if let Some(kind) = id.and_then(|id| self.kinds.get_mut(id))
                && *kind == NORMAL
            {
                *kind = CONTROL;
            }
        }
        beyond
    }

    /// Sets token `id`; false if the embedding has no row for it.
    fn set(&mut self, id: usize, text: &str, kind: i32) -> bool {
        match (self.texts.get_mut(id), self.kinds.get_mut(id)) {
            (Some(slot), Some(kind_slot)) => {
                *slot = Some(text.to_owned());
                *kind_slot = kind;
                true
            }
            _ => false,
        }
    }

    fn write(self, metadata: &mut Metadata) {
        let texts: Vec<String> = self
            .texts
            .into_iter()
            .enumerate()
            .map(|(id, text)| text.unwrap_or_else(|| format!("[PAD{id}]")))
            .collect();
        metadata.insert("tokenizer.ggml.tokens", texts);
        metadata.insert("tokenizer.ggml.token_type", self.kinds);
    }
}

fn warn_beyond(beyond: usize, notify: Notify<'_>) {
    if beyond > 0 {
        let what = format!("{beyond} tokens lie beyond the rows of the embedding and were left out");
        notify(Notice::Warning(what));
    }
}

fn from_json(
    file: &str,
    bytes: &[u8],
    checkpoint: &Checkpoint,
    metadata: &mut Metadata,
    notify: Notify<'_>,
) -> Result<()> {
    let mut json = parse_object(file, bytes)?;
    let merged = merge_added(&mut json, checkpoint.tokenizer_config.as_ref());
    let bad = |what: &str| {
        Error::file(file, what).with_hint("export as a Hugging Face folder, which keeps the file")
    };
    let model = json.get("model").and_then(Value::as_object).ok_or_else(|| bad("has no `model`"))?;
    let kind = model.get("type").and_then(Value::as_str).unwrap_or("BPE");
    if kind != "BPE" {
        return Err(bad(&format!(
            "tokenizers of type {} cannot be written to GGUF",
            crate::error::shown(kind)
        )));
    }
    let vocab = model.get("vocab").and_then(Value::as_object).ok_or_else(|| bad("has no vocabulary"))?;
    let merges = merges(model).ok_or_else(|| bad("has merges of an unknown form"))?;
    let byte_fallback = model.get("byte_fallback").and_then(Value::as_bool).unwrap_or(false);
    let unknown = model.get("unk_token").and_then(Value::as_str);

    let mut tokens = Tokens::new(checkpoint);
    let mut beyond = 0;
    for (text, id) in vocab {
        let id = id
            .as_u64()
            .and_then(|id| usize::try_from(id).ok())
            .ok_or_else(|| bad("has an id that is not a number"))?;
        let kind = match text.as_str() {
            text if Some(text) == unknown => UNKNOWN,
            text if byte_fallback && is_byte(text) => BYTE,
            _ => NORMAL,
        };
        beyond += usize::from(!tokens.set(id, text, kind));
    }
    for added in json.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
        let (Some(id), Some(text)) =
            (added.get("id").and_then(Value::as_u64), added.get("content").and_then(Value::as_str))
        else {
            return Err(bad("has an added token without id or content"));
        };
        let special = added.get("special").and_then(Value::as_bool).unwrap_or(false);
        let kind = match special {
            _ if Some(text) == unknown => UNKNOWN,
            true => CONTROL,
            false => USER_DEFINED,
        };
        beyond += usize::from(!tokens.set(usize::try_from(id).unwrap_or(usize::MAX), text, kind));
    }
    beyond += tokens.add(checkpoint.tokenizer_config.as_ref());
    warn_beyond(beyond, notify);

    let family = checkpoint.spec.family;
    let lost = if byte_fallback || !is_byte_level(&json) {
        metadata.insert("tokenizer.ggml.model", "llama");
        metadata.insert("tokenizer.ggml.pre", "default");
        metadata.insert("tokenizer.ggml.scores", scores_of_merges(&tokens, &merges));
        metadata.insert("tokenizer.ggml.add_space_prefix", adds_space(&json));
        rules::lost_of_characters(&json, model, &merges, family)
    } else {
        let pre = split_name(&json);
        metadata.insert("tokenizer.ggml.model", "gpt2");
        metadata.insert("tokenizer.ggml.pre", pre.unwrap_or("default"));
        let lines: Vec<String> = merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
        metadata.insert("tokenizer.ggml.merges", lines);
        rules::lost_of_bytes(&json, model, family)
    };
    if !lost.is_empty() {
        let what = format!(
            "GGUF has no keys for some rules of the tokenizer ({}): it is kept whole for this program, others will read some \
             texts as other tokens",
            lost.join(", ")
        );
        notify(Notice::Warning(what));
        let whole = if merged { serde_json::to_string(&json).ok() } else { None };
        let own = || std::str::from_utf8(bytes).map(str::to_owned).ok();
        if let Some(text) = whole.or_else(own) {
            metadata.insert(WHOLE, text.as_str());
        }
    }
    if let Some(id) = unknown.and_then(|text| vocab.get(text)).and_then(Value::as_u64) {
        metadata.insert("tokenizer.ggml.unknown_token_id", u32::try_from(id).unwrap_or_default());
    }
    tokens.write(metadata);
    if checkpoint.generation.add_bos.is_none() {
        let first = first_special(&json);
        metadata.insert("tokenizer.ggml.add_bos_token", first.is_some());
        if let (Some(id), None) = (first, checkpoint.generation.bos) {
            metadata.insert("tokenizer.ggml.bos_token_id", id);
        }
    }
    Ok(())
}

/// Key of a whole tokenizer.json, for rules that the other keys do not have.
pub(crate) const WHOLE: &str = "tokenizer.huggingface.json";

/// Pairs to merge, in order: `"a b"` in older files, `["a", "b"]` in newer ones.
fn merges(model: &Map<String, Value>) -> Option<Vec<(&str, &str)>> {
    let list = model.get("merges")?.as_array()?;
    list.iter()
        .map(|merge| match merge {
            Value::String(line) => line.split_once(' '),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => Some((left.as_str(), right.as_str())),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

/// Scores under which SentencePiece's rule, the best-scored pair first, merges in the order of `merges`.
fn scores_of_merges(tokens: &Tokens, merges: &[(&str, &str)]) -> Vec<f32> {
    let mut rank = std::collections::HashMap::with_capacity(merges.len());
    for (number, (left, right)) in merges.iter().enumerate() {
        rank.entry(format!("{left}{right}")).or_insert(number);
    }
    let last = merges.len();
    let score = |text: &Option<String>| {
        let number = text.as_ref().and_then(|text| rank.get(text)).copied().unwrap_or(last);
        -(number as f32) - 1.0
    };
    let kinds = tokens.kinds.iter();
    tokens
        .texts
        .iter()
        .zip(kinds)
        .map(|(text, kind)| if *kind == NORMAL { score(text) } else { 0.0 })
        .collect()
}

fn is_byte_level(json: &Map<String, Value>) -> bool {
    steps(json, "pre_tokenizer", "pretokenizers").into_iter().any(|step| kind_of(step) == "ByteLevel")
}

/// Whether a space is put in front of texts: by a normalizer that prepends one, or by a Metaspace step.
fn adds_space(json: &Map<String, Value>) -> bool {
    let normalizes =
        steps(json, "normalizer", "normalizers").into_iter().any(|step| kind_of(step) == "Prepend");
    let splits = steps(json, "pre_tokenizer", "pretokenizers").into_iter().any(|step| {
        kind_of(step) == "Metaspace"
            && match step.get("prepend_scheme").and_then(Value::as_str) {
                Some(scheme) => scheme != "never",
                None => step.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(true),
            }
    });
    normalizes || splits
}

/// The id a template puts in front of every text.
fn first_special(json: &Map<String, Value>) -> Option<u32> {
    let steps = steps(json, "post_processor", "processors");
    let template = steps.into_iter().find(|step| kind_of(step) == "TemplateProcessing")?;
    let name = template.get("single")?.as_array()?.first()?.get("SpecialToken")?.get("id")?.as_str()?;
    let id = template.get("special_tokens")?.get(name)?.get("ids")?.as_array()?.first()?.as_u64()?;
    u32::try_from(id).ok()
}

fn from_gpt2(
    file: &str,
    vocab: &[u8],
    merges: &[u8],
    checkpoint: &Checkpoint,
    metadata: &mut Metadata,
    notify: Notify<'_>,
) -> Result<()> {
    let vocab = parse_object(file, vocab)?;
    let merges = std::str::from_utf8(merges).map_err(|_| Error::file(file, "merges.txt is not UTF-8"))?;
    let mut tokens = Tokens::new(checkpoint);
    let mut beyond = 0;
    for (text, id) in &vocab {
        let id = id.as_u64().and_then(|id| usize::try_from(id).ok());
        let id = id.ok_or_else(|| Error::key(file, text, "should be a token id"))?;
        let kind = if text == "<|endoftext|>" { CONTROL } else { NORMAL };
        beyond += usize::from(!tokens.set(id, text, kind));
    }
    beyond += tokens.add(checkpoint.tokenizer_config.as_ref());
    warn_beyond(beyond, notify);
    let lines: Vec<String> = merges
        .lines()
        .enumerate()
        .filter(|(number, line)| !line.is_empty() && (*number > 0 || !line.starts_with("#version")))
        .map(|(_, line)| line.to_owned())
        .collect();
    metadata.insert("tokenizer.ggml.model", "gpt2");
    metadata.insert("tokenizer.ggml.pre", "gpt-2");
    metadata.insert("tokenizer.ggml.merges", lines);
    if checkpoint.generation.add_bos.is_none() {
        metadata.insert("tokenizer.ggml.add_bos_token", false);
    }
    tokens.write(metadata);
    Ok(())
}

fn from_sentencepiece(
    file: &str,
    bytes: &[u8],
    checkpoint: &Checkpoint,
    metadata: &mut Metadata,
    notify: Notify<'_>,
) -> Result<()> {
    let model = protobuf::read(bytes)
        .filter(|model| !model.pieces.is_empty())
        .ok_or_else(|| Error::file(file, "is not a SentencePiece model").with_hint(crate::error::DAMAGED))?;
    if model.model_type != 2 {
        return Err(Error::file(
            file,
            "is a SentencePiece model of another kind than BPE, which GGUF keeps for encoders",
        )
        .with_hint("export as a Hugging Face folder, which keeps the file"));
    }
    if model.has_other_rules || model.remove_extra_whitespaces {
        notify(Notice::Warning(
            "the tokenizer replaces or removes characters, for which GGUF has no keys: some texts will be read as other \
             tokens"
                .to_owned(),
        ));
    }
    let pieces = model.pieces.iter().map(|(text, score, kind)| (text.clone(), *score, *kind));
    scored(pieces, checkpoint, metadata, notify);
    metadata.insert("tokenizer.ggml.add_space_prefix", model.add_dummy_prefix);
    metadata.insert("tokenizer.ggml.remove_extra_whitespaces", model.remove_extra_whitespaces);
    if checkpoint.generation.add_bos.is_none() {
        metadata.insert("tokenizer.ggml.add_bos_token", true);
    }
    Ok(())
}

fn from_llama2c(
    file: &str,
    bytes: &[u8],
    checkpoint: &Checkpoint,
    metadata: &mut Metadata,
    notify: Notify<'_>,
) -> Result<()> {
    let tokenizer = llama2c::Tokenizer::read(file, bytes)?;
    let mut pieces = Vec::with_capacity(tokenizer.pieces.len());
    for (id, (piece, score)) in tokenizer.pieces.iter().zip(&tokenizer.scores).enumerate() {
        let text =
            std::str::from_utf8(piece).map_err(|_| Error::file(file, format!("piece {id} is not UTF-8")))?;
        // Pieces are stored as shown: with plain spaces, and line breaks around the names of the specials.
        pieces.push(match id {
            0 => ("<unk>".to_owned(), *score, UNKNOWN),
            1 => ("<s>".to_owned(), *score, CONTROL),
            2 => ("</s>".to_owned(), *score, CONTROL),
            _ if is_byte(text) => (text.to_owned(), *score, BYTE),
            _ => (text.replace(' ', "\u{2581}"), *score, NORMAL),
        });
    }
    scored(pieces.into_iter(), checkpoint, metadata, notify);
    metadata.insert("tokenizer.ggml.add_space_prefix", true);
    Ok(())
}

/// Model `llama` from pieces with scores.
fn scored(
    pieces: impl Iterator<Item = (String, f32, i32)>,
    checkpoint: &Checkpoint,
    metadata: &mut Metadata,
    notify: Notify<'_>,
) {
    let mut tokens = Tokens::new(checkpoint);
    let mut scores = vec![0.0f32; checkpoint.spec.vocab];
    let mut beyond = 0;
    for (id, (text, score, kind)) in pieces.enumerate() {
        beyond += usize::from(!tokens.set(id, &text, kind));
        if let Some(slot) = scores.get_mut(id) {
            *slot = score;
        }
    }
    beyond += tokens.add(checkpoint.tokenizer_config.as_ref());
    warn_beyond(beyond, notify);
    metadata.insert("tokenizer.ggml.model", "llama");
    metadata.insert("tokenizer.ggml.pre", "default");
    metadata.insert("tokenizer.ggml.scores", scores);
    if let Some(id) = tokens.kinds.iter().position(|kind| *kind == UNKNOWN) {
        metadata.insert("tokenizer.ggml.unknown_token_id", id as u32);
    }
    tokens.write(metadata);
    debug_assert!(matches!(metadata.get("tokenizer.ggml.tokens"), Some(GgufValue::Array(Array::String(_)))));
}
