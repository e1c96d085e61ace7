//! Text to token ids and back: tokenizers of every kind language models come with, and chat templates.
//!
//! [`Tokenizer`] reads tokenizer.json, GPT-2's vocab.json and merges.txt, SentencePiece's tokenizer.model, the
//! vocabularies of GGUF files, and llama2.c's tokenizer.bin. [`Stream`] turns generated tokens into whole
//! characters as they come. [`ChatTemplate`] renders a conversation into the text a model was trained on, [`Frame`] into
//! one that a model without a template goes on with.
//!
//! The kinds that the `tokenizers` crate does not read, and the hot path of byte-level BPE, are written by hand: one behaviour
//! for every file format, and errors that name the file.
//!
//! The files come from other people: whatever they hold, reading them ends in a tokenizer or in an error, and
//! encoding takes time in proportion to the text.

mod added;
mod bpe;
mod bytelevel;
mod charsmap;
mod chat;
mod clip;
mod cutter;
mod direct;
mod error;
mod frame;
mod functions;
mod gguf;
mod gpt2;
mod json;
mod llama2c;
mod merge;
mod percent;
mod prefixes;
mod pretokenize;
mod protobuf;
mod python;
mod ranges;
mod sentencepiece;
mod spm;
mod stream;
mod tokenizer;
mod unigram;
mod vocab;

pub use chat::{ChatTemplate, Message, Role, with_documents};
pub use error::{Result, TextError};
pub use frame::{FRAMES, Frame};
pub use functions::{FunctionCall, in_plain_text};
pub use stream::Stream;
pub use tokenizer::{Special, Tokenizer};
pub use vocab::Kind;
