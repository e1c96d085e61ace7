//! What can go wrong with a pot.

use crayon_errors::{Explain, Phrase, Setting, Verdict, describe, phrase};
use crayon_formats::Error as FormatError;
use crayon_model::ModelError;

/// Errors of making, filling, saving and loading a pot.
#[derive(Debug, thiserror::Error)]
pub enum PotError {
    /// No policy of this name.
    #[error("there is no policy {name:?}")]
    Policy {
        /// What was asked for.
        name: String,
    },
    /// The pot cannot hold what has to stay.
    #[error(
        "a pot of {entries} entries is too small: {forced} have to stay (sinks, system prompt, question and other pinned \
         text, the latest tokens) and {catalyst} are taken while distilling"
    )]
    TooSmall {
        /// Size asked for.
        entries: usize,
        /// Entries that may never go.
        forced: usize,
        /// Entries of the catalyst prompt.
        catalyst: usize,
        /// The smallest size that works.
        smallest: usize,
    },
    /// The pot is larger than the positions the network knows.
    #[error("a pot of {entries} entries is larger than the model's context of {context} tokens")]
    BeyondContext {
        /// Size asked for.
        entries: usize,
        /// The model's window.
        context: usize,
    },
    /// Entries kept leave no room to read.
    #[error(
        "keeping {keep} of {entries} entries leaves no room to read on beside {catalyst} of the catalyst"
    )]
    Keep {
        /// Entries to keep.
        keep: usize,
        /// Size of the pot.
        entries: usize,
        /// Entries of the catalyst prompt.
        catalyst: usize,
        /// The most that works.
        most: usize,
    },
    /// Fewer entries are to be kept than may never go.
    #[error(
        "{keep} entries are too few to keep: {forced} have to stay (sinks, pinned text, the latest tokens)"
    )]
    KeepTooFew {
        /// Entries to keep.
        keep: usize,
        /// Entries that may never go.
        forced: usize,
        /// The fewest that work.
        least: usize,
    },
    /// The share of novelty is not a share.
    #[error("the share kept for novelty must be between 0 and 1, not {found}")]
    Novelty {
        /// What was given.
        found: f32,
    },
    /// Attention cannot be averaged over no entry.
    #[error("attention cannot be averaged over 0 entries")]
    Smooth,
    /// Entries with learned positions cannot be moved.
    #[error(
        "this model has learned positions: they are part of every key and value and cannot be moved, so its context \
         cannot be distilled"
    )]
    LearnedPositions,
    /// The text is longer than places are counted.
    #[error("a text of more than {} tokens", u32::MAX)]
    TextTooLong,
    /// A pass gave something that is not finite.
    #[error("the network computed something that is not a number")]
    NotFinite,
    /// The network refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file could not be written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A file could not be read.
    #[error("{file}: cannot read: {}", describe(source))]
    Io {
        /// Its path.
        file: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file is not a saved session, or is damaged.
    #[error("{file}: {what}")]
    File {
        /// Its path.
        file: String,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: Phrase,
    },
    /// A session of another model, adapter or pot.
    #[error("{file} was saved with another {what}: {saved}, now {now}")]
    Other {
        /// Its path.
        file: String,
        /// What differs.
        what: &'static str,
        /// As saved.
        saved: String,
        /// As it is.
        now: String,
    },
}

impl From<crayon_files::Error> for PotError {
    fn from(error: crayon_files::Error) -> PotError {
        FormatError::from(error).into()
    }
}

impl Explain for PotError {
    fn verdict(&self) -> Verdict {
        match self {
            PotError::Model(error) => error.verdict(),
            PotError::Format(error) => error.verdict(),
            PotError::Io { source, .. } => source.verdict(),
            _ => Verdict::Mistake,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        let hint = match self {
            PotError::Policy { .. } => {
                let names: Vec<&str> = crate::POLICIES.iter().map(|policy| policy.name).collect();
                format!("policies are full, {}", names.join(", ")).into()
            }
            PotError::TooSmall { smallest, .. } => {
                format!("the smallest pot that works here has {smallest} entries").into()
            }
            PotError::BeyondContext { context, .. } => phrase![
                Setting::Pot,
                format!(" {context} is the largest: no entry may stand beyond the positions the model knows")
            ],
            PotError::Keep { most, .. } => {
                phrase![format!("keep {most} or fewer ("), Setting::Keep, "), or take a larger pot"]
            }
            PotError::KeepTooFew { least, .. } => {
                phrase![format!("keep {least} or more ("), Setting::Keep, ")"]
            }
            PotError::Smooth => phrase![Setting::Smooth, " is 1 for none, or more"],
            PotError::LearnedPositions => {
                "give the part of the text that matters, or a model with rotary positions such as mini".into()
            }
            PotError::File { hint, .. } => hint.clone(),
            PotError::Other { .. } => {
                "go on with the model and settings it was saved with, or start anew with another file".into()
            }
            PotError::Format(error) => return error.hint(),
            PotError::Io { source, .. } => return Explain::hint(source),
            _ => return None,
        };
        Some(hint)
    }
}
