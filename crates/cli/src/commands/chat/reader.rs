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
use crate::failure::{Context as _, Result, fault, mistake};
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
        self.line("", output)
    }

    /// The next line, which begins as `text` where somebody types.
    pub(super) fn edit(&mut self, text: &str, output: &Output) -> Result<Line> {
        match self {
            Reader::Pipe => Err(mistake("/edit needs the new message", "for example /edit What is a dog?")),
            Reader::Terminal { .. } => self.line(&text.replace('\n', "\\\n"), output),
        }
    }

    fn line(&mut self, text: &str, output: &Output) -> Result<Line> {
        let editor = match self {
            Reader::Pipe => return piped(),
            Reader::Terminal { editor, .. } => editor,
        };
        let mut interrupted = false;
        loop {
            match editor.readline_with_initial("> ", (text, "")) {
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
            return Ok(if text.is_empty() { Line::End } else { Line::Text(joined(&text)) });
        }
        let line = input::utf8("standard input", bytes)?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        text.push_str(line);
        if !goes_on(&text) {
            return Ok(Line::Text(joined(&text)));
        }
        text.push('\n');
    }
}

/// What begins and ends a text of several lines.
const BLOCK: &str = "\"\"\"";

/// Whether another line belongs to what was typed so far.
fn goes_on(text: &str) -> bool {
    match text.strip_prefix(BLOCK) {
        Some(block) => !block.trim_end().ends_with(BLOCK),
        None => text.ends_with('\\'),
    }
}

/// Lines that were continued, without what continued them.
fn joined(text: &str) -> String {
    match text.strip_prefix(BLOCK) {
        Some(block) => {
            let block = block.trim_end();
            block.strip_suffix(BLOCK).unwrap_or(block).trim_matches('\n').to_owned()
        }
        None => text.replace("\\\n", "\n"),
    }
}

/// Beside the pulled models, in the user's data folder.
fn history_file() -> Option<PathBuf> {
    let settings = Settings::from_env().ok()?;
    Some(settings.cache.parent()?.join("history"))
}

/// Line editing's helper: continuation by backslash or in a block, completion of commands.
pub(super) struct Assistance;

impl Validator for Assistance {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if goes_on(context.input()) {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
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
        assert!(goes_on("one\\") && !goes_on("one"));
    }

    #[test]
    fn a_block_goes_on_until_its_end() {
        assert!(goes_on("\"\"\"") && goes_on("\"\"\"one\ntwo\\") && !goes_on("\"\"\"one\ntwo\"\"\"  "));
        assert!(!goes_on("say \"\"\" to me"));
        assert_eq!(joined("\"\"\"\none\n  two\\\n\"\"\""), "one\n  two\\");
        assert_eq!(joined("\"\"\"one\"\"\""), "one");
        assert_eq!(joined("\"\"\"never\nended"), "never\nended");
    }
}
