//! Bytes to typed descriptions: safetensors, GGUF, Hugging Face folders, llama2.c checkpoints.
//!
//! [`Checkpoint::open`] takes any of them and gives one [`spec::Spec`], tensors under one set of names, and
//! what a tokenizer is made from. The modules below it read and write one format each.
//!
//! Everything here is read from files other people made: sizes are checked before memory is taken, and every
//! error names the file and the tensor or key it is about.

mod agree;
pub mod atomic;
mod bytes;
mod check;
mod checkpoint;
mod error;
pub mod export;
mod generation;
pub mod gguf;
pub mod huggingface;
pub mod llama2c;
mod locate;
mod names;
mod note;
pub mod safetensors;
pub mod spec;
mod tensor;

pub use bytes::Bytes;
pub use checkpoint::{Checkpoint, Source, SourceKind, TokenizerSource};
pub use crayon_kernels::Format;
pub use error::{Error, Result};
pub use generation::{Bans, Generation};
pub use names::NamedShape;
pub use note::Note;
pub use tensor::{Tensor, stored_bytes};

/// Bytes as lower-case hexadecimal digits: how digests and fingerprints are written.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `text` as XML has it; control characters, which it cannot have, are left out.
pub fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}')) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::xml;

    #[test]
    fn text_cannot_break_a_picture() {
        assert_eq!(xml("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        assert_eq!(xml("a\u{0}b\n"), "ab");
    }
}
