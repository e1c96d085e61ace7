//! The library's errors as exceptions.

use std::path::Path;

use crayon_answer::AnswerError;
use crayon_customize::CustomizeError;
use crayon_engine::EngineError;
use crayon_engine::adapters::AdapterError;
use crayon_errors::{Explain, Phrase, Piece, Setting, Verdict};
use crayon_images::ImageError;
use crayon_text::TextError;
use crayon_vision::VisionError;
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(
    crayon,
    Error,
    PyException,
    "What went wrong (`message`), and what can be done about it (`hint`, or None)."
);
create_exception!(crayon, Mistake, Error, "Another input or setting would have worked.");
create_exception!(crayon, Fault, Error, "The library or the machine failed.");

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// An error on its way to Python, whose lock need not be held yet.
pub(crate) enum Failure {
    Told { mistake: bool, message: String, hint: Option<String> },
    Raised(PyErr),
}

impl Failure {
    pub(crate) fn of(error: &dyn Explain) -> Failure {
        Failure::Told {
            mistake: error.verdict() == Verdict::Mistake,
            message: spell(&error.message()),
            hint: error.hint().map(|hint| spell(&hint)),
        }
    }

    /// What happened to the file at `path`.
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Failure {
        match Failure::of(error) {
            Failure::Told { mistake, message, hint } => {
                Failure::Told { mistake, message: format!("{}: {message}", path.display()), hint }
            }
            raised => raised,
        }
    }

    pub(crate) fn mistake(message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::Told { mistake: true, message: message.into(), hint: Some(hint.into()) }
    }
}

macro_rules! from {
    ($($error:ty),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::of(&error)
            }
        })+
    };
}

from!(AdapterError, AnswerError, CustomizeError, EngineError, ImageError, TextError, VisionError);

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Failure {
        Failure::Raised(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> PyErr {
        let (mistake, message, hint) = match failure {
            Failure::Raised(error) => return error,
            Failure::Told { mistake, message, hint } => (mistake, message, hint),
        };
        let text = match &hint {
            Some(hint) => format!("{message}\nhint: {hint}"),
            None => message.clone(),
        };
        let error = if mistake { Mistake::new_err(text) } else { Fault::new_err(text) };
        Python::attach(|py| {
            let value = error.value(py);
            let set = value.setattr("message", message).and_then(|()| value.setattr("hint", hint));
            set.map_or_else(|failed| failed, |()| error.clone_ref(py))
        })
    }
}

/// `phrase` with settings as they are called in Python.
pub(crate) fn spell(phrase: &Phrase) -> String {
    phrase.spell(&|piece| match piece {
        Piece::Words(words) => words.clone(),
        Piece::Setting(setting) => name(*setting).unwrap_or(setting.words()).to_owned(),
        Piece::Command(command) => command.words().to_owned(),
    })
}

/// The argument that a setting is; `None` for those that Python does not have.
fn name(setting: Setting) -> Option<&'static str> {
    Some(match setting {
        Setting::Exact => "`exact`",
        Setting::Examples => "`examples`",
        Setting::Force => "`force`",
        Setting::MaxTokens => "`max_tokens`",
        Setting::Pool => "`pool`",
        Setting::Pot => "`pot`",
        Setting::Temperature => "`temperature`",
        Setting::TopP => "`top_p`",
        _ => return None,
    })
}
