//! A server's answers, kept as they come, so that a measurement that was stopped goes on where it was.

use std::collections::HashMap;
use std::path::Path;

use crayon_engine::Message;
use serde::{Deserialize, Serialize};

use super::Ask;
use crate::EvalError;
use crate::appended::Appended;

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
    file: Option<Appended>,
}

impl Kept {
    /// Reads what is there. A last line that was cut short is asked again; other damage is an error.
    pub(super) fn open(path: Option<&Path>) -> Result<Kept, EvalError> {
        let mut found = HashMap::new();
        let mut add = |line: Line| drop(found.insert(line.asked, line.answer));
        let file = path.map(|path| Appended::open(path, "an answer that was kept", &mut add)).transpose()?;
        Ok(Kept { found, file })
    }

    /// The answer to `messages` that was kept, else the one that `ask` gets, which is kept from now on.
    pub(super) fn answer(&mut self, messages: Vec<Message>, ask: &mut Ask<'_>) -> Result<String, EvalError> {
        let asked: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
        let asked = asked.join(BETWEEN);
        if let Some(answer) = self.found.get(&asked) {
            return Ok(answer.clone());
        }
        let answer = ask(messages)?;
        if let Some(file) = &mut self.file {
            file.keep(&Line { asked: asked.clone(), answer: answer.clone() })?;
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
        assert!(error.contains("line 1: is not an answer"), "{error}");
    }
}
