//! Checksums of the hub: SHA-256 for large files (git LFS), git's blob SHA-1 for small ones.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// What a file's bytes must hash to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Checksum {
    /// SHA-256 of the bytes, in lower-case hexadecimal.
    Sha256(String),
    /// SHA-1 of `blob SIZE\0` and the bytes, in lower-case hexadecimal.
    GitSha1(String),
}

impl Checksum {
    pub(crate) fn sha256(text: &str) -> Option<Checksum> {
        hexadecimal(text, 64).map(Checksum::Sha256)
    }

    pub(crate) fn git_sha1(text: &str) -> Option<Checksum> {
        hexadecimal(text, 40).map(Checksum::GitSha1)
    }

    /// A hasher for a file of `bytes` bytes.
    pub(crate) fn hasher(&self, bytes: u64) -> Hasher {
        match self {
            Checksum::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Checksum::GitSha1(_) => {
                Hasher::GitSha1(Sha1::new_with_prefix(format!("blob {bytes}\0").into_bytes()))
            }
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Checksum::Sha256(hex) => write!(f, "sha256 {hex}"),
            Checksum::GitSha1(hex) => write!(f, "git sha1 {hex}"),
        }
    }
}

/// A checksum in the making.
pub(crate) enum Hasher {
    Sha256(Sha256),
    GitSha1(Sha1),
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hash) => hash.update(bytes),
            Hasher::GitSha1(hash) => hash.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Checksum {
        match self {
            Hasher::Sha256(hash) => Checksum::Sha256(hex(&hash.finalize())),
            Hasher::GitSha1(hash) => Checksum::GitSha1(hex(&hash.finalize())),
        }
    }
}

/// The text in lower case if it is `digits` hexadecimal digits. Also guards commits, which become folder names.
pub(crate) fn hexadecimal(text: &str, digits: usize) -> Option<String> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_git_and_sha256sum() {
        // `printf hello | git hash-object --stdin` and `printf hello | sha256sum`
        for wanted in [
            Checksum::git_sha1("b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0").unwrap(),
            Checksum::sha256("2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824").unwrap(),
        ] {
            let mut hasher = wanted.hasher(5);
            hasher.update(b"he");
            hasher.update(b"llo");
            assert_eq!(hasher.finish(), wanted);
        }
    }

    #[test]
    fn takes_only_hexadecimal_of_the_right_length() {
        assert!(hexadecimal("../../etc", 9).is_none());
        assert!(hexadecimal("ab", 3).is_none());
        assert_eq!(hexadecimal("AB", 2).as_deref(), Some("ab"));
    }
}
