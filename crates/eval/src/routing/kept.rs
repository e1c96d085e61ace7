//! A server's answers, kept as they come, so that a measurement that was stopped goes on where it was.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crayon_engine::Message;
use crayon_errors::{Setting, phrase};
use serde::{Deserialize, Serialize};

use super::Ask;
use crate::EvalError;

/// What stands between the messages of a conversation where it is kept as one text.
const BETWEEN: &str = "\u{1e}";

/// One answer, as the file holds it, a line each.
#[derive(Deserialize, Serialize)]
struct Line {
    asked: String,
    answer: String,
}

/// The file of answers.
pub(super) struct Kept {
    found: HashMap<String, String>,
    file: Option<(PathBuf, File)>,
}

impl Kept {
    /// Reads what is there. A last line that was cut short is asked again; other damage is an error.
    pub(super) fn open(path: Option<&Path>) -> Result<Kept, EvalError> {
        let Some(path) = path else { return Ok(Kept { found: HashMap::new(), file: None }) };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(EvalError::io(path, "read", error)),
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut found = HashMap::new();
        for (at, line) in text[..whole].lines().enumerate() {
            let line: Line = serde_json::from_str(line).map_err(|error| {
                let what = format!("is no answer that was kept: {error}");
                EvalError::content(&path.display().to_string(), at + 1, what)
                    .with_hint(phrase!["give another file for ", Setting::Cells])
            })?;
            found.insert(line.asked, line.answer);
        }
        let io = |error| EvalError::io(path, "write", error);
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
        if whole < text.len() {
            file.set_len(whole as u64).map_err(io)?;
        }
        Ok(Kept { found, file: Some((path.to_owned(), file)) })
    }

    /// The answer to `messages` that was kept, else the one that `ask` gets, which is kept from now on.
    pub(super) fn answer(&mut self, messages: Vec<Message>, ask: &mut Ask<'_>) -> Result<String, EvalError> {
        let asked: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
        let asked = asked.join(BETWEEN);
        if let Some(answer) = self.found.get(&asked) {
            return Ok(answer.clone());
        }
        let answer = ask(messages)?;
        if let Some((path, file)) = &mut self.file {
            let line = Line { asked: asked.clone(), answer: answer.clone() };
            let io = |error| EvalError::io(path, "write", error);
            let text = serde_json::to_string(&line).map_err(|error| io(error.into()))?;
            file.write_all(format!("{text}\n").as_bytes()).map_err(io)?;
        }
        self.found.insert(asked, answer.clone());
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crayon_engine::Role;

    #[test]
    fn nothing_is_asked_twice_and_a_cut_line_is_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept.jsonl");
        let mut asked = 0;
        let mut get = |kept: &mut Kept, texts: &[&str]| {
            let messages = texts.iter().map(|text| Message::new(Role::User, *text)).collect();
            let answered = kept.answer(messages, &mut |messages| {
                asked += 1;
                Ok(format!("{}! {asked}", messages.last().unwrap().content))
            });
            answered.unwrap()
        };
        let mut kept = Kept::open(Some(&path)).unwrap();
        assert_eq!((get(&mut kept, &["a\n"]), get(&mut kept, &["b"])), ("a\n! 1".into(), "b! 2".into()));
        assert_eq!((get(&mut kept, &["b"]), get(&mut kept, &["a", "b"])), ("b! 2".into(), "b! 3".into()));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 3]).unwrap();
        let mut kept = Kept::open(Some(&path)).unwrap();
        assert_eq!((get(&mut kept, &["a\n"]), get(&mut kept, &["a", "b"])), ("a\n! 1".into(), "b! 4".into()));
        let mut kept = Kept::open(Some(&path)).unwrap();
        assert_eq!(get(&mut kept, &["a", "b"]), "b! 4");
        std::fs::write(&path, "{}\n").unwrap();
        let error = Kept::open(Some(&path)).err().unwrap().to_string();
        assert!(error.contains("line 1: is no answer"), "{error}");
    }
}
