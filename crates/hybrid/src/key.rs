//! The key of a server: from a variable or a file, never from the command line, never shown.

use std::fmt;
use std::path::Path;

use crayon_errors::describe;

use crate::HybridError;

/// A key. `Debug` shows where it came from, never the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    value: String,
    source: String,
}

impl Key {
    /// A key from `source`, a variable or file named in messages.
    ///
    /// # Errors
    /// [`HybridError::Key`] if it has characters that no header can carry.
    pub fn new(value: &str, source: &str) -> Result<Key, HybridError> {
        let value = value.trim();
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HybridError::Key { source_name: source.to_owned(), what: "holds no key".to_owned() });
        }
        Ok(Key { value: value.to_owned(), source: source.to_owned() })
    }

    /// The key in a file: its only line.
    ///
    /// # Errors
    /// As [`Key::new`], and if the file cannot be read.
    pub fn open(path: &Path) -> Result<Key, HybridError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Key::new(&text, &name),
            Err(error) => Err(HybridError::Key { source_name: name, what: describe(&error) }),
        }
    }

    /// The key in `file`, else in the environment's `variable`; `None` where there is neither.
    ///
    /// # Errors
    /// As [`Key::open`].
    pub fn find(file: Option<&Path>, variable: &str) -> Result<Option<Key>, HybridError> {
        if let Some(path) = file {
            return Key::open(path).map(Some);
        }
        match std::env::var(variable) {
            Ok(value) if !value.trim().is_empty() => Key::new(&value, variable).map(Some),
            _ => Ok(None),
        }
    }

    /// For the header only.
    pub(crate) fn value(&self) -> &str {
        &self.value
    }

    /// `text` without the key: servers repeat it in their errors.
    pub(crate) fn hide(&self, text: &str) -> String {
        text.replace(&self.value, "***")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(from {})", self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_secret() {
        let key = Key::new(" sk-1\n", "CRAYON_SERVER_KEY").unwrap();
        assert_eq!(format!("{key:?}"), "Key(from CRAYON_SERVER_KEY)");
        assert_eq!((key.value(), key.hide("wrong key sk-1.").as_str()), ("sk-1", "wrong key ***."));
        for wrong in ["", " ", "a b", "a\r\nX-Other: b", "schlüssel"] {
            let error = Key::new(wrong, "X").unwrap_err();
            assert!(!error.to_string().contains("schl"), "{error}");
        }
        assert!(Key::open(Path::new("no-such-file")).is_err());
    }
}
