//! tokenizer.json, the file of Hugging Face's tokenizers, and tokenizer_config.json beside it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use tokenizers::AddedVocabulary;
use tokenizers::tokenizer::{Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use crate::added::{Added, with_added};
use crate::direct::{self, Direct};
use crate::error::{Result, TextError};
use crate::tokenizer::{Algorithm, Leading, Parts, Special, Tokenizer};
use crate::vocab::{Alphabet, Kind, Vocab, parse_byte_entry};

pub(crate) const FORMAT: &str = "tokenizer.json";

fn bad(problem: impl fmt::Display) -> TextError {
    TextError::malformed(FORMAT, problem.to_string())
}

/// A tokenizer described by normaliser, pre-tokenizer and model, run by the `tokenizers` library.
pub(crate) struct Pipeline {
    tokenizer: tokenizers::Tokenizer,
    /// The added tokens, special ones taken for text.
    plain: AddedVocabulary,
}

impl Pipeline {
    pub(crate) fn encode(&self, text: &str, special: Special, shield: Option<char>) -> Result<Vec<u32>> {
        let text = self.tokenize(text, special, shield)?;
        let parts = text.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        Ok(parts
            .iter()
            .filter_map(|(_, _, tokens)| tokens.as_ref())
            .flatten()
            .map(|token| token.id)
            .collect())
    }

    /// The tokens of a plain text with the bytes of it they stand for.
    pub(crate) fn encode_ranges(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let tokens = self.tokenize(text, Special::Plain, None)?;
        let tokens = tokens.into_encoding(None, 0, OffsetType::Byte).map_err(fail)?;
        // An offset that is none of the text's own would be the library's mistake; it must not become a panic of ours.
        let inside =
            |at: usize| (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let ranges = tokens.get_offsets().iter().map(|&(start, end)| inside(start)..inside(end.max(start)));
        Ok(tokens.get_ids().iter().copied().zip(ranges).collect())
    }

    fn tokenize(&self, text: &str, special: Special, shield: Option<char>) -> Result<PreTokenizedString> {
        let added = match special {
            Special::Parse => self.tokenizer.get_added_vocabulary(),
            Special::Plain => &self.plain,
        };
        let mut text = added.extract_and_normalize(self.tokenizer.get_normalizer(), text);
        if let Some(shield) = shield {
            text.normalize(|part| {
                part.filter(|c| c != shield);
                Ok(())
            })
            .map_err(fail)?;
        }
        if let Some(words) = self.tokenizer.get_pre_tokenizer() {
            words.pre_tokenize(&mut text).map_err(fail)?;
        }
        let model = self.tokenizer.get_model();
        text.tokenize(|word| model.tokenize(word.get())).map_err(fail)?;
        Ok(text)
    }
}

fn fail(error: tokenizers::Error) -> TextError {
    TextError::Encode { message: error.to_string() }
}

impl Tokenizer {
    /// The tokenizer that a tokenizer.json describes.
    ///
    /// The start token is the one its post-processor puts in front of a text, if any; which token ends a text
    /// stands in tokenizer_config.json ([`Tokenizer::configure`]), and is guessed from the usual names until
    /// then.
    ///
    /// # Errors
    /// When the file does not parse or its parts do not fit together.
    pub fn from_json(json: &[u8]) -> Result<Tokenizer> {
        Tokenizer::from_json_and(json, &[])
    }

    /// The same with the tokens `added` by another file.
    pub(crate) fn from_json_and(json: &[u8], added: &[Added]) -> Result<Tokenizer> {
        let file: File = serde_json::from_slice(json).map_err(bad)?;
        let json = &*with_added(json, &file.added_tokens, added)?;
        let decoding = Decoding::of(file.decoder.as_ref());
        let (vocab, algorithm, swallow) = match direct::read(json)? {
            Some(Direct { vocab, bpe, swallow }) => (vocab, Algorithm::Bpe(bpe), swallow),
            None => {
                let tokenizer = load(json)?;
                let vocab = pipeline_vocab(&tokenizer, &decoding)?;
                let mut plain = tokenizer.get_added_vocabulary().clone();
                plain.set_encode_special_tokens(true);
                (vocab, Algorithm::Pipeline(Box::new(Pipeline { tokenizer, plain })), Vec::new())
            }
        };
        let start = file.post_processor.as_ref().and_then(start_token).and_then(|name| vocab.id(&name));
        let named = |names: &[&str]| names.iter().find_map(|name| vocab.special(name));
        Ok(Tokenizer::new(Parts {
            bos: start.or_else(|| named(&["<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>"])),
            eos: named(&["</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>"]),
            add_bos: start.is_some(),
            vocab,
            algorithm,
            leading: decoding.leading,
            swallow,
        }))
    }
}

/// Has the library read the file. It panics on some files that contradict themselves: that, too, is an error.
fn load(json: &[u8]) -> Result<tokenizers::Tokenizer> {
    std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(json))
        .map_err(|_| bad("its parts contradict each other"))?
        .map_err(bad)
}

/// The parts of the file looked at here; the library reads it whole.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    decoder: Option<Value>,
    post_processor: Option<Value>,
}

/// How token entries become text, from the file's `decoder`.
struct Decoding {
    alphabet: Alphabet,
    leading: Leading,
    byte_fallback: bool,
}

impl Decoding {
    fn of(decoder: Option<&Value>) -> Decoding {
        let mut decoding =
            Decoding { alphabet: Alphabet::Plain, leading: Leading::Keep, byte_fallback: false };
        if let Some(decoder) = decoder {
            decoding.read(decoder);
        }
        decoding
    }

    fn read(&mut self, decoder: &Value) {
        match decoder["type"].as_str() {
            Some("ByteLevel") => self.alphabet = Alphabet::ByteLevel,
            Some("Metaspace") => {
                self.alphabet = Alphabet::SentencePiece;
                let never = decoder["prepend_scheme"] == "never" || decoder["add_prefix_space"] == false;
                self.leading = if never { Leading::Keep } else { Leading::DropOne };
            }
            Some("Replace") if decoder["pattern"]["String"] == "▁" && decoder["content"] == " " => {
                self.alphabet = Alphabet::SentencePiece;
            }
            Some("ByteFallback") => self.byte_fallback = true,
            Some("Strip") if decoder["content"] == " " && decoder["start"].as_u64() > Some(0) => {
                self.leading = Leading::DropOne;
            }
            Some("Sequence") => {
                for part in decoder["decoders"].as_array().into_iter().flatten() {
                    self.read(part);
                }
            }
            _ => {}
        }
    }
}

fn pipeline_vocab(tokenizer: &tokenizers::Tokenizer, decoding: &Decoding) -> Result<Vocab> {
    let entries = tokenizer.get_vocab(true).into_iter().map(|(entry, id)| (Cow::Owned(entry), id)).collect();
    let entries = dense(FORMAT, entries, &[])?;
    let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
    let unknown = unknown_token(tokenizer.get_model());
    let mut vocab = Vocab::new(decoding.alphabet, entries.len());
    for (id, entry) in entries.iter().enumerate() {
        let Some(entry) = entry else {
            vocab.push_raw(b"", Kind::Unused)?;
            continue;
        };
        let is_byte = decoding.byte_fallback && parse_byte_entry(entry).is_some();
        match added.get(&(id as u32)) {
            _ if Some(entry.as_ref()) == unknown.as_deref() => vocab.push(entry, Kind::Unknown)?,
            Some(token) if token.special => vocab.push(entry, Kind::Control)?,
            Some(_) => vocab.push_raw(entry.as_bytes(), Kind::UserDefined)?,
            None if is_byte && decoding.alphabet == Alphabet::SentencePiece => {
                vocab.push(entry, Kind::Byte)?
            }
            None => vocab.push(entry, Kind::Normal)?,
        };
    }
    Ok(vocab)
}

fn unknown_token(model: &tokenizers::ModelWrapper) -> Option<String> {
    match model {
        tokenizers::ModelWrapper::BPE(model) => model.get_unk_token().clone(),
        tokenizers::ModelWrapper::WordPiece(model) => Some(model.unk_token.clone()),
        tokenizers::ModelWrapper::WordLevel(model) => Some(model.unk_token.clone()),
        tokenizers::ModelWrapper::Unigram(_) => None,
    }
}

/// The special token that a post-processor puts in front of a single text.
fn start_token(processor: &Value) -> Option<String> {
    match processor["type"].as_str()? {
        "TemplateProcessing" => {
            let name = processor["single"][0]["SpecialToken"]["id"].as_str()?;
            // The template names an entry of its own table, which gives the token.
            let token = processor["special_tokens"][name]["tokens"][0].as_str();
            Some(token.unwrap_or(name).to_owned())
        }
        "Sequence" => processor["processors"].as_array()?.iter().find_map(start_token),
        "BertProcessing" | "RobertaProcessing" => processor["cls"][0].as_str().map(str::to_owned),
        _ => None,
    }
}

/// A JSON object of vocabulary entries and ids, in file order and without copying.
pub(crate) struct Entries<'a>(pub(crate) Vec<(Cow<'a, str>, u32)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tokens and ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some((Text(entry), id)) = map.next_entry()? {
                    entries.push((entry, id));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A string, borrowed from the file where it has no escapes.
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// Entries by id, from the vocabulary and then the added tokens; holes are `None`.
pub(crate) fn dense<'a>(
    format: &'static str,
    entries: Vec<(Cow<'a, str>, u32)>,
    added: &[(Cow<'a, str>, u32)],
) -> Result<Vec<Option<Cow<'a, str>>>> {
    let count = entries.len() + added.len();
    let all = || entries.iter().chain(added);
    let len = all().map(|&(_, id)| id as usize + 1).max().unwrap_or(0);
    if len == 0 {
        return Err(TextError::malformed(format, "the vocabulary is empty"));
    }
    // Real files have few holes; one absurd id must not cost memory.
    if len > 2 * count + 4096 {
        return Err(TextError::malformed(format, format!("{count} tokens, but ids up to {}", len - 1)));
    }
    let mut dense = vec![None; len];
    let added = added.to_vec();
    for (is_added, (entry, id)) in
        entries.into_iter().map(|e| (false, e)).chain(added.into_iter().map(|e| (true, e)))
    {
        let slot: &mut Option<Cow<'a, str>> = &mut dense[id as usize];
        match slot {
            Some(other) if *other != entry && !is_added => {
                return Err(TextError::malformed(
                    format,
                    format!("tokens {other:?} and {entry:?} have the same id, {id}"),
                ));
            }
            _ => *slot = Some(entry),
        }
    }
    Ok(dense)
}

/// What tokenizer_config.json says about special tokens.
#[derive(Deserialize)]
pub(crate) struct Config {
    pub(crate) bos_token: Option<Name>,
    pub(crate) eos_token: Option<Name>,
    pub(crate) add_bos_token: Option<bool>,
}

/// A token by name: a string, or an object with its `content`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Name {
    Plain(String),
    Object { content: String },
}

impl Name {
    pub(crate) fn content(&self) -> &str {
        match self {
            Name::Plain(content) | Name::Object { content } => content,
        }
    }
}
