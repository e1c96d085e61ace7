//! GGUF, the container of ggml and llama.cpp: typed metadata followed by aligned tensors in one file.
//!
//! Read and written by hand: candle's reader gives up a whole file for one tensor of an unknown type and copies what is
//! mapped.
//!
//! Versions 2 and 3, little-endian, are read from mapped bytes and version 3 is written. Layout after
//! `docs/gguf.md` of the ggml project.

mod metadata;
mod network;
pub(crate) mod parts;
mod read;
mod types;
mod write;

pub use metadata::{Array, Metadata, Value};
pub(crate) use network::yarn_magnitude;
pub use read::{Entry, Gguf};
pub use types::{format_of, type_name, type_number};
pub use write::{TensorInfo, Writer, to_bytes};

/// First four bytes of every GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// Alignment of tensor data where the file does not state one.
pub const DEFAULT_ALIGNMENT: usize = 32;
