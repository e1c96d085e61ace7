//! What a model's files say and what is not done: facts for whoever shows them.

use std::fmt;

/// Something in a model's files that is passed over, or decided against another part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// File.
    pub file: String,
    /// Key, tensor or other file it is about.
    pub subject: String,
    /// What became of it, a clause after the subject ("is not applied").
    pub what: String,
}

impl Note {
    pub(crate) fn new(file: &str, subject: &str, what: impl Into<String>) -> Note {
        Note { file: file.to_owned(), subject: crate::error::shown(subject), what: what.into() }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}` {}", self.file, self.subject, self.what)
    }
}
