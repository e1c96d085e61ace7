//! A server of one's own: the model on this device behind the HTTP interface that programs written for OpenAI's
//! know (`/v1/chat/completions`, `/v1/completions`, `/v1/models`), with adapters, pools and a bigger model for those who
//! ask for them ([`Offers`]). Several models may stand in one server, opened when they are asked for ([`Model`]).
//!
//! How a request is answered is `crayon-answer`'s, as it is for the program. A model answers a number of requests at once, in
//! common passes on a thread of its own; others wait in a bounded queue, by turns of those who ask. When whoever asked has gone, its
//! channel is closed, the thread that waits for it drops its place, and the worker leaves it out of the next pass.
//!
//! Reading order: `http` (what can be asked), `guard` (by whom), `models` (who answers), `asking`, `request` (what a body may hold), `answered`, `examples`,
//! `queued`, `worker`, `reply`; `customizing`, `people` and `own` for those who have a model of their own; `pools`, `tokens`,
//! `metrics` and `page` beside.
//! Prompts and answers are never logged.

mod answered;
mod asking;
mod body;
mod customizing;
mod embeddings;
mod examples;
mod extensions;
mod fields;
mod form;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod hosted;
mod http;
mod keys;
mod listen;
mod messages;
mod metrics;
mod model;
mod models;
mod own;
mod pace;
mod page;
mod people;
mod person;
mod pools;
mod queue;
mod queued;
mod refusal;
mod registry;
mod reply;
mod request;
mod responses;
mod shared;
mod tokens;
mod tools;
mod worker;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use crayon_engine::adapters::AdapterError;
use crayon_engine::{EngineError, PrefixCache};
use crayon_errors::{Explain, Phrase, Setting, Verdict, describe, phrase};

pub use keys::Keys;
pub use model::{Model, Opened, Opener};
pub use people::People;
pub use registry::{Bigger, Offered, OfferedAdapter, Offers};

/// Bounds on what one request, and all of them together, may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: usize,
    /// Tokens of a prompt; with a `pot` it may be longer than the model's window, but not longer than this.
    pub prompt: usize,
    /// Tokens of an answer.
    pub answer: usize,
    /// Time for reading a prompt and writing its answer.
    pub time: Duration,
    /// Requests that are answered at once.
    pub parallel: usize,
    /// Requests that wait beyond these.
    pub queue: usize,
    /// Open connections.
    pub connections: usize,
    /// How long a client may take to send a request once it has begun.
    pub sending: Duration,
    /// How long answers in progress may go on after the server was asked to stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body: 4 << 20,
            prompt: 1 << 20,
            answer: 4096,
            time: Duration::from_secs(600),
            parallel: 8,
            queue: 32,
            connections: 256,
            sending: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// Where and for whom to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Name or address of the interface; a loopback one is reached from this device only.
    pub host: String,
    /// Port; 0 takes any free one.
    pub port: u16,
    /// Who may ask; anyone who reaches the port when `None`.
    pub keys: Option<Keys>,
    /// Bounds.
    pub limits: Limits,
    /// Bytes that models, adapters, conversations and buffers may take together; any number when `None`.
    pub memory: Option<usize>,
    /// Bytes of these that the program itself takes, whatever is asked.
    pub program: usize,
    /// Where documents are kept that were read, for requests that ask for it; none does where it is `None`.
    pub cache: Option<PrefixCache>,
    /// Where people are kept who have a model of their own; in memory where it is `None`.
    pub people: Option<People>,
    /// Pages of these origins may ask (`https://example.org`), any page where one is `*`. A page of the server's own always may.
    pub origins: Vec<String>,
    /// Names besides localhost by which a server on a loopback address may be asked.
    pub hosts: Vec<String>,
    /// How settings of the server are spelled to those who are refused because of one.
    pub spell: fn(&Phrase) -> String,
}

impl Default for ServeOptions {
    /// Any free port of this device.
    fn default() -> ServeOptions {
        ServeOptions {
            host: "127.0.0.1".to_owned(),
            port: 0,
            keys: None,
            limits: Limits::default(),
            memory: None,
            program: 0,
            cache: None,
            people: None,
            origins: Vec::new(),
            hosts: Vec::new(),
            spell: Phrase::to_string,
        }
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The host is not an address of this device.
    #[error("cannot listen on {host}: {reason}")]
    Host {
        /// As given.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// The port is taken or not allowed.
    #[error("cannot listen on {address}: {}", describe(source))]
    Port {
        /// Address and port.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Others could ask without a key.
    #[error("{host} can be reached by other devices, and no key is asked for")]
    Open {
        /// As given.
        host: String,
    },
    /// The file of keys cannot be used.
    #[error("{path}: {what}")]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The store of people cannot be used.
    #[error("{}: {what}", path.display())]
    People {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A model, an adapter or a pool cannot be offered by this name.
    #[error("the {what} {name:?} {problem}")]
    Name {
        /// Model, adapter or pool.
        what: &'static str,
        /// As given.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// An adapter or a pool does not fit the model.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The memory allowed is too small.
    #[error(transparent)]
    Memory(EngineError),
    /// The system gives no thread or no socket.
    #[error("the server cannot run: {}", describe(.0))]
    System(#[from] std::io::Error),
}

impl Explain for ServeError {
    fn verdict(&self) -> Verdict {
        match self {
            ServeError::System(_) => Verdict::Fault,
            ServeError::Adapter(error) => error.verdict(),
            ServeError::Memory(error) => error.verdict(),
            _ => Verdict::Mistake,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        let hint = match self {
            ServeError::Host { .. } => phrase![Setting::Host, " 127.0.0.1 listens on this device only"],
            ServeError::Port { .. } => {
                phrase!["choose another number for ", Setting::Port, "; 0 takes any that is free"]
            }
            ServeError::Open { .. } => phrase![
                "give ",
                Setting::ApiKeyFile,
                ", a file with one key a line; ",
                Setting::Host,
                " 127.0.0.1 needs none"
            ],
            ServeError::Keys { .. } => {
                "it must be a file that holds one key a line, of letters, digits and signs without blanks"
                    .into()
            }
            ServeError::People { .. } => {
                "it must be a file that a server made for its people, or one that is not there yet".into()
            }
            ServeError::Name { what: "model", .. } => "give it another name in front: NAME=MODEL".into(),
            ServeError::Name { .. } => {
                "give it a name of letters, digits, -, _ and . in front: NAME=FOLDER".into()
            }
            ServeError::Adapter(error) => return error.hint(),
            ServeError::Memory(error) => return error.hint(),
            ServeError::System(_) => return None,
        };
        Some(hint)
    }
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    options: ServeOptions,
    models: Vec<Model>,
}

impl Server {
    /// Opens the port for `models`, the first of which is asked where a request may leave its model out.
    ///
    /// # Errors
    /// [`ServeError`] when the port cannot be had, other devices could reach it without a key, an offer has no proper
    /// name, or the memory allowed is too small for the models that are open.
    pub fn bind(options: ServeOptions, models: Vec<Model>) -> Result<Server, ServeError> {
        model::check(&models)?;
        model::fit(&models, &options)?;
        let host = options.host.clone();
        let wrong = |reason: String| ServeError::Host { host: host.clone(), reason };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut addresses =
            (bare, options.port).to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
        let address = addresses.next().ok_or_else(|| wrong("no such address".to_owned()))?;
        if !address.ip().is_loopback() && options.keys.is_none() {
            return Err(ServeError::Open { host });
        }
        let listener =
            std::net::TcpListener::bind(address).map_err(|source| ServeError::Port { address, source })?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address, options, models })
    }

    /// Where it listens, with the port it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` says so (it is asked several times a second). Then no connection is accepted any more,
    /// those who wait are told, and the answer in progress may go on for [`Limits::grace`]. `log` gets one line a
    /// request: method, path, status, time; nothing of what was said. It is told who holds memory when a model is opened or closed.
    ///
    /// # Errors
    /// [`ServeError::System`] when the system gives no threads; others when an offer does not fit the model.
    pub fn run(
        self,
        stop: impl Fn() -> bool + Send + Sync + 'static,
        log: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<(), ServeError> {
        listen::run(
            self.listener,
            self.address,
            self.options,
            self.models,
            Box::new(stop),
            std::sync::Arc::new(log),
        )
    }
}
