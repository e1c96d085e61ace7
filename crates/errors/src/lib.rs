//! How an error explains itself: what happened, what can be done about it, and whose turn it is.
//!
//! Libraries state facts and name settings as values ([`Setting`], [`Command`]). How a setting is spelled is decided
//! at the rim: the program prints `--pot`, the server prints the field `pot`. So no library ever names a flag.

mod number;
mod phrase;
mod setting;

use std::io;

pub use number::{count, size};
pub use phrase::{Phrase, Piece};
pub use setting::{Command, Setting};

/// Whose turn it is after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another input or setting would have worked.
    Mistake,
    /// The program, the machine or another server failed.
    Fault,
    /// The caller asked to stop.
    Stopped,
    /// Nobody reads the output any more, as with `| head`.
    Closed,
}

/// An error that explains itself to the person who caused it or meets it.
pub trait Explain: std::error::Error {
    /// Whose turn it is.
    fn verdict(&self) -> Verdict;

    /// What can be done about it.
    fn hint(&self) -> Option<Phrase>;

    /// What happened. The words of `Display` unless they name a setting.
    fn message(&self) -> Phrase {
        Phrase::from(self.to_string())
    }

    /// Whether the input is to blame rather than the program or the machine.
    fn is_mistake(&self) -> bool {
        self.verdict() == Verdict::Mistake
    }
}

impl Explain for io::Error {
    fn verdict(&self) -> Verdict {
        use io::ErrorKind::{
            AlreadyExists, BrokenPipe, IsADirectory, NotADirectory, NotFound, PermissionDenied,
            ReadOnlyFilesystem,
        };
        match self.kind() {
            BrokenPipe => Verdict::Closed,
            // Another path would have worked; a disk that is full or fails is not the person's mistake.
            NotFound | PermissionDenied | AlreadyExists | NotADirectory | IsADirectory
            | ReadOnlyFilesystem => Verdict::Mistake,
            _ => Verdict::Fault,
        }
    }

    fn hint(&self) -> Option<Phrase> {
        match self.kind() {
            io::ErrorKind::NotFound => Some("check the spelling of the path".into()),
            io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
                Some("choose another path".into())
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("make room on the disk, or write to another one".into())
            }
            _ => None,
        }
    }

    fn message(&self) -> Phrase {
        Phrase::from(describe(self))
    }
}

/// An input or output error in words, without the number of the operating system.
pub fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) if error.raw_os_error().is_some() => text[..at].to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_errors_tell_mistakes_from_faults() {
        let missing = io::Error::from_raw_os_error(2);
        assert!(missing.is_mistake() && missing.hint().is_some());
        assert_eq!(Explain::message(&missing).to_string(), "No such file or directory");
        assert_eq!(io::Error::from(io::ErrorKind::StorageFull).verdict(), Verdict::Fault);
        assert_eq!(io::Error::from(io::ErrorKind::BrokenPipe).verdict(), Verdict::Closed);
    }
}
