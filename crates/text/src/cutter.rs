//! Cutting special tokens out of a text before the rest is tokenized.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::vocab::{Kind, Vocab};

/// A part of a text: a token named in it, or text to tokenize.
#[derive(Debug, PartialEq)]
pub(crate) enum Part<'t> {
    Token(u32),
    Text(Cow<'t, str>),
}

/// White space that a special token swallows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swallow {
    /// Before it.
    pub(crate) left: bool,
    /// After it.
    pub(crate) right: bool,
}

/// Finds tokens by name, from left to right, the longest at each place.
#[derive(Default)]
pub(crate) struct Cutter {
    names: Option<AhoCorasick>,
    tokens: Vec<(u32, Swallow)>,
}

impl Cutter {
    /// Cuts out the tokens of a vocabulary that `wanted` chooses.
    pub(crate) fn new(
        vocab: &Vocab,
        swallow: impl Fn(u32) -> Swallow,
        wanted: impl Fn(Kind) -> bool,
    ) -> Cutter {
        let ids = (0..vocab.len() as u32).filter(|&id| vocab.kind(id).is_some_and(&wanted));
        let found: Vec<(&[u8], u32)> =
            ids.filter_map(|id| Some((vocab.bytes(id)?, id))).filter(|(name, _)| !name.is_empty()).collect();
        if found.is_empty() {
            return Cutter::default();
        }
        // Building fails only for more text than fits 32 bits, which a vocabulary never holds.
        let names = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(found.iter().map(|(name, _)| name))
            .ok();
        Cutter { names, tokens: found.iter().map(|&(_, id)| (id, swallow(id))).collect() }
    }

    /// Calls `part` with the parts of `text` in order. `shield` is a character dropped from text parts.
    pub(crate) fn cut<'t, E>(
        &self,
        text: &'t str,
        shield: Option<char>,
        mut part: impl FnMut(Part<'t>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = 0;
        let text_part = |piece: &'t str, part: &mut dyn FnMut(Part<'t>) -> Result<(), E>| {
            let piece = match shield {
                Some(c) if piece.contains(c) => Cow::Owned(piece.replace(c, "")),
                _ => Cow::Borrowed(piece),
            };
            if piece.is_empty() { Ok(()) } else { part(Part::Text(piece)) }
        };
        for found in self.names.iter().flat_map(|names| names.find_iter(text)) {
            let Some(&(id, swallow)) = self.tokens.get(found.pattern().as_usize()) else { continue };
            if found.start() < at {
                // Swallowed: only a token of white space can lie there.
                continue;
            }
            let before = &text[at..found.start()];
            text_part(if swallow.left { before.trim_end() } else { before }, &mut part)?;
            part(Part::Token(id))?;
            at = found.end();
            if swallow.right {
                at = text.len() - text[at..].trim_start().len();
            }
        }
        text_part(&text[at..], &mut part)
    }

    /// Puts `shield` into every place where a name would be found, overlapping ones too, so that none is.
    pub(crate) fn shield(&self, text: &str, shield: char) -> String {
        let Some(names) = &self.names else { return text.to_owned() };
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        // After a match the search resumes one character on, where an overlapping name may start.
        let mut from = 0;
        while let Some(found) = names.find(aho_corasick::Input::new(text).range(from..)) {
            let first = text[found.start()..].chars().next().map_or(1, char::len_utf8);
            from = found.start() + first;
            out.push_str(&text[at..from]);
            out.push(shield);
            at = from;
        }
        out.push_str(&text[at..]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Alphabet;

    fn cutter(swallow: Swallow) -> Cutter {
        let mut vocab = Vocab::new(Alphabet::Plain, 4);
        vocab.push("<a>", Kind::Control).unwrap();
        vocab.push("<a><b>", Kind::Control).unwrap();
        vocab.push("x", Kind::Normal).unwrap();
        vocab.push("  ", Kind::UserDefined).unwrap();
        Cutter::new(
            &vocab,
            |id| if id == 0 { swallow } else { Swallow::default() },
            |kind| kind != Kind::Normal,
        )
    }

    fn parts(cutter: &Cutter, text: &str, shield: Option<char>) -> Vec<String> {
        let mut parts = Vec::new();
        cutter
            .cut(text, shield, |part| {
                parts.push(match part {
                    Part::Token(id) => id.to_string(),
                    Part::Text(text) => format!("{text:?}"),
                });
                Ok::<(), ()>(())
            })
            .unwrap();
        parts
    }

    #[test]
    fn longest_first_and_swallowing() {
        let plain = cutter(Swallow::default());
        assert_eq!(parts(&plain, "x<a><b> y<a>", None), ["\"x\"", "1", "\" y\"", "0"]);
        assert_eq!(parts(&plain, "", None), [""; 0]);
        let both = cutter(Swallow { left: true, right: true });
        assert_eq!(parts(&both, "x\n<a>\n  y", None), ["\"x\"", "0", "\"y\""]);
        assert_eq!(parts(&both, "<a>  ", None), ["0"]);
    }

    #[test]
    fn shielded_names_are_text() {
        let cutter = cutter(Swallow::default());
        for text in ["<a>", "x<a><b>", "<a><a>", "<<a>", "  <a>  ", "none"] {
            let shielded = cutter.shield(text, '\u{fdd0}');
            let parts = parts(&cutter, &shielded, Some('\u{fdd0}'));
            assert_eq!(parts, [format!("{text:?}")], "{text:?}");
        }
    }
}
