//! Where the lines of a conversation come from: a terminal with line editing, or a pipe.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use crayon_hub::Settings;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Behavior, Config, Context, Editor, Helper};

use super::slash;
use crate::failure::{Context as _, Result, fault};
use crate::input;
use crate::output::Output;

/// Longest history.
const HISTORY: usize = 1000;

/// A line of input.
pub(super) enum Line {
    Text(String),
    End,
}

/// The source of lines.
pub(super) enum Reader {
    Terminal { editor: Box<Editor<Assistance, DefaultHistory>>, history: Option<PathBuf> },
    Pipe,
}

impl Reader {
    /// Line editing if stdin is a terminal; `keep` remembers what was typed for the next time.
    pub(super) fn new(keep: bool) -> Result<Reader> {
        if !io::stdin().is_terminal() {
            return Ok(Reader::Pipe);
        }
        // With stdout in a pipe or file the prompt belongs to the terminal, not among the answers.
        let behavior = if io::stdout().is_terminal() { Behavior::Stdio } else { Behavior::PreferTerm };
        let config = Config::builder()
            .max_history_size(HISTORY)
            .map_err(fault)?
            .history_ignore_dups(true)
            .map_err(fault)?
            .history_ignore_space(true)
            .bracketed_paste(true)
            .behavior(behavior)
            .build();
        let mut editor = Editor::with_config(config).map_err(fault)?;
        editor.set_helper(Some(Assistance));
        let history = if keep { history_file() } else { None };
        if let Some(path) = &history {
            // The first time there is none.
            let _ = editor.load_history(path);
        }
        Ok(Reader::Terminal { editor: Box::new(editor), history })
    }

    /// Whether somebody types.
    pub(super) fn interactive(&self) -> bool {
        matches!(self, Reader::Terminal { .. })
    }

    /// The next line, with the lines it goes on in. Ctrl-C clears the line; a second one, or Ctrl-D, is the end.
    pub(super) fn next(&mut self, output: &Output) -> Result<Line> {
        let editor = match self {
            Reader::Pipe => return piped(),
            Reader::Terminal { editor, .. } => editor,
        };
        let mut interrupted = false;
        loop {
            match editor.readline("> ") {
                Ok(line) => {
                    let line = joined(&line);
                    if !line.trim().is_empty() {
                        editor.add_history_entry(line.as_str()).map_err(fault)?;
                    }
                    return Ok(Line::Text(line));
                }
                Err(ReadlineError::Interrupted) if !interrupted => {
                    interrupted = true;
                    output.aside("(Ctrl-C again or Ctrl-D leaves)");
                }
                Err(ReadlineError::Interrupted | ReadlineError::Eof) => return Ok(Line::End),
                Err(error) => return Err(fault(error)).context("cannot read from the terminal"),
            }
        }
    }

    /// Writes the history.
    pub(super) fn close(&mut self, output: &Output) {
        if let Reader::Terminal { editor, history: Some(path) } = self {
            let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            let saved = folder.map_err(ReadlineError::from).and_then(|()| editor.save_history(path));
            if let Err(error) = saved {
                output.note(&format!("the history could not be written to {}: {error}", path.display()));
            }
        }
    }
}

/// One line of stdin, and those it goes on in.
fn piped() -> Result<Line> {
    let mut text = String::new();
    let mut stdin = io::stdin().lock();
    loop {
        let mut bytes = Vec::new();
        if stdin.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(if text.is_empty() { Line::End } else { Line::Text(text) });
        }
        let line = input::utf8("standard input", bytes)?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        match line.strip_suffix('\\') {
            Some(line) => {
                text.push_str(line);
                text.push('\n');
            }
            None => {
                text.push_str(line);
                return Ok(Line::Text(text));
            }
        }
    }
}

/// Lines that were continued with a backslash, without it.
fn joined(line: &str) -> String {
    line.replace("\\\n", "\n")
}

/// Beside the pulled models, in the user's data folder.
fn history_file() -> Option<PathBuf> {
    let settings = Settings::from_env().ok()?;
    Some(settings.cache.parent()?.join("history"))
}

/// Line editing's helper: continuation by backslash, completion of commands.
pub(super) struct Assistance;

impl Validator for Assistance {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let goes_on = context.input().ends_with('\\');
        Ok(if goes_on { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl Completer for Assistance {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..at).unwrap_or_default();
        let names = slash::NAMES.iter().filter(|name| typed.starts_with('/') && name.starts_with(typed));
        Ok((0, names.map(|name| (*name).to_owned()).collect()))
    }
}

impl Hinter for Assistance {
    type Hint = String;
}

impl Highlighter for Assistance {}

impl Helper for Assistance {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continued_lines_lose_their_backslash_only() {
        assert_eq!(joined("one\\\ntwo\\three\nfour"), "one\ntwo\\three\nfour");
    }
}
