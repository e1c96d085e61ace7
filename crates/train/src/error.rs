//! What can go wrong in a training.

use crayon_adapters::AdapterError;
use crayon_errors::{Explain, Phrase, Setting, Verdict, phrase};
use crayon_formats::Error as FormatError;
use crayon_model::ModelError;

use crate::Device;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An adapter or its keys cannot be made.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A tensor or the kept state cannot be read or written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The network refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tensor library failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// Options or data that cannot be used.
    #[error("{what}")]
    Unusable {
        /// What is wrong.
        what: String,
        /// What to try.
        hint: Phrase,
    },
    /// This program or machine has no such device.
    #[error("no device {device}: {reason}")]
    NoDevice {
        /// What was asked for.
        device: Device,
        /// Why it cannot be had.
        reason: String,
    },
    /// A text to learn from has no token to predict.
    #[error("a text of {tokens} tokens whose answer begins at token {answer} predicts nothing")]
    NothingPredicted {
        /// Tokens of the text.
        tokens: usize,
        /// Where its answer begins.
        answer: usize,
    },
    /// The training went astray.
    #[error("the loss is not finite any more at step {step}")]
    NotFinite {
        /// Step, from 1.
        step: usize,
    },
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

impl TrainError {
    pub(crate) fn unusable(what: impl Into<String>, hint: Phrase) -> TrainError {
        TrainError::Unusable { what: what.into(), hint }
    }
}

impl Explain for TrainError {
    fn verdict(&self) -> Verdict {
        match self {
            TrainError::Adapter(error) => error.verdict(),
            TrainError::Format(error) => error.verdict(),
            TrainError::Model(error) => error.verdict(),
            TrainError::Candle(_) => Verdict::Fault,
            TrainError::Stopped => Verdict::Stopped,
            _ => Verdict::Mistake,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        match self {
            TrainError::Adapter(error) => error.hint(),
            TrainError::Format(error) => error.hint(),
            TrainError::Model(error) => error.hint(),
            TrainError::Unusable { hint, .. } => Some(hint.clone()),
            TrainError::NoDevice { .. } => Some(phrase![
                "leave ",
                Setting::Device,
                " out, or build the program with its feature cuda (or metal) on a machine that has one"
            ]),
            TrainError::NothingPredicted { .. } => {
                Some("an example is a prompt and an answer, of a token each at least".into())
            }
            TrainError::NotFinite { .. } => Some(phrase!["lower ", Setting::LearningRate]),
            TrainError::Candle(_) | TrainError::Stopped => None,
        }
    }

    fn message(&self) -> Phrase {
        match self {
            TrainError::Adapter(error) => error.message(),
            TrainError::Format(error) => error.message(),
            TrainError::Model(error) => error.message(),
            _ => Phrase::from(self.to_string()),
        }
    }
}
