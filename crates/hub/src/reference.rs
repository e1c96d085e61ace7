//! `org/name[@revision][:file.gguf]`: how a model of the hub is written on the command line.

use std::fmt;
use std::str::FromStr;

use crate::error::HubError;

/// The hub refuses longer names of owners and models.
const MAX_NAME: usize = 96;
/// Longest revision or file name taken.
const MAX_TEXT: usize = 255;

/// One model of the hub, at one revision, perhaps one GGUF file of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// User or organisation.
    pub owner: String,
    /// Repository.
    pub name: String,
    /// Branch, tag or commit; `None` is the main branch.
    pub revision: Option<String>,
    /// Which GGUF model, by its quantisation (`Q4_K_M`), its file's name, or a part of that name that no other has.
    pub file: Option<String>,
}

impl Reference {
    /// The branch, tag or commit to ask for.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// `owner/name`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// Name of the folder that holds its revisions. Unambiguous, because names cannot contain `--`.
    pub(crate) fn folder(&self) -> String {
        format!("{}--{}", self.owner, self.name)
    }

    /// The reverse of [`Reference::folder`].
    pub(crate) fn from_folder(folder: &str) -> Option<Reference> {
        let (owner, name) = folder.split_once("--")?;
        (is_name(owner) && is_name(name)).then(|| Reference {
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision: None,
            file: None,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(file) = &self.file {
            write!(f, ":{file}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = HubError;

    /// # Errors
    /// [`HubError::Reference`] if the text is of another form.
    fn from_str(text: &str) -> Result<Self, HubError> {
        let wrong = |what| HubError::Reference { text: text.chars().take(MAX_TEXT).collect(), what };
        if text.contains("://") {
            return Err(wrong("it is an address"));
        }
        let (model, file) = match text.split_once(':') {
            Some((model, file)) => (model, Some(file)),
            None => (text, None),
        };
        let (repository, revision) = match model.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (model, None),
        };
        let (owner, name) = repository.split_once('/').ok_or_else(|| wrong("it has no owner"))?;
        if !is_name(owner) || !is_name(name) {
            return Err(wrong("owner and name are letters, digits, `-`, `_` and `.`"));
        }
        if revision.is_some_and(|revision| !is_revision(revision)) {
            return Err(wrong("the revision after `@` is not a branch, tag or commit"));
        }
        if file.is_some_and(|file| !is_file_name(file)) {
            return Err(wrong("what follows `:` is not the name of a file"));
        }
        Ok(Reference {
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision: revision.map(str::to_owned),
            file: file.map(str::to_owned),
        })
    }
}

/// Whether the hub could have a user or repository of this name. None of them can leave its folder.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME
        && !text.contains("--")
        && !text.contains("..")
        && !text.starts_with(['-', '.'])
        && !text.ends_with(['-', '.'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Whether git could have a branch or tag of this name; `refs/pr/1` is one.
fn is_revision(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_TEXT
        && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains(".."))
        && text.bytes().all(|b| b.is_ascii_graphic() && !b"\\?*[~^:@<>|\"".contains(&b))
}

/// Whether this is a plain file name: no folder, nothing that another system reads as one.
pub(crate) fn is_file_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_TEXT
        && !text.starts_with('.')
        && !text.ends_with(['.', ' '])
        && !text.chars().any(|c| c.is_control() || "/\\:*?\"<>|".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, owner: &str, name: &str, revision: Option<&str>, file: Option<&str>) {
        let parsed: Reference = text.parse().unwrap();
        assert_eq!(
            (parsed.owner.as_str(), parsed.name.as_str(), parsed.revision.as_deref(), parsed.file.as_deref()),
            (owner, name, revision, file),
        );
        assert_eq!(parsed.to_string(), text);
        assert_eq!(Reference::from_folder(&parsed.folder()).unwrap().repository(), parsed.repository());
    }

    #[test]
    fn reads_every_form() {
        check("org/name", "org", "name", None, None);
        check("Qwen/Qwen2.5-0.5B@main", "Qwen", "Qwen2.5-0.5B", Some("main"), None);
        check("a/b@refs/pr/1", "a", "b", Some("refs/pr/1"), None);
        check("a/b:x-Q4_K_M.gguf", "a", "b", None, Some("x-Q4_K_M.gguf"));
        check("a/b@v1.0:x.gguf", "a", "b", Some("v1.0"), Some("x.gguf"));
    }

    #[test]
    fn refuses_what_could_leave_its_folder_or_address() {
        for text in [
            "",
            "gpt2",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "../b",
            "a/..",
            "a/b@",
            "a/b@../..",
            "a/b@a//b",
            "a/b:",
            "a/b:../x",
            "a/b:x/y.gguf",
            "a/b:..",
            "a--b/c",
            "a/b c",
            "a/b?x=1",
            "a/b@x?y",
            "https://hub/a/b",
            "a/b@x y",
            "a\\b/c",
            "a/b:.hidden",
            "a/b:c:d",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?} was taken");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_taken_is_written_back_the_same(text in "\\PC{0,40}") {
            if let Ok(parsed) = text.parse::<Reference>() {
                proptest::prop_assert_eq!(parsed.to_string(), text);
            }
        }
    }
}
