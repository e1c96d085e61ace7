//! Pictures with known attributes, and captions that name two of them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::tasks::objects;
use crate::{EvalError, read_text};

/// A caption, of which one word is stressed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Caption {
    /// The whole caption: "a red heart".
    pub text: String,
    /// The word or phrase of it that is stressed: "red".
    pub word: String,
    /// What it says of a picture: "color=red".
    pub stressed: String,
    /// The other fact of the caption: "object=heart".
    pub other: String,
}

impl Caption {
    /// The caption with something else in the place of the word.
    pub(super) fn with(&self, words: &str) -> String {
        let text = self.text.replacen(&self.word, words, 1);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// The pictures and captions of a comparison.
#[derive(Clone, Debug)]
pub struct Gallery {
    /// Picture files.
    pub files: Vec<PathBuf>,
    /// What is true of each.
    pub facts: Vec<HashSet<String>>,
    /// Captions.
    pub captions: Vec<Caption>,
    /// Where the captions stand.
    name: String,
}

/// A line of the file of pictures.
#[derive(Deserialize)]
struct Picture {
    picture: PathBuf,
    facts: HashSet<String>,
}

impl Gallery {
    /// Reads `{"picture": path, "facts": [str]}` lines, whose paths begin at the file's folder, and
    /// `{"text", "word", "stressed", "other"}` lines.
    ///
    /// # Errors
    /// If a file cannot be read, a line is none of these, or a caption does not hold its word.
    pub fn read(pictures: &Path, captions: &Path) -> Result<Gallery, EvalError> {
        let folder = pictures.parent().unwrap_or(Path::new(""));
        let (name, text) = (pictures.display().to_string(), read_text(pictures)?);
        let read = objects::<Picture>(&name, &text).collect::<Result<Vec<_>, EvalError>>()?;
        let (files, facts) = read.into_iter().map(|(_, one)| (folder.join(one.picture), one.facts)).unzip();
        let (name, text) = (captions.display().to_string(), read_text(captions)?);
        let captions = objects::<Caption>(&name, &text).collect::<Result<Vec<_>, EvalError>>()?;
        for (line, caption) in &captions {
            if caption.word.is_empty() || !caption.text.contains(&caption.word) {
                let what = format!("the text {:?} does not hold the word {:?}", caption.text, caption.word);
                return Err(EvalError::content(&name, *line, what));
            }
        }
        Ok(Gallery {
            files,
            facts,
            captions: captions.into_iter().map(|(_, caption)| caption).collect(),
            name,
        })
    }

    /// That no caption can be asked.
    pub(super) fn no_caption(&self) -> EvalError {
        let what = "no caption has pictures for both of its attributes".to_owned();
        EvalError::content(&self.name, None, what)
            .with_hint("\"stressed\" and \"other\" must be facts of some pictures, letter for letter")
    }
}
