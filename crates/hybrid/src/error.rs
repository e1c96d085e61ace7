//! What can go wrong between a request and a server.

use std::path::PathBuf;
use std::time::Duration;

use crayon_errors::{Command, Explain, Phrase, Setting, Verdict, phrase};

/// A request that cannot be routed, with a hint where the user can act.
#[derive(Debug, thiserror::Error)]
pub enum HybridError {
    /// The address of the server cannot be used. It is not repeated: it may hold a secret.
    #[error("the address of the server {what}")]
    Endpoint {
        /// What is wrong.
        what: &'static str,
    },
    /// The address of a pool cannot be used. It is not repeated either.
    #[error("the address of the pool {what}")]
    PoolAddress {
        /// What is wrong.
        what: &'static str,
    },
    /// The key cannot be used.
    #[error("{source_name}: {what}")]
    Key {
        /// Variable or file.
        source_name: String,
        /// What is wrong.
        what: String,
    },
    /// The server shall answer, and there is none.
    #[error("the server was asked for, but none is set up")]
    NoServer,
    /// The server shall answer, and must not be asked.
    #[error("the server was asked for, but {reason}")]
    Forbidden {
        /// Why not.
        reason: String,
    },
    /// A share out of range.
    #[error("a share is from 0 to 1, not {share}")]
    Share {
        /// As given.
        share: f64,
    },
    /// Nothing to calibrate with.
    #[error("no queries to calibrate with")]
    NoQueries,
    /// The file of thresholds cannot be used.
    #[error("{path}: {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl Explain for HybridError {
    fn verdict(&self) -> Verdict {
        Verdict::Mistake
    }

    fn hint(&self) -> Option<Phrase> {
        let hint = match self {
            HybridError::Endpoint { .. } => phrase![
                Setting::Server,
                " is an address like https://api.example/v1; its key comes from CRAYON_SERVER_KEY or ",
                Setting::ServerKeyFile
            ],
            HybridError::PoolAddress { .. } => phrase![
                Setting::Pool,
                " is a folder, or an address like https://pools.example/v1/pools/NAME; its key comes from \
                 CRAYON_POOL_KEY or ",
                Setting::PoolKeyFile
            ],
            HybridError::Key { .. } => "a key is one line of letters, digits and signs without blanks".into(),
            HybridError::NoServer => {
                phrase![Setting::Server, " URL ", Setting::ServerModel, " NAME set one up"]
            }
            HybridError::Forbidden { .. } => phrase![
                Setting::Route,
                " device answers here; ",
                Setting::Route,
                " auto chooses what is allowed"
            ],
            HybridError::Share { .. } => "0.3 is 3 of 10".into(),
            HybridError::NoQueries => "give a file with one query a line".into(),
            HybridError::File { .. } => phrase![
                Command::CalibrateRoute,
                " writes such a file for a model, with ",
                Setting::Examples,
                " or ",
                Setting::Adapter,
                " for a customized one"
            ],
        };
        Some(hint)
    }
}

/// Why a server gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// Nobody there.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// Nobody was asked.
    #[error("{host} was not asked: {variable} forbids the network")]
    Forbidden {
        /// Host and port.
        host: String,
        /// The variable that forbids it.
        variable: &'static str,
    },
    /// The server refuses the request for good.
    #[error("{host} refuses with status {status}{}", message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused {
        /// Host and port.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What the server says, cleaned and shortened.
        message: Option<String>,
    },
    /// Tries or time are used up.
    #[error("{host} gave no answer after {tries} tries in {} s: {reason}", time.as_secs())]
    GaveUp {
        /// Host and port.
        host: String,
        /// Requests sent.
        tries: u32,
        /// Time taken.
        time: Duration,
        /// What the last try met.
        reason: String,
    },
    /// What came is not an answer.
    #[error("{host} sends no usable answer: {what}")]
    Answer {
        /// Host and port.
        host: String,
        /// What is wrong with it.
        what: String,
    },
    /// The caller stopped it.
    #[error("stopped")]
    Cancelled,
}

impl Explain for RemoteError {
    fn verdict(&self) -> Verdict {
        match self {
            RemoteError::Refused { .. } | RemoteError::Forbidden { .. } => Verdict::Mistake,
            RemoteError::Cancelled => Verdict::Stopped,
            _ => Verdict::Fault,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        let hint = match self {
            RemoteError::Unreachable { .. } => {
                phrase!["check the address; ", Setting::Route, " device answers here"]
            }
            RemoteError::Forbidden { .. } => phrase![Setting::Route, " device answers here"],
            RemoteError::Refused { status: 401 | 403, .. } => {
                phrase!["the key comes from CRAYON_SERVER_KEY or ", Setting::ServerKeyFile]
            }
            RemoteError::Refused { status: 404, .. } => phrase![
                "check ",
                Setting::ServerModel,
                ", and that ",
                Setting::Server,
                " is the address up to /v1"
            ],
            RemoteError::Refused { .. } => {
                phrase!["the server does not take this request; ", Setting::Route, " device answers here"]
            }
            RemoteError::GaveUp { .. } => {
                phrase!["try again later, or raise ", Setting::ServerTimeout]
            }
            RemoteError::Answer { .. } => {
                phrase![Setting::Server, " is perhaps no server with OpenAI's chat interface"]
            }
            RemoteError::Cancelled => return None,
        };
        Some(hint)
    }
}

/// Why a server of many adapters does not take one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The server gave no answer.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// It knows no request for that.
    #[error("{host} takes no adapters while it runs")]
    Closed {
        /// Host and port.
        host: String,
    },
    /// It does not take this one.
    #[error("{host} does not take it{}", message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    NotTaken {
        /// Host and port.
        host: String,
        /// What the server says, cleaned and shortened.
        message: Option<String>,
    },
}

impl Explain for ClusterError {
    fn verdict(&self) -> Verdict {
        match self {
            ClusterError::Remote(error) => error.verdict(),
            ClusterError::Closed { .. } | ClusterError::NotTaken { .. } => Verdict::Mistake,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        let hint = match self {
            ClusterError::Closed { .. } => {
                "vLLM needs --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, SGLang --enable-lora; the address ends with /v1".into()
            }
            ClusterError::NotTaken { .. } => {
                "the server must have the same base, allow the adapter's rank (--max-lora-rank), and see its folder".into()
            }
            ClusterError::Remote(RemoteError::Refused { status: 401 | 403, .. }) => {
                phrase!["the key comes from CRAYON_SERVER_KEY or ", Setting::ServerKeyFile]
            }
            ClusterError::Remote(RemoteError::Cancelled) => return None,
            ClusterError::Remote(_) => phrase!["check ", Setting::Server, ": an address like http://host:8000/v1"],
        };
        Some(hint)
    }
}

/// Why a server's pool cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The server gave no answer.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// It has no pool, or several and none was named.
    #[error("{host} offers {}", if names.is_empty() { "no pool".to_owned() } else { format!("several pools: {}", names.join(", ")) })]
    Which {
        /// Host and port.
        host: String,
        /// What its pools are called.
        names: Vec<String>,
    },
}

impl Explain for PoolError {
    fn verdict(&self) -> Verdict {
        match self {
            PoolError::Remote(error) => error.verdict(),
            PoolError::Which { .. } => Verdict::Mistake,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        let hint = match self {
            PoolError::Which { names, .. } if names.is_empty() => {
                phrase![Command::ServePool, " offers one; a folder can be given as well"]
            }
            PoolError::Which { .. } => {
                phrase!["name one: ", Setting::Pool, " https://HOST/v1/pools/NAME"]
            }
            PoolError::Remote(RemoteError::Unreachable { .. }) => {
                "check the address; a pool in a folder needs no network".into()
            }
            PoolError::Remote(RemoteError::Forbidden { .. }) => {
                "a pool in a folder works without a network".into()
            }
            PoolError::Remote(RemoteError::Refused { status: 401 | 403, .. }) => {
                phrase!["the key comes from CRAYON_POOL_KEY or ", Setting::PoolKeyFile]
            }
            PoolError::Remote(RemoteError::Refused { status: 404, .. }) => phrase![
                "the address is https://HOST/v1/pools/NAME, of a server with pools such as ",
                Command::ServePool
            ],
            PoolError::Remote(RemoteError::Refused { .. }) => {
                "the server does not take this request; its pool may have changed meanwhile: try again".into()
            }
            PoolError::Remote(RemoteError::GaveUp { .. }) => {
                phrase!["try again later, or raise ", Setting::PoolTimeout]
            }
            PoolError::Remote(RemoteError::Answer { .. }) => {
                "it is damaged, or no server with pools; nothing of it is used".into()
            }
            PoolError::Remote(RemoteError::Cancelled) => return None,
        };
        Some(hint)
    }
}
