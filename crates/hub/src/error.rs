//! What can go wrong between the hub and a folder, and what the user can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crayon_errors::{Command, Explain, Phrase, Verdict, describe, phrase};

use crate::gguf::Offer;
use crate::reference::Reference;

const PICKLES: &str = "; its weights are Python pickles (.bin, .pt), which can run code when opened \
                       and are never downloaded";

/// Errors of looking up, downloading and keeping models.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The text does not name a model of the hub.
    #[error("`{text}` does not name a model: {what}")]
    Reference {
        /// The text.
        text: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A setting of the environment is unusable.
    #[error("{variable}: {what}")]
    Setting {
        /// The environment variable or file.
        variable: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A download was needed and sockets are forbidden.
    #[error("{reference} is not on this device, and downloads are switched off by {variable}")]
    Offline {
        /// The model.
        reference: Reference,
        /// The setting that forbids sockets.
        variable: &'static str,
    },
    /// No server of that name, or nobody listening.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// The system's or the resolver's words.
        reason: String,
    },
    /// The hub has no such model, or does not show it to this user.
    #[error("{endpoint} has no model {repository}, or it is private")]
    NoModel {
        /// The hub's address.
        endpoint: String,
        /// `owner/name`.
        repository: String,
        /// Where the token came from, if there was one.
        token: Option<String>,
    },
    /// The model has no such branch, tag or commit.
    #[error("{repository} has no revision `{revision}`")]
    NoRevision {
        /// `owner/name`.
        repository: String,
        /// The revision asked for.
        revision: String,
    },
    /// The hub asks who is asking.
    #[error("{endpoint} does not let {repository} be read with {} (status {status})",
            token.as_deref().map_or("no token".to_owned(), |from| format!("the token of {from}")))]
    Unauthorized {
        /// The hub's address.
        endpoint: String,
        /// `owner/name`.
        repository: String,
        /// 401 or 403.
        status: u16,
        /// Where the token came from, if there was one.
        token: Option<String>,
    },
    /// The owner's terms have to be accepted before the model can be read.
    #[error("{repository} is gated: its owner asks readers to accept terms first")]
    Gated {
        /// The hub's address.
        endpoint: String,
        /// `owner/name`.
        repository: String,
        /// Where the token came from, if there was one.
        token: Option<String>,
    },
    /// A repository without anything this program reads.
    #[error("{repository} holds no safetensors and no GGUF file{}",
            if *pickles { PICKLES } else { "" })]
    NothingToRead {
        /// `owner/name`.
        repository: String,
        /// Whether it has `.bin`, `.pt` or `.pth` files.
        pickles: bool,
    },
    /// Several GGUF files and no choice, or a choice that fits none or several.
    #[error("{repository}: {what}")]
    Choice {
        /// `owner/name`.
        repository: String,
        /// What is wrong with the choice.
        what: String,
        /// The GGUF models there are, the smallest first.
        offers: Vec<Offer>,
        /// The label of one to begin with.
        suggested: Option<String>,
    },
    /// The server's answer is not one a hub gives.
    #[error("{url}: {what}")]
    Answer {
        /// What was asked, without the query.
        url: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// A status that is neither success nor one explained above.
    #[error("{url}: the server answered with status {status}")]
    Status {
        /// What was asked, without the query.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// Tried several times.
    #[error("{url}: gave up after {tries} tries: {reason}")]
    GaveUp {
        /// What was asked, without the query.
        url: String,
        /// Tries without progress.
        tries: u32,
        /// What went wrong in the last.
        reason: String,
    },
    /// The server asks for a longer pause than anyone would wait for.
    #[error("{url}: too many requests; the server asks to come back in {} minutes",
            wait.as_secs().div_ceil(60))]
    RateLimited {
        /// What was asked, without the query.
        url: String,
        /// Pause asked for.
        wait: Duration,
        /// Whether a token was sent.
        token: bool,
    },
    /// The bytes are not those that the hub lists.
    #[error("{file}: the downloaded bytes have {got}, the hub lists {wanted}")]
    Checksum {
        /// File name.
        file: String,
        /// Checksum listed.
        wanted: String,
        /// Checksum of what arrived.
        got: String,
    },
    /// No room.
    #[error("{}: the disk is full", path.display())]
    DiskFull {
        /// File being written.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {}", path.display(), describe(source))]
    Io {
        /// "create", "write" and so on.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process, or another thread of this one, pulls or removes the same model.
    #[error("another pull of {repository} is under way")]
    Busy {
        /// `owner/name`.
        repository: String,
    },
    /// The model to remove is not here.
    #[error("{reference} is not on this device")]
    NotHere {
        /// The model.
        reference: Reference,
    },
    /// The caller ended the pull.
    #[error("stopped; what has arrived is kept")]
    Cancelled,
}

impl HubError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> HubError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => HubError::DiskFull { path },
            _ => HubError::Io { action, path, source },
        }
    }
}

impl Explain for HubError {
    fn hint(&self) -> Option<Phrase> {
        let hint = match self {
            HubError::Reference { .. } => "write org/name, org/name@revision or org/name:Q4_K_M, \
                 such as Qwen/Qwen2.5-0.5B-Instruct"
                .to_owned(),
            HubError::Setting { variable, .. } => format!("correct or unset {variable}"),
            HubError::Offline { variable, .. } => {
                return Some(phrase![
                    format!("unset {variable} to download it, or name a folder or .gguf file; "),
                    Command::ListModels,
                    " says what is here"
                ]);
            }
            HubError::Unreachable { .. } => "check the connection, HTTPS_PROXY and HF_ENDPOINT; \
                 models that are here work without a network"
                .to_owned(),
            HubError::NoModel { token: None, .. } => {
                "check the spelling; for a private model set HF_TOKEN to a token that may read it".to_owned()
            }
            HubError::NoModel { token: Some(from), .. } => {
                format!("check the spelling, and whether the token of {from} may read it")
            }
            HubError::NoRevision { .. } => "leave out `@...` for the main branch".to_owned(),
            HubError::Unauthorized { endpoint, token: None, .. } => {
                format!("make a token at {endpoint}/settings/tokens and set HF_TOKEN to it")
            }
            HubError::Unauthorized { token: Some(from), .. } => {
                format!("the token of {from} may have expired or lack the right to read this model")
            }
            HubError::Gated { endpoint, repository, token: None } => {
                format!(
                    "accept the terms at {endpoint}/{repository}, \
                 then set HF_TOKEN to a token of that account"
                )
            }
            HubError::Gated { endpoint, repository, token: Some(from) } => {
                format!("accept the terms at {endpoint}/{repository} with the account of the token of {from}")
            }
            HubError::NothingToRead { pickles: true, .. } => {
                "look for a repository of the same model with safetensors or GGUF files".to_owned()
            }
            HubError::NothingToRead { .. } => {
                "this is not a language model in a form this program reads".to_owned()
            }
            HubError::Choice { repository, suggested, .. } => match suggested {
                Some(label) => format!("name one, for example {repository}:{label}"),
                None => format!("leave out what follows the colon: {repository}"),
            },
            HubError::Answer { .. } | HubError::Status { .. } => {
                "check HF_ENDPOINT, or try again later".to_owned()
            }
            HubError::GaveUp { .. } => "try again: the download goes on where it stopped".to_owned(),
            HubError::RateLimited { token: false, .. } => {
                "wait, or set HF_TOKEN: signed-in users may ask more often".to_owned()
            }
            HubError::RateLimited { .. } => "wait that long, then try again".to_owned(),
            HubError::Checksum { .. } => "the damaged file was removed; try again".to_owned(),
            HubError::DiskFull { .. } => "make room, or set CRAYON_HOME to a larger disk, \
                 and try again: what has arrived is kept"
                .to_owned(),
            HubError::Busy { .. } => "wait for it to end".to_owned(),
            HubError::NotHere { .. } => {
                return Some(phrase![Command::ListModels, " says what is here"]);
            }
            HubError::Io { source, .. } if source.kind() == io::ErrorKind::FileTooLarge => {
                "the disk takes no file of that size: set CRAYON_HOME to another one, \
                 and try again; what has arrived is kept"
                    .to_owned()
            }
            HubError::Io { .. } | HubError::Cancelled => return None,
        };
        Some(hint.into())
    }

    fn verdict(&self) -> Verdict {
        match self {
            HubError::Cancelled => Verdict::Stopped,
            // The person, rather than the network, the server or the disk, has to change something.
            HubError::Reference { .. }
            | HubError::Setting { .. }
            | HubError::Offline { .. }
            | HubError::NoModel { .. }
            | HubError::NoRevision { .. }
            | HubError::Unauthorized { .. }
            | HubError::Gated { .. }
            | HubError::NothingToRead { .. }
            | HubError::Choice { .. }
            | HubError::NotHere { .. } => Verdict::Mistake,
            _ => Verdict::Fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        let error =
            HubError::io("write", Path::new("a/model.part"), io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(error, HubError::DiskFull { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("CRAYON_HOME"));
        let error = HubError::io("write", Path::new("a"), io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(matches!(error, HubError::Io { .. }), "{error:?}");
    }

    #[test]
    fn the_systems_words_stand_once_and_without_its_number() {
        for number in [1, 2, 5, 13, 27, 28, 30] {
            let error = HubError::io("write", Path::new("a"), io::Error::from_raw_os_error(number));
            assert!(!error.to_string().contains("os error"), "{error}");
            let words = describe(&io::Error::from_raw_os_error(number));
            assert!(error.to_string().matches(&words).count() <= 1, "{error}");
        }
    }
}
