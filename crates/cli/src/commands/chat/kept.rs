//! How a conversation is written down and gone on with: as messages, or as a session with the model's memory.

use std::path::{Path, PathBuf};

use crayon_engine::{EngineError, PotError};

use super::conversation::Conversation;
use super::{Chat, Step, sessions};
use crate::failure::{Context as _, Result, mistake};
use crate::output::Output;
use crate::show;

impl Chat<'_> {
    /// `/save`: under a name from now on, or once to a file.
    pub(super) fn save(&mut self, text: &str, output: &Output) -> Result<Step> {
        let path = sessions::file(text)?;
        if sessions::is_name(text) {
            if path.exists() && self.file.as_deref() != Some(&path) {
                return Err(mistake(
                    format!("there is a session called {text} already"),
                    format!("choose another name, or /delete {text} first"),
                ));
            }
            self.keep(&path)?;
            output.aside(&format!("{} are kept as session {text} from now on", self.messages()));
            self.file = Some(path);
        } else if is_session(&path) {
            self.keep(&path)?;
            output.aside(&format!("saved {} and its memory to {}", self.messages(), path.display()));
        } else {
            self.conversation.save(&path, self.engine.name())?;
            output.aside(&format!("saved {} to {}", self.messages(), path.display()));
        }
        Ok(Step::Next)
    }

    /// `/load`: a session by name, which is kept from now on, or a file.
    pub(super) fn load(&mut self, text: &str, output: &Output) -> Result<Step> {
        if sessions::is_name(text) {
            let path = sessions::existing(text)?;
            self.resume(&path, output)?;
            self.file = Some(path);
            return Ok(Step::Next);
        }
        let path = PathBuf::from(text);
        match is_session(&path) {
            true => self.resume(&path, output)?,
            false => self.load_messages(&path, output)?,
        }
        Ok(Step::Next)
    }

    /// `/delete`: a session other than this one.
    pub(super) fn delete(&mut self, name: &str, output: &Output) -> Result<Step> {
        if self.file.is_some() && self.file == sessions::file(name).ok() {
            return Err(mistake(
                format!("this conversation is session {name}"),
                format!("leave it, then `crayon chat --delete-session {name}`"),
            ));
        }
        let bytes = sessions::delete(name)?;
        output.aside(&format!("session {name} is deleted: {}", show::bytes(bytes)));
        Ok(Step::Next)
    }

    pub(super) fn load_messages(&mut self, path: &Path, output: &Output) -> Result {
        self.conversation = Conversation::load(path)?;
        self.last = None;
        output.aside(&format!("loaded {} from {}", self.messages(), path.display()));
        Ok(())
    }

    /// Writes the conversation with its keys and values.
    pub(super) fn keep(&mut self, path: &Path) -> Result {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
            && crate::answering::sessions_folder().is_ok_and(|ours| ours == folder)
        {
            std::fs::create_dir_all(folder).context(folder.display())?;
        }
        let note = self.conversation.to_json(&self.model)?;
        Ok(self.session.save(path, &note)?)
    }

    /// Goes on with what [`keep`](Self::keep) wrote.
    pub(super) fn resume(&mut self, path: &Path, output: &Output) -> Result {
        let resumed = self.engine.resume_through(path, self.custom.adapter());
        let (session, saved) = resumed.map_err(|error| match (&error, sessions::model_of(path)) {
            (EngineError::Pot(pot), Some(model)) if is_other_model(pot) => mistake(
                format!("{} was saved with another model, {model}", sessions::called(path)),
                format!("-m {model} is the model it was saved with"),
            ),
            _ => error.into(),
        })?;
        let shape = saved.options.as_ref().map(|options| (options.entries, options.policy.as_str()));
        let memory = &self.request.memory;
        let asked = (memory.entries(self.engine), memory.policy.as_deref().unwrap_or_default());
        if memory.size.is_some() && shape != Some(asked) {
            let (now, held) = (format!("{} of {}", asked.1, asked.0), shape);
            let held =
                held.map_or("a full cache".to_owned(), |(entries, policy)| format!("{policy} of {entries}"));
            return Err(mistake(
                format!("{} was saved with another pot: {held}, now {now}", path.display()),
                "leave out --pot and --policy to go on as it was",
            ));
        }
        self.conversation = Conversation::from_json(&path.display().to_string(), &saved.note)?;
        self.session = session;
        self.last = None;
        output.aside(&format!(
            "goes on with {} from {}, {} tokens read",
            self.messages(),
            sessions::called(path),
            show::count(saved.tokens),
        ));
        Ok(())
    }
}

fn is_other_model(error: &PotError) -> bool {
    matches!(error, PotError::Other { what: "model", .. })
}

/// Whether a file is one of a session with its memory rather than of the messages alone.
fn is_session(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "pot")
}
