//! SentencePiece's compiled normalisation rules: a double-array trie from strings to their replacements.
//!
//! Layout: a 32-bit little-endian length, that many bytes of trie (32-bit units as in Darts-clone), then the
//! replacements, each ended by a zero byte; a trie value is the offset of one.

use crate::error::{Result, TextError};

/// Normalisation rules.
pub(crate) struct Charsmap {
    units: Vec<u32>,
    replacements: Vec<u8>,
}

impl Charsmap {
    pub(crate) fn parse(blob: &[u8]) -> Result<Charsmap> {
        let bad = |problem: &str| TextError::malformed("SentencePiece normalisation rules", problem);
        let (len, rest) = blob.split_first_chunk::<4>().ok_or_else(|| bad("no length"))?;
        let len = u32::from_le_bytes(*len) as usize;
        let (trie, replacements) = rest.split_at_checked(len).ok_or_else(|| bad("shorter than stated"))?;
        if trie.is_empty() || trie.len() % 4 != 0 {
            return Err(bad("a trie of no whole number of units"));
        }
        let units = trie.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        Ok(Charsmap { units: units.collect(), replacements: replacements.to_vec() })
    }

    /// The longest rule that `text` starts with: how many bytes it replaces, and by what.
    pub(crate) fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let mut best = None;
        let mut at = offset(*self.units.first()?);
        for (index, &byte) in text.as_bytes().iter().enumerate() {
            at ^= byte as usize;
            let Some(&unit) = self.units.get(at) else { break };
            // A leaf's label has its highest bit set, so it never equals a byte.
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            at ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                match self.units.get(at) {
                    Some(value) => best = Some((index + 1, (value & !(1 << 31)) as usize)),
                    None => break,
                }
            }
        }
        let (len, start) = best?;
        let replacement = self.replacements.get(start..)?.split(|&byte| byte == 0).next()?;
        // A damaged file could cut a character: such a rule is not a rule.
        (text.is_char_boundary(len)).then_some(())?;
        Some((len, std::str::from_utf8(replacement).ok()?))
    }
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}
