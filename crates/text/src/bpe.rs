//! Byte-level byte-pair encoding, as in GPT-2: words of bytes, merged by rank.

use hashbrown::{DefaultHashBuilder, HashMap};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::error::{Result, TextError};
use crate::merge::{Join, Merger, Symbol};
use crate::pretokenize::{Caches, Splitter};
use crate::vocab::Vocab;

/// Words up to this many bytes are remembered within one text.
const REMEMBERED: usize = 64;

/// Merges and word borders of a byte-level vocabulary.
pub(crate) struct Bpe {
    merges: Merges,
    splitter: Splitter,
    /// A word that is a token as a whole skips merging.
    whole_words: bool,
    /// Put a space in front of a text that does not start with white space.
    space_prefix: bool,
    /// Compose characters first (Unicode's form C).
    nfc: bool,
    bytes: Box<[Option<u32>; 256]>,
}

/// Pairs of tokens to their rank and the token they make.
pub(crate) struct Merges {
    pairs: HashMap<(u32, u32), (u32, u32), DefaultHashBuilder>,
}

impl Merges {
    pub(crate) fn new(count: usize) -> Self {
        Merges { pairs: HashMap::with_capacity(count.min(crate::vocab::MAX_TOKENS)) }
    }

    /// Adds the merge of the next rank, of two tokens given by their bytes.
    pub(crate) fn push(
        &mut self,
        vocab: &Vocab,
        left: &[u8],
        right: &[u8],
        format: &'static str,
        joined: &mut Vec<u8>,
    ) -> Result<()> {
        joined.clear();
        joined.extend_from_slice(left);
        joined.extend_from_slice(right);
        let find = |bytes: &[u8]| {
            vocab.piece(bytes).ok_or_else(|| {
                TextError::malformed(
                    format,
                    format!(
                        "merge {} names {:?}, which is not in the vocabulary",
                        self.pairs.len() + 1,
                        String::from_utf8_lossy(bytes)
                    ),
                )
            })
        };
        let (pair, id) = ((find(left)?, find(right)?), find(joined)?);
        let rank = self.pairs.len() as u32;
        self.pairs.entry(pair).or_insert((rank, id));
        Ok(())
    }
}

impl Join for &Merges {
    fn join(&self, left: &Symbol, right: &Symbol) -> Option<(u32, u32)> {
        self.pairs.get(&(left.id?, right.id?)).copied()
    }
}

impl Bpe {
    pub(crate) fn new(vocab: &Vocab, merges: Merges, splitter: Splitter) -> Self {
        let bytes = Box::new(std::array::from_fn(|byte| vocab.piece(&[byte as u8])));
        Bpe { merges, splitter, whole_words: false, space_prefix: false, nfc: false, bytes }
    }

    pub(crate) fn with_whole_words(self, whole_words: bool) -> Self {
        Bpe { whole_words, ..self }
    }

    pub(crate) fn with_space_prefix(self, space_prefix: bool) -> Self {
        Bpe { space_prefix, ..self }
    }

    pub(crate) fn with_nfc(self, nfc: bool) -> Self {
        Bpe { nfc, ..self }
    }

    /// Whether every byte is a token.
    pub(crate) fn knows_all_bytes(&self) -> bool {
        self.bytes.iter().all(Option::is_some)
    }

    /// Appends the ids of `text`.
    pub(crate) fn encode(
        &self,
        vocab: &Vocab,
        text: &str,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        if self.nfc && is_nfc_quick(text.chars()) != IsNormalized::Yes {
            let composed: String = text.nfc().collect();
            return self.encode_prefixed(vocab, &composed, scratch, out);
        }
        self.encode_prefixed(vocab, text, scratch, out)
    }

    fn encode_prefixed(
        &self,
        vocab: &Vocab,
        text: &str,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        if self.space_prefix && !text.starts_with(char::is_whitespace) {
            let prefixed = format!(" {text}");
            return self.encode_words(vocab, &prefixed, scratch, out);
        }
        self.encode_words(vocab, text, scratch, out)
    }

    fn encode_words(
        &self,
        vocab: &Vocab,
        text: &str,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        // Most words of a text come again: their ids are copied from where they came first.
        let mut seen: HashMap<&str, (usize, usize), DefaultHashBuilder> = HashMap::new();
        let Scratch { merger, caches } = scratch;
        self.splitter.split(text, caches, &mut |word| {
            if let Some(&(start, end)) = seen.get(word) {
                out.extend_from_within(start..end);
                return Ok(());
            }
            let start = out.len();
            self.encode_word(vocab, word, merger, out)?;
            if word.len() <= REMEMBERED {
                seen.insert(word, (start, out.len()));
            }
            Ok(())
        })
    }

    fn encode_word(&self, vocab: &Vocab, word: &str, merger: &mut Merger, out: &mut Vec<u32>) -> Result<()> {
        if self.whole_words
            && let Some(id) = vocab.piece(word.as_bytes())
        {
            out.push(id);
            return Ok(());
        }
        merger.clear();
        for &byte in word.as_bytes() {
            merger.push(1, self.bytes[usize::from(byte)], false);
        }
        merger.run(&mut &self.merges);
        for symbol in merger.symbols() {
            match symbol.id {
                Some(id) => out.push(id),
                None => match vocab.unknown() {
                    Some(unknown) => out.push(unknown),
                    None => {
                        let byte = word.as_bytes()[symbol.start as usize];
                        return Err(TextError::Unencodable { text: byte_text(byte) });
                    }
                },
            }
        }
        Ok(())
    }
}

fn byte_text(byte: u8) -> String {
    if byte.is_ascii() { char::from(byte).to_string() } else { format!("byte 0x{byte:02X}") }
}

/// Scratch memory of one text.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) merger: Merger,
    pub(crate) caches: Caches,
}
