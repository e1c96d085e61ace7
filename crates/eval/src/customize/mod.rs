//! How well a model serves a person after a few examples: a pool's blend and the ladder beside what else could be done with them.
//!
//! A *user* is a task with a few examples from its train split and questions from its test split. Every method gets the same
//! examples and questions; questions are answered by choice and in writing. A result is a [`Cell`]; finished cells are kept in a
//! file, so that a benchmark that was stopped goes on.

mod answers;
mod cells;
mod ladder;
#[cfg(feature = "train")]
mod lorahub;
mod made;
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
use std::time::Duration;

use crayon_adapters::{Arrow, Form, Pool, QueryEncoder, Stack};
use crayon_engine::{Engine, EngineError};
use crayon_errors::Setting;
use serde::Serialize;

use crate::{EvalError, Progress};
use answers::{Answers, answer};
pub use cells::Cell;
use cells::Cells;
use ladder::Climbs;
pub use methods::Method;
use trained::Trainer;
use users::User;

/// What is compared.
#[derive(Clone, Debug)]
pub struct CustomizeOptions {
    /// Folders with a folder for each user: `train.jsonl`, examples as `customize` reads them, and `test.jsonl`, lines of prompt,
    /// choices and answer.
    pub users: Vec<PathBuf>,
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
    /// Time that the ladder may take for one person.
    pub budget: Duration,
    /// Examples that the oracle learns from, at most.
    pub oracle_examples: usize,
    /// Times it reads them.
    pub oracle_epochs: usize,
    /// Its learning rate.
    pub oracle_rate: f64,
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
    /// Adapters of the pool; 0 without one.
    pub adapters: usize,
    /// Their rank.
    pub rank: usize,
    /// Questions of each user at most.
    pub questions: usize,
}

/// What all users share.
struct Bench<'a> {
    engine: &'a Engine,
    options: &'a CustomizeOptions,
    pooled: Option<Pooled<'a>>,
    joint: Option<Joint>,
    encoder: QueryEncoder,
    trainer: Trainer,
    climbs: Climbs,
    /// Answers of a user through what has this fingerprint.
    known: HashMap<String, Answers>,
}

/// A pool, ready to be used.
struct Pooled<'a> {
    pool: &'a Pool,
    stack: Arc<Stack>,
    arrow: Arrow,
}

/// One adapter for all.
struct Joint {
    stack: Arc<Stack>,
    bytes: usize,
}

/// A cell to be filled: a user's number, a method, examples and their draw.
type Planned = (usize, Method, usize, u64);

/// Asks every user's questions after every method. Nothing is fitted to questions.
///
/// # Errors
/// When a method trains and this program was built without training, one needs a pool and there is none, a user's file cannot be read or has too few examples, the
/// joint adapter does not belong to the model, or `progress` stops it; finished cells are kept.
pub fn customize(
    engine: &Engine,
    pool: Option<&Pool>,
    options: &CustomizeOptions,
    progress: &mut Progress<'_>,
) -> Result<Customized, EvalError> {
    if let Some(method) = options.methods.iter().find(|method| method.trains() && !cfg!(feature = "train")) {
        return Err(EvalError::NoTraining { method: method.name() });
    }
    if let Some(method) = options.methods.iter().find(|method| method.needs_pool() && pool.is_none()) {
        return Err(EvalError::option(
            Setting::Pool,
            format!("is needed for {method}"),
            "name one, or leave it out",
        ));
    }
    let users = users::read(&options.users, options.questions)?;
    let mut cells = Cells::open(options.cells.as_deref())?;
    let mut bench = Bench {
        engine,
        options,
        pooled: pool.map(|pool| Pooled::new(engine, pool)).transpose()?,
        joint: options.joint.as_ref().map(|path| Joint::open(engine, path)).transpose()?,
        encoder: engine.query_encoder()?,
        trainer: Trainer::default(),
        climbs: Climbs::default(),
        known: HashMap::new(),
    };
    let plan = options.plan(users.len());
    let base = engine.checkpoint().fingerprint();
    let mut rows = Vec::with_capacity(plan.len());
    for (done, planned) in plan.iter().enumerate() {
        let user = &users[planned.0];
        let key = options.key(&base, user, planned);
        let cell = match cells.find(&key) {
            Some(cell) => cell,
            None => {
                let cell = bench.cell(user, planned)?;
                cells.keep(&key, &cell)?;
                cell
            }
        };
        rows.push(cell);
        if progress(done + 1, plan.len()) == ControlFlow::Break(()) {
            return Err(EngineError::Cancelled.into());
        }
    }
    Ok(Customized {
        rows,
        adapters: pool.map_or(0, |pool| pool.members.len()),
        rank: pool.map_or(0, Pool::rank),
        questions: options.questions,
    })
}

impl CustomizeOptions {
    /// Every cell; methods that do not look at examples have one for each user, of size 0.
    fn plan(&self, users: usize) -> Vec<Planned> {
        let methods =
            || self.methods.iter().filter(|method| **method != Method::Joint || self.joint.is_some());
        let mut plan = Vec::new();
        for user in 0..users {
            plan.extend(
                methods().filter(|method| !method.looks_at_examples()).map(|&method| (user, method, 0, 0)),
            );
            for &size in &self.sizes {
                for seed in 0..self.seeds {
                    let own = methods().filter(|method| method.looks_at_examples());
                    plan.extend(own.map(|&method| (user, method, size, seed)));
                }
            }
        }
        plan
    }

    /// What a cell depends on, in words.
    fn key(&self, base: &str, user: &User, (_, method, size, seed): &Planned) -> String {
        let base = &base[..base.len().min(12)];
        let own = match method {
            Method::Oracle => {
                format!(" {} {} {}", self.oracle_examples, self.oracle_epochs, self.oracle_rate)
            }
            method if method.effort().is_some() => format!(" {} {}", self.label, self.budget.as_secs_f64()),
            method if method.looks_at_pool() => format!(" {}", self.label),
            _ => String::new(),
        };
        format!("{base} {}/{} {} {method} {size} {seed}{own}", user.group, user.name, self.questions)
    }
}

impl Bench<'_> {
    fn cell(&mut self, user: &User, &(_, method, size, seed): &Planned) -> Result<Cell, EvalError> {
        let made = self.make(user, method, size, seed)?;
        let fingerprint = made.adapter.as_ref().map(|adapter| adapter.fingerprint()).unwrap_or_default();
        let through = format!("{}/{} {fingerprint}", user.group, user.name);
        let found = match self.known.get(&through).filter(|_| made.shown.is_empty()) {
            Some(found) => found.clone(),
            None => {
                let found = answer(self.engine, &user.questions, &made.shown, made.adapter)?;
                if made.shown.is_empty() {
                    self.known.insert(through, found.clone());
                }
                found
            }
        };
        Ok(Cell {
            group: user.group.clone(),
            user: user.name.clone(),
            method,
            size,
            seed,
            accuracy: found.chosen(),
            written: found.written(),
            marks: found.marks,
            questions: user.questions.questions.len(),
            chance: user.chance(),
            shown: made.shown.len(),
            chosen: made.chosen,
            millis: made.millis,
            read_millis: found.read_millis,
            bytes_up: made.bytes_up,
            bytes_down: made.bytes_down,
        })
    }
}
