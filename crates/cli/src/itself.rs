//! This program, run by itself: what a tour shows and a report measures is what the commands do.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::failure::{Interrupted, Result, fault};

/// Runs a command in `folder` that prints as it always does.
pub(crate) fn shown(words: &[&str], folder: &Path) -> Result {
    let status = command(words, folder)?.status().map_err(fault)?;
    check(words, status.code())
}

/// Runs a command in `folder` for its object; progress and errors go to stderr.
pub(crate) fn object(words: &[&str], folder: &Path) -> Result<Value> {
    let mut command = command(words, folder)?;
    let run = command.args(["--json", "-q"]).stderr(Stdio::inherit()).output().map_err(fault)?;
    check(words, run.status.code())?;
    serde_json::from_slice(&run.stdout).map_err(fault)
}

fn command(words: &[&str], folder: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().map_err(fault)?);
    // Nothing of it needs a socket, whatever is set up here.
    command.args(words).current_dir(folder).env("CRAYON_OFFLINE", "1").stdin(Stdio::null());
    Ok(command)
}

fn check(words: &[&str], code: Option<i32>) -> Result {
    match code {
        Some(0) => Ok(()),
        Some(130) => Err(Interrupted.into()),
        _ => Err(fault(format!("`{}` failed", spelled(words)))),
    }
}

/// A command as one would type it.
pub(crate) fn spelled(words: &[&str]) -> String {
    let mut line = "crayon".to_owned();
    for word in words {
        let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=,:".contains(c));
        // Nothing can go wrong in writing to a string.
        let _ = if plain { write!(line, " {word}") } else { write!(line, " \"{word}\"") };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_spelled_as_typed() {
        assert_eq!(spelled(&["ask", "-a", "home", "Why, Tom?"]), "crayon ask -a home \"Why, Tom?\"");
    }
}
