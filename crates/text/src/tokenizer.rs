//! The tokenizer: text to token ids and back, whatever file it came from.

use std::borrow::Cow;
use std::sync::OnceLock;

use crayon_formats::TokenizerSource;
use serde::Deserialize;

use crate::added::{self, Added};
use crate::bpe::{Bpe, Scratch};
use crate::cutter::{Cutter, Part, Swallow};
use crate::error::{Result, TextError};
use crate::json::Pipeline;
use crate::sentencepiece::SentencePiece;
use crate::spm::Spm;
use crate::stream::Stream;
use crate::vocab::{Kind, Vocab};

/// What the names of control tokens (`<|end|>`) in a text mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// They become the tokens they name: for rendered chat templates, and for raw prompts, whose writer spells a template
    /// out by hand.
    Parse,
    /// They are ordinary text: for what a user wrote. User-defined tokens, which only stand for text, are still
    /// cut out whole.
    Plain,
}

/// Text to token ids and back.
pub struct Tokenizer {
    vocab: Vocab,
    pub(crate) algorithm: Algorithm,
    /// Cuts out control, unknown and user-defined tokens.
    parse: OnceLock<Cutter>,
    /// Cuts out user-defined tokens.
    plain: OnceLock<Cutter>,
    /// Finds control and unknown tokens alone, for shielding.
    control: OnceLock<Cutter>,
    swallow: Vec<(u32, Swallow)>,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    ends: Vec<u32>,
    /// Special tokens by the names the model's files give them.
    named: Vec<(String, String)>,
    pub(crate) leading: Leading,
}

/// How text becomes ids.
pub(crate) enum Algorithm {
    /// Byte-level byte pairs (GPT-2, Llama 3, Qwen).
    Bpe(Bpe),
    /// Character pairs by score (GGUF "llama", llama2.c); `space_prefix` puts a space in front of each text.
    Spm { spm: Spm, space_prefix: bool },
    /// A SentencePiece file with its normalisation.
    SentencePiece(SentencePiece),
    /// Whatever a tokenizer.json describes.
    Pipeline(Box<Pipeline>),
}

/// Spaces that decoding drops at the start of a text, because encoding put them there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leading {
    Keep,
    DropOne,
    DropAll,
}

/// What a reader of tokenizer files hands over.
pub(crate) struct Parts {
    pub(crate) vocab: Vocab,
    pub(crate) algorithm: Algorithm,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) add_bos: bool,
    pub(crate) leading: Leading,
    pub(crate) swallow: Vec<(u32, Swallow)>,
}

/// Control tokens that end an answer in one family or another, beside the end of a text.
const END_NAMES: [&str; 12] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<end_of_turn>",
    "<eos>",
    "<EOT>",
    "<|return|>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
];

impl Tokenizer {
    pub(crate) fn new(parts: Parts) -> Tokenizer {
        let Parts { vocab, algorithm, bos, eos, add_bos, leading, swallow } = parts;
        let known = |id: Option<u32>| id.filter(|&id| (id as usize) < vocab.len());
        let (bos, eos) = (known(bos), known(eos));
        let mut ends: Vec<u32> = eos.into_iter().collect();
        ends.extend(END_NAMES.iter().filter_map(|name| vocab.special(name)));
        ends.sort_unstable();
        ends.dedup();
        let add_bos = add_bos && bos.is_some();
        let (parse, plain, control) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Tokenizer {
            vocab,
            algorithm,
            parse,
            plain,
            control,
            swallow,
            bos,
            eos,
            add_bos,
            ends,
            named: Vec::new(),
            leading,
        }
    }

    /// The tokenizer in a model's files.
    ///
    /// `config` is `tokenizer_config.json` where there is one; it adds tokens, names the special ones, says which start and
    /// end a text, and whether a start is put in front.
    ///
    /// # Errors
    /// When there is no tokenizer, or it is damaged or of an unknown kind.
    pub fn from_source(source: &TokenizerSource, config: Option<&serde_json::Value>) -> Result<Tokenizer> {
        let Some(config) = config else { return Tokenizer::with_added(source, &[]) };
        let mut added = Added::of(config)?;
        let mut tokenizer = Tokenizer::with_added(source, &added)?;
        let named = added::named(config);
        let count = added.len();
        for (_, name) in &named {
            // Short ones are signs that texts have, too, such as the exclamation mark some models pad with.
            if let Some(id) = tokenizer.vocab.id(name)
                && matches!(tokenizer.kind(id), Some(Kind::Normal | Kind::UserDefined))
                && name.chars().count() > 2
                && added.iter().all(|token| token.id != id)
            {
                added.push(Added::control(id, name));
            }
        }
        if added.len() > count {
            tokenizer = Tokenizer::with_added(source, &added)?;
        }
        tokenizer.configure(config)?;
        tokenizer.named = named;
        Ok(tokenizer)
    }

    fn with_added(source: &TokenizerSource, added: &[Added]) -> Result<Tokenizer> {
        match source {
            TokenizerSource::Json(json) => Tokenizer::from_json_and(json, added),
            TokenizerSource::Gpt2 { vocab, merges } => Tokenizer::from_gpt2_and(vocab, merges, added),
            TokenizerSource::SentencePiece(model) => Tokenizer::from_sentencepiece_and(model, added),
            TokenizerSource::Gguf(metadata) => Tokenizer::from_gguf(metadata),
            TokenizerSource::Llama2c(bin) => Tokenizer::from_llama2c(bin),
            TokenizerSource::None => Err(TextError::NoTokenizer),
        }
    }

    /// Special tokens by the names the model's files give them (`pad_token`), which are those templates use.
    pub fn named_tokens(&self) -> &[(String, String)] {
        &self.named
    }

    pub(crate) fn name_token(&mut self, name: &str, id: Option<u32>) {
        if let Some(text) = id.and_then(|id| self.text(id)) {
            self.named.push((name.to_owned(), text));
        }
    }

    /// Token ids of `text`. No start token is put in front; see [`Tokenizer::add_bos`].
    ///
    /// # Errors
    /// When the vocabulary cannot express the text and has no unknown token.
    pub fn encode(&self, text: &str, special: Special) -> Result<Vec<u32>> {
        self.encode_shielded(text, special, None)
    }

    /// Like `encode`; `shield` characters keep names of tokens apart and are dropped from the text.
    pub(crate) fn encode_shielded(
        &self,
        text: &str,
        special: Special,
        shield: Option<char>,
    ) -> Result<Vec<u32>> {
        if u32::try_from(text.len()).is_err() {
            return Err(TextError::Encode { message: "a text longer than 4 GiB".to_owned() });
        }
        if let Algorithm::Pipeline(pipeline) = &self.algorithm {
            return pipeline.encode(text, special, shield);
        }
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        let mut scratch = Scratch::default();
        // The start of a text counts as following a special token.
        let mut after_token = true;
        self.cutter(special).cut(text, shield, |part| {
            match part {
                Part::Token(id) => {
                    ids.push(id);
                    after_token = true;
                    return Ok(());
                }
                Part::Text(text) => match &self.algorithm {
                    Algorithm::Bpe(bpe) => bpe.encode(&self.vocab, &text, &mut scratch, &mut ids)?,
                    Algorithm::Spm { spm, space_prefix } => {
                        let text = spaces(&text, *space_prefix && after_token);
                        spm.encode(&self.vocab, &text, &mut scratch.merger, &mut ids)?;
                    }
                    Algorithm::SentencePiece(model) => {
                        model.encode(&self.vocab, &text, &mut scratch.merger, &mut ids)?;
                    }
                    Algorithm::Pipeline(pipeline) => ids.extend(pipeline.encode(&text, special, None)?),
                },
            }
            after_token = false;
            Ok(())
        })?;
        Ok(ids)
    }

    fn cutter(&self, special: Special) -> &Cutter {
        // SentencePiece finds user-defined pieces itself, while normalising.
        let inside = matches!(self.algorithm, Algorithm::SentencePiece(_));
        let swallow = |id| {
            self.swallow
                .iter()
                .find(|(other, _)| *other == id)
                .map_or(Swallow::default(), |(_, swallow)| *swallow)
        };
        let (cell, control) = match special {
            Special::Parse => (&self.parse, true),
            Special::Plain => (&self.plain, false),
        };
        cell.get_or_init(|| {
            Cutter::new(&self.vocab, swallow, |kind| match kind {
                Kind::Control | Kind::Unknown => control,
                Kind::UserDefined => !inside,
                Kind::Normal | Kind::Unused | Kind::Byte => false,
            })
        })
    }

    /// `text` with `shield` inside every name of a control token, for [`Tokenizer::encode_shielded`].
    pub(crate) fn shield(&self, text: &str, shield: char) -> String {
        self.control
            .get_or_init(|| {
                let control = |kind| matches!(kind, Kind::Control | Kind::Unknown);
                Cutter::new(&self.vocab, |_| Swallow::default(), control)
            })
            .shield(text, shield)
    }

    /// Text of token ids. Special tokens put nothing into it; bytes that are not UTF-8 become U+FFFD; the space
    /// that encoding puts in front of a text (SentencePiece) is dropped again.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut stream = Stream::new(self);
        let mut text = String::new();
        for &id in ids {
            stream.push_onto(id, &mut text);
        }
        text + &stream.finish()
    }

    /// The bytes a token puts into the text: none for a special token; `None` for an id outside the vocabulary.
    /// They need not be whole characters; see [`Stream`].
    pub fn bytes(&self, id: u32) -> Option<Cow<'_, [u8]>> {
        let bytes = self.vocab.bytes(id)?;
        Some(Cow::Borrowed(if self.is_special(id) { &[] } else { bytes }))
    }

    /// The vocabulary entry of a token, in the alphabet of the file it came from (`Ġthe`, `▁the`, `<0x0A>`).
    pub fn text(&self, id: u32) -> Option<String> {
        self.vocab.entry(id)
    }

    /// The token with this vocabulary entry.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.vocab.id(token)
    }

    /// Number of tokens. A model's embedding may have more rows.
    pub fn len(&self) -> usize {
        self.vocab.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.vocab.len() == 0
    }

    /// The token that starts a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Whether the model expects [`Tokenizer::bos`] in front of every text.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// Every token that ends an answer, in order of id: the end of a text and the ends of a turn.
    pub fn end_tokens(&self) -> &[u32] {
        &self.ends
    }

    /// Whether a token marks structure and puts nothing into the text.
    pub fn is_special(&self, id: u32) -> bool {
        matches!(self.kind(id), Some(Kind::Control | Kind::Unknown))
    }

    /// What a token is for.
    pub fn kind(&self, id: u32) -> Option<Kind> {
        self.vocab.kind(id)
    }

    /// Adds tokens that end an answer (`eos_token_id` of config.json and generation_config.json). The first
    /// becomes [`Tokenizer::eos`] where none is known; ids outside the vocabulary are left out.
    pub fn add_end_tokens(&mut self, ids: &[u32]) {
        let known = ids.iter().copied().filter(|&id| (id as usize) < self.vocab.len());
        self.ends.extend(known.clone());
        self.ends.sort_unstable();
        self.ends.dedup();
        self.eos = self.eos.or(known.clone().next());
    }

    /// Takes over `bos_token`, `eos_token` and `add_bos_token` of a tokenizer_config.json.
    ///
    /// # Errors
    /// When one of these has the wrong type.
    pub fn configure(&mut self, config: &serde_json::Value) -> Result<()> {
        let config = crate::json::Config::deserialize(config)
            .map_err(|e| TextError::malformed("tokenizer_config.json", e.to_string()))?;
        let id = |token: Option<crate::json::Name>| token.and_then(|token| self.vocab.id(token.content()));
        let (bos, eos) = (id(config.bos_token), id(config.eos_token));
        self.set_ends_of_text(bos, eos, config.add_bos_token);
        Ok(())
    }

    /// Takes over what another file says about the tokens that start and end a text; ids outside the vocabulary are left
    /// out.
    pub(crate) fn set_ends_of_text(&mut self, bos: Option<u32>, eos: Option<u32>, add_bos: Option<bool>) {
        let known = |id: Option<u32>| id.filter(|&id| (id as usize) < self.vocab.len());
        let (bos, eos) = (known(bos), known(eos));
        self.bos = bos.or(self.bos);
        self.eos = eos.or(self.eos);
        self.ends.extend(eos);
        self.ends.sort_unstable();
        self.ends.dedup();
        self.add_bos = add_bos.unwrap_or(self.add_bos) && self.bos.is_some();
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tokenizer { bos, eos, add_bos, .. } = self;
        f.debug_struct("Tokenizer")
            .field("tokens", &self.len())
            .field("bos", bos)
            .field("eos", eos)
            .field("add_bos", add_bos)
            .finish_non_exhaustive()
    }
}

/// `text` with `▁` as the space it stands for, and a space in front.
fn spaces(text: &str, prefix: bool) -> Cow<'_, str> {
    match (prefix, text.contains('▁')) {
        (false, false) => Cow::Borrowed(text),
        (true, false) => Cow::Owned(format!(" {text}")),
        (false, true) => Cow::Owned(text.replace('▁', " ")),
        (true, true) => Cow::Owned(format!(" {}", text.replace('▁', " "))),
    }
}
