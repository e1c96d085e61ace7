//! What can be wrong with a model file, told by file, tensor or key, and what the user can do about it.

use std::path::Path;

use crayon_errors::{Explain, Phrase, Verdict, describe};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a model file could not be read or written.
///
/// All but [`Error::Io`] mean that the file is damaged, incomplete or of a kind this crate does not read; the
/// message names the file and the tensor or key, and [`Explain::hint`] says what to try.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{file}: cannot {action}: {}", describe(source))]
    Io {
        /// File or folder.
        file: String,
        /// "open", "read", "write" and so on.
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file as a whole is damaged or is not what its name says.
    #[error("{file}: {what}")]
    File {
        /// File.
        file: String,
        /// What is wrong.
        what: String,
        /// What to try.
        hint: Option<Phrase>,
    },
    /// One entry of the metadata or of a JSON document is missing or unusable.
    #[error("{file}: key `{key}`: {what}")]
    Key {
        /// File.
        file: String,
        /// Key as the file spells it.
        key: String,
        /// What is wrong.
        what: String,
        /// What to try.
        hint: Option<Phrase>,
    },
    /// One tensor is missing or unusable.
    #[error("{file}: tensor `{tensor}`: {what}")]
    Tensor {
        /// File.
        file: String,
        /// Tensor as the file spells it.
        tensor: String,
        /// What is wrong.
        what: String,
        /// What to try.
        hint: Option<Phrase>,
    },
}

impl Error {
    /// The same error with `hint` in place of what it had; [`Error::Io`] has none of its own.
    pub fn with_hint(mut self, text: impl Into<Phrase>) -> Error {
        match &mut self {
            Error::Io { .. } => {}
            Error::File { hint, .. } | Error::Key { hint, .. } | Error::Tensor { hint, .. } => {
                *hint = Some(text.into());
            }
        }
        self
    }

    pub(crate) fn io(path: &Path, action: &'static str, source: std::io::Error) -> Error {
        Error::Io { file: path.display().to_string(), action, source }
    }

    pub(crate) fn file(file: &str, what: impl Into<String>) -> Error {
        Error::File { file: file.to_owned(), what: what.into(), hint: None }
    }

    pub(crate) fn key(file: &str, key: &str, what: impl Into<String>) -> Error {
        Error::Key { file: file.to_owned(), key: shown(key), what: what.into(), hint: None }
    }

    pub(crate) fn tensor(file: &str, tensor: &str, what: impl Into<String>) -> Error {
        Error::Tensor { file: file.to_owned(), tensor: shown(tensor), what: what.into(), hint: None }
    }
}

impl From<crayon_files::Error> for Error {
    fn from(error: crayon_files::Error) -> Error {
        Error::io(&error.path, error.action, error.cause)
    }
}

/// `name` fit for a terminal: control characters escaped, long ones cut. Names come from files.
pub(crate) fn shown(name: &str) -> String {
    const LONGEST: usize = 120;
    let mut out = String::new();
    for (count, c) in name.chars().enumerate() {
        if count == LONGEST {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Hint for files that end early or contradict themselves.
pub(crate) const DAMAGED: &str = "the file is damaged or was cut short; download or convert it again";

impl Explain for Error {
    fn verdict(&self) -> Verdict {
        match self {
            Error::Io { source, .. } => source.verdict(),
            // A damaged file is the person's to replace.
            _ => Verdict::Mistake,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        match self {
            Error::Io { source, .. } => Explain::hint(source),
            Error::File { hint, .. } | Error::Key { hint, .. } | Error::Tensor { hint, .. } => hint.clone(),
        }
    }
}
