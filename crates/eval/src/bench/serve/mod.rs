//! Requests at once: a server, alone or beside another one in turns, under the same load.
//!
//! Three scenes. *Rows*: N requests are sent at once, and what comes back is timed. *People*: N people with models of their own beside
//! the same requests without. *Behind*: a short question is sent while a long prompt is being read, and while nothing is.
//! The same question must get the same answer each time, whatever else is asked.

mod asking;
mod scenes;
mod server;
mod texts;

use std::collections::HashMap;
use std::time::Duration;

use crayon_engine::EngineError;
use serde::Serialize;

pub use server::Program;

use self::asking::{Answer, Question};
use self::server::Server;
use crate::{EvalError, Progress};

/// The load.
#[derive(Clone, Debug)]
pub struct ServeBenchOptions {
    /// Requests at once, a row each.
    pub at_once: Vec<usize>,
    /// Tokens of an answer at most.
    pub tokens: usize,
    /// Rounds; all servers have their turn in each.
    pub rounds: usize,
    /// People with models of their own; 0 leaves the scene out.
    pub people: usize,
    /// Tokens of the prompts that a short question waits behind.
    pub behind: Vec<usize>,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct ServeBench {
    /// The model's name.
    pub model: String,
    /// The other server's command.
    pub rival: Option<String>,
    /// Tokens of an answer at most.
    pub tokens: usize,
    /// Rounds.
    pub rounds: usize,
    /// A row for each number of requests at once.
    pub rows: Vec<Row>,
    /// People with models of their own.
    pub people: Option<People>,
    /// A short question behind a long prompt.
    pub behind: Vec<Behind>,
    /// Tokens of such prompts that the model's window has no room for.
    pub left_out: Vec<usize>,
    /// Whether the same question got the same answer each time.
    pub same: bool,
    /// Whether the other server's did; it is not asked to.
    pub rival_same: Option<bool>,
}

/// Requests at once.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// How many.
    pub at_once: usize,
    /// What this program's server made of them.
    #[serde(flatten)]
    pub load: Load,
    /// What the other one did.
    pub rival: Option<Load>,
    /// Tokens a second as a multiple of the other server's: the median of the rounds.
    pub ratio: Option<f64>,
}

/// How requests were answered.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    /// Tokens a second of all answers together, from the first request to the end of the last answer: the median of the rounds.
    pub tok_s: f64,
    /// Milliseconds until the first text of an answer, the median.
    pub first_ms: f64,
    /// The longest of them.
    pub first_worst_ms: f64,
    /// Milliseconds between two pieces of an answer's text, the median.
    pub between_ms: f64,
    /// The time that 99 of 100 of them stay below.
    pub between_p99_ms: f64,
    /// Seconds until the last answer is whole: the median of the rounds.
    pub last_s: f64,
    /// Tokens of an answer, the mean.
    pub written: f64,
}

/// People with models of their own, all asking at once.
#[derive(Clone, Debug, Serialize)]
pub struct People {
    /// How many.
    pub people: usize,
    /// Adapters that their models are blends of.
    pub adapters: usize,
    /// The same requests to the model as it is.
    pub plain: Load,
    /// To everybody's own.
    pub own: Load,
    /// Tokens a second of the people's models as a share of those of the plain one: the median of the rounds.
    pub share: f64,
    /// People whose answer is another than the plain model's.
    pub changed: usize,
}

/// A short question behind a long prompt.
#[derive(Clone, Debug, Serialize)]
pub struct Behind {
    /// Tokens of the long prompt.
    pub prompt_tokens: usize,
    /// In this program's server.
    #[serde(flatten)]
    pub wait: Wait,
    /// In the other one.
    pub rival: Option<Wait>,
}

/// How long a short question waits; all are medians of the rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Wait {
    /// Milliseconds until the long prompt, alone, gets its first text.
    pub long_ms: f64,
    /// Milliseconds until the short question, alone, gets its first text.
    pub alone_ms: f64,
    /// Milliseconds until it does while the long prompt is being read.
    pub behind_ms: f64,
}

/// How far the measurement is, and whether it is to stop.
pub(crate) struct Steps<'p> {
    done: usize,
    total: usize,
    progress: &'p mut Progress<'p>,
}

impl Steps<'_> {
    /// A turn is over.
    fn step(&mut self) {
        self.done += 1;
    }

    /// # Errors
    /// When it is to stop.
    fn check(&mut self) -> Result<(), EvalError> {
        match (self.progress)(self.done, self.total).is_break() {
            true => Err(EngineError::Cancelled.into()),
            false => Ok(()),
        }
    }
}

/// The answers so far, by the model asked and the question.
#[derive(Default)]
struct Heard {
    texts: HashMap<(Option<String>, String), String>,
    /// Whether one of them was another answer than before.
    differed: bool,
}

impl Heard {
    fn hear(&mut self, question: &Question, answer: &Answer) {
        let key = (question.person.clone(), question.prompt.clone());
        self.differed |= *self.texts.entry(key).or_insert_with(|| answer.text.clone()) != answer.text;
    }
}

/// A server, and what it answered so far.
struct Side {
    server: Server,
    heard: Heard,
}

impl Side {
    fn start(program: Program, steps: &mut Steps<'_>) -> Result<Side, EvalError> {
        Ok(Side { server: Server::start(program, steps)?, heard: Heard::default() })
    }

    /// Asks `questions` at once, and compares the answers with those before.
    fn ask(
        &mut self,
        questions: &[Question],
        steps: &mut Steps<'_>,
    ) -> Result<(Vec<Answer>, Duration), EvalError> {
        let (answers, total) = asking::together(&self.server, questions, steps)?;
        questions.iter().zip(&answers).for_each(|(question, answer)| self.heard.hear(question, answer));
        Ok((answers, total))
    }
}

/// Starts the servers, and measures them in turns. The long prompts of the last scene are only those that fit the window of `ours`.
///
/// # Errors
/// When a server does not start, refuses or fails, or `progress` stops it. No server is left running.
pub fn serve<'p>(
    ours: Program,
    rival: Option<Program>,
    options: &ServeBenchOptions,
    progress: &'p mut Progress<'p>,
) -> Result<ServeBench, EvalError> {
    let sides = 1 + usize::from(rival.is_some());
    let turns = sides * (options.at_once.len() + options.behind.len()) + 2 * usize::from(options.people > 0);
    let mut steps = Steps { done: 0, total: options.rounds * turns, progress };
    let steps = &mut steps;
    let mut sides = vec![Side::start(ours, steps)?];
    let name = rival.as_ref().map(Program::name);
    if let Some(program) = rival {
        sides.push(Side::start(program, steps)?);
    }
    for side in &mut sides {
        // The first request finds buffers that have yet to grow.
        side.ask(&scenes::questions(1, options.tokens), steps)?;
    }
    let rows = scenes::rows(&mut sides, options, steps)?;
    let people = match options.people {
        0 => None,
        _ => Some(scenes::people(&mut sides[0], options, steps)?),
    };
    let (behind, left_out) = scenes::behind(&mut sides, options, steps)?;
    Ok(ServeBench {
        model: sides[0].server.model.clone(),
        rival: name,
        tokens: options.tokens,
        rounds: options.rounds,
        rows,
        people,
        behind,
        left_out,
        same: !sides[0].heard.differed,
        rival_same: sides.get(1).map(|side| !side.heard.differed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_answer_to_the_same_question_is_noticed() {
        let question = |person: Option<&str>| Question {
            prompt: "Why?".to_owned(),
            tokens: 4,
            person: person.map(str::to_owned),
        };
        let answer = |text: &str| Answer { text: text.to_owned(), ..Answer::default() };
        let mut heard = Heard::default();
        heard.hear(&question(None), &answer("a"));
        heard.hear(&question(Some("anna")), &answer("b"));
        heard.hear(&question(None), &answer("a"));
        assert!(!heard.differed);
        heard.hear(&question(Some("anna")), &answer("a"));
        heard.hear(&question(Some("anna")), &answer("b"));
        assert!(heard.differed);
    }
}
