//! The messages of a conversation, and the file they are saved in.

use std::path::Path;

use crayon_files::write_file;
use crayon_text::{Message, Role};
use serde::{Deserialize, Serialize};

use crate::failure::{Context, Result, fault, mistake};
use crate::input;

/// What the file calls itself.
const FORMAT: &str = "crayon-conversation";
/// Version of the file written, and the only one read.
const VERSION: u32 = 1;

/// Messages in order: perhaps a system text, then questions and answers by turns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Conversation {
    messages: Vec<Message>,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Saved {
    format: String,
    version: u32,
    /// The model it was held with; it may go on with another.
    #[serde(default)]
    model: Option<String>,
    messages: Vec<Message>,
}

impl Conversation {
    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Questions with their answers.
    pub(super) fn turns(&self) -> usize {
        self.messages.iter().filter(|message| message.role == Role::Assistant).count()
    }

    pub(super) fn system(&self) -> Option<&str> {
        self.messages.first().filter(|first| first.role == Role::System).map(|first| first.content.as_str())
    }

    pub(super) fn set_system(&mut self, text: &str) {
        let message = Message::new(Role::System, text);
        match self.messages.first_mut() {
            Some(first) if first.role == Role::System => *first = message,
            _ => self.messages.insert(0, message),
        }
    }

    /// Forgets questions and answers, keeps the system text.
    pub(super) fn forget_turns(&mut self) {
        self.messages.retain(|message| message.role == Role::System);
    }

    pub(super) fn ask(&mut self, text: &str) {
        self.messages.push(Message::new(Role::User, text));
    }

    pub(super) fn answer(&mut self, text: &str) {
        self.messages.push(Message::new(Role::Assistant, text));
    }

    /// The last question, where it has an answer.
    pub(super) fn last_question(&self) -> Option<&str> {
        let [.., question, answer] = &self.messages[..] else { return None };
        (answer.role == Role::Assistant).then_some(question.content.as_str())
    }

    /// Removes the last question and its answer.
    pub(super) fn take_back_turn(&mut self) {
        if self.last_question().is_some() {
            self.messages.truncate(self.messages.len() - 2);
        }
    }

    /// Removes a question that got no answer.
    pub(super) fn take_back(&mut self) {
        if self.messages.last().is_some_and(|last| last.role == Role::User) {
            self.messages.pop();
        }
    }

    /// Writes the conversation; a file that is something else is not replaced.
    pub(super) fn save(&self, path: &Path, model: &str) -> Result {
        let known = || input::file(path).and_then(|text| parse(&path.display().to_string(), &text)).is_ok();
        if path.exists() && !known() {
            return Err(mistake(
                format!("{} exists and is not a saved conversation", path.display()),
                "choose another name",
            ));
        }
        let mut text = self.to_json(model)?;
        text.push('\n');
        write_file(path, text.as_bytes()).context("cannot save the conversation")
    }

    /// The conversation as the file holds it.
    pub(super) fn to_json(&self, model: &str) -> Result<String> {
        let saved = Saved {
            format: FORMAT.to_owned(),
            version: VERSION,
            model: Some(model.to_owned()),
            messages: self.messages.clone(),
        };
        serde_json::to_string_pretty(&saved).map_err(fault)
    }

    /// Reads a saved conversation.
    pub(super) fn load(path: &Path) -> Result<Conversation> {
        Conversation::from_json(&path.display().to_string(), &input::file(path)?)
    }

    /// Reads what [`to_json`](Self::to_json) made; `name` is told in errors.
    pub(super) fn from_json(name: &str, text: &str) -> Result<Conversation> {
        let conversation = Conversation { messages: parse(name, text)?.messages };
        match conversation.problem() {
            None => Ok(conversation),
            Some(problem) => {
                let hint = "after a system text, messages of user and assistant take turns, user first";
                Err(mistake(format!("{name}: {problem}"), hint))
            }
        }
    }

    /// The model that a saved conversation was held with, where that is known.
    pub(super) fn model_of(text: &str) -> Option<String> {
        parse("", text).ok()?.model
    }

    /// What is wrong with the order of the messages.
    fn problem(&self) -> Option<String> {
        let turns = self.messages.iter().skip(usize::from(self.system().is_some()));
        let mut count = 0;
        for (turn, message) in turns.enumerate() {
            let expected = if turn % 2 == 0 { Role::User } else { Role::Assistant };
            if message.role != expected {
                return Some(format!("message {} is of {:?}, not of {expected:?}", turn + 1, message.role));
            }
            count += 1;
        }
        (count % 2 == 1).then(|| "the last question has no answer".to_owned())
    }
}

fn parse(name: &str, text: &str) -> Result<Saved> {
    let hint = "/load reads what /save wrote";
    let saved: Saved = serde_json::from_str(text)
        .map_err(|error| mistake(format!("{name} is not a saved conversation: {error}"), hint))?;
    if saved.format != FORMAT {
        return Err(mistake(format!("{name} is not a saved conversation but {:?}", saved.format), hint));
    }
    if saved.version != VERSION {
        let found = saved.version;
        return Err(mistake(
            format!("{name} is a conversation of version {found}; this program reads version {VERSION}"),
            "a newer crayon may read it",
        ));
    }
    Ok(saved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk() -> Conversation {
        let mut talk = Conversation::default();
        talk.ask("hello");
        talk.answer("hi");
        talk.set_system("be kind");
        talk
    }

    #[test]
    fn the_system_text_stays_first_and_survives_a_reset() {
        let mut talk = talk();
        assert_eq!(talk.system(), Some("be kind"));
        talk.set_system("be brief");
        assert_eq!((talk.system(), talk.len()), (Some("be brief"), 3));
        talk.ask("again?");
        talk.take_back();
        assert_eq!((talk.len(), talk.last_question()), (3, Some("hello")));
        talk.forget_turns();
        assert_eq!((talk.system(), talk.len()), (Some("be brief"), 1));
    }

    #[test]
    fn the_last_turn_is_taken_back_whole() {
        let mut talk = talk();
        talk.take_back_turn();
        assert_eq!((talk.len(), talk.last_question()), (1, None));
        talk.take_back_turn();
        assert_eq!(talk.len(), 1);
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        talk().save(&path, "mini").unwrap();
        assert_eq!(Conversation::load(&path).unwrap(), talk());
        // A second save replaces the first.
        talk().save(&path, "mini").unwrap();
    }

    #[test]
    fn other_files_are_neither_loaded_nor_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let message = |r#type: &str, role: &str| {
            format!(r#"{{"format":"{type}","version":1,"messages":[{{"role":"{role}","content":"x"}}]}}"#)
        };
        for (text, expected) in [
            ("my diary".to_owned(), "is not a saved conversation"),
            (message("other", "user"), "is not a saved conversation but"),
            (message(FORMAT, "assistant"), "message 1 is of Assistant"),
            (message(FORMAT, "user"), "the last question has no answer"),
            (message(FORMAT, "user").replace(":1", ":2"), "version 2"),
            (message(FORMAT, "robot"), "unknown variant"),
        ] {
            std::fs::write(&path, &text).unwrap();
            let error = Conversation::load(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        std::fs::write(&path, "my diary").unwrap();
        assert!(talk().save(&path, "mini").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "my diary");
    }
}
