//! What can go wrong when something is written.

use std::io;
use std::path::{Path, PathBuf};

use crayon_errors::{Explain, Phrase, Verdict, describe};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The system did not take a file or a folder, or it was refused before the system was asked.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {action}: {}", path.display(), describe(source))]
pub struct Error {
    /// What was to be written.
    pub path: PathBuf,
    /// "create", "write" or "replace".
    pub action: &'static str,
    /// Why not.
    pub source: io::Error,
}

impl Error {
    pub(crate) fn new(path: &Path, action: &'static str, source: io::Error) -> Error {
        Error { path: path.to_owned(), action, source }
    }
}

impl Explain for Error {
    fn verdict(&self) -> Verdict {
        self.source.verdict()
    }

    fn hint(&self) -> Option<Phrase> {
        self.source.hint()
    }
}
