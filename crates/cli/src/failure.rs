//! Errors as the user meets them: the user's mistake (exit 2, with a hint) or a fault (exit 1).

use std::fmt::{self, Display};
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use crayon_errors::{Explain, Phrase, Verdict};

use crate::args::Args;
use crate::output::{Label, Output};
use crate::spelling::spell;

/// Result of a command and of everything under it.
pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// Any error that explains itself, perhaps with what was being done.
#[derive(Debug)]
pub(crate) struct Failure {
    context: Option<String>,
    cause: Box<dyn Explain + Send + Sync>,
}

impl<E: Explain + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { context: None, cause: Box::new(error) }
    }
}

impl Failure {
    /// The message, with what was being done in front.
    fn message(&self) -> String {
        let message = spell(&self.cause.message());
        match &self.context {
            Some(context) => format!("{context}: {message}"),
            None => message,
        }
    }

    /// Whether the reader of stdout has gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.cause.verdict() == Verdict::Closed
    }

    /// Whether this is Ctrl-C.
    pub(crate) fn is_interrupt(&self) -> bool {
        self.cause.verdict() == Verdict::Stopped
    }
}

/// The message as a user reads it.
impl Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message())
    }
}

/// Says what was being done when an error came.
pub(crate) trait Context<T> {
    /// Puts `context` in front of the error's message.
    fn context(self, context: impl Display) -> Result<T>;
}

impl<T, E: Into<Failure>> Context<T> for std::result::Result<T, E> {
    fn context(self, context: impl Display) -> Result<T> {
        self.map_err(|error| Failure { context: Some(context.to_string()), ..error.into() })
    }
}

/// The user's mistake, where only the command line can tell.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Mistake {
    message: String,
    hint: String,
}

impl Explain for Mistake {
    fn verdict(&self) -> Verdict {
        Verdict::Mistake
    }

    fn hint(&self) -> Option<Phrase> {
        Some(self.hint.as_str().into())
    }
}

/// A mistake and what to do instead.
pub(crate) fn mistake(message: impl Into<String>, hint: impl Into<String>) -> Failure {
    Mistake { message: message.into(), hint: hint.into() }.into()
}

/// What went wrong inside, for errors of libraries that explain nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Fault(String);

impl Explain for Fault {
    fn verdict(&self) -> Verdict {
        Verdict::Fault
    }

    fn hint(&self) -> Option<Phrase> {
        None
    }
}

/// A fault that no library explains.
pub(crate) fn fault(error: impl Display) -> Failure {
    Fault(error.to_string()).into()
}

/// Ctrl-C; what was done until then has been shown or kept.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(crate) struct Interrupted;

impl Explain for Interrupted {
    fn verdict(&self) -> Verdict {
        Verdict::Stopped
    }

    fn hint(&self) -> Option<Phrase> {
        None
    }
}

/// Tells the user and returns the exit code.
pub(crate) fn report(failure: &Failure, output: &Output) -> ExitCode {
    let code = match failure.cause.verdict() {
        // Nobody reads any more, as with `| head`: that is fine.
        Verdict::Closed => return ExitCode::SUCCESS,
        // The user knows.
        Verdict::Stopped => return ExitCode::from(130),
        Verdict::Mistake => 2,
        Verdict::Fault => 1,
    };
    tell(failure, output);
    if code == 2 && failure.cause.hint().is_none() {
        output.label(Label::Hint, "`crayon --help` and `crayon COMMAND --help` say what is possible");
    }
    ExitCode::from(code)
}

/// Shows an error and its hint without ending anything: a conversation goes on.
pub(crate) fn show(failure: &Failure, output: &Output) {
    if !failure.is_closed() && !failure.is_interrupt() {
        tell(failure, output);
    }
}

fn tell(failure: &Failure, output: &Output) {
    output.label(Label::Error, &failure.message());
    if let Some(hint) = failure.cause.hint() {
        output.label(Label::Hint, &spell(&hint));
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
    if let Some(meant) = meant(error) {
        output.label(Label::Hint, &format!("`{meant}` may be meant"));
    } else if error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        output.label(Label::Hint, "`--help` after the command lists its arguments, with examples");
    }
    ExitCode::from(2)
}

/// The command that is spelled most like one that does not exist, two letters away at most.
fn meant(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let program = Args::command();
    let names = program.get_subcommands().map(clap::Command::get_name);
    let near = names.map(|name| (strsim::osa_distance(given, name), name));
    near.filter(|(distance, _)| *distance <= 2).min().map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io;

    use crayon_engine::EngineError;

    use super::*;

    fn hint(failure: &Failure) -> Option<String> {
        failure.cause.hint().map(|hint| spell(&hint))
    }

    #[test]
    fn the_users_mistake_a_fault_and_a_closed_pipe_are_told_apart() {
        let no = mistake("no", "do this");
        assert_eq!((no.cause.verdict(), hint(&no)), (Verdict::Mistake, Some("do this".to_owned())));
        assert!(Failure::from(Interrupted).is_interrupt());
        let broken = fault("broken");
        assert_eq!((broken.cause.verdict(), hint(&broken)), (Verdict::Fault, None));
        let closed: Result = Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("writing");
        assert!(closed.unwrap_err().is_closed());
        let missing: Result = Err(io::Error::from_raw_os_error(2)).context("notes.txt");
        let missing = missing.unwrap_err();
        assert_eq!(missing.cause.verdict(), Verdict::Mistake);
        assert_eq!(hint(&missing).unwrap(), "check the spelling of the path");
        assert_eq!(missing.message(), "notes.txt: No such file or directory");
        assert_eq!(Failure::from(io::Error::other("disk")).cause.verdict(), Verdict::Fault);
    }

    #[test]
    fn errors_of_the_engine_keep_their_hints_under_a_context() {
        let error: Result = Err(EngineError::EmptyPrompt).context("ask");
        let error = error.unwrap_err();
        assert!(error.cause.is_mistake() && error.cause.hint().is_some());
        assert!(Failure::from(EngineError::Cancelled).is_interrupt());
    }

    #[test]
    fn settings_are_shown_as_flags() {
        let error = EngineError::TooLong { tokens: 9, prompt: 5, answer: 4, context: 8 };
        assert_eq!(hint(&error.into()).unwrap(), "give a shorter text, or lower --max-tokens");
    }
}
