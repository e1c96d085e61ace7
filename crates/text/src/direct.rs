//! tokenizer.json files made of parts this crate has itself: byte-level BPE with a known way to cut words.
//!
//! GPT-2, Llama 3, Qwen and their like need nothing else, load several times faster this way than through the
//! library, and encode faster. Everything else is left to [`crate::json::Pipeline`].

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{SeqAccess, Visitor};
use serde_json::Value;

use crate::bpe::{Bpe, Merges};
use crate::bytelevel;
use crate::cutter::Swallow;
use crate::error::{Result, TextError};
use crate::json::{Entries, FORMAT, Text, dense};
use crate::pretokenize::Splitter;
use crate::vocab::{Alphabet, Kind, Vocab};

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow, default)]
    added_tokens: Vec<Added<'a>>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    decoder: Option<Value>,
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
struct Added<'a> {
    id: u32,
    #[serde(borrow)]
    content: Text<'a>,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model<'a> {
    r#type: Option<String>,
    dropout: Option<f64>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(borrow)]
    vocab: Entries<'a>,
    #[serde(borrow)]
    merges: Vec<Pair<'a>>,
}

/// One merge: `"a b"`, or `["a", "b"]` as newer files have it.
struct Pair<'a>(Cow<'a, str>, Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Pair<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        fn split<E: serde::de::Error>(text: &str) -> Result<(&str, &str), E> {
            text.split_once(' ').ok_or_else(|| E::custom("a merge of no two tokens"))
        }
        impl<'de> Visitor<'de> for Either {
            type Value = Pair<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge of two tokens")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Pair<'de>, E> {
                split(text).map(|(left, right)| Pair(Cow::Borrowed(left), Cow::Borrowed(right)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Pair<'de>, E> {
                split(text).map(|(left, right)| Pair(left.to_owned().into(), right.to_owned().into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Pair<'de>, A::Error> {
                let mut next = || pair.next_element::<Text<'de>>();
                match (next()?, next()?, next()?) {
                    (Some(left), Some(right), None) => Ok(Pair(left.0, right.0)),
                    _ => Err(serde::de::Error::custom("a merge of no two tokens")),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A byte-level vocabulary and its encoder.
pub(crate) struct Direct {
    pub(crate) vocab: Vocab,
    pub(crate) bpe: Bpe,
    pub(crate) swallow: Vec<(u32, Swallow)>,
}

/// Reads the file if all its parts are known here; `None` leaves it to the library.
///
/// # Errors
/// When merges do not fit the vocabulary, which the library does not always survive.
pub(crate) fn read(json: &[u8]) -> Result<Option<Direct>> {
    // A file of another shape may be fine for the library, and if not, it says why.
    let Ok(file) = serde_json::from_slice::<File<'_>>(json) else { return Ok(None) };
    let direct = known(&file);
    if direct.is_none() {
        check_merges(&file.model)?;
    }
    Ok(direct)
}

fn check_merges(model: &Model<'_>) -> Result<()> {
    let entries: HashSet<&str> = model.vocab.0.iter().map(|(entry, _)| entry.as_ref()).collect();
    let prefix = model.continuing_subword_prefix.as_deref().unwrap_or_default();
    let mut joined = String::new();
    for (index, Pair(left, right)) in model.merges.iter().enumerate() {
        joined.clear();
        joined.push_str(left);
        joined.push_str(right.strip_prefix(prefix).unwrap_or(right));
        if let Some(missing) =
            [left, right, &joined as &str].into_iter().find(|entry| !entries.contains(entry))
        {
            let problem = format!("merge {} names {missing:?}, which is not in the vocabulary", index + 1);
            return Err(TextError::malformed(FORMAT, problem));
        }
        if !right.starts_with(prefix) {
            let problem = format!("merge {} joins {right:?}, which does not continue a word", index + 1);
            return Err(TextError::malformed(FORMAT, problem));
        }
    }
    Ok(())
}

fn known(file: &File<'_>) -> Option<Direct> {
    let model = &file.model;
    let is_empty = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    let plain = model.r#type.as_deref().is_none_or(|kind| kind == "BPE")
        && model.dropout.unwrap_or(0.0) == 0.0
        && is_empty(&model.continuing_subword_prefix)
        && is_empty(&model.end_of_word_suffix)
        && !model.byte_fallback
        && file.added_tokens.iter().all(|token| !token.single_word && !token.content.0.is_empty());
    if !plain || file.decoder.as_ref()?["type"] != "ByteLevel" {
        return None;
    }
    let nfc = match &file.normalizer {
        None => false,
        Some(normalizer) if normalizer["type"] == "NFC" => true,
        Some(_) => return None,
    };
    let (splitter, space_prefix) = splitter(file.pre_tokenizer.as_ref()?)?;

    let added: HashMap<u32, &Added<'_>> = file.added_tokens.iter().map(|token| (token.id, token)).collect();
    let named: Vec<_> = file.added_tokens.iter().map(|token| (token.content.0.clone(), token.id)).collect();
    let entries = dense(FORMAT, model.vocab.0.clone(), &named).ok()?;
    let mut vocab = Vocab::new(Alphabet::ByteLevel, entries.len());
    for (id, entry) in entries.iter().enumerate() {
        match (entry, added.get(&(id as u32))) {
            (None, _) => vocab.push_raw(b"", Kind::Unused),
            (Some(entry), _) if Some(entry.as_ref()) == model.unk_token.as_deref() => {
                vocab.push(entry, Kind::Unknown)
            }
            (Some(entry), Some(token)) if token.special => vocab.push(entry, Kind::Control),
            (Some(entry), Some(_)) => vocab.push_raw(entry.as_bytes(), Kind::UserDefined),
            (Some(entry), None) => vocab.push(entry, Kind::Normal),
        }
        .ok()?;
    }
    let merges = merges(&vocab, &model.merges)?;
    let swallow = file.added_tokens.iter().filter(|token| token.lstrip || token.rstrip);
    let swallow =
        swallow.map(|token| (token.id, Swallow { left: token.lstrip, right: token.rstrip })).collect();
    let bpe = Bpe::new(&vocab, merges, splitter)
        .with_whole_words(model.ignore_merges)
        .with_space_prefix(space_prefix)
        .with_nfc(nfc);
    // A vocabulary without all bytes treats the missing ones in ways of its own.
    bpe.knows_all_bytes().then_some(Direct { vocab, bpe, swallow })
}

fn merges(vocab: &Vocab, pairs: &[Pair<'_>]) -> Option<Merges> {
    let mut merges = Merges::new(pairs.len());
    let (mut left_bytes, mut right_bytes, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    for Pair(left, right) in pairs {
        left_bytes.clear();
        right_bytes.clear();
        let known =
            bytelevel::push_bytes(left, &mut left_bytes) && bytelevel::push_bytes(right, &mut right_bytes);
        if !known {
            return None;
        }
        merges.push(vocab, &left_bytes, &right_bytes, FORMAT, &mut joined).ok()?;
    }
    Some(merges)
}

/// How a `pre_tokenizer` cuts words, if that is known here, and whether it puts a space in front.
fn splitter(described: &Value) -> Option<(Splitter, bool)> {
    let single = [described.clone()];
    let parts = match described["type"].as_str()? {
        "Sequence" => described["pretokenizers"].as_array()?.as_slice(),
        _ => &single,
    };
    let (last, before) = parts.split_last()?;
    if last["type"] != "ByteLevel" {
        return None;
    }
    let mut splitter = Splitter::whole();
    for part in before {
        let expression = match part["type"].as_str()? {
            "Split" if part["behavior"] == "Isolated" && part["invert"] != true => {
                part["pattern"]["Regex"].as_str()?
            }
            "Digits" if part["individual_digits"] == true => r"\p{N}",
            _ => return None,
        };
        splitter = splitter.then(Splitter::known(expression)?.ok()?);
    }
    if last["use_regex"] != false {
        splitter = splitter.then(Splitter::gpt2().ok()?);
    }
    let space_prefix = last["add_prefix_space"] != false;
    // Behind other cuts the space would go in front of every piece.
    (before.is_empty() || !space_prefix).then_some((splitter, space_prefix))
}
