//! What can go wrong in a measurement, with file and line where one is to blame.

use crayon_answer::AnswerError;
use crayon_customize::CustomizeError;
use crayon_engine::EngineError;
use crayon_errors::{Explain, Phrase, Setting, Verdict, describe, phrase};
use crayon_formats::Error as FormatError;
use crayon_hybrid::RemoteError;
use crayon_images::ImageError;
use crayon_text::TextError;
use crayon_vision::VisionError;

/// Why a measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The model failed or refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A request could not be answered.
    #[error(transparent)]
    Answer(Box<AnswerError>),
    /// A customization could not be made.
    #[error(transparent)]
    Customize(Box<CustomizeError>),
    /// A text or a picture could not be embedded.
    #[error(transparent)]
    Vision(Box<VisionError>),
    /// Pictures or prompts could not be used.
    #[error(transparent)]
    Images(Box<ImageError>),
    /// The server failed or refused.
    #[error(transparent)]
    Server(#[from] RemoteError),
    /// A model could not be quantised.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Quantise(Box<crayon_quant::QuantError>),
    /// Something that this program was built without.
    #[error("this program was built without {what}")]
    LeftOut {
        /// What it is.
        what: &'static str,
        /// The feature that it comes with.
        feature: &'static str,
    },
    /// A file could not be read or written.
    #[error("{file}: cannot {action}: {}", describe(source))]
    Io {
        /// Path as given.
        file: String,
        /// "read", "write", …
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{file}{}: {what}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Content {
        /// Path as given.
        file: String,
        /// Line, from 1, where the fault is on one.
        line: Option<usize>,
        /// What is wrong.
        what: String,
        /// What to try.
        hint: Option<Phrase>,
    },
    /// An option that does not fit the model or the file.
    #[error("{} {what}", name.words())]
    Option {
        /// The option.
        name: Setting,
        /// What is wrong with it.
        what: String,
        /// What to try.
        hint: Option<Phrase>,
    },
    /// A command line that cannot start another server.
    #[error("the command of the other server {what}: {line}")]
    Rival {
        /// As given.
        line: String,
        /// What is wrong with it.
        what: String,
    },
    /// A server that did not come to answer.
    #[error("{server}: {what}{}", said.iter().map(|line| format!("\n  {line}")).collect::<String>())]
    NotStarted {
        /// Its command.
        server: String,
        /// What became of it.
        what: String,
        /// The last lines of its stderr.
        said: Vec<String>,
    },
    /// A server under load that did not answer as it should.
    #[error("{server} does not answer as it should: {what}")]
    Asked {
        /// Its command.
        server: String,
        /// What it did instead.
        what: String,
    },
    /// People's models where there is no pool to blend them from.
    #[error("{model} has no pool, so nobody can have a model of their own")]
    NoPool {
        /// The model.
        model: String,
    },
    /// Not enough tokens to score one.
    #[error("{found} tokens are too few: the first of a window is not scored, so at least 2 are needed")]
    TooShort {
        /// Tokens there are.
        found: usize,
    },
    /// No question fits the model's context.
    #[error(
        "none of {questions} questions fits the context of {context} tokens; the shortest takes {shortest}"
    )]
    AllTooLong {
        /// Questions in the file.
        questions: usize,
        /// Tokens of the shortest, with its longest choice.
        shortest: usize,
        /// What the model can hold.
        context: usize,
    },
    /// The training of an adapter failed or refused.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Train(Box<crayon_train::TrainError>),
    /// A method that trains, in a program that cannot.
    #[error("{method} trains, and this program was built without training")]
    NoTraining {
        /// The method.
        method: &'static str,
    },
}

impl EvalError {
    pub(crate) fn io(file: &std::path::Path, action: &'static str, source: std::io::Error) -> EvalError {
        EvalError::Io { file: file.display().to_string(), action, source }
    }

    pub(crate) fn content(file: &str, line: impl Into<Option<usize>>, what: impl Into<String>) -> EvalError {
        EvalError::Content { file: file.to_owned(), line: line.into(), what: what.into(), hint: None }
    }

    pub(crate) fn with_hint(mut self, text: impl Into<Phrase>) -> EvalError {
        if let EvalError::Content { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    pub(crate) fn asked(server: &str, what: String) -> EvalError {
        EvalError::Asked { server: server.to_owned(), what }
    }

    pub(crate) fn option(name: Setting, what: impl Into<String>, hint: impl Into<Phrase>) -> EvalError {
        EvalError::Option { name, what: what.into(), hint: Some(hint.into()) }
    }
}

impl From<AnswerError> for EvalError {
    fn from(error: AnswerError) -> EvalError {
        match error {
            AnswerError::Engine(error) => EvalError::Engine(error),
            error => EvalError::Answer(Box::new(error)),
        }
    }
}

impl From<CustomizeError> for EvalError {
    fn from(error: CustomizeError) -> EvalError {
        match error {
            CustomizeError::Engine(error) => EvalError::Engine(error),
            #[allow(unreachable_patterns, reason = "reachable where the ladder trains")]
            error => EvalError::Customize(Box::new(error)),
        }
    }
}

#[cfg(feature = "train")]
impl From<crayon_train::TrainError> for EvalError {
    fn from(error: crayon_train::TrainError) -> EvalError {
        EvalError::Train(Box::new(error))
    }
}

impl From<VisionError> for EvalError {
    fn from(error: VisionError) -> EvalError {
        EvalError::Vision(Box::new(error))
    }
}

impl From<ImageError> for EvalError {
    fn from(error: ImageError) -> EvalError {
        EvalError::Images(Box::new(error))
    }
}

impl From<TextError> for EvalError {
    fn from(error: TextError) -> EvalError {
        EvalError::Engine(error.into())
    }
}

impl From<FormatError> for EvalError {
    fn from(error: FormatError) -> EvalError {
        EvalError::Engine(error.into())
    }
}

impl Explain for EvalError {
    fn verdict(&self) -> Verdict {
        match self {
            EvalError::Engine(error) => error.verdict(),
            EvalError::Answer(error) => error.verdict(),
            EvalError::Customize(error) => error.verdict(),
            EvalError::Vision(error) => error.verdict(),
            EvalError::Images(error) => error.verdict(),
            EvalError::Server(error) => error.verdict(),
            #[cfg(feature = "train")]
            EvalError::Train(error) => error.verdict(),
            #[cfg(feature = "train")]
            EvalError::Quantise(error) => error.verdict(),
            EvalError::Io { action, source, .. } if *action != "read" => match source.verdict() {
                Verdict::Closed => Verdict::Closed,
                _ => Verdict::Fault,
            },
            EvalError::Asked { .. } => Verdict::Fault,
            _ => Verdict::Mistake,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        match self {
            EvalError::Engine(error) => error.hint(),
            EvalError::Answer(error) => error.hint(),
            EvalError::Customize(error) => error.hint(),
            EvalError::Vision(error) => error.hint(),
            EvalError::Images(error) => error.hint(),
            EvalError::Server(error) => error.hint(),
            #[cfg(feature = "train")]
            EvalError::Train(error) => error.hint(),
            #[cfg(feature = "train")]
            EvalError::Quantise(error) => error.hint(),
            EvalError::NoTraining { .. } => {
                Some("leave it out, or build the program with its feature train".into())
            }
            EvalError::LeftOut { feature, .. } => {
                Some(format!("leave it out, or build the program with its feature {feature}").into())
            }
            EvalError::Io { source, .. } => Explain::hint(source),
            EvalError::Content { hint, .. } => hint.clone(),
            EvalError::Option { hint, .. } => hint.clone(),
            EvalError::Rival { .. } => Some(
                "write it as you would type it, with {port} and {model} for the port and the model's file"
                    .into(),
            ),
            EvalError::NotStarted { .. } => {
                Some("see whether it starts by itself with the same command".into())
            }
            EvalError::Asked { .. } => None,
            EvalError::NoPool { .. } => {
                Some(phrase!["offer one (", Setting::Pool, " of the server), or leave the people out"])
            }
            EvalError::TooShort { .. } => Some("give a longer text".into()),
            EvalError::AllTooLong { .. } => {
                Some(phrase!["take a model with a longer context, or fewer of ", Setting::Examples])
            }
        }
    }

    fn message(&self) -> Phrase {
        match self {
            EvalError::Option { name, what, .. } => phrase![*name, format!(" {what}")],
            EvalError::Engine(error) => error.message(),
            EvalError::Answer(error) => error.message(),
            EvalError::Customize(error) => error.message(),
            EvalError::Vision(error) => error.message(),
            EvalError::Images(error) => error.message(),
            EvalError::Server(error) => error.message(),
            #[cfg(feature = "train")]
            EvalError::Train(error) => error.message(),
            #[cfg(feature = "train")]
            EvalError::Quantise(error) => error.message(),
            _ => self.to_string().into(),
        }
    }
}
