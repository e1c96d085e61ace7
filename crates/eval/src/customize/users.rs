//! People to be served: a task each, with examples to draw from and questions to ask.

use std::path::{Path, PathBuf};

use crayon_adapters::{AdapterError, Example, Examples, Random};
use crayon_engine::{Engine, EngineError, Message};
use crayon_errors::Setting;
use crayon_text::Role;

use crate::EvalError;
use crate::tasks::{self, Task};

/// One of them.
pub(super) struct User {
    /// Name of the folder of users it is in.
    pub(super) group: String,
    pub(super) name: String,
    /// All of the task's examples.
    examples: Vec<Example>,
    /// The drawn questions, the same for every method.
    pub(super) questions: Task,
}

/// Reads the users in `folders`, one folder after another, in the order of their names, with at most `questions` questions each.
pub(super) fn read(folders: &[PathBuf], questions: usize) -> Result<Vec<User>, EvalError> {
    let mut users = Vec::new();
    for group in folders {
        for path in folders_of(group)? {
            let mut task = Task::open(&path.join("test.jsonl"))?;
            task.sample(questions, 0);
            users.push(User {
                group: name(group),
                name: name(&path),
                examples: examples(&path.join("train.jsonl"))?,
                questions: task,
            });
        }
    }
    Ok(users)
}

fn folders_of(group: &Path) -> Result<Vec<PathBuf>, EvalError> {
    let io = |error| EvalError::io(group, "read", error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(group).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.join("train.jsonl").is_file() && path.join("test.jsonl").is_file() {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        let what = "holds no folder with train.jsonl and test.jsonl";
        return Err(EvalError::content(&group.display().to_string(), None, what)
            .with_hint("a user is a folder with these two: examples, and questions with their choices"));
    }
    Ok(found)
}

/// The examples as `customize` reads them, each with an answer.
fn examples(path: &Path) -> Result<Vec<Example>, EvalError> {
    let read = Examples::open(path).and_then(|examples| examples.collect::<Result<Vec<_>, AdapterError>>());
    let examples = read.map_err(EngineError::from)?;
    if let Some(bare) = examples.iter().find(|example| example.answer.is_none()) {
        return Err(EvalError::content(&path.display().to_string(), bare.line, "has no answer"));
    }
    Ok(examples)
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

impl User {
    /// `size` different examples.
    pub(super) fn draw(&self, size: usize, seed: u64) -> Result<Vec<Example>, EvalError> {
        if size > self.examples.len() {
            let what = format!("{size} are more than the {} examples of {}", self.examples.len(), self.name);
            return Err(EvalError::option(Setting::Sizes, what, "ask for fewer"));
        }
        let mut order: Vec<usize> = (0..self.examples.len()).collect();
        let seed = seed.wrapping_mul(0x9E37_79B9).wrapping_add(self.name.len() as u64);
        let mut random = Random::seeded(seed);
        for at in 0..size {
            let other = at + random.below(order.len() - at);
            order.swap(at, other);
        }
        Ok(order[..size].iter().map(|&at| self.examples[at].clone()).collect())
    }

    /// At most `most` of all its examples.
    pub(super) fn all(&self, most: usize) -> Result<Vec<Example>, EvalError> {
        self.draw(most.min(self.examples.len()), 0)
    }

    /// What guessing would reach.
    pub(super) fn chance(&self) -> f64 {
        let questions = &self.questions.questions;
        questions.iter().map(|question| 1.0 / question.choices.len() as f64).sum::<f64>()
            / questions.len().max(1) as f64
    }

    /// The first of `examples`, as many as fit the model's context in front of the longest question.
    pub(super) fn fitting(
        &self,
        engine: &Engine,
        examples: &[Example],
    ) -> Result<Vec<tasks::Example>, EvalError> {
        let mut longest = 0;
        for question in &self.questions.questions {
            let whole = question.choices.iter().map(|choice| choice.len()).max().unwrap_or(0);
            // A byte is at most a token.
            let prompt = engine.chat_prompt(&[Message::new(Role::User, question.prompt.as_str())])?;
            longest = longest.max(prompt.len() + whole);
        }
        let (mut used, mut fitting) = (longest, Vec::new());
        for example in examples {
            let answer = example.answer.as_deref().unwrap_or_default();
            used += engine
                .chat_prompt(&[
                    Message::new(Role::User, example.prompt.as_str()),
                    Message::new(Role::Assistant, answer),
                ])?
                .len();
            if used > engine.spec().context {
                break;
            }
            fitting.push(tasks::Example { prompt: example.prompt.clone(), answer: answer.to_owned() });
        }
        Ok(fitting)
    }
}
