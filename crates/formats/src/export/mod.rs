//! Writing a checkpoint in another format: as GGUF for llama.cpp and this program, or as a Hugging Face folder
//! for transformers.

mod gguf;
mod gguf_keys;
mod huggingface;
mod pieces;
mod protobuf;
mod rules;
mod steps;
mod tokenizer_json;
mod tokenizer_model;
mod vocabulary;

use crayon_kernels::Format;

pub use gguf::write_gguf;
pub use huggingface::write_huggingface;
pub use vocabulary::tokenizer_metadata;

/// Storage formats of an export; norms and biases are f32 in GGUF whatever is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Format of the matrices; `None` keeps what the checkpoint has.
    pub weights: Option<Format>,
    /// Format of the token embedding and the output layer; `None` means what [`embedding_format`] says.
    pub embeddings: Option<Format>,
}

/// The format of token embedding and output layer in a model whose other matrices are in `weights`: the same, except that
/// they are q8_0 beside w8a8 and w4a8. What the output layer reads has outliers that no scale can fold away where it is tied to the
/// embedding: one range for all of a token's values loses more there than in all blocks together, one for every 32 next to nothing.
pub const fn embedding_format(weights: Format) -> Format {
    match weights {
        Format::W8A8 | Format::W4A8 => Format::Q8_0,
        other => other,
    }
}

/// What a caller may want to show while an export runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A tensor was written.
    Written {
        /// Name in the new file.
        tensor: String,
        /// Tensors written so far, this one included.
        done: usize,
        /// Tensors of the new file.
        total: usize,
    },
    /// A tensor could not take the chosen format.
    Fallback {
        /// Name in the new file.
        tensor: String,
        /// Values in a row, which are not whole blocks of the wanted format.
        cols: usize,
        /// Format that was asked for.
        wanted: Format,
        /// Format it has now.
        used: Format,
    },
    /// Something other programs may read differently.
    Warning(String),
}

/// Callback for [`Notice`]s.
pub type Notify<'a> = &'a mut dyn FnMut(Notice);

/// The format for rows of `cols` values that comes closest to `wanted`: K-quants fall back to the blocks of 32
/// with the same number of bits or one more, those to f16.
pub fn fitting(wanted: Format, cols: usize) -> Format {
    let mut format = wanted;
    while format.row_bytes(cols).is_none() {
        format = match format {
            Format::Q4K => Format::Q5_0,
            Format::Q5K => Format::Q5_1,
            Format::Q6K => Format::Q8_0,
            _ => Format::F16,
        };
    }
    format
}
