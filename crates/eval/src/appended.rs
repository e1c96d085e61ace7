//! A file of JSON lines that grows as a measurement goes on, so that one that was stopped goes on where it was.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crayon_errors::{Setting, phrase};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::EvalError;

/// The file, open for more.
pub(crate) struct Appended {
    path: PathBuf,
    file: File,
}

impl Appended {
    /// Opens or makes the file and gives each of its lines to `line`. A last line that was cut short is taken away; other damage is
    /// an error, by which a line is not `kind`.
    pub(crate) fn open<T: DeserializeOwned>(
        path: &Path,
        kind: &str,
        mut line: impl FnMut(T),
    ) -> Result<Appended, EvalError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(EvalError::io(path, "read", error)),
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for (at, own) in text[..whole].lines().enumerate() {
            line(serde_json::from_str(own).map_err(|error| {
                EvalError::content(&path.display().to_string(), at + 1, format!("is not {kind}: {error}"))
                    .with_hint(phrase!["give another file for ", Setting::Cells])
            })?);
        }
        let io = |error| EvalError::io(path, "write", error);
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
        if whole < text.len() {
            file.set_len(whole as u64).map_err(io)?;
        }
        Ok(Appended { path: path.to_owned(), file })
    }

    /// Writes a line more.
    pub(crate) fn keep<T: Serialize>(&mut self, line: &T) -> Result<(), EvalError> {
        let io = |error| EvalError::io(&self.path, "write", error);
        let text = serde_json::to_string(line).map_err(|error| io(error.into()))?;
        self.file.write_all(format!("{text}\n").as_bytes()).map_err(io)
    }
}
