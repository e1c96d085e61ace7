//! Token ids and the bytes they stand for.
//!
//! Whatever alphabet a file writes its tokens in, they are kept here as the bytes they put into the text: `Ġthe`
//! and `▁the` are both `" the"`. Encoding and decoding then need no translation.

use std::collections::HashMap;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::bytelevel;
use crate::error::{Result, TextError};

/// Most tokens a vocabulary may have; the largest published ones have a quarter of a million.
pub(crate) const MAX_TOKENS: usize = 1 << 24;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A piece of text.
    Normal,
    /// Stands for text the vocabulary cannot express.
    Unknown,
    /// Marks structure (start, end, roles); puts nothing into the text.
    Control,
    /// A piece of text that is always cut out whole, before any merging.
    UserDefined,
    /// In the vocabulary, but never produced.
    Unused,
    /// One byte, for text outside the vocabulary.
    Byte,
}

/// The alphabet a file writes its tokens in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// GPT-2's: one printable character a byte.
    ByteLevel,
    /// SentencePiece's: `▁` for a space, `<0x0A>` for a byte.
    SentencePiece,
    /// The text itself.
    Plain,
}

/// All tokens of a model.
pub(crate) struct Vocab {
    alphabet: Alphabet,
    bytes: Vec<u8>,
    /// `ends[id]` is where token `id` ends in `bytes`; it starts where the one before ends.
    ends: Vec<u32>,
    kinds: Vec<Kind>,
    /// Bytes to id, of normal, user-defined and unused tokens.
    pieces: HashTable<u32>,
    /// Text to id, of control and unknown tokens: kept apart so that no merge can ever make one.
    specials: HashMap<Box<[u8]>, u32>,
    byte_ids: [Option<u32>; 256],
    unknown: Option<u32>,
    hasher: DefaultHashBuilder,
    longest: usize,
}

impl Vocab {
    pub(crate) fn new(alphabet: Alphabet, tokens: usize) -> Self {
        let tokens = tokens.min(MAX_TOKENS);
        Vocab {
            alphabet,
            bytes: Vec::with_capacity(tokens * 8),
            ends: Vec::with_capacity(tokens),
            kinds: Vec::with_capacity(tokens),
            pieces: HashTable::with_capacity(tokens),
            specials: HashMap::new(),
            byte_ids: [None; 256],
            unknown: None,
            hasher: DefaultHashBuilder::default(),
            longest: 0,
        }
    }

    /// Adds the next token by its vocabulary entry; of two equal entries the later one is found by text.
    pub(crate) fn push(&mut self, entry: &str, kind: Kind) -> Result<u32> {
        let start = self.bytes.len();
        let literal = matches!(kind, Kind::Control | Kind::Unknown);
        match self.alphabet {
            Alphabet::ByteLevel if !literal && bytelevel::push_bytes(entry, &mut self.bytes) => {}
            Alphabet::SentencePiece if kind == Kind::Byte => match parse_byte_entry(entry) {
                Some(byte) => self.bytes.push(byte),
                None => {
                    return Err(TextError::malformed("vocabulary", format!("{entry:?} is not a byte token")));
                }
            },
            Alphabet::SentencePiece if !literal => push_unescaped(entry, &mut self.bytes),
            _ => self.bytes.extend_from_slice(entry.as_bytes()),
        }
        self.finish(start, kind)
    }

    /// Adds the next token by its bytes.
    pub(crate) fn push_raw(&mut self, bytes: &[u8], kind: Kind) -> Result<u32> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.finish(start, kind)
    }

    /// Adds the next token, which no text becomes, by the bytes it puts into the text.
    pub(crate) fn push_unfindable(&mut self, bytes: &[u8]) -> Result<u32> {
        self.bytes.extend_from_slice(bytes);
        self.append(Kind::Unused)
    }

    fn append(&mut self, kind: Kind) -> Result<u32> {
        let id = self.ends.len() as u32;
        let end = u32::try_from(self.bytes.len()).ok().filter(|_| self.ends.len() < MAX_TOKENS);
        let Some(end) = end else {
            return Err(TextError::malformed("vocabulary", "more tokens than any model has"));
        };
        self.ends.push(end);
        self.kinds.push(kind);
        Ok(id)
    }

    fn finish(&mut self, start: usize, kind: Kind) -> Result<u32> {
        let id = self.append(kind)?;
        let token = &self.bytes[start..];
        match kind {
            Kind::Byte => self.byte_ids[usize::from(*token.first().unwrap_or(&0))] = Some(id),
            Kind::Control | Kind::Unknown => {
                self.specials.insert(token.into(), id);
                if kind == Kind::Unknown && self.unknown.is_none() {
                    self.unknown = Some(id);
                }
            }
            // Holes in a vocabulary are empty tokens: nothing to find.
            _ if token.is_empty() => {}
            Kind::Normal | Kind::UserDefined | Kind::Unused => {
                self.longest = self.longest.max(token.len());
                let hash = self.hasher.hash_one(token);
                let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
                match self.pieces.find_mut(hash, |&other| slice(bytes, ends, other) == token) {
                    Some(other) => *other = id,
                    None => {
                        self.pieces
                            .insert_unique(hash, id, |&other| hasher.hash_one(slice(bytes, ends, other)));
                    }
                }
            }
        }
        Ok(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    /// The bytes of a token, the name of a special one.
    pub(crate) fn bytes(&self, id: u32) -> Option<&[u8]> {
        ((id as usize) < self.ends.len()).then(|| slice(&self.bytes, &self.ends, id))
    }

    /// Bytes of the longest token that text can become.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// The token that stands for exactly these bytes of text; never a special or a byte token.
    pub(crate) fn piece(&self, bytes: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(bytes);
        self.pieces.find(hash, |&id| slice(&self.bytes, &self.ends, id) == bytes).copied()
    }

    /// The token of one byte outside the vocabulary.
    pub(crate) fn byte(&self, byte: u8) -> Option<u32> {
        self.byte_ids[usize::from(byte)]
    }

    /// The token for text the vocabulary cannot express.
    pub(crate) fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// Appends what stands for `text` where no piece does: its bytes, else the unknown token.
    pub(crate) fn push_fallback(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let start = out.len();
        out.extend(text.bytes().map_while(|byte| self.byte(byte)));
        if out.len() - start == text.len() {
            return Ok(());
        }
        out.truncate(start);
        match self.unknown {
            Some(id) => out.push(id),
            None => return Err(TextError::Unencodable { text: text.to_owned() }),
        }
        Ok(())
    }

    /// The control or unknown token called `name`.
    pub(crate) fn special(&self, name: &str) -> Option<u32> {
        self.specials.get(name.as_bytes()).copied()
    }

    /// The token with this vocabulary entry.
    pub(crate) fn id(&self, entry: &str) -> Option<u32> {
        if let Some(id) = self.special(entry) {
            return Some(id);
        }
        let mut bytes = Vec::with_capacity(entry.len());
        match self.alphabet {
            Alphabet::ByteLevel if bytelevel::push_bytes(entry, &mut bytes) => {}
            Alphabet::SentencePiece => {
                if let Some(id) = parse_byte_entry(entry).and_then(|byte| self.byte(byte)) {
                    return Some(id);
                }
                push_unescaped(entry, &mut bytes);
            }
            _ => bytes.extend_from_slice(entry.as_bytes()),
        }
        self.piece(&bytes)
    }

    /// The vocabulary entry of a token.
    pub(crate) fn entry(&self, id: u32) -> Option<String> {
        let (bytes, kind) = (self.bytes(id)?, self.kind(id)?);
        Some(match (self.alphabet, kind) {
            (_, Kind::Control | Kind::Unknown) | (Alphabet::Plain, _) => {
                String::from_utf8_lossy(bytes).into_owned()
            }
            (Alphabet::ByteLevel, _) => bytelevel::entry(bytes),
            (Alphabet::SentencePiece, Kind::Byte) => {
                format!("<0x{:02X}>", bytes.first().copied().unwrap_or(0))
            }
            (Alphabet::SentencePiece, _) => String::from_utf8_lossy(bytes).replace(' ', "▁"),
        })
    }

    /// Ids of every token of a kind, in order.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = u32> + '_ {
        self.kinds.iter().enumerate().filter(move |(_, k)| **k == kind).map(|(id, _)| id as u32)
    }
}

fn slice<'a>(bytes: &'a [u8], ends: &[u32], id: u32) -> &'a [u8] {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] as usize };
    &bytes[start..ends[id] as usize]
}

fn push_unescaped(entry: &str, out: &mut Vec<u8>) {
    for (index, part) in entry.split('▁').enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(part.as_bytes());
    }
}

/// The byte a `<0x0A>` entry names.
pub(crate) fn parse_byte_entry(entry: &str) -> Option<u8> {
    let digits = entry.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_bytes_and_ids() {
        let mut vocab = Vocab::new(Alphabet::SentencePiece, 4);
        for (entry, kind) in [
            ("<unk>", Kind::Unknown),
            ("<s>", Kind::Control),
            ("<0x0A>", Kind::Byte),
            ("▁a", Kind::Normal),
            ("<s>", Kind::Normal),
        ] {
            vocab.push(entry, kind).unwrap();
        }
        assert_eq!(vocab.bytes(3), Some(&b" a"[..]));
        assert_eq!(vocab.entry(3).as_deref(), Some("▁a"));
        assert_eq!(vocab.entry(2).as_deref(), Some("<0x0A>"));
        assert_eq!(vocab.id("▁a"), Some(3));
        assert_eq!(vocab.id("<0x0A>"), Some(2));
        assert_eq!(vocab.id("<s>"), Some(1));
        assert_eq!(vocab.piece(b"<s>"), Some(4));
        assert_eq!(vocab.piece(b"<unk>"), None);
        assert_eq!(vocab.piece(b"\n"), None);
        assert_eq!(vocab.bytes(5), None);
        assert!(vocab.push("<0xZZ>", Kind::Byte).is_err());
    }

    #[test]
    fn the_later_of_two_equal_tokens_is_found() {
        let mut vocab = Vocab::new(Alphabet::ByteLevel, 2);
        vocab.push("Ġa", Kind::Normal).unwrap();
        vocab.push("Ġa", Kind::Normal).unwrap();
        assert_eq!(vocab.piece(b" a"), Some(1));
        assert_eq!(vocab.bytes(0), vocab.bytes(1));
    }
}
