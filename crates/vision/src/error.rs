//! What can go wrong between a text or a picture and its embedding.

use crayon_errors::{Explain, Phrase, Setting, Verdict, count, phrase};
use crayon_formats::Error as FormatError;
use crayon_model::ModelError;
use crayon_text::TextError;

use crate::decode::KINDS;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VisionError {
    /// The model's files could not be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The network could not be made of them.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer could not be read.
    #[error("{model}: {error}")]
    Tokenizer {
        /// Path or name of the model.
        model: String,
        /// What is wrong.
        error: TextError,
    },
    /// The tokenizer says nothing of the token that ends a text, or the network has no such token.
    #[error("{model}: the tokenizer has no usable {which} token")]
    Ends {
        /// Path or name of the model.
        model: String,
        /// "start" or "end".
        which: &'static str,
    },
    /// The text cannot be tokenised.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A text has more tokens than the model reads; nothing is cut.
    #[error("the text has {} tokens, and this model reads at most {room} in one text", count(*tokens))]
    TooLong {
        /// Tokens of the text, without start and end.
        tokens: usize,
        /// Tokens there is room for.
        room: usize,
    },
    /// A token the vocabulary does not have.
    #[error("token id {id} is outside the vocabulary of {vocab}")]
    Token {
        /// The id.
        id: u32,
        /// Entries of the vocabulary.
        vocab: usize,
    },
    /// A weight is negative or no number, or there is not one for every token.
    #[error("{0}")]
    Weights(String),
    /// A picture file cannot be read.
    #[error("the picture cannot be read: {0}")]
    Picture(String),
    /// A picture has more pixels than are decoded.
    #[error("the picture has {width} × {height} pixels, more than the {} million that are read", most / 1_000_000)]
    TooLarge {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// Most pixels.
        most: u64,
    },
    /// Pixels were prepared for another model.
    #[error("a picture was prepared for {found} × {found} pixels, and this model takes {wanted} × {wanted}")]
    Size {
        /// Edge of the picture.
        found: usize,
        /// Edge the model takes.
        wanted: usize,
    },
}

impl Explain for VisionError {
    fn verdict(&self) -> Verdict {
        match self {
            VisionError::Format(error) => error.verdict(),
            VisionError::Model(error) => error.verdict(),
            _ => Verdict::Mistake,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        match self {
            VisionError::Format(error) => error.hint(),
            VisionError::Model(error) => error.hint(),
            VisionError::Tokenizer { error, .. } | VisionError::Text(error) => error.hint(),
            VisionError::Ends { .. } => {
                Some(phrase![Setting::Model, " needs the tokenizer files it was published with"])
            }
            VisionError::TooLong { .. } => Some("shorten the text, or ask with several".into()),
            VisionError::Weights(_) => Some("a weight is a number of 0 or more; 1 changes nothing".into()),
            VisionError::Picture(_) => {
                Some(format!("{KINDS} are read; the file may be damaged or another kind").into())
            }
            VisionError::TooLarge { .. } => Some("make the picture smaller first".into()),
            VisionError::Token { .. } | VisionError::Size { .. } => None,
        }
    }
}
