//! What can go wrong with adapters, pools and examples, and what the user can do about it.

use std::path::Path;

use crayon_errors::{Explain, Phrase, Setting, Verdict, phrase};
use crayon_formats::Error as FormatError;
use crayon_model::ModelError;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// A file is damaged, or of a kind that is not supported.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The adapter does not fit the network, or the network failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A module of an adapter that this network cannot take.
    #[error("{file}: module `{module}`: {what}")]
    Module {
        /// The adapter's file.
        file: String,
        /// The module as the file spells it.
        module: String,
        /// What is wrong.
        what: String,
        /// What to try.
        hint: Phrase,
    },
    /// An adapter or a pool was made beside another model.
    #[error("{what} was made for another model ({made_for}) than {base}")]
    OtherBase {
        /// The adapter or the pool.
        what: String,
        /// What it was made for.
        made_for: String,
        /// The model in use.
        base: String,
    },
    /// A line of an examples file cannot be used.
    #[error("{file}, line {line}: {what}")]
    Line {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A setting or a collection that cannot be used.
    #[error("{what}")]
    Unusable {
        /// What is wrong.
        what: String,
        /// What to try.
        hint: Phrase,
    },
    /// The system gives no randomness.
    #[error("the system gives no random numbers: {what}")]
    Randomness {
        /// The system's answer.
        what: String,
    },
}

impl From<crayon_files::Error> for AdapterError {
    fn from(error: crayon_files::Error) -> AdapterError {
        FormatError::from(error).into()
    }
}

impl AdapterError {
    pub(crate) fn unusable(what: impl Into<String>, hint: impl Into<Phrase>) -> AdapterError {
        AdapterError::Unusable { what: what.into(), hint: hint.into() }
    }

    pub(crate) fn key(
        file: &Path,
        key: &str,
        what: impl Into<String>,
        hint: impl Into<Phrase>,
    ) -> AdapterError {
        let (file, key) = (file.display().to_string(), key.to_owned());
        FormatError::Key { file, key, what: what.into(), hint: Some(hint.into()) }.into()
    }

    pub(crate) fn file(file: &Path, what: impl Into<String>, hint: impl Into<Phrase>) -> AdapterError {
        let file = file.display().to_string();
        FormatError::File { file, what: what.into(), hint: Some(hint.into()) }.into()
    }

    pub(crate) fn tensor(
        file: &str,
        tensor: &str,
        what: impl Into<String>,
        hint: impl Into<Phrase>,
    ) -> AdapterError {
        let (file, tensor) = (file.to_owned(), tensor.to_owned());
        FormatError::Tensor { file, tensor, what: what.into(), hint: Some(hint.into()) }.into()
    }

    pub(crate) fn io(path: &Path, action: &'static str, source: std::io::Error) -> AdapterError {
        FormatError::Io { file: path.display().to_string(), action, source }.into()
    }
}

impl Explain for AdapterError {
    fn verdict(&self) -> Verdict {
        match self {
            AdapterError::Randomness { .. } => Verdict::Fault,
            AdapterError::Format(error) => error.verdict(),
            AdapterError::Model(error) => error.verdict(),
            _ => Verdict::Mistake,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        let hint = match self {
            AdapterError::Format(error) => return error.hint(),
            AdapterError::Model(error) => return error.hint(),
            AdapterError::Randomness { .. } => return None,
            AdapterError::Module { hint, .. } => hint.clone(),
            AdapterError::OtherBase { .. } => {
                phrase!["give ", Setting::Model, " it was made for, or a form of it that this program converted or quantised"]
            }
            AdapterError::Line { .. } => {
                "a line is {\"prompt\": \"…\", \"answer\": \"…\"}; question, input or instruction, and completion, \
                 output or choices with the index of the answer are read too"
                    .into()
            }
            AdapterError::Unusable { hint, .. } => hint.clone(),
        };
        Some(hint)
    }
}
