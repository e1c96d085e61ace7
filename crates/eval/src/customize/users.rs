//! People to be served: a task each, with examples to draw from and questions to ask.

use std::path::Path;

use crayon_adapters::Random;
use crayon_engine::{Engine, Message};
use crayon_errors::Setting;
use crayon_text::Role;

use crate::EvalError;
use crate::tasks::{Example, Task};

/// One of them.
pub(super) struct User {
    pub(super) name: String,
    /// All of the task's examples.
    examples: Vec<Example>,
    /// The drawn questions, the same for every method.
    pub(super) questions: Task,
}

/// Reads the users in `folder`, in the order of their names, with at most `questions` questions each.
pub(super) fn read(folder: &Path, questions: usize) -> Result<Vec<User>, EvalError> {
    let io = |error| EvalError::io(folder, "read", error);
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.join("train.jsonl").is_file() && path.join("test.jsonl").is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    if folders.is_empty() {
        let what = "holds no folder with train.jsonl and test.jsonl";
        return Err(EvalError::content(&folder.display().to_string(), None, what)
            .with_hint("a user is a folder with these two, lines of prompt, choices and answer"));
    }
    let user = |path: &std::path::PathBuf| {
        let mut task = Task::open(&path.join("test.jsonl"))?;
        task.sample(questions, 0);
        Ok(User {
            name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            examples: crate::tasks::examples(&path.join("train.jsonl"))?,
            questions: task,
        })
    };
    folders.iter().map(user).collect()
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

    /// What guessing would reach.
    pub(super) fn chance(&self) -> f64 {
        let questions = &self.questions.questions;
        questions.iter().map(|question| 1.0 / question.choices.len() as f64).sum::<f64>()
            / questions.len().max(1) as f64
    }

    /// The first of `examples`, as many as fit the model's context in front of the longest question.
    pub(super) fn fitting(&self, engine: &Engine, examples: &[Example]) -> Result<Vec<Example>, EvalError> {
        let mut longest = 0;
        for question in &self.questions.questions {
            let whole = question.choices.iter().map(|choice| choice.len()).max().unwrap_or(0);
            // A byte is at most a token.
            let prompt = engine.chat_prompt(&[Message::new(Role::User, question.prompt.as_str())])?;
            longest = longest.max(prompt.len() + whole);
        }
        let (mut used, mut fitting) = (longest, Vec::new());
        for example in examples {
            used += engine
                .chat_prompt(&[
                    Message::new(Role::User, example.prompt.as_str()),
                    Message::new(Role::Assistant, example.answer.as_str()),
                ])?
                .len();
            if used > engine.spec().context {
                break;
            }
            fitting.push(example.clone());
        }
        Ok(fitting)
    }
}
