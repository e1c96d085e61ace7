//! Which bytes of a text each of its tokens stands for.

use std::ops::Range;

use crate::error::Result;
use crate::tokenizer::{Algorithm, Special, Tokenizer};

impl Tokenizer {
    /// Token ids of `text`, which is taken for plain text, each with the bytes of `text` it stands for.
    ///
    /// Tokenizers change a text before they cut it up: case, white space, composed characters. Ranges are those of the text
    /// as it was given, in ascending order. A token of which nothing is in the text has an empty one.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_ranges(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        if let Algorithm::Pipeline(pipeline) = &self.algorithm {
            return pipeline.encode_ranges(text);
        }
        let ids = self.encode(text, Special::Plain)?;
        Ok(self.align(text, &ids))
    }

    /// Lays the bytes of tokens along the text, character for character whatever their case. Characters the tokenizer
    /// dropped or replaced shift nothing: what follows is looked for a little further on.
    fn align(&self, text: &str, ids: &[u32]) -> Vec<(u32, Range<usize>)> {
        /// Characters looked over for the next one of a token.
        const AHEAD: usize = 16;
        let mut at = 0;
        let mut out = Vec::with_capacity(ids.len());
        for &id in ids {
            let bytes = self.bytes(id).unwrap_or_default();
            let piece = String::from_utf8_lossy(&bytes);
            let mut range: Option<Range<usize>> = None;
            for wanted in piece.chars().filter(|c| !c.is_whitespace()) {
                let rest = &text[at..];
                let found = rest.char_indices().take(AHEAD).find(|&(_, c)| same(c, wanted));
                let Some((offset, c)) = found else { continue };
                let (start, end) = (at + offset, at + offset + c.len_utf8());
                range = Some(range.map_or(start, |range| range.start)..end);
                at = end;
            }
            out.push((id, range.unwrap_or(at..at)));
        }
        out
    }
}

fn same(a: char, b: char) -> bool {
    a == b || a.to_lowercase().eq(b.to_lowercase())
}
