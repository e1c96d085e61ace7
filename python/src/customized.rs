//! What a person's examples make of a model.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crayon_answer::{Blend, BlendRequest, Customization};
use crayon_customize::{Climbed, Effort, Given, Members, Note, Request, Rung, climb};
use crayon_engine::adapters::{
    AdapterError, Demonstration, Example, Examples, Form, Lora, Scope, peft, read_demonstrations,
    remove_demonstrations, write_demonstrations,
};
use crayon_engine::{Adapter, Engine};
use pyo3::prelude::*;

use crate::error::{Failure, Result, spell};
use crate::interrupt::Interrupt;
use crate::json;
use crate::model::Model;

/// A candidate, judged by the examples.
#[pyclass(frozen, get_all, module = "crayon")]
#[derive(Clone)]
pub(crate) struct Tried {
    /// "base", "blend", "nearest", "fitted", "prompt" or "trained".
    name: &'static str,
    /// Examples it answers right,
    right: usize,
    /// of so many.
    of: usize,
    /// Mean loss of the answers, in nats a token.
    loss: f64,
    /// Time it took to make and to judge it.
    seconds: f64,
}

#[pymethods]
impl Tried {
    fn __repr__(&self) -> String {
        let Tried { name, right, of, loss, seconds } = self;
        format!("<crayon.Tried {name}: {right} of {of}, loss {loss:.2}, {seconds:.2} s>")
    }
}

impl From<&crayon_customize::Tried> for Tried {
    fn from(tried: &crayon_customize::Tried) -> Tried {
        Tried {
            name: tried.rung.name(),
            right: tried.right(),
            of: tried.of(),
            loss: tried.loss(),
            seconds: tried.seconds,
        }
    }
}

/// A model with what examples made of it, made by `Model.customize` and `Model.load`. `print` shows what was tried.
#[pyclass(frozen, extends = Model, module = "crayon")]
pub(crate) struct Customized {
    /// What was tried, the simplest first.
    #[pyo3(get)]
    tried: Vec<Tried>,
    /// The name of what was taken; None for what was loaded.
    #[pyo3(get)]
    chosen: Option<&'static str>,
    /// What should be known about it.
    #[pyo3(get)]
    notes: Vec<String>,
    parts: Parts,
}

/// What is saved.
struct Parts {
    lora: Option<Lora>,
    /// Examples in the prompt, in place of an adapter.
    demonstrations: Vec<Demonstration>,
    /// What it is for; always where that is not known.
    scope: Option<Scope>,
}

impl Parts {
    /// `model`, answering through this.
    fn beside(&self, model: &Model, force: bool) -> Result<Model> {
        let adapter = match &self.lora {
            Some(lora) => Some(Arc::new(lora.clone().attach(model.engine.spec())?) as Arc<dyn Adapter>),
            None => None,
        };
        let custom = match (&adapter, self.demonstrations.as_slice()) {
            (None, []) => Customization::default(),
            (_, demonstrations) => {
                let scope = self.scope.clone().filter(|_| !force);
                Customization::kept(Vec::new(), scope, adapter, demonstrations.to_vec(), None)
            }
        };
        Ok(Model { custom: Arc::new(custom), ..model.clone() })
    }
}

/// What is asked of `customize`.
pub(crate) struct Wanted {
    examples: Vec<Example>,
    effort: Effort,
    budget: Duration,
    pool: Option<PathBuf>,
    seed: u64,
    force: bool,
}

impl Wanted {
    pub(crate) fn read(
        examples: &Bound<'_, PyAny>,
        effort: &str,
        budget: f64,
        pool: Option<PathBuf>,
        seed: u64,
        force: bool,
    ) -> Result<Wanted> {
        let effort = Effort::from_name(effort).ok_or_else(|| {
            Failure::mistake(format!("{effort:?} is not an effort"), "known are instant, fit, train and auto")
        })?;
        let budget = Duration::try_from_secs_f64(budget).map_err(|_| {
            Failure::mistake(format!("`budget` must be 0 or more, not {budget}"), "60 is usual")
        })?;
        Ok(Wanted { examples: read(examples)?, effort, budget, pool, seed, force })
    }

    /// Tries what there is, and takes the simplest that is good.
    pub(crate) fn find(self, model: &Model) -> Result<(Model, Customized)> {
        let (engine, examples) = (&*model.engine, &self.examples);
        let pool = match &self.pool {
            Some(path) => Some(engine.open_pool(path)?),
            None => engine.built_in_pool()?,
        };
        let mut notes = Vec::new();
        let (mut blend, mut blended) = (None, None);
        match &pool {
            None => notes.push(Note::NoPool),
            Some(pool) => {
                let given = examples.iter().cloned().map(Ok);
                let scored = Blend::score(engine, &pool.catalogue(), given, &BlendRequest::default())?;
                let lora = pool.blend(&scored.sent, pool.temperature, Form::Exact, engine.threads())?.lora;
                (blend, blended) = (Some(scored), Some(lora));
            }
        }
        let loras: Vec<&Lora> =
            pool.iter().flat_map(|pool| &pool.members).map(|member| &member.lora).collect();
        let request = Request {
            blend: blended.as_ref(),
            members: blend.as_ref().map(|blend| Members { loras: &loras, weights: &blend.weights }),
            effort: self.effort,
            budget: self.budget,
            seed: self.seed,
            folder: None,
        };
        let given = Given::new(engine, examples)?;
        let mut interrupt = Interrupt::new();
        let climbed = climb(engine, &given, &request, &mut |_| interrupt.flow());
        let climbed = interrupt.result(climbed)?;
        notes.extend(given.notes.into_iter().chain(climbed.notes));

        let Climbed { tried, mut chosen, mut lora, demonstrations, .. } = climbed;
        if tried.is_empty() && blend.is_some_and(|blend| blend.used()) {
            // Without answers to judge by, nearness decides.
            (chosen, lora) = (Rung::Blend, blended);
        }
        if let Some(lora) = &mut lora {
            lora.base = Some(engine.checkpoint().fingerprint());
            lora.base_name = Some(engine.name().to_owned());
        }
        let scope = engine.scope(examples.iter().map(|example| example.prompt.as_str()))?;
        let parts = Parts { lora, demonstrations, scope: Some(scope) };
        let customized = Customized {
            tried: tried.iter().map(Tried::from).collect(),
            chosen: Some(chosen.name()),
            notes: notes.iter().map(|note| spell(&note.phrase())).collect(),
            parts,
        };
        Ok((customized.parts.beside(model, self.force)?, customized))
    }
}

/// Examples as Python has them: in a file, or as pairs and dicts.
fn read(examples: &Bound<'_, PyAny>) -> Result<Vec<Example>> {
    if let Ok(path) = examples.extract::<PathBuf>() {
        return Ok(Examples::open(&path)?.collect::<std::result::Result<_, AdapterError>>()?);
    }
    let mut read = Vec::new();
    for (at, example) in examples.try_iter()?.enumerate() {
        let (example, line) = (example?, at + 1);
        read.push(match example.extract::<(String, String)>() {
            Ok((prompt, answer)) => {
                Example { prompt, answer: Some(answer), task: None, choices: Vec::new(), line }
            }
            Err(_) => Example::from_value(&json::from_python(&example)?, line).map_err(|what| {
                let hint = "an example is (prompt, answer), or {\"prompt\": \"…\", \"answer\": \"…\"}";
                Failure::mistake(format!("example {line} {what}"), hint)
            })?,
        });
    }
    match read.is_empty() {
        true => Err(Failure::mistake("there are no examples", "eight and more tell better from worse")),
        false => Ok(read),
    }
}

impl Customized {
    pub(crate) fn load(model: &Model, folder: &Path, force: bool) -> Result<(Model, Customized)> {
        let engine: &Engine = &model.engine;
        let demonstrations = read_demonstrations(folder)?;
        let lora = match demonstrations {
            Some(_) => None,
            None => Some(engine.read_adapter(folder)?),
        };
        let scope = Scope::read(folder, engine.checkpoint())?;
        let left_out = lora.iter().flat_map(|lora| &lora.left_out);
        let notes =
            left_out.map(|module| format!("{module} is for another part of the model, and is left out"));
        let notes = notes.collect();
        let parts = Parts { lora, demonstrations: demonstrations.unwrap_or_default(), scope };
        let customized = Customized { tried: Vec::new(), chosen: None, notes, parts };
        Ok((customized.parts.beside(model, force)?, customized))
    }

    fn write(&self, engine: &Engine, folder: &Path) -> Result<()> {
        let Parts { lora, demonstrations, scope } = &self.parts;
        match lora {
            Some(lora) => {
                peft::write(folder, lora, engine.spec())?;
                remove_demonstrations(folder)?;
            }
            None if demonstrations.is_empty() => {
                let hint = "`chosen` is \"base\": use the model itself";
                return Err(Failure::mistake(
                    "the model is best as it is, so there is nothing to save",
                    hint,
                ));
            }
            None => write_demonstrations(folder, demonstrations)?,
        }
        match scope {
            Some(scope) => Ok(scope.write(folder, &engine.checkpoint().fingerprint())?),
            None => Ok(()),
        }
    }
}

#[pymethods]
impl Customized {
    /// Writes an adapter as PEFT has them into a folder, or the examples for the prompt, and what it is for. `Model.load` and
    /// `crayon ask -a` take it.
    fn save(this: PyRef<'_, Self>, py: Python<'_>, folder: PathBuf) -> Result<()> {
        let (engine, this) = (this.as_super().engine.clone(), &*this);
        py.detach(|| this.write(&engine, &folder))
    }

    fn __str__(&self) -> String {
        let row = |tried: &Tried| {
            let Tried { name, right, of, loss, seconds } = tried;
            let mark = if self.chosen == Some(name) { "  chosen" } else { "" };
            format!("{name:<8} {right:>3} of {of:<3}  loss {loss:<5.2} {seconds:>6.2} s{mark}")
        };
        self.tried.iter().map(row).collect::<Vec<_>>().join("\n")
    }
}
