//! How well a model serves a person after a few examples: a pool's blend beside what else could be done with them.
//!
//! A *user* is a task that the pool was not trained on, with a few examples from its train split and questions from its test
//! split. Every method gets the same examples and questions. A result is a [`Cell`]; finished cells are kept in a file, so that
//! a benchmark that was stopped goes on.

mod cells;
#[cfg(feature = "train")]
mod lorahub;
mod methods;
#[cfg(feature = "train")]
mod trained;
#[cfg(not(feature = "train"))]
#[path = "untrained.rs"]
mod trained;
mod users;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crayon_adapters::{Arrow, Form, Keys, Pool, QueryEncoder, QueryMean, Sample, Stack, weights};
use crayon_engine::{Adapter, Engine, EngineError};
use serde::Serialize;

use crate::choice::{Framing, asked};
use crate::tasks::Example;
use crate::{EvalError, Progress};
pub use cells::Cell;
use cells::Cells;
pub use methods::Method;
use trained::Trainer;
use users::User;

/// What is compared.
#[derive(Clone, Debug)]
pub struct CustomizeOptions {
    /// Folder with a folder for each user: `train.jsonl` and `test.jsonl`, lines of prompt, choices and answer.
    pub users: PathBuf,
    /// One adapter trained on all of the pool's data, as a pool of one.
    pub joint: Option<PathBuf>,
    /// What is done with the examples.
    pub methods: Vec<Method>,
    /// Numbers of examples.
    pub sizes: Vec<usize>,
    /// Draws of the examples at each size.
    pub seeds: u64,
    /// Questions of each user at most.
    pub questions: usize,
    /// Temperature of the blend; the pool's when `None`.
    pub temperature: Option<f32>,
    /// How the blend is held.
    pub form: Form,
    /// Learning rate of an adapter that is trained on a user's examples; its rank is the pool's.
    pub oracle_rate: f64,
    /// Steps of that training.
    pub oracle_steps: usize,
    /// File with finished cells, one JSON object a line.
    pub cells: Option<PathBuf>,
    /// Tells pools and settings apart in that file.
    pub label: String,
}

/// The comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Customized {
    /// One result for each user, method, size and seed.
    pub rows: Vec<Cell>,
    /// Adapters of the pool.
    pub adapters: usize,
    /// Their rank.
    pub rank: usize,
    /// Questions of each user at most.
    pub questions: usize,
}

/// What all users share.
struct Bench<'a> {
    options: &'a CustomizeOptions,
    pool: &'a Pool,
    stack: Arc<Stack>,
    arrow: Arrow,
    joint: Option<Arc<Stack>>,
    encoder: QueryEncoder,
    trainer: Trainer,
}

/// An adapter for a user and what it cost.
struct Made {
    adapter: Option<Arc<dyn Adapter>>,
    /// Examples in front of each question.
    shown: Vec<Example>,
    millis: f64,
    bytes_up: usize,
    bytes_down: usize,
    /// Cells of one user with the same note have the same answers.
    same: Option<String>,
}

impl Made {
    fn of(adapter: Option<Arc<dyn Adapter>>) -> Made {
        Made { adapter, shown: Vec::new(), millis: 0.0, bytes_up: 0, bytes_down: 0, same: None }
    }
}

/// Asks every user's questions after every method. Nothing is fitted to questions.
///
/// # Errors
/// When a method trains and this program was built without training, a user's file cannot be read or has too few examples, the joint adapter does not belong to the model, or `progress`
/// stops it; finished cells are kept.
pub fn customize(
    engine: &mut Engine,
    pool: &Pool,
    options: &CustomizeOptions,
    progress: &mut Progress<'_>,
) -> Result<Customized, EvalError> {
    if let Some(method) = options.methods.iter().find(|method| method.trains() && !cfg!(feature = "train")) {
        return Err(EvalError::NoTraining { method: method.name() });
    }
    let users = users::read(&options.users, options.questions)?;
    let mut cells = Cells::open(options.cells.as_deref())?;
    let stack = Arc::new(pool.stack(engine.spec(), engine.threads()).map_err(EngineError::from)?);
    let joint = match &options.joint {
        Some(path) => {
            let joint = Pool::open(path, engine.checkpoint(), engine.name()).map_err(EngineError::from)?;
            Some(Arc::new(joint.stack(engine.spec(), engine.threads()).map_err(EngineError::from)?))
        }
        None => None,
    };
    let mut bench = Bench {
        options,
        pool,
        arrow: Arrow::new(pool, Arc::clone(&stack)).map_err(EngineError::from)?,
        stack,
        joint,
        encoder: engine.query_encoder()?,
        trainer: Trainer::default(),
    };
    let plan = options.plan(&users);
    let mut rows = Vec::with_capacity(plan.len());
    let mut known: HashMap<String, f64> = HashMap::new();
    for (done, (user, method, size, seed)) in plan.iter().enumerate() {
        let key = format!("{} {} {method} {size} {seed} {}", options.label, user.name, options.questions);
        let cell = match cells.find(&key) {
            Some(cell) => cell,
            None => {
                let cell = bench.cell(engine, user, *method, *size, *seed, &mut known)?;
                cells.keep(&key, &cell)?;
                cell
            }
        };
        rows.push(cell);
        if progress(done + 1, plan.len()) == ControlFlow::Break(()) {
            return Err(EngineError::Cancelled.into());
        }
    }
    engine.set_adapter(None);
    Ok(Customized { rows, adapters: pool.members.len(), rank: pool.rank(), questions: options.questions })
}

impl CustomizeOptions {
    /// Every cell; methods that do not look at examples have one for each user, of size 0.
    fn plan<'a>(&self, users: &'a [User]) -> Vec<(&'a User, Method, usize, u64)> {
        let mut plan = Vec::new();
        for user in users {
            for &method in &self.methods {
                if method == Method::Joint && self.joint.is_none() {
                    continue;
                }
                if !method.looks_at_examples() {
                    plan.push((user, method, 0, 0));
                    continue;
                }
                for &size in &self.sizes {
                    plan.extend((0..self.seeds).map(|seed| (user, method, size, seed)));
                }
            }
        }
        plan
    }
}

impl Bench<'_> {
    fn cell(
        &mut self,
        engine: &mut Engine,
        user: &User,
        method: Method,
        size: usize,
        seed: u64,
        known: &mut HashMap<String, f64>,
    ) -> Result<Cell, EvalError> {
        let examples = user.draw(size, seed)?;
        let made = self.make(engine, user, &examples, method, seed)?;
        let note = made.same.map(|note| format!("{} {note}", user.name));
        let accuracy = match note.as_ref().and_then(|note| known.get(note)) {
            Some(accuracy) => *accuracy,
            None => {
                engine.set_adapter(made.adapter);
                let mut nothing = |_: usize, _: usize| ControlFlow::Continue(());
                let right =
                    asked(engine, &user.questions, &made.shown, Framing::Auto, &mut nothing)?.accuracy;
                engine.set_adapter(None);
                known.extend(note.map(|note| (note, right)));
                right
            }
        };
        Ok(Cell {
            user: user.name.clone(),
            method,
            size,
            seed,
            accuracy,
            questions: user.questions.questions.len(),
            chance: user.chance(),
            shown: made.shown.len(),
            millis: made.millis,
            bytes_up: made.bytes_up,
            bytes_down: made.bytes_down,
        })
    }

    /// Does what `method` does with a user's examples.
    fn make(
        &mut self,
        engine: &Engine,
        user: &User,
        examples: &[Example],
        method: Method,
        seed: u64,
    ) -> Result<Made, EvalError> {
        let started = Instant::now();
        let mut made = match method {
            Method::Base => Made::of(None),
            Method::FewShot => Made { shown: user.fitting(engine, examples)?, ..Made::of(None) },
            Method::Joint => {
                let weighed = self.joint.as_ref().map(|joint| joint.weigh(&[1.0])).transpose();
                let weighed = weighed.map_err(EngineError::from)?;
                Made::of(weighed.map(|adapter| Arc::new(adapter) as Arc<dyn Adapter>))
            }
            Method::Uniform => {
                self.weighed(&vec![1.0 / self.pool.members.len() as f32; self.pool.members.len()])?
            }
            Method::Arrow => Made::of(Some(Arc::new(self.arrow.clone()))),
            Method::Nearest => {
                let scores = self.scores(engine, examples)?;
                let weights = weights(&scores, f32::MIN_POSITIVE);
                Made { same: Some(format!("{weights:?}")), ..self.weighed(&weights)? }
            }
            Method::Blend => self.blend(engine, &self.scores(engine, examples)?)?,
            Method::LoraHub => {
                let samples = samples(engine, &self.encoder, examples)?;
                lora_made(engine, self.trainer.lorahub(engine, self.pool, &samples, seed)?)?
            }
            Method::Oracle => {
                let samples = samples(engine, &self.encoder, examples)?;
                lora_made(engine, self.trainer.oracle(engine, self.pool, &samples, self.options, seed)?)?
            }
        };
        made.millis = started.elapsed().as_secs_f64() * 1e3;
        Ok(made)
    }

    /// Cosines of the examples' mean query with the keys.
    fn scores(&self, engine: &Engine, examples: &[Example]) -> Result<Vec<f32>, EvalError> {
        let keys: &Keys = &self.pool.keys;
        let mut mean = QueryMean::new(self.encoder.width());
        for example in examples {
            mean.add(keys, &engine.example_query(&self.encoder, &example.prompt, Some(&example.answer))?);
        }
        Ok(keys.scores(&mean.mean()))
    }

    fn weighed(&self, weights: &[f32]) -> Result<Made, EvalError> {
        let adapter = self.stack.weigh(weights).map_err(EngineError::from)?;
        Ok(Made::of(Some(Arc::new(adapter))))
    }

    /// The blend for these scores. Scores go up and an adapter comes down where the pool is on a server.
    fn blend(&self, engine: &Engine, scores: &[f32]) -> Result<Made, EvalError> {
        let temperature = self.options.temperature.unwrap_or(self.pool.temperature);
        let mut made = if self.options.form == Form::Exact {
            let parameters = self.pool.members.iter().map(|member| member.lora.parameters());
            let bytes_down = 4 * parameters.sum::<usize>();
            Made { bytes_down, ..self.weighed(&self.pool.keys.weights(scores, temperature))? }
        } else {
            let blended = self.pool.blend(scores, temperature, self.options.form, engine.threads());
            lora_made(engine, blended.map_err(EngineError::from)?.lora)?
        };
        made.bytes_up = 4 * scores.len();
        Ok(made)
    }
}

fn lora_made(engine: &Engine, lora: crayon_adapters::Lora) -> Result<Made, EvalError> {
    let bytes_down = 4 * lora.parameters();
    let attached = lora.attach(engine.spec()).map_err(EngineError::from)?;
    Ok(Made { bytes_down, ..Made::of(Some(Arc::new(attached))) })
}

fn samples(engine: &Engine, encoder: &QueryEncoder, examples: &[Example]) -> Result<Vec<Sample>, EvalError> {
    let mut samples = Vec::with_capacity(examples.len());
    for (at, example) in examples.iter().enumerate() {
        let example = crayon_adapters::Example {
            prompt: example.prompt.clone(),
            answer: Some(example.answer.clone()),
            task: None,
            choices: Vec::new(),
            line: at + 1,
        };
        samples.push(engine.sample(encoder, &example, "examples", "examples")?);
    }
    Ok(samples)
}
