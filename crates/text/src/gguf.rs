//! Vocabularies inside GGUF files (`tokenizer.ggml.*`).

use crayon_formats::gguf::Metadata;

use crate::bpe::{Bpe, Merges};
use crate::bytelevel;
use crate::cutter::Swallow;
use crate::error::{Result, TextError};
use crate::pretokenize::Family;
use crate::spm::Spm;
use crate::tokenizer::{Algorithm, Leading, Parts, Tokenizer};
use crate::vocab::{Alphabet, Kind, Vocab, parse_byte_entry};

const FORMAT: &str = "GGUF vocabulary";

fn bad(problem: impl std::fmt::Display) -> TextError {
    TextError::malformed(FORMAT, problem.to_string())
}

impl Tokenizer {
    /// The vocabulary of a GGUF file: `tokenizer.ggml.model` "gpt2" (byte-level BPE, words cut as
    /// `tokenizer.ggml.pre` says) or "llama" (SentencePiece scores; Gemma too). A whole tokenizer.json in it
    /// (`tokenizer.huggingface.json`) is more exact than these keys and comes first.
    ///
    /// # Errors
    /// When keys are missing, of the wrong type or length, or name an unknown kind of tokenizer.
    pub fn from_gguf(metadata: &Metadata) -> Result<Tokenizer> {
        let Some(model) = metadata.str("tokenizer.ggml.model").map_err(bad)? else {
            return Err(TextError::NoTokenizer);
        };
        if let Some(whole) = metadata.str("tokenizer.huggingface.json").map_err(bad)? {
            return from_whole(metadata, whole);
        }
        let alphabet = match model {
            "gpt2" => Alphabet::ByteLevel,
            "llama" | "gemma" => Alphabet::SentencePiece,
            other => {
                return Err(TextError::Unsupported {
                    format: FORMAT,
                    what: format!("tokenizer.ggml.model = {other:?}"),
                    hint: "known are gpt2 and llama; put the model's tokenizer.json beside the file"
                        .to_owned(),
                });
            }
        };
        let vocab = read_vocab(metadata, alphabet)?;
        let id = |key: &str| -> Result<Option<u32>> {
            let id = metadata.u32(key).map_err(bad)?;
            match id {
                // Written for "none" by some converters.
                None | Some(u32::MAX) => Ok(None),
                Some(id) if (id as usize) < vocab.len() => Ok(Some(id)),
                Some(id) => Err(bad(format!("{key} = {id}, but there are {} tokens", vocab.len()))),
            }
        };
        let (bos, eos) = (id("tokenizer.ggml.bos_token_id")?, id("tokenizer.ggml.eos_token_id")?);
        let turn_ends = [id("tokenizer.ggml.eot_token_id")?, id("tokenizer.ggml.eom_token_id")?];
        let named = [
            ("unk_token", id("tokenizer.ggml.unknown_token_id")?),
            ("pad_token", id("tokenizer.ggml.padding_token_id")?),
            // So it is spelled there.
            ("sep_token", id("tokenizer.ggml.seperator_token_id")?),
            ("mask_token", id("tokenizer.ggml.mask_token_id")?),
        ];
        let flag = |key: &str| metadata.bool(key).map_err(bad);
        let pre = metadata.str("tokenizer.ggml.pre").map_err(bad)?;
        let add_bos = flag("tokenizer.ggml.add_bos_token")?.unwrap_or(
            alphabet == Alphabet::SentencePiece || matches!(pre, Some("llama-bpe" | "llama3" | "tekken")),
        );
        let space_prefix = flag("tokenizer.ggml.add_space_prefix")?;
        let swallow = swallow(metadata, &vocab);
        let (algorithm, leading) = match alphabet {
            Alphabet::ByteLevel => {
                let family = Family::named(pre.unwrap_or("default"))?;
                let merges = read_merges(metadata, &vocab)?;
                let bpe = Bpe::new(&vocab, merges, family.splitter)
                    .with_whole_words(family.whole_words)
                    .with_space_prefix(space_prefix.unwrap_or(false));
                (
                    Algorithm::Bpe(bpe),
                    if space_prefix == Some(true) { Leading::DropOne } else { Leading::Keep },
                )
            }
            _ => {
                let scores = read_scores(metadata, &vocab)?;
                let space_prefix = space_prefix.unwrap_or(true);
                let spm = Spm::new(&vocab, scores.iter().copied());
                let leading = if space_prefix { Leading::DropOne } else { Leading::Keep };
                (Algorithm::Spm { spm, space_prefix }, leading)
            }
        };
        let mut tokenizer = Tokenizer::new(Parts { vocab, algorithm, bos, eos, add_bos, leading, swallow });
        for (name, id) in named {
            tokenizer.name_token(name, id);
        }
        tokenizer.add_end_tokens(&turn_ends.into_iter().flatten().collect::<Vec<_>>());
        Ok(tokenizer)
    }
}

/// The tokenizer.json inside a GGUF file, with the special ids of the file's own keys.
fn from_whole(metadata: &Metadata, json: &str) -> Result<Tokenizer> {
    let mut tokenizer = Tokenizer::from_json(json.as_bytes())?;
    let id = |name: &str| metadata.u32(&format!("tokenizer.ggml.{name}_token_id")).map_err(bad);
    let (bos, eos) = (id("bos")?, id("eos")?);
    let add_bos = metadata.bool("tokenizer.ggml.add_bos_token").map_err(bad)?;
    tokenizer.set_ends_of_text(bos, eos, add_bos);
    let ends: Vec<u32> = [id("eot")?, id("eom")?].into_iter().flatten().collect();
    tokenizer.add_end_tokens(&ends);
    for (name, id) in
        [("unk_token", id("unknown")?), ("pad_token", id("padding")?), ("mask_token", id("mask")?)]
    {
        tokenizer.name_token(name, id);
    }
    Ok(tokenizer)
}

fn read_vocab(metadata: &Metadata, alphabet: Alphabet) -> Result<Vocab> {
    const KEY: &str = "tokenizer.ggml.tokens";
    let tokens = metadata.strings(KEY).map_err(bad)?.ok_or_else(|| bad(format!("{KEY} is missing")))?;
    let types = metadata.i32s("tokenizer.ggml.token_type").map_err(bad)?;
    if let Some(types) = &types
        && types.len() != tokens.len()
    {
        return Err(bad(format!("{} tokens, but {} token types", tokens.len(), types.len())));
    }
    if tokens.is_empty() {
        return Err(bad(format!("{KEY} is empty")));
    }
    let special = ["bos", "eos", "unknown", "padding"].map(|name| {
        let id = metadata.u32(&format!("tokenizer.ggml.{name}_token_id")).ok().flatten();
        (id, if name == "unknown" { Kind::Unknown } else { Kind::Control })
    });
    let mut vocab = Vocab::new(alphabet, tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        let is_byte = alphabet == Alphabet::SentencePiece && parse_byte_entry(token).is_some();
        let kind = match types.as_ref().map(|types| types[id]) {
            // Files without types: what the ids and the entries themselves tell.
            None => match special.iter().find(|(special, _)| *special == Some(id as u32)) {
                Some((_, kind)) => *kind,
                None if is_byte => Kind::Byte,
                None => Kind::Normal,
            },
            Some(0 | 1) => Kind::Normal,
            Some(2) => Kind::Unknown,
            Some(3) => Kind::Control,
            Some(4) => user_defined(token),
            Some(5) => Kind::Unused,
            Some(6) if is_byte => Kind::Byte,
            Some(6) => {
                return Err(bad(format!("token {id}, {token:?}, has the type of a byte, but names none")));
            }
            Some(other) => return Err(bad(format!("token {id}, {token:?}, has the unknown type {other}"))),
        };
        if kind == Kind::UserDefined && alphabet == Alphabet::ByteLevel {
            // Stands for its own text, not for bytes in GPT-2's alphabet.
            vocab.push_raw(token.as_bytes(), kind)?;
        } else {
            vocab.push(token, kind)?;
        }
    }
    Ok(vocab)
}

/// The kind of a token that the file lists as text of its own. Files of models with a tower for pictures list the marks of
/// its tokens so, too (Gemma 3's `<start_of_image>`), which transformers counts among the special tokens: they put nothing
/// into a text, and no message spells them out.
fn user_defined(name: &str) -> Kind {
    let mark = ["<start_of_", "<end_of_"].iter().any(|start| name.starts_with(start)) && name.ends_with('>');
    if mark { Kind::Control } else { Kind::UserDefined }
}

fn read_scores<'m>(metadata: &'m Metadata, vocab: &Vocab) -> Result<&'m [f32]> {
    const KEY: &str = "tokenizer.ggml.scores";
    let scores = metadata.f32s(KEY).map_err(bad)?.ok_or_else(|| bad(format!("{KEY} is missing")))?;
    if scores.len() != vocab.len() {
        return Err(bad(format!("{} tokens, but {} scores", vocab.len(), scores.len())));
    }
    if let Some(id) = scores.iter().position(|score| score.is_nan()) {
        return Err(bad(format!("the score of token {id} is not a number")));
    }
    Ok(scores)
}

fn read_merges(metadata: &Metadata, vocab: &Vocab) -> Result<Merges> {
    const KEY: &str = "tokenizer.ggml.merges";
    let lines = metadata.strings(KEY).map_err(bad)?.ok_or_else(|| bad(format!("{KEY} is missing")))?;
    let mut merges = Merges::new(lines.len());
    let (mut left_bytes, mut right_bytes, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    for (index, line) in lines.iter().enumerate() {
        // The border is the first space after the first character, which may itself be a space.
        let first = line.chars().next().map_or(0, char::len_utf8);
        let split = line[first..].find(' ').map(|at| (&line[..first + at], &line[first + at + 1..]));
        let (left, right) = split
            .filter(|(_, right)| !right.is_empty())
            .ok_or_else(|| bad(format!("merge {}, {line:?}, is not two tokens", index + 1)))?;
        for (text, bytes) in [(left, &mut left_bytes), (right, &mut right_bytes)] {
            bytes.clear();
            if !bytelevel::push_bytes(text, bytes) {
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        merges.push(vocab, &left_bytes, &right_bytes, FORMAT, &mut joined)?;
    }
    Ok(merges)
}

/// Phi-3's control tokens swallow the white space after them; the files do not say so, the model was trained so.
fn swallow(metadata: &Metadata, vocab: &Vocab) -> Vec<(u32, Swallow)> {
    if metadata.str("general.architecture").ok().flatten() != Some("phi3") {
        return Vec::new();
    }
    let kept = ["<unk>", "<s>", "<|endoftext|>"];
    let right = Swallow { left: false, right: true };
    let control = vocab.of_kind(Kind::Control).chain(vocab.id("</s>"));
    control
        .filter(|&id| vocab.entry(id).is_none_or(|name| !kept.contains(&name.as_str())))
        .map(|id| (id, right))
        .collect()
}
