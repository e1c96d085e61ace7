//! Errors as the user meets them: the user's mistake (exit 2, with a hint) or a fault (exit 1).

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use crayon_engine::EngineError;
use crayon_engine::adapters::AdapterError;
use crayon_errors::Explain as _;
use crayon_eval::EvalError;
use crayon_formats::Error as FormatError;
use crayon_hub::HubError;
use crayon_hybrid::{HybridError, PoolError, RemoteError};
use crayon_serve::ServeError;
use crayon_text::TextError;

use crate::output::{Label, Output};

/// The user's mistake, where only the command line can tell.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Mistake {
    message: String,
    hint: String,
}

/// A mistake and what to do instead.
pub(crate) fn mistake(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Mistake { message: message.into(), hint: hint.into() }.into()
}

/// Ctrl-C; what was done until then has been shown or kept.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(crate) struct Interrupted;

/// What to do about an error.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nobody reads any more, as with `| head`: that is fine.
    Closed,
    /// Ctrl-C: the user knows.
    Interrupted,
    Mistake(Option<String>),
    Fault(Option<String>),
}

/// Tells the user and returns the exit code.
pub(crate) fn report(error: &anyhow::Error, output: &Output) -> ExitCode {
    let (code, hint) = match judge(error) {
        Verdict::Closed => return ExitCode::SUCCESS,
        Verdict::Interrupted => return ExitCode::from(130),
        Verdict::Mistake(hint) => (
            2,
            hint.or_else(|| {
                Some("`crayon --help` and `crayon COMMAND --help` say what is possible".to_owned())
            }),
        ),
        Verdict::Fault(hint) => (1, hint),
    };
    tell(error, hint.as_deref(), output);
    ExitCode::from(code)
}

/// Shows an error and its hint without ending anything: a conversation goes on.
pub(crate) fn show(error: &anyhow::Error, output: &Output) {
    if let Verdict::Mistake(hint) | Verdict::Fault(hint) = judge(error) {
        tell(error, hint.as_deref(), output);
    }
}

/// Whether the reader of stdout has gone.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    judge(error) == Verdict::Closed
}

/// Whether this is Ctrl-C.
pub(crate) fn is_interrupt(error: &anyhow::Error) -> bool {
    judge(error) == Verdict::Interrupted
}

fn tell(error: &anyhow::Error, hint: Option<&str>, output: &Output) {
    output.label(Label::Error, &format!("{error:#}"));
    if let Some(hint) = hint {
        output.label(Label::Hint, hint);
    }
}

/// Arguments that cannot be used, or `--help` and `--version`.
pub(crate) fn arguments(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help, asked for: a closed pipe is as good as read.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let output = Output::plain();
    let text = error.render();
    let text = if output.colour() { text.ansi().to_string() } else { text.to_string() };
    let help = "\nFor more information, try";
    let text = text.find(help).map_or(text.as_str(), |at| &text[..at]);
    output.aside(text.trim_end());
    if error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        output.label(Label::Hint, "`--help` after the command lists its arguments, with examples");
    }
    ExitCode::from(2)
}

fn judge(error: &anyhow::Error) -> Verdict {
    let verdict = |mistake: bool, hint: Option<String>| match mistake {
        true => Verdict::Mistake(hint),
        false => Verdict::Fault(hint),
    };
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<Mistake>() {
            return Verdict::Mistake(Some(error.hint.clone()));
        }
        if cause.is::<Interrupted>()
            || matches!(cause.downcast_ref(), Some(EngineError::Cancelled))
            || matches!(cause.downcast_ref(), Some(HubError::Cancelled))
            || matches!(cause.downcast_ref(), Some(EvalError::Engine(EngineError::Cancelled)))
        {
            return Verdict::Interrupted;
        }
        if let Some(error) = cause.downcast_ref::<EngineError>() {
            return verdict(error.is_user_mistake(), error.hint());
        }
        if let Some(error) = cause.downcast_ref::<AdapterError>() {
            return match error {
                AdapterError::Stopped => Verdict::Interrupted,
                error => verdict(error.is_user_mistake(), error.hint()),
            };
        }
        if let Some(error) = cause.downcast_ref::<HubError>() {
            return verdict(error.is_user_mistake(), error.hint());
        }
        if let Some(error) = cause.downcast_ref::<ServeError>() {
            return verdict(error.is_user_mistake(), error.hint());
        }
        if let Some(error) = cause.downcast_ref::<HybridError>() {
            return Verdict::Mistake(error.hint());
        }
        if let Some(error) = cause.downcast_ref::<PoolError>() {
            return verdict(error.is_user_mistake(), error.hint());
        }
        if let Some(error) = cause.downcast_ref::<RemoteError>() {
            return verdict(error.is_user_mistake(), error.hint());
        }
        if let Some(error) = cause.downcast_ref::<EvalError>() {
            return verdict(error.is_user_mistake(), error.hint());
        }
        if let Some(error) = cause.downcast_ref::<FormatError>() {
            return verdict(is_mistake(error), error.hint().map(str::to_owned));
        }
        if let Some(error) = cause.downcast_ref::<crayon_files::Error>() {
            return verdict(error.is_mistake(), error.hint().map(|hint| hint.to_string()));
        }
        if let Some(error) = cause.downcast_ref::<TextError>() {
            return Verdict::Mistake(error.hint().map(str::to_owned));
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::BrokenPipe => Verdict::Closed,
                io::ErrorKind::NotFound => {
                    Verdict::Mistake(Some("check the spelling of the path".to_owned()))
                }
                kind => verdict(is_path_mistake(kind), None),
            };
        }
    }
    Verdict::Fault(None)
}

/// A damaged file is the user's to replace; a disk that fails is not.
fn is_mistake(error: &FormatError) -> bool {
    match error {
        FormatError::Io { source, .. } => is_path_mistake(source.kind()),
        _ => true,
    }
}

/// Whether another path would have worked.
fn is_path_mistake(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{
        AlreadyExists, IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
    };
    matches!(
        kind,
        NotFound | PermissionDenied | AlreadyExists | NotADirectory | IsADirectory | ReadOnlyFilesystem
    )
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_users_mistake_a_fault_and_a_closed_pipe_are_told_apart() {
        assert_eq!(judge(&mistake("no", "do this")), Verdict::Mistake(Some("do this".to_owned())));
        assert_eq!(judge(&Interrupted.into()), Verdict::Interrupted);
        assert_eq!(judge(&anyhow::anyhow!("broken")), Verdict::Fault(None));
        let closed: anyhow::Error = io::Error::from(io::ErrorKind::BrokenPipe).into();
        assert!(is_closed(&closed.context("writing")));
        let missing: anyhow::Result<()> = Err(io::Error::from(io::ErrorKind::NotFound).into());
        let missing = judge(&missing.context("notes.txt").unwrap_err());
        assert_eq!(missing, Verdict::Mistake(Some("check the spelling of the path".to_owned())));
        assert_eq!(judge(&io::Error::other("disk").into()), Verdict::Fault(None));
    }

    #[test]
    fn errors_of_the_engine_keep_their_hints_under_a_context() {
        let error = anyhow::Error::from(EngineError::EmptyPrompt).context("ask");
        assert!(matches!(judge(&error), Verdict::Mistake(Some(_))));
        assert!(is_interrupt(&EngineError::Cancelled.into()));
    }
}
