//! GPT-2's pair of files: vocab.json (entry to id) and merges.txt (one merge a line, best first).

use crate::added::Added;
use crate::bpe::{Bpe, Merges};
use crate::error::{Result, TextError};
use crate::json::{Entries, dense};
use crate::pretokenize::Splitter;
use crate::tokenizer::{Algorithm, Leading, Parts, Tokenizer};
use crate::vocab::{Alphabet, Kind, Vocab};

impl Tokenizer {
    /// Byte-level BPE from the texts of `vocab.json` and `merges.txt`.
    ///
    /// Entries of the form `<...>` are control tokens. `<|endoftext|>` both starts and ends a text; none is put
    /// in front.
    ///
    /// # Errors
    /// When a file is not what it should be, ids have holes, or a merge names an unknown token.
    pub fn from_gpt2(vocab: &[u8], merges: &[u8]) -> Result<Tokenizer> {
        Tokenizer::from_gpt2_and(vocab, merges, &[])
    }

    /// The same with the tokens `added` by another file.
    pub(crate) fn from_gpt2_and(vocab: &[u8], merges: &[u8], added: &[Added]) -> Result<Tokenizer> {
        let entries: Entries<'_> =
            serde_json::from_slice(vocab).map_err(|e| TextError::malformed("vocab.json", e.to_string()))?;
        let others: Vec<_> = added.iter().map(Added::entry).collect();
        let entries = dense("vocab.json", entries.0, &others)?;
        let added_of = |id: usize| added.iter().find(|token| token.id as usize == id);
        let mut vocab = Vocab::new(Alphabet::ByteLevel, entries.len());
        for (id, entry) in entries.iter().enumerate() {
            match entry {
                Some(entry) if added_of(id).is_some_and(|token| token.kind() == Kind::UserDefined) => {
                    vocab.push_raw(entry.as_bytes(), Kind::UserDefined)?
                }
                Some(entry) if added_of(id).is_some() || is_control(entry) => {
                    vocab.push(entry, Kind::Control)?
                }
                Some(entry) => vocab.push(entry, Kind::Normal)?,
                None => vocab.push_raw(b"", Kind::Unused)?,
            };
        }
        let merges = read_merges(&vocab, merges)?;
        let end = vocab.special("<|endoftext|>");
        Ok(Tokenizer::new(Parts {
            algorithm: Algorithm::Bpe(Bpe::new(&vocab, merges, Splitter::gpt2()?)),
            bos: end.or_else(|| vocab.special("<s>")),
            eos: end.or_else(|| vocab.special("</s>")),
            vocab,
            add_bos: false,
            leading: Leading::Keep,
            swallow: added.iter().filter_map(Added::swallow).collect(),
        }))
    }
}

fn is_control(entry: &str) -> bool {
    (entry.starts_with("<|") && entry.ends_with("|>") && entry.len() > 4)
        || matches!(entry, "<s>" | "</s>" | "<unk>" | "<pad>" | "<mask>")
}

fn read_merges(vocab: &Vocab, text: &[u8]) -> Result<Merges> {
    const FORMAT: &str = "merges.txt";
    let text = std::str::from_utf8(text)
        .map_err(|e| TextError::malformed(FORMAT, format!("not UTF-8 at byte {}", e.valid_up_to())))?;
    let mut merges = Merges::new(text.len() / 8);
    let (mut left_bytes, mut right_bytes, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with("#version") {
            continue;
        }
        let bad = |problem: &str| TextError::malformed(FORMAT, format!("line {}: {problem}", index + 1));
        let (left, right) = line.split_once(' ').ok_or_else(|| bad("not two tokens with a space between"))?;
        left_bytes.clear();
        right_bytes.clear();
        let known = crate::bytelevel::push_bytes(left, &mut left_bytes)
            && crate::bytelevel::push_bytes(right, &mut right_bytes);
        if !known || left.is_empty() || right.is_empty() {
            return Err(bad("not two tokens in GPT-2's byte alphabet"));
        }
        merges.push(vocab, &left_bytes, &right_bytes, FORMAT, &mut joined)?;
    }
    Ok(merges)
}
