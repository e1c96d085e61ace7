//! What can go wrong with prompts, pictures and indexes, and what can be done about it.

use std::path::Path;

use crayon_errors::{Explain, Phrase, Setting, Verdict, phrase};

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Brackets or a weight of a prompt cannot be meant.
    #[error("{what}, at column {}:\n  {source_text}\n  {:column$}^", column + 1, "")]
    Prompt {
        /// The prompt as it was written.
        source_text: String,
        /// Where, in characters from 0.
        column: usize,
        /// What is wrong.
        what: String,
    },
    /// A weight of a word cannot be used.
    #[error("{what}")]
    Weight {
        /// What is wrong.
        what: String,
    },
    /// A text that the model cannot read whole.
    #[error("the text has {tokens} tokens, the model has room for {most}: `{text}`")]
    TooLong {
        /// The text.
        text: String,
        /// Its tokens.
        tokens: usize,
        /// Tokens the model has room for.
        most: usize,
    },
    /// A file that is not a picture, or one that cannot be read.
    #[error("{file}: {what}")]
    Picture {
        /// The file.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// A file of vectors, or of what belongs to them, that cannot be imported.
    #[error("{file}: {what}")]
    Import {
        /// The file or folder.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// A file that is not an index, or one that is damaged.
    #[error("{file}: {what}")]
    Index {
        /// The index.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// An index made with another model.
    #[error("{file} was made with the model {made_with}, not with {model}")]
    OtherModel {
        /// The index.
        file: String,
        /// Name and beginning of the fingerprint of its model.
        made_with: String,
        /// The model in use.
        model: String,
    },
    /// A server with an index does not answer, or refuses.
    #[error("{server}: {what}")]
    Remote {
        /// The server and the collection.
        server: String,
        /// What is wrong.
        what: String,
    },
    /// Another process uses the index.
    #[error("{file} is in use by another process: {what}")]
    InUse {
        /// The index.
        file: String,
        /// What that process does.
        what: String,
    },
    /// A setting, a folder or a collection that cannot be used.
    #[error("{what}")]
    Unusable {
        /// What is wrong.
        what: String,
        /// What to try.
        hint: Phrase,
    },
    /// The system refused to read or write.
    #[error("{file}: {}", crayon_errors::describe(source))]
    Io {
        /// The file or folder.
        file: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] crayon_files::Error),
    /// The model failed or refused.
    #[error("{0}")]
    Model(Box<dyn Explain + Send + Sync>),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

impl ImageError {
    pub(crate) fn unusable(what: impl Into<String>, hint: impl Into<Phrase>) -> ImageError {
        ImageError::Unusable { what: what.into(), hint: hint.into() }
    }

    pub(crate) fn index(file: &Path, what: impl Into<String>) -> ImageError {
        ImageError::Index { file: file.display().to_string(), what: what.into() }
    }

    #[cfg(feature = "parquet")]
    pub(crate) fn import(file: &Path, what: impl Into<String>) -> ImageError {
        ImageError::Import { file: file.display().to_string(), what: what.into() }
    }

    pub(crate) fn io(file: &Path, source: std::io::Error) -> ImageError {
        ImageError::Io { file: file.display().to_string(), source }
    }
}

impl Explain for ImageError {
    fn verdict(&self) -> Verdict {
        match self {
            ImageError::Io { source, .. } => source.verdict(),
            ImageError::Write(error) => error.verdict(),
            ImageError::Model(error) => error.verdict(),
            ImageError::Stopped => Verdict::Stopped,
            _ => Verdict::Mistake,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        let hint = match self {
            ImageError::Prompt { .. } => {
                "(word:1.5) gives a word more weight, (word:0.5) less, (word) 1.1; \\( and \\) are brackets of the text".into()
            }
            ImageError::Weight { .. } => {
                "a weight is a number from 0 to 100 for a word of the prompt: 1 changes nothing, 0 hides the word".into()
            }
            ImageError::TooLong { .. } => "shorten the text; nothing is cut off silently".into(),
            ImageError::Picture { .. } => format!("{} are read", crayon_vision::KINDS).into(),
            ImageError::Import { .. } => {
                "name the folder that clip-retrieval's inference wrote: it holds img_emb/img_emb_N.npy and metadata/metadata_N.parquet".into()
            }
            ImageError::Index { .. } => "name another file, or delete this one and index the folder again".into(),
            ImageError::OtherModel { .. } => {
                phrase!["give ", Setting::Model, " it was made with, or make a new index with this one"]
            }
            ImageError::Remote { .. } => "check that the server runs and that its port for gRPC is named".into(),
            ImageError::InUse { .. } => "wait until it is done, or use another index".into(),
            ImageError::Unusable { hint, .. } => hint.clone(),
            ImageError::Io { source, .. } => return source.hint(),
            ImageError::Write(error) => return error.hint(),
            ImageError::Model(error) => return error.hint(),
            ImageError::Stopped => return None,
        };
        Some(hint)
    }

    fn message(&self) -> Phrase {
        match self {
            ImageError::Model(error) => error.message(),
            _ => Phrase::from(self.to_string()),
        }
    }
}
