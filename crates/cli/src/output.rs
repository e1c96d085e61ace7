//! The one printer: results to stdout, progress and notes to stderr.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::args::Global;

/// How this run speaks.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// One JSON object on stdout instead of text.
    pub(crate) json: bool,
    /// Whether stderr may carry more than errors.
    quiet: bool,
    /// Whether to say how the work was done.
    pub(crate) verbose: bool,
    colour: bool,
    /// The same for stdout.
    colour_results: bool,
}

/// What a line on stderr begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Label {
    Error,
    Hint,
    Note,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Output {
        Output {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            colour: colour_wanted(io::stderr().is_terminal()),
            colour_results: colour_wanted(io::stdout().is_terminal()),
        }
    }

    /// For errors found before the arguments are known.
    pub(crate) fn plain() -> Output {
        Output {
            json: false,
            quiet: false,
            verbose: false,
            colour: colour_wanted(io::stderr().is_terminal()),
            colour_results: false,
        }
    }

    /// A piece of the result, shown at once.
    pub(crate) fn piece(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// A line of the result.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{text}")
    }

    /// The result as one JSON object.
    pub(crate) fn object(&self, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_string(value)?;
        text.push('\n');
        self.piece(&text)
    }

    /// Something worth knowing that is not the result. Silent with `--quiet`.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.label(Label::Note, text);
        }
    }

    /// Whether notes are shown.
    pub(crate) fn notes(&self) -> bool {
        !self.quiet
    }

    /// How the work was done; only with `--verbose`.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbose && !self.quiet {
            self.aside(text);
        }
    }

    /// A line on stderr that belongs to a conversation or a summary. Silent with `--quiet`.
    pub(crate) fn aside(&self, text: &str) {
        if !self.quiet {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// A labelled line on stderr, `--quiet` or not.
    pub(crate) fn label(&self, label: Label, text: &str) {
        let (word, code) = match label {
            Label::Error => ("error", "1;31"),
            Label::Hint => ("hint", "1;36"),
            Label::Note => ("note", "1"),
        };
        let mut err = io::stderr().lock();
        let _ = if self.colour {
            writeln!(err, "\x1b[{code}m{word}:\x1b[0m {text}")
        } else {
            writeln!(err, "{word}: {text}")
        };
    }

    /// A line of progress on stderr, where no bar can be drawn.
    pub(crate) fn progress(text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Whether progress can be drawn: somebody watches a terminal that can move its cursor.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet
            && io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// `text` of the result in one of the terminal's 256 colours, where there is a terminal.
    pub(crate) fn paint(&self, text: &str, colour: u8) -> String {
        match self.colour_results {
            true => format!("\x1b[38;5;{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// Whether results may be coloured.
    pub(crate) fn colours_results(&self) -> bool {
        self.colour_results
    }

    /// Whether labels may be coloured.
    pub(crate) fn colour(&self) -> bool {
        self.colour
    }
}

fn colour_wanted(terminal: bool) -> bool {
    colour(std::env::var_os("NO_COLOR").as_deref(), std::env::var_os("TERM").as_deref(), terminal)
}

/// Colour on a terminal, unless `NO_COLOR` (any value that is not empty) or a dumb terminal forbids it.
fn colour(no_color: Option<&OsStr>, term: Option<&OsStr>, terminal: bool) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_needs_a_terminal_and_nobody_who_forbids_it() {
        let some = |text: &'static str| Some(OsStr::new(text));
        assert!(colour(None, some("xterm"), true));
        assert!(colour(some(""), None, true));
        assert!(!colour(some("1"), some("xterm"), true));
        assert!(!colour(None, some("dumb"), true));
        assert!(!colour(None, some("xterm"), false));
    }
}
