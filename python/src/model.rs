//! An open model.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crayon_answer::{Customization, MemoryRequest, Request};
use crayon_engine::{Engine, EngineError, ModelSource, Settings};
use crayon_text::{Message, Special};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::asked::{Options, Pot, Texts, messages};
use crate::customized::{Customized, Wanted};
use crate::error::Result;
use crate::session::Session;
use crate::talk::{Answer, Stream, Talk};

/// An open model.
///
/// `name` is "mini", "mini-gpt2", or the path of a GGUF file, a folder in Hugging Face's layout or a llama2.c file. `threads` are
/// those it runs on, all cores where it is None. `exact` keeps activations in 32 bits. `pot` is the memory that texts are read
/// through: a number of entries, or bytes such as "64MiB"; the model's window where it is None. A longer text is distilled.
#[pyclass(frozen, subclass, module = "crayon")]
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) engine: Arc<Engine>,
    /// What it answers through.
    pub(crate) custom: Arc<Customization>,
    pub(crate) memory: MemoryRequest,
}

impl Model {
    fn begin(&self, request: &Request) -> Result<Stream> {
        let talk = Talk::once(&self.engine, &self.custom, request)?;
        Ok(Stream::of(&Arc::new(Mutex::new(talk))))
    }

    fn request(&self, question: &Bound<'_, PyAny>, options: Option<&Bound<'_, PyDict>>) -> Result<Request> {
        let messages: Vec<Message> = messages(question)?;
        Ok(Options::read(options, false)?.request(messages, self.memory.clone()))
    }
}

/// The model called `name`: one of the built-in ones, else a path.
fn source(name: PathBuf) -> std::result::Result<ModelSource, EngineError> {
    match name.to_str().map(ModelSource::embedded) {
        Some(Ok(source)) => Ok(source),
        // A word that is no file was meant as a name.
        Some(Err(error))
            if !name.exists() && name.components().count() == 1 && name.extension().is_none() =>
        {
            Err(error)
        }
        _ => ModelSource::path(&name),
    }
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (name = PathBuf::from("mini"), *, threads = None, exact = false, pot = None))]
    fn new(
        py: Python<'_>,
        name: PathBuf,
        threads: Option<usize>,
        exact: bool,
        pot: Option<Pot>,
    ) -> Result<Model> {
        let memory = Pot::memory(pot, MemoryRequest::default())?;
        let settings = Settings { threads, exact, ..Settings::default() };
        let engine = py.detach(|| Engine::open(&source(name)?, &settings))?;
        Ok(Model { engine: Arc::new(engine), custom: Arc::default(), memory })
    }

    /// The name it was opened by.
    #[getter]
    fn name(&self) -> &str {
        self.engine.name()
    }

    /// Tokens of its window.
    #[getter]
    fn context(&self) -> usize {
        self.engine.spec().context
    }

    fn __repr__(&self) -> String {
        format!("<crayon.Model {:?}>", self.engine.name())
    }

    /// The answer to a question, or to a list of messages with `role` and `content`.
    ///
    /// `max_tokens` bounds the answer (256). `temperature` and `top_p` say how freely tokens are drawn, as the model's makers
    /// suggest where they are None; `seed` fixes what is drawn. The answer ends before any of `stop`. `system` are instructions in
    /// front of everything, `documents` texts in front of the question, of any length.
    #[pyo3(
        signature = (question, **options),
        text_signature = "($self, question, *, max_tokens=None, temperature=None, top_p=None, seed=None, stop=(), \
                          system=None, documents=())"
    )]
    fn ask(
        &self,
        py: Python<'_>,
        question: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> Result<Answer> {
        let request = self.request(question, options)?;
        py.detach(|| self.begin(&request)?.finish())
    }

    /// The same, piece by piece while it is written.
    #[pyo3(
        signature = (question, **options),
        text_signature = "($self, question, *, max_tokens=None, temperature=None, top_p=None, seed=None, stop=(), \
                          system=None, documents=())"
    )]
    fn stream(
        &self,
        py: Python<'_>,
        question: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> Result<Stream> {
        let request = self.request(question, options)?;
        py.detach(|| self.begin(&request))
    }

    /// A conversation, with instructions in front of it. `pot` is its memory, where it is another than the model's.
    #[pyo3(signature = (*, system = None, pot = None))]
    fn session(&self, py: Python<'_>, system: Option<String>, pot: Option<Pot>) -> Result<Session> {
        let memory = Pot::memory(pot, self.memory.clone())?;
        let model = Model { memory, ..self.clone() };
        py.detach(|| Session::begin(model, system))
    }

    /// Goes on with a session that was saved to `path`.
    fn resume(&self, py: Python<'_>, path: PathBuf) -> Result<Session> {
        py.detach(|| Session::resume(self.clone(), &path))
    }

    /// The best that a person's examples make of the model: a model that answers questions like them so, and others as before.
    ///
    /// `examples` are dicts with `prompt` and `answer`, pairs of them, or the path of a file with a JSON object a line. `effort` says
    /// what is tried: "instant" learns nothing, "fit" weighs the pool's adapters by the answers, "train" trains an adapter, "auto" ends
    /// where every example is answered right. `budget` is the time for it in seconds. `pool` is the path of a pool of adapters; None is
    /// the one built in for this model, if there is one. `seed` fixes everything random. With `force` every question is answered
    /// through it.
    #[pyo3(signature = (examples, *, effort = "auto", budget = 60.0, pool = None, seed = 0, force = false))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn customize(
        &self,
        py: Python<'_>,
        examples: &Bound<'_, PyAny>,
        effort: &str,
        budget: f64,
        pool: Option<PathBuf>,
        seed: u64,
        force: bool,
    ) -> Result<Py<Customized>> {
        let wanted = Wanted::read(examples, effort, budget, pool, seed, force)?;
        let (model, customized) = py.detach(|| wanted.find(self))?;
        Ok(Py::new(py, PyClassInitializer::from(model).add_subclass(customized))?)
    }

    /// The model with what `Customized.save` wrote, or with any adapter of PEFT for it.
    ///
    /// An adapter that does not know what it was made for answers every question, and so do all with `force`.
    #[pyo3(signature = (folder, *, force = false))]
    fn load(&self, py: Python<'_>, folder: PathBuf, force: bool) -> Result<Py<Customized>> {
        let (model, customized) = py.detach(|| Customized::load(self, &folder, force))?;
        Ok(Py::new(py, PyClassInitializer::from(model).add_subclass(customized))?)
    }

    /// A text as a vector of length 1, or a list of them for a list: the mean of the model's last states, as it is. Texts that are
    /// gone on with alike lie near to each other.
    fn embed<'py>(&self, py: Python<'py>, text: Texts) -> Result<Bound<'py, PyAny>> {
        let embed = |text: &str| {
            let tokenizer = self.engine.tokenizer()?;
            let mut tokens = tokenizer.encode(text, Special::Plain)?;
            tokens.splice(0..0, tokenizer.bos().filter(|_| tokenizer.add_bos()));
            self.engine.embed(&tokens)
        };
        text.map(py, embed)
    }
}
