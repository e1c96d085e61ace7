//! Bytes to typed descriptions: safetensors, GGUF, Hugging Face folders, llama2.c checkpoints.
//!
//! [`Checkpoint::open`] takes any of them and gives one [`spec::Spec`], tensors under one set of names, and
//! what a tokenizer is made from. The modules below it read and write one format each.
//!
//! Everything here is read from files other people made: sizes are checked before memory is taken, and every
//! error names the file and the tensor or key it is about.

mod agree;
mod bytes;
mod check;
mod checkpoint;
pub mod clip;
mod error;
pub mod export;
mod generation;
pub mod gguf;
pub mod huggingface;
pub mod llama2c;
mod locate;
mod names;
mod note;
mod origin;
mod rounding;
pub mod safetensors;
pub mod spec;
mod tensor;
mod tokenizer_source;

pub use bytes::Bytes;
pub use checkpoint::{Checkpoint, Source, SourceKind};
pub use crayon_kernels::{Format, Rounding};
pub use error::{Error, Result};
pub use generation::{Bans, Generation};
pub use names::NamedShape;
pub use note::Note;
pub use origin::Origin;
pub use tensor::{Tensor, stored_bytes};
pub use tokenizer_source::TokenizerSource;
