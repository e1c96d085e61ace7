//! What can go wrong between a tokenizer file and text.

use crayon_errors::{Explain, Phrase, Verdict};

/// Errors of tokenizers and chat templates.
///
/// The file's path is not known here: the caller, who opened it, adds it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A tokenizer file that does not follow its format.
    #[error("{format}: {problem}")]
    Malformed {
        /// The format, as users know it ("tokenizer.json", "GGUF vocabulary").
        format: &'static str,
        /// What is wrong, with the token, line or key.
        problem: String,
    },
    /// A tokenizer that is well formed but of a kind not implemented here.
    #[error("{format}: {what} is not supported")]
    Unsupported {
        /// The format, as users know it.
        format: &'static str,
        /// The key and its value.
        what: String,
        /// What the user can do.
        hint: String,
    },
    /// The model's files hold no tokenizer.
    #[error("the model has no tokenizer")]
    NoTokenizer,
    /// The vocabulary has no token for a part of the text, and no unknown token either.
    #[error("the vocabulary has no token for {text:?}")]
    Unencodable {
        /// The character or byte in question.
        text: String,
    },
    /// The tokenizer refused the text.
    #[error("cannot encode the text: {message}")]
    Encode {
        /// What the tokenizer said.
        message: String,
    },
    /// A chat template that does not parse, or raised an error for these messages.
    #[error("chat template{}: {message}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Template {
        /// Line of the template, from 1.
        line: Option<usize>,
        /// What the template engine or the template itself said.
        message: String,
        /// What the user can do, where that is known.
        hint: Option<String>,
    },
}

/// Result of this crate.
pub type Result<T, E = TextError> = std::result::Result<T, E>;

impl TextError {
    pub(crate) fn malformed(format: &'static str, problem: impl Into<String>) -> Self {
        TextError::Malformed { format, problem: problem.into() }
    }
}

impl Explain for TextError {
    fn verdict(&self) -> Verdict {
        Verdict::Mistake
    }

    fn hint(&self) -> Option<Phrase> {
        let hint = match self {
            TextError::Malformed { .. } => {
                "the file may be truncated or damaged; fetch it again and compare its checksum"
            }
            TextError::Unsupported { hint, .. } => hint,
            TextError::NoTokenizer => {
                "put tokenizer.json, tokenizer.model, or vocab.json and merges.txt beside the weights, or use a \
                 GGUF file that carries its vocabulary"
            }
            TextError::Template { hint, .. } => hint.as_deref()?,
            TextError::Unencodable { .. } | TextError::Encode { .. } => return None,
        };
        Some(hint.into())
    }
}
