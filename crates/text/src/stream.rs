//! Tokens to text as they come.

use crate::tokenizer::{Leading, Tokenizer};

/// Turns tokens into text one at a time, holding back the bytes of a character until it is whole.
///
/// All that comes out, in order, is [`Tokenizer::decode`] of all that went in.
pub struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    pending: Vec<u8>,
    /// No text yet: spaces that encoding put in front are still to be dropped.
    at_start: bool,
}

impl<'a> Stream<'a> {
    /// A stream at the start of a text.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Stream { tokenizer, pending: Vec::new(), at_start: true }
    }

    /// A stream that goes on where a prompt ended: a leading space is part of the text, unless the prompt ends
    /// with a special token (a start, a role) and the text begins afresh.
    pub fn after(tokenizer: &'a Tokenizer, prompt: &[u32]) -> Self {
        let at_start = prompt.last().is_none_or(|&id| tokenizer.is_special(id));
        Stream { tokenizer, pending: Vec::new(), at_start }
    }

    /// Takes a token; returns the characters it completes, if any.
    pub fn push(&mut self, id: u32) -> Option<String> {
        let mut text = String::new();
        self.push_onto(id, &mut text);
        (!text.is_empty()).then_some(text)
    }

    /// Like [`Stream::push`], onto a string.
    pub(crate) fn push_onto(&mut self, id: u32, text: &mut String) {
        if let Some(bytes) = self.tokenizer.bytes(id).filter(|bytes| !bytes.is_empty()) {
            let leading = if self.at_start { self.tokenizer.leading } else { Leading::Keep };
            let (rest, started) = match (leading, bytes.strip_prefix(b" ")) {
                (Leading::DropOne, Some(rest)) => (rest, true),
                (Leading::DropAll, Some(rest)) => (rest, !rest.is_empty()),
                _ => (&bytes[..], true),
            };
            self.at_start &= !started;
            self.pending.extend_from_slice(rest);
        }
        self.drain(false, text);
    }

    /// What is left at the end: an unfinished character, as U+FFFD.
    pub fn finish(mut self) -> String {
        let mut text = String::new();
        self.drain(true, &mut text);
        text
    }

    fn drain(&mut self, last: bool, text: &mut String) {
        let mut at = 0;
        while at < self.pending.len() {
            let rest = &self.pending[at..];
            let (valid, error) = match std::str::from_utf8(rest) {
                Ok(valid) => (valid, None),
                Err(error) => {
                    let valid = std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default();
                    (valid, Some(error.error_len()))
                }
            };
            text.push_str(valid);
            at += valid.len();
            match error {
                None => {}
                Some(Some(len)) => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    at += len;
                }
                Some(None) if last => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    at = self.pending.len();
                }
                Some(None) => break,
            }
        }
        self.pending.drain(..at);
    }
}
