//! Bytes to typed descriptions: safetensors, GGUF, Hugging Face folders, llama2.c checkpoints.
//!
//! Everything here is read from files other people made: sizes are checked before memory is taken, and every
//! error names the file and the tensor or key it is about.

pub mod atomic;
mod bytes;
mod error;
pub mod gguf;
pub mod safetensors;
pub mod spec;
mod tensor;

pub use bytes::Bytes;
pub use crayon_kernels::Format;
pub use error::{Error, Result};
pub use tensor::{Tensor, stored_bytes};
