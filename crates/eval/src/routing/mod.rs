//! Who should answer: what a server's share of the questions brings, by the order in which questions are sent.
//!
//! Every question is answered twice: by the device, which takes the likeliest choice or writes, and by the server, which
//! writes. The order then decides who counts: by confidence, by scope (closeness to the customized task), by both, or at
//! random. Whether the device's confidence tells its right answers from its wrong ones is measured beside, also without a
//! server.

mod answers;
mod curve;
mod device;
mod kept;
mod rows;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crayon_adapters::Examples;
use crayon_engine::{Engine, EngineError, Message, Role};
use crayon_errors::Setting;
use serde::Serialize;

use self::device::{Device, Item};
use self::kept::Kept;
use self::rows::{Answered, row};
use crate::choice::Framing;
use crate::tasks::{self, Example, Question, Task};
use crate::{EvalError, Progress};

pub use answers::{named, says};
pub use curve::{Curve, Outcome, auroc};
pub use device::{ThroughOf, Wrote, write};
pub use rows::{Doubted, Order, Row, Told};

/// Puts a conversation to the server, and returns what it wrote.
pub type Ask<'a> = dyn FnMut(Vec<Message>) -> Result<String, EvalError> + 'a;

/// What to ask.
#[derive(Clone, Debug, Default)]
pub struct RoutingOptions {
    /// Files of questions, one task each; where answers are written, of examples as well.
    pub tasks: Vec<PathBuf>,
    /// A file of prompts that belong to none of the tasks. Nobody answers them: what is measured is whether they are
    /// told apart.
    pub outside: Option<PathBuf>,
    /// How the device is asked for a choice.
    pub framing: Framing,
    /// The device writes, as it does when it is asked, and answers are right when their first line is.
    pub written: bool,
    /// Longest answer that the device writes, in tokens.
    pub max_tokens: Option<usize>,
    /// The server is asked without the choices.
    pub bare: bool,
    /// A folder with a file of each task's name: solved examples, which the server is shown as earlier turns.
    pub solved: Option<PathBuf>,
    /// A file in which the server's answers are kept, for one server.
    pub cells: Option<PathBuf>,
    /// The confidence below which the device's answers are doubted.
    pub doubt: Option<f32>,
    /// Questions of each task; all when `None`.
    pub limit: Option<usize>,
    /// Which ones, and the draws for standard errors.
    pub seed: u64,
}

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

/// The questions of a file.
struct Asked {
    name: String,
    items: Vec<Item>,
    /// What the server is shown before each of them.
    shown: Vec<Message>,
}

/// Measures `engine`, whose answers come `through` what is said of each prompt, before the server that `ask` reaches, or alone.
///
/// # Errors
/// When a file cannot be read, no question fits the context, the server fails, or `progress` stops it.
pub fn routing(
    engine: &Engine,
    through: &ThroughOf<'_>,
    options: &RoutingOptions,
    mut ask: Option<&mut Ask<'_>>,
    progress: &mut Progress<'_>,
) -> Result<Routing, EvalError> {
    let started = Instant::now();
    let tasks: Vec<Asked> = options.tasks.iter().map(|path| open(path, options)).collect::<Result<_, _>>()?;
    let foreign = foreign(options, &tasks)?;
    let framing = options.framing.resolve(engine)?;
    let device = Device { engine, through, framing, max_tokens: options.max_tokens };
    let mut kept = Kept::open(options.cells.as_deref())?;
    let total = tasks.iter().map(|task| task.items.len()).sum::<usize>() + foreign.len();
    let mut done = 0;
    let mut tick = || {
        done += 1;
        match progress(done, total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(EvalError::from(EngineError::Cancelled)),
        }
    };

    let (mut rows, mut all, mut skipped_all) = (Vec::new(), Vec::new(), 0);
    for task in &tasks {
        let (mut answered, mut skipped, mut shortest) = (Vec::new(), 0, usize::MAX);
        for item in &task.items {
            match device.answer(item)? {
                Ok(mut device) => {
                    if let Some(ask) = &mut ask {
                        let messages = conversation(task, item, options.bare);
                        judge(item, &kept.answer(messages, &mut **ask)?, &mut device);
                    }
                    answered.push(device);
                }
                Err(tokens) => {
                    skipped += 1;
                    shortest = shortest.min(tokens);
                }
            }
            tick()?;
        }
        if answered.is_empty() {
            let (questions, context) = (task.items.len(), engine.spec().context);
            return Err(EvalError::AllTooLong { questions, shortest, context });
        }
        rows.push(row(&task.name, &answered, skipped, options.doubt, options.seed));
        all.extend(answered);
        skipped_all += skipped;
    }
    if rows.len() > 1 {
        rows.insert(0, row("all", &all, skipped_all, options.doubt, options.seed));
    }

    let mut outside = Vec::new();
    for item in &foreign {
        outside.extend(device.answer(item)?.ok());
        tick()?;
    }
    let outside = (!outside.is_empty()).then(|| told_apart(&all, &outside));
    let model = engine.name().to_owned();
    Ok(Routing { model, rows, outside, seconds: started.elapsed().as_secs_f64() })
}

fn open(path: &Path, options: &RoutingOptions) -> Result<Asked, EvalError> {
    let limit = options.limit.unwrap_or(usize::MAX);
    let items: Vec<Item> = match options.written {
        true => tasks::sampled(tasks::examples(path)?, limit, options.seed).map(Item::Write).collect(),
        false => {
            let mut task = Task::open(path)?;
            task.sample(limit, options.seed);
            task.questions.into_iter().map(Item::Choose).collect()
        }
    };
    let name = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut shown = Vec::new();
    if let (Some(folder), Some(file)) = (&options.solved, path.file_name()) {
        for solved in solved(&folder.join(file), options)? {
            shown.push(Message::new(Role::User, solved.prompt));
            shown.push(Message::new(Role::Assistant, solved.answer));
        }
    }
    Ok(Asked { name, items, shown })
}

/// Examples with their answers, asked as the server is asked.
fn solved(path: &Path, options: &RoutingOptions) -> Result<Vec<Example>, EvalError> {
    if options.written || options.bare {
        return tasks::examples(path);
    }
    let solved = |question: Question| Example { prompt: offered(&question), ..Example::from(question) };
    Ok(Task::open(path)?.questions.into_iter().map(solved).collect())
}

/// What the server is told to answer `item`.
fn conversation(task: &Asked, item: &Item, bare: bool) -> Vec<Message> {
    let prompt = match item {
        Item::Choose(question) if !bare => offered(question),
        item => item.prompt().to_owned(),
    };
    task.shown.iter().cloned().chain([Message::new(Role::User, prompt)]).collect()
}

/// Whether what the server wrote is right.
fn judge(item: &Item, written: &str, answered: &mut Answered) {
    match item {
        Item::Choose(question) => {
            let found = named(written, &question.choices);
            (answered.server, answered.matched) = (Some(found == Some(question.answer)), found.is_some());
        }
        Item::Write(example) => {
            (answered.server, answered.matched) = (Some(says(written, &example.answer)), true);
        }
    }
}

fn told_apart(inside: &[Answered], outside: &[Answered]) -> Outside {
    let by = |value: fn(&Answered) -> f64| {
        let values = |side: &[Answered]| side.iter().map(value).collect::<Vec<f64>>();
        auroc(&values(outside), &values(inside))
    };
    let scoped = inside.iter().chain(outside).all(|answered| answered.scope.is_some());
    Outside {
        inside: inside.len(),
        outside: outside.len(),
        confidence: by(|answered| answered.confidence),
        scope: if scoped { by(|answered| answered.scope.unwrap_or(0.0)) } else { None },
    }
}

/// The prompts outside, offered the choices that the tasks' questions share: the device cannot tell that none is right.
fn foreign(options: &RoutingOptions, tasks: &[Asked]) -> Result<Vec<Item>, EvalError> {
    let Some(path) = &options.outside else { return Ok(Vec::new()) };
    let mut choices = tasks.iter().flat_map(|task| &task.items).map(|item| match item {
        Item::Choose(question) => question.choices.as_slice(),
        Item::Write(_) => &[],
    });
    let first = choices.next().unwrap_or_default();
    if choices.any(|choices| choices != first) {
        let what = "needs questions that all have the same choices".to_owned();
        return Err(EvalError::option(Setting::Outside, what, "give one task of intents or topics"));
    }
    let item = |example: crayon_adapters::Example| match options.written {
        true => Item::Write(Example { prompt: example.prompt, answer: String::new() }),
        false => Item::Choose(Question {
            prompt: example.prompt,
            choices: first.to_vec(),
            answer: 0,
            line: example.line,
        }),
    };
    let prompts = Examples::open(path).and_then(|examples| examples.map(|e| e.map(item)).collect());
    Ok(prompts.map_err(EngineError::from)?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_stand_before_the_cue() {
        let choices = vec!["a".to_owned(), "b".to_owned()];
        let question = Question { prompt: "Play it\nIntent:".to_owned(), choices, answer: 0, line: 1 };
        assert_eq!(offered(&question), "Play it\nOptions:\n- a\n- b\nIntent:");
        let question = Question { prompt: "Why?".to_owned(), ..question };
        assert_eq!(offered(&question), "Why?\nOptions:\n- a\n- b\nAnswer:");
    }

    #[test]
    fn the_server_is_shown_solved_questions_as_it_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, line: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("{line}\n")).unwrap();
            path
        };
        let task = write("t.jsonl", r#"{"prompt": "Who?", "choices": ["a", "b"], "answer": 1}"#);
        write("solved/t.jsonl", r#"{"prompt": "What?", "choices": ["c", "d"], "answer": 0}"#);
        let asked = |bare, written| {
            let solved = Some(folder.path().join("solved"));
            let options = RoutingOptions { bare, written, solved, ..RoutingOptions::default() };
            let asked = open(&task, &options).unwrap();
            let told = conversation(&asked, &asked.items[0], bare);
            told.into_iter().map(|message| message.content).collect::<Vec<_>>()
        };
        let offered = ["What?\nOptions:\n- c\n- d\nAnswer:", "c", "Who?\nOptions:\n- a\n- b\nAnswer:"];
        assert_eq!(asked(false, false), offered);
        assert_eq!(asked(true, false), ["What?", "c", "Who?"]);
        assert_eq!(asked(false, true), ["What?", "c", "Who?"]);
    }
}
