//! What Python gives, as the library takes it.

use crayon_answer::{Input, MemoryRequest, MemorySize, Request};
use crayon_engine::SamplingOverrides;
use crayon_text::{Message, Role};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{Failure, Result};
use crate::json;

/// What an answer is asked for like.
#[derive(Default)]
pub(crate) struct Options {
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    seed: Option<u64>,
    stop: Vec<String>,
    system: Option<String>,
    documents: Vec<String>,
}

impl Options {
    /// Reads keyword arguments. A session is told `system` when it begins, and documents one by one: it takes neither here.
    pub(crate) fn read(given: Option<&Bound<'_, PyDict>>, session: bool) -> PyResult<Options> {
        let mut options = Options::default();
        for (name, value) in given.into_iter().flatten() {
            let name: String = name.extract()?;
            let read = match name.as_str() {
                "max_tokens" => value.extract().map(|value| options.max_tokens = value),
                "temperature" => value.extract().map(|value| options.temperature = value),
                "top_p" => value.extract().map(|value| options.top_p = value),
                "seed" => value.extract().map(|value| options.seed = value),
                "stop" => texts(&value).map(|value| options.stop = value),
                "system" if !session => value.extract().map(|value| options.system = value),
                "documents" if !session => texts(&value).map(|value| options.documents = value),
                _ => return Err(PyTypeError::new_err(format!("unexpected keyword argument '{name}'"))),
            };
            read.map_err(|error| {
                PyTypeError::new_err(format!("argument '{name}': {}", error.value(value.py())))
            })?;
        }
        Ok(options)
    }

    /// A request for an answer that follows `messages`, read through `memory`.
    pub(crate) fn request(self, mut messages: Vec<Message>, memory: MemoryRequest) -> Request {
        if let Some(system) = self.system {
            messages.insert(0, Message::new(Role::System, system));
        }
        Request {
            documents: self.documents,
            sampling: SamplingOverrides {
                temperature: self.temperature,
                top_p: self.top_p,
                ..SamplingOverrides::default()
            },
            seed: self.seed,
            max_tokens: self.max_tokens,
            stop: self.stop,
            memory,
            ..Request::new(Input::Chat(messages))
        }
    }
}

/// One text or several.
#[derive(FromPyObject)]
pub(crate) enum Texts {
    One(String),
    Several(Vec<String>),
}

impl Texts {
    /// What `work` makes of it: one thing for one text, a list for several.
    pub(crate) fn map<'py, T, E>(
        &self,
        py: Python<'py>,
        work: impl Fn(&str) -> std::result::Result<T, E> + Sync,
    ) -> Result<Bound<'py, PyAny>>
    where
        T: IntoPyObjectExt<'py> + Send,
        E: Into<Failure> + Send,
    {
        Ok(match self {
            Texts::One(text) => py.detach(|| work(text)).map_err(Into::into)?.into_bound_py_any(py)?,
            Texts::Several(texts) => {
                let made = py.detach(|| {
                    texts.iter().map(|text| work(text)).collect::<std::result::Result<Vec<T>, E>>()
                });
                made.map_err(Into::into)?.into_bound_py_any(py)?
            }
        })
    }
}

fn texts(value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    Ok(match value.extract()? {
        Texts::One(text) => vec![text],
        Texts::Several(texts) => texts,
    })
}

/// A question, or a conversation that ends in one: dicts with `role` and `content`.
pub(crate) fn messages(value: &Bound<'_, PyAny>) -> Result<Vec<Message>> {
    if let Ok(question) = value.extract::<String>() {
        return Ok(vec![Message::new(Role::User, question)]);
    }
    serde_json::from_value(json::from_python(value)?).map_err(|error| {
        let hint =
            "a question is a text, or a list of messages like {\"role\": \"user\", \"content\": \"…\"}";
        Failure::mistake(format!("the messages cannot be read: {error}"), hint)
    })
}

/// A memory of fixed size: entries (`1024`) or bytes (`"64MiB"`).
#[derive(FromPyObject)]
pub(crate) enum Pot {
    Entries(usize),
    Size(String),
}

impl Pot {
    /// What is asked of the memory where `pot` is given, else `otherwise`.
    pub(crate) fn memory(pot: Option<Pot>, otherwise: MemoryRequest) -> Result<MemoryRequest> {
        let size = match pot {
            None => return Ok(otherwise),
            Some(Pot::Entries(entries)) => MemorySize::Entries(entries),
            Some(Pot::Size(text)) => {
                let hint = "a pot is a number of entries, or memory such as \"64MiB\"";
                text.parse().map_err(|error: String| Failure::mistake(error, hint))?
            }
        };
        Ok(MemoryRequest { size: Some(size), ..otherwise })
    }
}
