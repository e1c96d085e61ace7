//! What can go wrong while a model is quantised.

use crayon_errors::{Explain, Phrase, Setting, Verdict, phrase};
use crayon_formats::{Error as FormatError, Format};
use crayon_model::Place;
use crayon_train::TrainError;

use crate::Places;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum QuantError {
    /// A tensor cannot be read, or a file not be written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The network refused, or learning failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Not enough text.
    #[error("the calibration text has {found} tokens; {needed} are needed, two sequences of {window}")]
    TooShort {
        /// Tokens of the text.
        found: usize,
        /// Tokens that would do.
        needed: usize,
        /// Tokens of a sequence.
        window: usize,
    },
    /// The model is quantised by this project already.
    #[error("{model} is quantised already: its tensor {tensor} is {format}")]
    AlreadyQuantised {
        /// The model.
        model: String,
        /// The first such tensor.
        tensor: String,
        /// Its format.
        format: Format,
    },
    /// A place was asked for whose scale cannot be folded.
    #[error(
        "a scale at the place {place} does not fold in {family}: an activation that is not linear stands before it"
    )]
    DoesNotFold {
        /// The place.
        place: Place,
        /// The family of the model.
        family: String,
    },
    /// The residual stream was to be rotated, and a norm does not let a rotation pass.
    #[error("a rotation of the residual stream does not fold in {family}: {why}")]
    DoesNotRotate {
        /// The family of the model.
        family: String,
        /// What is in the way.
        why: &'static str,
    },
    /// The loss is not finite.
    #[error("the loss of {part} is not finite any more at step {step}")]
    NotFinite {
        /// Which block, or all together.
        part: String,
        /// Step, from 1.
        step: usize,
    },
    /// Options that do not go together.
    #[error("{what}")]
    Unusable {
        /// What is wrong.
        what: String,
        /// What to try.
        hint: Phrase,
    },
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

impl QuantError {
    pub(crate) fn unusable(what: impl Into<String>, hint: impl Into<Phrase>) -> QuantError {
        QuantError::Unusable { what: what.into(), hint: hint.into() }
    }
}

impl Explain for QuantError {
    fn verdict(&self) -> Verdict {
        match self {
            QuantError::Format(error) => error.verdict(),
            QuantError::Train(error) => error.verdict(),
            QuantError::Stopped => Verdict::Stopped,
            _ => Verdict::Mistake,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        match self {
            QuantError::Format(error) => error.hint(),
            QuantError::Train(error) => error.hint(),
            QuantError::TooShort { .. } => Some(phrase!["give a longer text, or lower ", Setting::Window]),
            QuantError::AlreadyQuantised { .. } => Some("start from the model it was made of".into()),
            QuantError::DoesNotFold { .. } => Some("choose other places".into()),
            QuantError::DoesNotRotate { .. } => Some(phrase![
                Setting::Places,
                format!(" {} rotates the values of heads alone", Places::Output)
            ]),
            QuantError::NotFinite { .. } => Some(phrase!["lower ", Setting::LearningRate]),
            QuantError::Unusable { hint, .. } => Some(hint.clone()),
            QuantError::Stopped => None,
        }
    }

    fn message(&self) -> Phrase {
        match self {
            QuantError::Format(error) => error.message(),
            QuantError::Train(error) => error.message(),
            _ => Phrase::from(self.to_string()),
        }
    }
}
