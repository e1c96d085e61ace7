//! What can go wrong between a checkpoint and its logits.

use crayon_errors::{Explain, Phrase, Setting, Verdict, phrase};
use crayon_formats::Error as FormatError;

/// Errors of loading and running a network.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The checkpoint could not be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A tensor's bytes do not fit its shape.
    #[error("tensor {name}: {reason}")]
    Weight {
        /// Canonical tensor name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A token id the vocabulary does not have.
    #[error("token id {id} is outside the vocabulary of {vocab}")]
    Token {
        /// The offending id.
        id: u32,
        /// Entries of the vocabulary.
        vocab: usize,
    },
    /// The key-value memory cannot take the new tokens.
    #[error("the key-value memory holds {capacity} tokens and {needed} are needed")]
    MemoryFull {
        /// Tokens that would have to be held.
        needed: usize,
        /// Tokens that can be held.
        capacity: usize,
    },
    /// Learned positions end here.
    #[error("position {position} is beyond the {context} learned positions of this model")]
    Position {
        /// The first position that has no vector.
        position: usize,
        /// Number of learned positions.
        context: usize,
    },
    /// An adapter does not fit the layer it names.
    #[error("adapter for {site}: {reason}")]
    Adapter {
        /// The layer.
        site: String,
        /// What does not fit.
        reason: String,
    },
}

impl Explain for ModelError {
    fn verdict(&self) -> Verdict {
        match self {
            ModelError::Format(error) => error.verdict(),
            _ => Verdict::Mistake,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        match self {
            ModelError::Format(error) => error.hint(),
            ModelError::Adapter { .. } => Some(phrase![
                "the adapter was trained beside another model; ",
                Setting::Model,
                " must be the one it was trained for"
            ]),
            _ => None,
        }
    }
}
