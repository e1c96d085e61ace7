//! One error type for everything between a model's name and its answer.

use crayon_adapters::AdapterError;
use crayon_errors::{Explain, Phrase, Setting, Verdict, phrase, size};
use crayon_formats::Error as FormatError;
use crayon_model::ModelError;
use crayon_pot::PotError;
use crayon_text::TextError;

/// What can go wrong, with a hint where the user can act.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No model of this name is embedded.
    #[error("no model called {name:?} is built in")]
    NotEmbedded {
        /// What was asked for.
        name: String,
    },
    /// Nothing at this path.
    #[error("no model at {path}")]
    NotFound {
        /// The path as given.
        path: String,
    },
    /// The checkpoint could not be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The tokenizer or the chat template failed.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The network failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An adapter, a pool or examples cannot be used.
    #[error(transparent)]
    Adapter(Box<AdapterError>),
    /// The key-value memory refused.
    #[error(transparent)]
    Pot(Box<PotError>),
    /// The checkpoint brings no tokenizer.
    #[error("{model} has no tokenizer, so text cannot be read or written")]
    NoTokenizer {
        /// The model.
        model: String,
    },
    /// Tokenizer and network disagree.
    #[error("the tokenizer of {model} has {tokenizer} entries, the network only {network}")]
    VocabularyMismatch {
        /// The model.
        model: String,
        /// Entries of the tokenizer.
        tokenizer: usize,
        /// Rows of the embedding.
        network: usize,
    },
    /// The prompt and the answer do not fit the model's context.
    #[error(
        "{tokens} tokens do not fit the context of {context} tokens ({prompt} to read, {answer} for the answer)"
    )]
    TooLong {
        /// Sum of both.
        tokens: usize,
        /// Tokens to read.
        prompt: usize,
        /// Tokens kept free for the answer.
        answer: usize,
        /// What the model can hold.
        context: usize,
    },
    /// More memory is needed than is allowed.
    #[error("{} are needed for {what}, and {} of the {} allowed are free", size(*needed), size(*free), size(*limit))]
    NoMemory {
        /// What needs it.
        what: String,
        /// Bytes.
        needed: usize,
        /// Bytes that it can have.
        free: usize,
        /// Bytes allowed in all.
        limit: usize,
    },
    /// Nothing to answer.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// A sampling parameter is out of range.
    #[error("{} must be {expected}, not {found}", name.words())]
    Sampling {
        /// Parameter.
        name: Setting,
        /// Allowed range in words.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// The form that the answer should have asks for too much.
    #[error("the form of the answer cannot be followed: {reason}")]
    Form {
        /// Why not.
        reason: String,
    },
    /// A text without a question has nothing to begin with.
    #[error("the tokenizer of {model} has no token that begins or ends a text")]
    NoBorder {
        /// The model.
        model: String,
    },
    /// The network computed something that is not a number.
    #[error("{model} computes values that are not finite{}", tensor.as_ref().map(|t| format!("; tensor {t} holds NaN or infinity")).unwrap_or_default())]
    NotFinite {
        /// The model.
        model: String,
        /// The first broken tensor, when the weights are to blame.
        tensor: Option<String>,
    },
    /// The caller asked to stop.
    #[error("stopped")]
    Cancelled,
}

impl From<AdapterError> for EngineError {
    fn from(error: AdapterError) -> EngineError {
        EngineError::Adapter(Box::new(error))
    }
}

impl From<PotError> for EngineError {
    fn from(error: PotError) -> EngineError {
        match error {
            PotError::Model(error) => EngineError::Model(error),
            PotError::Format(error) => EngineError::Format(error),
            error => EngineError::Pot(Box::new(error)),
        }
    }
}

impl Explain for EngineError {
    fn verdict(&self) -> Verdict {
        match self {
            EngineError::Cancelled => Verdict::Stopped,
            EngineError::Format(error) => error.verdict(),
            EngineError::Text(error) => error.verdict(),
            EngineError::Model(error) => error.verdict(),
            EngineError::Pot(error) => error.verdict(),
            EngineError::Adapter(error) => error.verdict(),
            _ => Verdict::Mistake,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        let hint = match self {
            EngineError::NotEmbedded { .. } if crate::EMBEDDED.is_empty() => phrase![
                "this program was built without models; ",
                Setting::Model,
                " names one on this device: a folder in Hugging Face layout, a .gguf file or a llama2.c .bin file"
            ],
            EngineError::NotEmbedded { .. } => {
                let names: Vec<&str> = crate::EMBEDDED.iter().map(|model| model.name).collect();
                format!("built-in models: {}", names.join(", ")).into()
            }
            EngineError::NotFound { .. } => {
                "a model is a folder in Hugging Face layout, a .gguf file or a llama2.c .bin file".into()
            }
            EngineError::Format(error) => return error.hint(),
            EngineError::Text(error) => return error.hint(),
            EngineError::Model(error) => return error.hint(),
            EngineError::Pot(error) => return error.hint(),
            EngineError::Adapter(error) => return error.hint(),
            EngineError::NoTokenizer { .. } => {
                "put tokenizer.json, vocab.json with merges.txt, or tokenizer.model beside the weights".into()
            }
            EngineError::NoBorder { .. } => "give a text instead of having the model write one".into(),
            EngineError::VocabularyMismatch { .. } => {
                "the tokenizer files probably belong to another model".into()
            }
            EngineError::TooLong { .. } => phrase!["give a shorter text, or lower ", Setting::MaxTokens],
            EngineError::NoMemory { .. } => phrase![
                "raise ",
                Setting::Memory,
                ", ask for a smaller ",
                Setting::Pot,
                " or for fewer tokens (",
                Setting::MaxTokens,
                "), or use a smaller model"
            ],
            EngineError::EmptyPrompt => "write a question or a text to go on with".into(),
            EngineError::NotFinite { tensor, .. } => match tensor {
                Some(_) => "the file is damaged or was exported wrongly; get it again".into(),
                None => phrase!["try ", Setting::Exact, "; if it stays, the weights overflow"],
            },
            EngineError::Sampling { .. } | EngineError::Form { .. } | EngineError::Cancelled => return None,
        };
        Some(hint)
    }

    fn message(&self) -> Phrase {
        match self {
            EngineError::Sampling { name, expected, found } => {
                phrase![*name, format!(" must be {expected}, not {found}")]
            }
            _ => self.to_string().into(),
        }
    }
}
