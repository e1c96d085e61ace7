//! A conversation that keeps what it has read.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crayon_answer::Request;
use crayon_text::{Message, Role, with_documents};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::{Value, json};

use crate::asked::Options;
use crate::error::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::json::to_python;
use crate::model::Model;
use crate::talk::{Answer, Stream, Talk, lock};

/// A conversation with a model, made by `Model.session`. What it has read it does not read again.
#[pyclass(frozen, module = "crayon")]
pub(crate) struct Session {
    model: Model,
    said: Mutex<Said>,
    talk: Arc<Mutex<Talk>>,
}

/// What was said. It is locked before the talk is.
struct Said {
    messages: Vec<Message>,
    /// Texts in front of the next question.
    documents: Vec<String>,
    /// The last question, until its answer is known.
    asked: Option<String>,
}

impl Session {
    pub(crate) fn begin(model: Model, system: Option<String>) -> Result<Session> {
        let memory = &model.memory;
        let talk = Talk::new(&model.engine, |engine| match memory.size {
            Some(_) => Ok(engine.pot_session(memory.options(engine, None, false, &[])?, 0)?),
            None => Ok(engine.session(memory.entries(engine))?),
        })?;
        let messages = system.into_iter().map(|text| Message::new(Role::System, text)).collect();
        Ok(Session::new(model, talk, messages))
    }

    pub(crate) fn resume(model: Model, path: &Path) -> Result<Session> {
        let mut note = String::new();
        let talk = Talk::new(&model.engine, |engine| {
            let (session, saved) = engine.resume_through(path, model.custom.adapter())?;
            note = saved.note;
            Ok(session)
        })?;
        let saved: Value = serde_json::from_str(&note).unwrap_or_default();
        let messages = serde_json::from_value(saved["messages"].clone()).map_err(|_| {
            let path = path.display();
            Failure::mistake(
                format!("{path} does not say what was said in it"),
                "it was saved by another program",
            )
        })?;
        Ok(Session::new(model, talk, messages))
    }

    fn new(model: Model, talk: Talk, messages: Vec<Message>) -> Session {
        let said = Mutex::new(Said { messages, documents: Vec::new(), asked: None });
        Session { model, said, talk: Arc::new(Mutex::new(talk)) }
    }

    fn write(&self, question: String, options: Options) -> Result<Stream> {
        let (mut said, mut talk) = (lock(&self.said), lock(&self.talk));
        self.settle(&mut said, &mut talk);
        talk.begin(&self.model.custom, &self.request(&said, &question, options))?;
        said.asked = Some(question);
        drop(talk);
        Ok(Stream::of(&self.talk))
    }

    /// What is asked with `question`.
    fn request(&self, said: &Said, question: &str, options: Options) -> Request {
        let mut messages = said.messages.clone();
        messages.push(Message::new(Role::User, question));
        let request = options.request(messages, self.model.memory.clone());
        Request { documents: said.documents.clone(), ..request }
    }

    /// Ends the last answer and writes down what was said, as the model has read it. A question without an answer was not asked.
    fn settle(&self, said: &mut Said, talk: &mut Talk) {
        talk.leave();
        let (asked, answer) = (said.asked.take(), talk.take_text());
        let Some(question) = asked.filter(|_| !answer.trim().is_empty()) else { return };
        let documents = std::mem::take(&mut said.documents);
        let question = Message::new(Role::User, question);
        match self.model.engine.frame() {
            // A frame has documents in front of the question's label, where it has instructions too.
            Some(_) => {
                let documents = documents.into_iter().map(|text| Message::new(Role::System, text));
                said.messages.extend(documents.chain([question]));
            }
            None => {
                let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
                said.messages.extend(with_documents(&documents, &[question]));
            }
        }
        said.messages.push(Message::new(Role::Assistant, answer.trim()));
    }

    fn read(&self, text: &str, about: Option<&str>) -> Result<()> {
        let (mut said, mut talk) = (lock(&self.said), lock(&self.talk));
        self.settle(&mut said, &mut talk);
        said.documents.push(text.trim().to_owned());
        // It ends where prompts with different questions part.
        let [one, other] = ["?", "Who?"].map(|question| self.request(&said, question, Options::default()));
        let mut interrupt = Interrupt::new();
        let read = talk.read(&self.model.custom, [&one, &other], about, &mut interrupt);
        let read = interrupt.result(read);
        if read.is_err() {
            said.documents.pop();
        }
        read
    }
}

#[pymethods]
impl Session {
    /// Reads a text of any length, which the next question is about. It is read now, so that the answer comes sooner.
    ///
    /// What a pot keeps of it is what matters in general, or for the question `about`.
    #[pyo3(signature = (text, *, about = None))]
    fn feed(&self, py: Python<'_>, text: &str, about: Option<&str>) -> Result<()> {
        py.detach(|| self.read(text, about))
    }

    /// The answer to a question. The keywords are those of `Model.ask`, without `system` and `documents`.
    #[pyo3(
        signature = (question, **options),
        text_signature = "($self, question, *, max_tokens=None, temperature=None, top_p=None, seed=None, stop=())"
    )]
    fn ask(&self, py: Python<'_>, question: String, options: Option<&Bound<'_, PyDict>>) -> Result<Answer> {
        let options = Options::read(options, true)?;
        py.detach(|| self.write(question, options)?.finish())
    }

    /// The same, piece by piece while it is written.
    #[pyo3(
        signature = (question, **options),
        text_signature = "($self, question, *, max_tokens=None, temperature=None, top_p=None, seed=None, stop=())"
    )]
    fn stream(
        &self,
        py: Python<'_>,
        question: String,
        options: Option<&Bound<'_, PyDict>>,
    ) -> Result<Stream> {
        let options = Options::read(options, true)?;
        py.detach(|| self.write(question, options))
    }

    /// What was said: dicts with `role` and `content`.
    #[getter]
    fn messages<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        let messages = py.detach(|| {
            let (mut said, mut talk) = (lock(&self.said), lock(&self.talk));
            if !talk.is_writing() {
                self.settle(&mut said, &mut talk);
            }
            said.messages.clone()
        });
        Ok(to_python(py, &messages)?)
    }

    /// Tokens read and written so far.
    #[getter]
    fn tokens(&self, py: Python<'_>) -> usize {
        py.detach(|| lock(&self.talk).with(|session| session.tokens().len()))
    }

    /// Those of them that are in memory: a pot distils the others away.
    #[getter]
    fn kept(&self, py: Python<'_>) -> usize {
        py.detach(|| lock(&self.talk).with(|session| session.pot().kept()))
    }

    /// Keeps the conversation and its memory in a file, for `Model.resume` and `crayon chat --session`.
    fn save(&self, py: Python<'_>, path: PathBuf) -> Result<()> {
        py.detach(|| {
            let (mut said, mut talk) = (lock(&self.said), lock(&self.talk));
            self.settle(&mut said, &mut talk);
            let (model, messages) = (self.model.engine.name(), &said.messages);
            let note =
                json!({"format": "crayon-conversation", "version": 1, "model": model, "messages": messages});
            Ok(talk.with(|session| session.save(&path, &note.to_string()))?)
        })
    }
}
