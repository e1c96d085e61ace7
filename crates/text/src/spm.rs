//! SentencePiece's byte-pair scheme: characters merged by the score of the piece they make.
//!
//! Used by SentencePiece models of type BPE, by GGUF vocabularies called "llama", and by llama2.c. Spaces are
//! plain spaces here: the vocabulary keeps `▁` as one.

use std::collections::HashMap;

use crate::error::Result;
use crate::merge::{Join, Merger, Symbol, priority_of_score};
use crate::prefixes::Prefixes;
use crate::vocab::{Kind, Vocab};

/// Words up to this many bytes are remembered within one text.
const REMEMBERED: usize = 64;

/// Scores of the pieces, as merge priorities.
pub(crate) struct Spm {
    /// By id; see [`priority_of_score`].
    priorities: Vec<u32>,
    /// Pieces cut out before merging.
    user_defined: Option<Prefixes>,
    /// A run of unknown characters is one unknown token, as SentencePiece has it.
    fuse_unknown: bool,
    has_unused: bool,
    /// No piece has a space behind another character, so no merge crosses from a word to the space after it.
    words_end_at_spaces: bool,
}

impl Spm {
    pub(crate) fn new(vocab: &Vocab, scores: impl Iterator<Item = f32>) -> Self {
        Spm {
            priorities: scores.map(priority_of_score).collect(),
            user_defined: None,
            fuse_unknown: false,
            has_unused: vocab.of_kind(Kind::Unused).next().is_some(),
            words_end_at_spaces: (0..vocab.len() as u32).all(|id| one_word(vocab, id)),
        }
    }

    /// Cuts user-defined pieces out of the text itself, and joins runs of unknown characters.
    pub(crate) fn with_sentencepiece_rules(self, user_defined: Option<Prefixes>) -> Self {
        Spm { user_defined, fuse_unknown: true, ..self }
    }

    /// Appends the ids of `text`, in which spaces stand for `▁`.
    pub(crate) fn encode(
        &self,
        vocab: &Vocab,
        text: &str,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let mut after_unknown = false;
        if !self.words_end_at_spaces {
            return self.encode_word(vocab, text, merger, &mut after_unknown, out);
        }
        // Most words of a text come again: their ids are copied from where they came first.
        let mut seen: hashbrown::HashMap<&str, (usize, usize)> = hashbrown::HashMap::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (word, after) = rest.split_at(word_len(rest));
            rest = after;
            if let Some(&(start, end)) = seen.get(word) {
                out.extend_from_within(start..end);
                after_unknown = false;
                continue;
            }
            let start = out.len();
            self.encode_word(vocab, word, merger, &mut after_unknown, out)?;
            // A run of unknown characters may go on from word to word: such words depend on their neighbours.
            let unknown = vocab.unknown().is_some_and(|id| start == out.len() || out[start..].contains(&id));
            if word.len() <= REMEMBERED && !unknown {
                seen.insert(word, (start, out.len()));
            }
        }
        Ok(())
    }

    fn encode_word(
        &self,
        vocab: &Vocab,
        word: &str,
        merger: &mut Merger,
        after_unknown: &mut bool,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        merger.clear();
        let mut rest = word;
        while let Some(c) = rest.chars().next() {
            let defined = self.user_defined.as_ref().and_then(|prefixes| prefixes.longest(rest.as_bytes()));
            let (len, id) = match defined {
                Some((len, id)) => (len, Some(id)),
                None => (c.len_utf8(), vocab.piece(&rest.as_bytes()[..c.len_utf8()])),
            };
            merger.push(len, id, defined.is_some());
            rest = &rest[len..];
        }
        let mut pieces = Pieces { spm: self, vocab, text: word.as_bytes(), unused: HashMap::new() };
        merger.run(&mut pieces);
        for symbol in merger.symbols() {
            *after_unknown = pieces.emit(symbol, word, *after_unknown, out)?;
        }
        Ok(())
    }
}

/// Whether a token has spaces at its front alone, if it is one that text can become.
fn one_word(vocab: &Vocab, id: u32) -> bool {
    match (vocab.kind(id), vocab.bytes(id)) {
        (Some(Kind::Normal | Kind::UserDefined | Kind::Unused), Some(bytes)) => {
            let spaces = bytes.iter().take_while(|&&byte| byte == b' ').count();
            memchr::memchr(b' ', &bytes[spaces..]).is_none()
        }
        _ => true,
    }
}

/// Bytes of the first word: spaces, then what is none, up to the next space.
fn word_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let spaces = bytes.iter().take_while(|&&byte| byte == b' ').count();
    spaces + memchr::memchr(b' ', &bytes[spaces..]).unwrap_or(bytes.len() - spaces)
}

struct Pieces<'a> {
    spm: &'a Spm,
    vocab: &'a Vocab,
    text: &'a [u8],
    /// Unused pieces made on the way, by place: the lengths of their two parts.
    unused: HashMap<(u32, u32), (u32, u32)>,
}

impl Join for Pieces<'_> {
    fn join(&self, left: &Symbol, right: &Symbol) -> Option<(u32, u32)> {
        let len = (left.len + right.len) as usize;
        if len > self.vocab.longest() {
            return None;
        }
        let id = self.vocab.piece(&self.text[left.start as usize..][..len])?;
        Some((*self.spm.priorities.get(id as usize)?, id))
    }

    fn joined(&mut self, left: &Symbol, right: &Symbol, id: u32) {
        if self.spm.has_unused && self.vocab.kind(id) == Some(Kind::Unused) {
            self.unused.insert((left.start, left.len + right.len), (left.len, right.len));
        }
    }
}

impl Pieces<'_> {
    /// Appends a symbol; an unused piece falls apart into what it was merged from. Says whether it was unknown.
    fn emit(&self, symbol: &Symbol, text: &str, unknown_before: bool, out: &mut Vec<u32>) -> Result<bool> {
        // A stack, not recursion: a hostile vocabulary can nest unused pieces deeply.
        let mut parts = vec![(symbol.start, symbol.len)];
        let mut unknown_before = unknown_before;
        while let Some((start, len)) = parts.pop() {
            if let Some(&(left, right)) = self.unused.get(&(start, len)) {
                parts.push((start + left, right));
                parts.push((start, left));
                continue;
            }
            let part = &text[start as usize..][..len as usize];
            match self.vocab.piece(part.as_bytes()) {
                Some(id) => {
                    out.push(id);
                    unknown_before = false;
                }
                None => {
                    let count = out.len();
                    self.vocab.push_fallback(part, out)?;
                    let unknown = out.last().copied() == self.vocab.unknown();
                    if unknown && unknown_before && self.spm.fuse_unknown {
                        out.truncate(count);
                    }
                    unknown_before = unknown;
                }
            }
        }
        Ok(unknown_before)
    }
}
