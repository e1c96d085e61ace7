//! Why a request gets no answer.

use crayon_engine::EngineError;
use crayon_engine::adapters::AdapterError;
use crayon_errors::{Explain, Phrase, Setting, Verdict, count, phrase};
use crayon_files::Error as FileError;
use crayon_hybrid::{HybridError, PoolError, RemoteError};

use crate::NoRoom;

/// What can go wrong between a request and its answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The device's model failed or refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The request cannot be routed.
    #[error(transparent)]
    Hybrid(#[from] HybridError),
    /// The server with the bigger model failed or refused.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The server with the pool failed or refused.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The prompt and the answer do not fit.
    #[error("{}", .0.message())]
    NoRoom(Box<NoRoom>),
    /// The prompt is longer than is read here.
    #[error("the prompt has {} tokens, more than the {} that are read here", count(*tokens), count(*most))]
    LongPrompt {
        /// Tokens it has.
        tokens: usize,
        /// Tokens that are read.
        most: usize,
    },
    /// The answer asked for is longer than is written here.
    #[error("{} tokens are more than the {} that are written here", count(*wanted), count(*most))]
    LongAnswer {
        /// Tokens asked for.
        wanted: usize,
        /// Tokens that are written.
        most: usize,
    },
    /// The question should be the catalyst, and there is none.
    #[error("there is no question to serve as catalyst")]
    NoQuestion,
    /// Texts stand in front of the person's question, and there is none.
    #[error("documents and pinned texts stand in front of a message of the user, and there is none")]
    NoMessage,
    /// A server shall go on with a plain text.
    #[error("a server takes conversations, and this is a text to go on with")]
    TextForServer,
    /// The server's pool may not be asked.
    #[error("the pool is on a server, and {reason}")]
    PoolForbidden {
        /// Why not.
        reason: String,
    },
    /// Too many ask at once.
    #[error("too many are asking; try again in {seconds} s")]
    Busy {
        /// Seconds after which a place is likely to be free.
        seconds: u64,
    },
    /// Too many ask the server with the bigger model at once.
    #[error("too many requests wait for the bigger model")]
    ServerBusy,
    /// Whoever answers is going away.
    #[error("answers are no longer given here")]
    Stopping,
    /// Time is used up before the answer began.
    #[error("reading the prompt took longer than {seconds} s")]
    Late {
        /// Seconds a request may take.
        seconds: u64,
    },
    /// The program failed on this request.
    #[error("the model failed on this request; others are not affected")]
    Crashed,
    /// A file beside the answer cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The caller asked to stop.
    #[error("stopped")]
    Cancelled,
}

impl From<AdapterError> for AnswerError {
    fn from(error: AdapterError) -> AnswerError {
        AnswerError::Engine(error.into())
    }
}

impl From<NoRoom> for AnswerError {
    fn from(error: NoRoom) -> AnswerError {
        AnswerError::NoRoom(Box::new(error))
    }
}

impl Explain for AnswerError {
    fn verdict(&self) -> Verdict {
        match self {
            AnswerError::Engine(error) => error.verdict(),
            AnswerError::Hybrid(error) => error.verdict(),
            AnswerError::Remote(error) => error.verdict(),
            AnswerError::Pool(error) => error.verdict(),
            AnswerError::File(error) => error.verdict(),
            AnswerError::Cancelled => Verdict::Stopped,
            AnswerError::Crashed
            | AnswerError::Busy { .. }
            | AnswerError::ServerBusy
            | AnswerError::Stopping => Verdict::Fault,
            _ => Verdict::Mistake,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        let hint = match self {
            AnswerError::Engine(error) => return error.hint(),
            AnswerError::Hybrid(error) => return error.hint(),
            AnswerError::Remote(error) => return error.hint(),
            AnswerError::Pool(error) => return error.hint(),
            AnswerError::File(error) => return error.hint(),
            AnswerError::NoRoom(no_room) => no_room.hint(),
            AnswerError::LongAnswer { .. } => phrase!["lower ", Setting::MaxTokens],
            AnswerError::NoQuestion => phrase!["give a text as ", Setting::Catalyst],
            AnswerError::TextForServer => phrase![Setting::Route, " device goes on with it here"],
            AnswerError::PoolForbidden { .. } => phrase![
                "a pool in a folder works without a network, and so does an adapter made before (",
                Setting::Adapter,
                ")"
            ],
            _ => return None,
        };
        Some(hint)
    }

    fn message(&self) -> Phrase {
        match self {
            AnswerError::Engine(error) => error.message(),
            _ => self.to_string().into(),
        }
    }
}
