//! What can go wrong when something is written.

use std::io;
use std::path::{Path, PathBuf};

use crayon_errors::{Explain, Phrase, Verdict, describe};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The system did not take a file or a folder, or it was refused before the system was asked.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {action}: {}", path.display(), describe(cause))]
pub struct Error {
    /// What was to be written.
    pub path: PathBuf,
    /// "create", "write" or "replace".
    pub action: &'static str,
    /// Why not; part of the message.
    pub cause: io::Error,
}

impl Error {
    pub(crate) fn new(path: &Path, action: &'static str, cause: io::Error) -> Error {
        Error { path: path.to_owned(), action, cause }
    }
}

impl Explain for Error {
    fn verdict(&self) -> Verdict {
        self.cause.verdict()
    }

    fn hint(&self) -> Option<Phrase> {
        Explain::hint(&self.cause)
    }
}
