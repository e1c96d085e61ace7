//! Where a checkpoint's tokenizer comes from.

use std::sync::Arc;

use crate::bytes::Bytes;
use crate::gguf::Metadata;

/// The files a tokenizer is made from.
#[derive(Clone, Debug)]
pub enum TokenizerSource {
    /// A `tokenizer.json`.
    Json(Bytes),
    /// GPT-2's pair of files.
    Gpt2 {
        /// `vocab.json`.
        vocab: Bytes,
        /// `merges.txt`.
        merges: Bytes,
    },
    /// A SentencePiece `tokenizer.model`.
    SentencePiece(Bytes),
    /// The `tokenizer.ggml.*` keys of a GGUF file.
    Gguf(Arc<Metadata>),
    /// A llama2.c `tokenizer.bin`.
    Llama2c(Bytes),
    /// None was found.
    None,
}
