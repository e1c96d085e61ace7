//! Answers of a given form: JSON, JSON of a schema, whatever a regular expression or a grammar says.
//!
//! A [`Guide`] knows a model's tokens; [`Guide::grammar`] makes a [`Grammar`](crayon_engine::Grammar) of a [`Form`], and generation then
//! draws only tokens by which the answer can still become what the form asks for. The work is `llguidance`'s; a program built without
//! that feature refuses every form.

use crayon_engine::EngineError;
use serde_json::Value;

#[cfg(feature = "llguidance")]
mod guide;
#[cfg(not(feature = "llguidance"))]
mod nothing;

#[cfg(feature = "llguidance")]
pub use guide::Guide;
#[cfg(not(feature = "llguidance"))]
pub use nothing::Guide;

/// Largest schema or grammar, in bytes of text.
pub(crate) const LARGEST: usize = 64 << 10;

/// What an answer has to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// Any JSON object.
    Object,
    /// JSON that fits a JSON schema.
    Schema(Value),
    /// A text that a regular expression matches whole.
    Regex(String),
    /// A text of a grammar in `llguidance`'s variant of Lark.
    Lark(String),
}

/// Why a form cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub enum GuideError {
    /// It is too large.
    #[error("it has {bytes} bytes, more than the {LARGEST} that are read")]
    Large {
        /// Bytes of its text.
        bytes: usize,
    },
    /// It cannot be understood, or asks for what cannot be done.
    #[error("{0}")]
    Form(String),
    /// The model's tokens cannot be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
}
