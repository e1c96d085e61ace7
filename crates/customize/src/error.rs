//! Why a customization cannot be made.

use crayon_adapters::AdapterError;
use crayon_engine::EngineError;
use crayon_errors::{Explain, Phrase, Verdict};
#[cfg(feature = "train")]
use crayon_train::TrainError;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum CustomizeError {
    /// The model failed or refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What was learned cannot be kept.
    #[error(transparent)]
    File(#[from] crayon_files::Error),
    /// The training failed.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl From<AdapterError> for CustomizeError {
    fn from(error: AdapterError) -> CustomizeError {
        CustomizeError::Engine(error.into())
    }
}

impl CustomizeError {
    fn inner(&self) -> &dyn Explain {
        match self {
            CustomizeError::Engine(error) => error,
            CustomizeError::File(error) => error,
            #[cfg(feature = "train")]
            CustomizeError::Train(error) => error,
        }
    }
}

impl Explain for CustomizeError {
    fn verdict(&self) -> Verdict {
        self.inner().verdict()
    }

    fn hint(&self) -> Option<Phrase> {
        self.inner().hint()
    }

    fn message(&self) -> Phrase {
        self.inner().message()
    }
}
