//! Examples that stand in the prompt as earlier turns (few-shot demonstrations): a customization that adds nothing to a model.
//!
//! Beside a [`Scope`](crate::Scope) they take the place of an adapter in its folder, in a file that PEFT does not know:
//! `demonstrations.jsonl`, a line `{"prompt": …, "answer": …}` for each, in the order in which they are shown.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crayon_files::{create_folder, write_file};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::peft::{CONFIG, WEIGHTS};
use crate::{AdapterError, Examples};

const FILE: &str = "demonstrations.jsonl";

/// One example as it is shown: a question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demonstration {
    /// What is asked.
    pub prompt: String,
    /// What is answered.
    pub answer: String,
}

/// Text that differs between demonstrations.
pub fn fingerprint(demonstrations: &[Demonstration]) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{demonstrations:?}"));
    hex::encode(hash.finalize())
}

/// Writes `demonstrations` into `folder`, which is made if it is not there. An adapter in it goes: they take its place.
///
/// # Errors
/// When the disk refuses.
pub fn write_demonstrations(folder: &Path, demonstrations: &[Demonstration]) -> Result<(), AdapterError> {
    let line = |one: &Demonstration| format!("{}\n", json!({"prompt": one.prompt, "answer": one.answer}));
    let lines: String = demonstrations.iter().map(line).collect();
    create_folder(folder)?;
    write_file(&folder.join(FILE), lines.as_bytes())?;
    [CONFIG, WEIGHTS].into_iter().try_for_each(|name| remove(&folder.join(name)))
}

/// Takes demonstrations out of `folder`, if there are any: an adapter takes their place.
///
/// # Errors
/// When the disk refuses.
pub fn remove_demonstrations(folder: &Path) -> Result<(), AdapterError> {
    remove(&folder.join(FILE))
}

/// The demonstrations at `path`, their folder or the file; `None` where there are none.
///
/// # Errors
/// When the file is damaged.
pub fn read_demonstrations(path: &Path) -> Result<Option<Vec<Demonstration>>, AdapterError> {
    let Some(file) = file(path) else { return Ok(None) };
    let read = |example: Result<crate::Example, AdapterError>| {
        let example = example?;
        let Some(answer) = example.answer else {
            let what = "has no answer to show".to_owned();
            return Err(AdapterError::Line { file: file.display().to_string(), line: example.line, what });
        };
        Ok(Demonstration { prompt: example.prompt, answer })
    };
    Examples::open(&file)?.map(read).collect::<Result<_, _>>().map(Some)
}

/// The file of demonstrations at `path`, its folder or itself, where there is one.
fn file(path: &Path) -> Option<PathBuf> {
    let file = match path.file_name() {
        Some(name) if name == FILE => path.to_owned(),
        _ => path.join(FILE),
    };
    file.is_file().then_some(file)
}

fn remove(path: &Path) -> Result<(), AdapterError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(AdapterError::io(path, "remove", error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_takes_an_adapters_place() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("mine");
        let one = |prompt: &str, answer: &str| Demonstration { prompt: prompt.into(), answer: answer.into() };
        let shown = vec![one("Say \"a\"\nand b", "a\tb"), one("c", "d")];
        assert_eq!(read_demonstrations(&folder).unwrap(), None);
        std::fs::create_dir_all(&folder).unwrap();
        [CONFIG, WEIGHTS].iter().for_each(|name| std::fs::write(folder.join(name), "old").unwrap());
        write_demonstrations(&folder, &shown).unwrap();
        assert_eq!(read_demonstrations(&folder).unwrap().as_ref(), Some(&shown));
        assert_eq!(read_demonstrations(&folder.join(FILE)).unwrap(), Some(shown));
        assert!([CONFIG, WEIGHTS].iter().all(|name| !folder.join(name).exists()));
        std::fs::write(folder.join(FILE), "{\"prompt\": \"a\"}").unwrap();
        assert!(read_demonstrations(&folder).unwrap_err().to_string().contains("no answer to show"));
        remove_demonstrations(&folder).unwrap();
        remove_demonstrations(&folder).unwrap();
        assert_eq!(read_demonstrations(&folder).unwrap(), None);
    }
}
