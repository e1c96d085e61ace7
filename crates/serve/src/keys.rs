//! The keys that open the server, from a file.

use std::fmt;
use std::path::Path;

use crayon_errors::describe;
use subtle::{Choice, ConstantTimeEq as _};

use crate::ServeError;

/// Largest file of keys read, in bytes.
const LARGEST: u64 = 1 << 16;

/// Keys of those who may ask. `Debug` shows how many, never which.
#[derive(Clone)]
pub struct Keys(Vec<String>);

impl Keys {
    /// The keys in the file `path`, one a line; empty lines and lines that begin with `#` are left out.
    ///
    /// # Errors
    /// [`ServeError::Keys`] when the file cannot be read, holds no key, or a key no header can carry.
    pub fn open(path: &Path) -> Result<Keys, ServeError> {
        let wrong = |what: String| ServeError::Keys { path: path.to_owned(), what };
        let size = std::fs::metadata(path).map_err(|error| wrong(describe(&error)))?.len();
        if size > LARGEST {
            return Err(wrong(format!("{size} bytes are more than a file of keys has")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(describe(&error)))?;
        let lines = text.lines().map(str::trim).enumerate();
        let mut keys = Vec::new();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            if !line.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong(format!("line {} is not a key", number + 1)));
            }
            keys.push(line.to_owned());
        }
        if keys.is_empty() {
            return Err(wrong("no key in it".to_owned()));
        }
        Ok(Keys(keys))
    }

    /// Whether `given` is one of them. Takes the same time wherever two keys differ.
    pub(crate) fn open_for(&self, given: &str) -> bool {
        let same = |key: &String| key.as_bytes().ct_eq(given.as_bytes());
        self.0.iter().fold(Choice::from(0), |found, key| found | same(key)).into()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_open_for_themselves_only() {
        let keys = Keys(vec!["one".to_owned(), "three".to_owned()]);
        assert!(keys.open_for("one") && keys.open_for("three"));
        assert!(!keys.open_for("on") && !keys.open_for("ones") && !keys.open_for(""));
        assert_eq!(format!("{keys:?}"), "Keys(2)");
    }
}
