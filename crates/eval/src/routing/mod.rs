//! Who should answer: what a server's share of the questions brings, by the order in which questions are sent.
//!
//! Every question is answered twice: by the device, which takes the likeliest choice, and by the server, which writes
//! one. The order then decides who counts: by confidence, by scope (closeness to the customized task), by both, or at
//! random.

mod answers;
mod curve;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use crayon_adapters::{Example, Examples, Random};
use crayon_engine::{Engine, EngineError};
use crayon_errors::Setting;
use crayon_hybrid::confidence;
use serde::Serialize;

use crate::choice::{Encoded, Framing, encode, largest, log_likelihoods};
use crate::tasks::{Question, Task};
use crate::{EvalError, Progress};

pub use answers::named;
pub use curve::{Curve, Outcome, auroc};

/// Points of a curve that are told.
const POINTS: usize = 20;
/// Draws of questions for standard errors.
const DRAWS: usize = 200;

/// Puts a question to the server, and returns what it wrote.
pub type Ask<'a> = dyn FnMut(&str) -> Result<String, EvalError> + 'a;

/// What to ask.
#[derive(Clone, Debug, Default)]
pub struct RoutingOptions {
    /// Files of questions, one task each.
    pub tasks: Vec<PathBuf>,
    /// A file of prompts that belong to none of the tasks. Nobody answers them: what is measured is whether they are
    /// told apart.
    pub outside: Option<PathBuf>,
    /// How the device is asked.
    pub framing: Framing,
    /// The server is asked without the choices.
    pub bare: bool,
    /// Questions of each task; all when `None`.
    pub limit: Option<usize>,
    /// Which ones, and the draws for standard errors.
    pub seed: u64,
}

/// The cosine between a prompt and the task that the device is customized for; `None` where there is none.
pub type ScopeOf<'a> = dyn Fn(&str) -> Result<Option<f32>, EngineError> + 'a;

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Routing {
    /// The device's model.
    pub model: String,
    /// All tasks together where there are several, then each.
    pub rows: Vec<Row>,
    /// Whether prompts outside the tasks are told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside: Option<Outside>,
    /// Time taken.
    pub seconds: f64,
}

/// A task, or all of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the file, or `all`.
    pub task: String,
    /// Questions.
    pub n: usize,
    /// Questions that do not fit the device's context, left out.
    pub skipped: usize,
    /// Accuracy where everything stays on the device.
    pub device: f64,
    /// Accuracy where everything goes to the server.
    pub server: f64,
    /// Answers of the server that name no choice, counted as wrong.
    pub unmatched: usize,
    /// What each order brings.
    pub orders: Vec<Order>,
}

/// An order of sending.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Order {
    /// `random`, `confidence`, `scope` or `both`.
    pub by: &'static str,
    /// Mean accuracy over all shares.
    pub auc: f64,
    /// Part of the gap between device and server that is recovered on average; `None` where there is no gap.
    pub apgr: Option<f64>,
    /// Its standard error, over draws of the questions.
    pub apgr_stderr: Option<f64>,
    /// Share of the server that recovers half of the gap.
    pub cpt50: Option<f64>,
    /// Share that recovers four fifths.
    pub cpt80: Option<f64>,
    /// `[share, accuracy]`.
    pub curve: Vec<[f64; 2]>,
}

/// How well prompts of the tasks and others are told apart: the chance that a prompt of a task has the larger value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outside {
    /// Prompts of the tasks.
    pub inside: usize,
    /// Prompts outside.
    pub outside: usize,
    /// By confidence.
    pub confidence: Option<f64>,
    /// By scope; `None` where nothing is customized.
    pub scope: Option<f64>,
}

/// One question, answered by both.
#[derive(Clone, Copy)]
struct Answered {
    confidence: f64,
    scope: Option<f64>,
    device: bool,
    server: bool,
    matched: bool,
}

/// Measures `engine` before the server that `ask` reaches.
///
/// # Errors
/// When a file cannot be read, a question fits no context, the server fails, or `progress` stops it.
pub fn routing(
    engine: &Engine,
    scope: &ScopeOf<'_>,
    options: &RoutingOptions,
    ask: &mut Ask<'_>,
    progress: &mut Progress<'_>,
) -> Result<Routing, EvalError> {
    let started = Instant::now();
    let mut tasks = Vec::new();
    for path in &options.tasks {
        let mut task = Task::open(path)?;
        if let Some(limit) = options.limit {
            task.sample(limit, options.seed);
        }
        let name = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        tasks.push((name, task.questions));
    }
    let foreign = foreign(options, &tasks)?;
    let framing = options.framing.resolve(engine)?;
    let encoded = |questions: &[Question]| -> Result<Vec<Encoded>, EvalError> {
        questions.iter().map(|question| encode(engine, question, &[], framing)).collect()
    };
    let texts: Vec<Vec<Encoded>> =
        tasks.iter().map(|(_, questions)| encoded(questions)).collect::<Result<_, _>>()?;
    let foreign_texts = encoded(&foreign)?;
    let mut judge = Judge::new(engine, scope, texts.iter().flatten().chain(&foreign_texts))?;
    let total = tasks.iter().map(|(_, questions)| questions.len()).sum::<usize>() + foreign.len();
    let mut done = 0;
    let mut tick = || {
        done += 1;
        match progress(done, total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(EvalError::from(EngineError::Cancelled)),
        }
    };

    let (mut rows, mut all, mut skipped_all) = (Vec::new(), Vec::new(), 0);
    for ((name, questions), texts) in tasks.iter().zip(&texts) {
        let (mut answered, mut skipped) = (Vec::new(), 0);
        for (question, text) in questions.iter().zip(texts) {
            match judge.device(question, text)? {
                Some(device) => {
                    let written = match options.bare {
                        true => ask(&question.prompt)?,
                        false => ask(&offered(question))?,
                    };
                    let found = named(&written, &question.choices);
                    let server = found == Some(question.answer);
                    answered.push(Answered { server, matched: found.is_some(), ..device });
                }
                None => skipped += 1,
            }
            tick()?;
        }
        if answered.is_empty() {
            let shortest = texts.iter().map(Encoded::len).min().unwrap_or(0);
            let (questions, context) = (questions.len(), engine.spec().context);
            return Err(EvalError::AllTooLong { questions, shortest, context });
        }
        rows.push(row(name, &answered, skipped, options.seed));
        all.extend(answered);
        skipped_all += skipped;
    }
    if rows.len() > 1 {
        rows.insert(0, row("all", &all, skipped_all, options.seed));
    }

    let mut outside = Vec::new();
    for (question, text) in foreign.iter().zip(&foreign_texts) {
        outside.extend(judge.device(question, text)?);
        tick()?;
    }
    let outside = (!outside.is_empty()).then(|| {
        let by = |value: fn(&Answered) -> f64| {
            let values = |side: &[Answered]| side.iter().map(value).collect::<Vec<f64>>();
            auroc(&values(&outside), &values(&all))
        };
        Outside {
            inside: all.len(),
            outside: outside.len(),
            confidence: by(|answered| answered.confidence),
            scope: match all.iter().chain(&outside).all(|answered| answered.scope.is_some()) {
                true => by(|answered| answered.scope.unwrap_or(0.0)),
                false => None,
            },
        }
    });
    let model = engine.name().to_owned();
    Ok(Routing { model, rows, outside, seconds: started.elapsed().as_secs_f64() })
}

/// The prompts outside, offered the choices that the tasks' questions share: the device cannot tell that none is right.
fn foreign(options: &RoutingOptions, tasks: &[(String, Vec<Question>)]) -> Result<Vec<Question>, EvalError> {
    let Some(path) = &options.outside else { return Ok(Vec::new()) };
    let mut questions = tasks.iter().flat_map(|(_, questions)| questions);
    let Some(first) = questions.next() else { return Ok(Vec::new()) };
    if questions.any(|question| question.choices != first.choices) {
        let what = "needs questions that all have the same choices".to_owned();
        return Err(EvalError::option(Setting::Outside, what, "give one task of intents or topics"));
    }
    let prompts: Vec<Example> = Examples::open(path)
        .and_then(|examples| examples.collect::<Result<_, _>>())
        .map_err(EngineError::from)?;
    let question = |example: Example| Question {
        prompt: example.prompt,
        choices: first.choices.clone(),
        answer: 0,
        line: example.line,
    };
    Ok(prompts.into_iter().map(question).collect())
}

/// The device's side.
struct Judge<'a> {
    engine: &'a Engine,
    scope: &'a ScopeOf<'a>,
    session: crayon_engine::Session<'a>,
}

impl<'a> Judge<'a> {
    /// With room for the longest of the questions that fit the context at all: a whole context may be gigabytes.
    fn new<'b>(
        engine: &'a Engine,
        scope: &'a ScopeOf<'a>,
        questions: impl Iterator<Item = &'b Encoded>,
    ) -> Result<Judge<'a>, EvalError> {
        let fitting = questions.map(Encoded::len).filter(|length| *length <= engine.spec().context);
        Ok(Judge { engine, scope, session: engine.session(fitting.max().unwrap_or(1))? })
    }

    /// `None` where the question does not fit the context.
    fn device(&mut self, question: &Question, encoded: &Encoded) -> Result<Option<Answered>, EvalError> {
        if encoded.len() > self.engine.spec().context {
            return Ok(None);
        }
        let scores = log_likelihoods(&mut self.session, &encoded.prompt, &encoded.choices)?;
        let likelihoods: Vec<f32> = scores.iter().map(|score| *score as f32).collect();
        Ok(Some(Answered {
            confidence: confidence::of_choice(&likelihoods).map_or(0.0, f64::from),
            scope: (self.scope)(&question.prompt)?.map(f64::from),
            device: largest(&scores) == question.answer,
            server: false,
            matched: false,
        }))
    }
}

/// The question with its choices, before the cue it ends in.
fn offered(question: &Question) -> String {
    let (body, cue) = match question.prompt.rsplit_once('\n') {
        Some((body, cue)) if cue.trim_end().ends_with(':') => (body, cue),
        _ => (question.prompt.as_str(), "Answer:"),
    };
    let choices: Vec<String> = question.choices.iter().map(|choice| format!("- {choice}")).collect();
    format!("{body}\nOptions:\n{}\n{cue}", choices.join("\n"))
}

fn row(task: &str, answered: &[Answered], skipped: usize, seed: u64) -> Row {
    let count = |what: fn(&Answered) -> bool| answered.iter().filter(|a| what(a)).count();
    let n = answered.len();
    let mut orders = vec![
        order("random", answered, &vec![0.0; n], seed),
        order("confidence", answered, &signals(answered, |a| a.confidence), seed),
    ];
    if answered.iter().all(|answered| answered.scope.is_some()) {
        let scope = signals(answered, |a| a.scope.unwrap_or(0.0));
        // As thresholds are calibrated: both are quantiles at one level, and the lower of the two decides.
        let sure = ranks(&signals(answered, |a| a.confidence));
        let both: Vec<f64> = sure.iter().zip(ranks(&scope)).map(|(a, b)| a.min(b)).collect();
        orders.extend([order("scope", answered, &scope, seed), order("both", answered, &both, seed)]);
    }
    Row {
        task: task.to_owned(),
        n,
        skipped,
        device: count(|a| a.device) as f64 / n as f64,
        server: count(|a| a.server) as f64 / n as f64,
        unmatched: count(|a| !a.matched),
        orders,
    }
}

fn signals(answered: &[Answered], value: fn(&Answered) -> f64) -> Vec<f64> {
    answered.iter().map(value).collect()
}

/// For each value, the share of the values that are smaller.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let below = |value: &f64| sorted.partition_point(|other| other < value);
    values.iter().map(|value| below(value) as f64 / values.len() as f64).collect()
}

fn order(by: &'static str, answered: &[Answered], signals: &[f64], seed: u64) -> Order {
    let outcome = |index: usize| Outcome {
        signal: signals[index],
        device: answered[index].device,
        server: answered[index].server,
    };
    let curve = Curve::new(&(0..answered.len()).map(outcome).collect::<Vec<_>>());
    let mut random = Random::seeded(seed);
    let draw = |_| {
        let place = |_| outcome(random.below(answered.len()));
        Curve::new(&(0..answered.len()).map(place).collect::<Vec<_>>()).apgr()
    };
    let drawn: Vec<f64> = (0..DRAWS).filter_map(draw).collect();
    let point = |step: usize| {
        let share = step as f64 / POINTS as f64;
        [share, curve.at(share)]
    };
    Order {
        by,
        auc: curve.auc(),
        apgr: curve.apgr(),
        // Where many draws have no gap the part of it means little.
        apgr_stderr: (drawn.len() > DRAWS / 2 && curve.apgr().is_some()).then(|| deviation(&drawn)),
        cpt50: curve.cpt(0.5),
        cpt80: curve.cpt(0.8),
        curve: (0..=POINTS).map(point).collect(),
    }
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1).max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(confidence: f64, scope: Option<f64>, device: bool, server: bool) -> Answered {
        Answered { confidence, scope, device, server, matched: server }
    }

    #[test]
    fn every_order_begins_at_the_device_and_ends_at_the_server() {
        let all = [
            answered(0.2, Some(0.9), false, true),
            answered(0.9, Some(0.8), true, true),
            answered(0.8, Some(0.1), false, true),
            answered(0.7, Some(0.7), true, false),
        ];
        let row = row("t", &all, 0, 1);
        assert_eq!((row.device, row.server, row.unmatched), (0.5, 0.75, 1));
        for order in &row.orders {
            assert_eq!(order.curve[0], [0.0, 0.5], "{}", order.by);
            assert_eq!(order.curve[POINTS], [1.0, 0.75], "{}", order.by);
        }
        let apgr = |by| row.orders.iter().find(|order| order.by == by).unwrap().apgr.unwrap();
        assert_eq!(apgr("random"), 0.5);
        // The unsure one and the one outside the task are the two that the device gets wrong.
        assert!(apgr("both") > apgr("confidence") && apgr("confidence") > apgr("random"));
    }

    #[test]
    fn without_a_customized_task_there_is_no_scope() {
        let row = row("t", &[answered(0.5, None, true, true), answered(0.1, None, false, true)], 0, 1);
        assert_eq!(row.orders.iter().map(|order| order.by).collect::<Vec<_>>(), ["random", "confidence"]);
    }

    #[test]
    fn choices_stand_before_the_cue() {
        let choices = vec!["a".to_owned(), "b".to_owned()];
        let question = Question { prompt: "Play it\nIntent:".to_owned(), choices, answer: 0, line: 1 };
        assert_eq!(offered(&question), "Play it\nOptions:\n- a\n- b\nIntent:");
        let question = Question { prompt: "Why?".to_owned(), ..question };
        assert_eq!(offered(&question), "Why?\nOptions:\n- a\n- b\nAnswer:");
    }
}
