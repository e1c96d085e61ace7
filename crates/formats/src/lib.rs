//! Bytes to typed descriptions: safetensors, GGUF, Hugging Face folders, llama2.c checkpoints.
//!
//! [`Checkpoint::open`] takes any of them and gives one [`spec::Spec`], tensors under one set of names, and
//! what a tokenizer is made from. The modules below it read and write one format each.
//!
//! Everything here is read from files other people made: sizes are checked before memory is taken, and every
//! error names the file and the tensor or key it is about.

mod bytes;
mod check;
mod checkpoint;
mod error;
pub mod export;
pub mod gguf;
pub mod huggingface;
pub mod llama2c;
mod locate;
mod names;
pub mod safetensors;
pub mod spec;
mod tensor;

pub use bytes::Bytes;
pub use checkpoint::{Checkpoint, Generation, Source, SourceKind, TokenizerSource};
pub use crayon_kernels::Format;
pub use error::{Error, Result};
pub use names::NamedShape;
pub use tensor::{Tensor, stored_bytes};
