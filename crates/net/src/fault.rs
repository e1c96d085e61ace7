//! Why a request brought no answer, or not all of it.

use std::io;
use std::time::Duration;

use crayon_errors::describe;

/// What went wrong between a request and the end of its answer. `Display` gives the reason in words; what it means and
/// whether it may pass is for the caller to say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No socket was opened.
    #[error("{variable} forbids the network")]
    Forbidden {
        /// The variable that forbids it.
        variable: &'static str,
    },
    /// The name is not known, or the network is not there to ask.
    #[error("no such host, or no network")]
    NoHost,
    /// The host is known, and gives no connection.
    #[error("{reason}")]
    NoConnection {
        /// The system's or the proxy's words.
        reason: String,
    },
    /// The connection is not safe: a certificate is wrong, say.
    #[error("no safe connection ({reason})")]
    NotSafe {
        /// What is wrong.
        reason: String,
    },
    /// Nothing came for the time that a server may be silent.
    #[error("the server was silent for {} s", after.as_secs())]
    Silent {
        /// That time.
        after: Duration,
    },
    /// The time for the whole answer is over.
    #[error("the time is used up")]
    OutOfTime,
    /// The connection ended early.
    #[error("the connection was cut ({reason})")]
    Cut {
        /// The system's words.
        reason: String,
    },
    /// What came is not HTTP.
    #[error("the answer is broken ({reason})")]
    Broken {
        /// What is wrong.
        reason: String,
    },
    /// The body is longer than the caller takes.
    #[error("the answer has more than {limit} bytes")]
    TooLong {
        /// Most bytes taken.
        limit: u64,
    },
    /// Address or headers cannot be sent.
    #[error("the request cannot be sent ({reason})")]
    Request {
        /// What is wrong.
        reason: String,
    },
}

impl Fault {
    /// The meaning of the library's error, where a server may be silent for `silence`.
    pub(crate) fn from_ureq(error: ureq::Error, silence: Duration) -> Fault {
        use ureq::{Error, Timeout};
        let no_connection = |reason: &str| Fault::NoConnection { reason: reason.to_owned() };
        match error {
            Error::HostNotFound => Fault::NoHost,
            Error::ConnectionFailed => no_connection("no connection"),
            Error::ConnectProxyFailed(reason) => no_connection(&format!("the proxy refused: {reason}")),
            Error::Timeout(Timeout::Resolve | Timeout::Connect) => no_connection("no connection in time"),
            Error::Timeout(Timeout::Global) => Fault::OutOfTime,
            Error::Timeout(_) => Fault::Silent { after: silence },
            Error::Io(error) => Fault::from_io(&error, silence),
            error @ (Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) | Error::TlsRequired) => {
                Fault::NotSafe { reason: error.to_string() }
            }
            error @ (Error::BadUri(_) | Error::Http(_) | Error::InvalidProxyUrl) => {
                Fault::Request { reason: error.to_string() }
            }
            error => Fault::Broken { reason: error.to_string() },
        }
    }

    fn from_io(error: &io::Error, silence: Duration) -> Fault {
        let reason = describe(error);
        match error.kind() {
            io::ErrorKind::TimedOut => Fault::Silent { after: silence },
            io::ErrorKind::ConnectionRefused => {
                Fault::NoConnection { reason: "nobody listens there".to_owned() }
            }
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Fault::Cut { reason },
            // What TLS finds wrong comes as bad data.
            io::ErrorKind::InvalidData => Fault::NotSafe { reason },
            // No route, no network; a resolver's failure has no kind of its own.
            _ => Fault::NoConnection { reason },
        }
    }
}
