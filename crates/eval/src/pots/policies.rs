//! All policies at equal memory, on the same questions.

use std::time::Instant;

use crayon_adapters::Random;
use crayon_answer::{Catalyst, MemoryRequest, MemorySize};
use crayon_engine::{Engine, EngineError};
use crayon_errors::Setting;
use crayon_text::Special;
use serde::Serialize;

use super::answer;
use crate::long::metrics::Mean;
use crate::long::{Filler, Kind, LongQuestion, Task, needle};
use crate::{EvalError, Progress};

/// A way to read: a policy with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variant {
    /// Name in tables.
    pub name: &'static str,
    policy: &'static str,
    novelty: f32,
    asks: Asks,
    passes: Option<usize>,
    exact_novelty: bool,
    /// Neighbours, where not the usual number.
    smooth: Option<usize>,
    sinks: bool,
}

/// What the memory is asked for while the text is read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asks {
    /// What matters in general.
    General,
    /// The question.
    Question,
    /// Another question about the same text, as in a conversation that goes on.
    Another,
}

const fn variant(name: &'static str, policy: &'static str, novelty: f32, question: bool) -> Variant {
    let asks = if question { Asks::Question } else { Asks::General };
    Variant { name, policy, novelty, asks, passes: None, exact_novelty: false, smooth: None, sinks: true }
}

impl Variant {
    /// A pot of `entries`, or everything kept.
    fn memory(&self, entries: Option<usize>) -> MemoryRequest {
        MemoryRequest {
            size: entries.map(MemorySize::Entries),
            policy: Some(self.policy.to_owned()),
            novelty: Some(self.novelty),
            exact_novelty: self.exact_novelty,
            smooth: self.smooth,
            sinks: if self.sinks { None } else { Some(0) },
            catalyst: match self.asks {
                Asks::General => Catalyst::General,
                Asks::Question => Catalyst::Question,
                Asks::Another => Catalyst::Text(ANOTHER.to_owned()),
            },
            passes: self.passes,
            ..MemoryRequest::default()
        }
    }
}

/// Somebody else's question: no text has its answer.
const ANOTHER: &str = "Where does the text say that the old lighthouse keeper hid his letters?";

/// Everything that is compared: InfiniPot with its ablations, then the rivals.
pub const VARIANTS: [Variant; 25] = [
    variant("infinipot", "infinipot", 0.5, false),
    variant("infinipot (question)", "infinipot", 0.5, true),
    variant("infinipot α=0 (CaP only)", "infinipot", 0.0, false),
    variant("infinipot α=0 (question)", "infinipot", 0.0, true),
    variant("infinipot α=0.25", "infinipot", 0.25, false),
    variant("infinipot α=0.25 (question)", "infinipot", 0.25, true),
    variant("infinipot α=0.75", "infinipot", 0.75, false),
    Variant { exact_novelty: true, ..variant("infinipot exact novelty", "infinipot", 0.5, false) },
    variant("infinipot α=1 (NuC only)", "infinipot", 1.0, false),
    Variant { smooth: Some(1), ..variant("infinipot not smoothed", "infinipot", 0.5, false) },
    Variant { smooth: Some(1), ..variant("infinipot not smoothed (question)", "infinipot", 0.5, true) },
    Variant { sinks: false, ..variant("infinipot without sinks (question)", "infinipot", 0.5, true) },
    Variant { passes: Some(2), ..variant("infinipot read twice", "infinipot", 0.5, false) },
    Variant { passes: Some(2), ..variant("infinipot read twice (question)", "infinipot", 0.5, true) },
    Variant { asks: Asks::Another, ..variant("infinipot (another question)", "infinipot", 0.5, false) },
    variant("truncate", "truncate", 0.0, false),
    variant("streaming", "streaming", 0.0, false),
    variant("h2o", "h2o", 0.0, false),
    variant("tova", "tova", 0.0, false),
    variant("snapkv", "snapkv", 0.0, false),
    variant("keydiff", "keydiff", 0.0, false),
    variant("sirllm", "sirllm", 0.0, false),
    variant("kvzip", "kvzip", 0.0, false),
    variant("episodic", "episodic", 0.0, false),
    variant("full", "full", 0.0, false),
];

/// What is compared on what.
#[derive(Clone, Debug)]
pub struct PoliciesOptions {
    /// Sizes of pots, in entries.
    pub pots: Vec<usize>,
    /// Tokens of a text.
    pub length: usize,
    /// Questions of a task for each seed.
    pub questions: usize,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Only variants whose name begins so; all when empty.
    pub only: Vec<String>,
    /// Only these tasks; all when empty.
    pub tasks: Vec<String>,
}

/// One variant, pot and task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the variant.
    pub policy: &'static str,
    /// Entries of the pot; `None` for the full cache.
    pub pot: Option<usize>,
    /// Task, or `mean` over all of them.
    pub task: String,
    /// Share of what was asked that the answers say.
    pub accuracy: f64,
    /// Of the accuracy, over seeds.
    pub standard_error: Option<f64>,
    /// Share of questions whose right choice was the likeliest, where there are choices.
    pub choice_accuracy: Option<f64>,
    /// Of the choice accuracy, over seeds.
    pub choice_standard_error: Option<f64>,
    /// Questions.
    pub n: usize,
    /// Bytes of keys and values.
    pub kv_bytes: usize,
    /// Tokens read a second, answers included.
    pub tok_s: f64,
}

/// The whole comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PoliciesTable {
    /// By pot, variant, task.
    pub rows: Vec<Row>,
    /// Tokens of a text.
    pub length: usize,
    /// Time taken.
    pub seconds: f64,
}

/// Names of the tasks.
const NEEDLE: &str = "needle";

fn question(
    task: &str,
    seed: u64,
    number: usize,
    length: usize,
    count: &dyn Fn(&str) -> usize,
) -> LongQuestion {
    let mut random = Random::seeded(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number as u64);
    match Task::from_name(task) {
        Some(task) => task.make(&mut random, length, count),
        None => {
            let fact = Kind::ALL[number % Kind::ALL.len()].fact(&mut random);
            let depth = random.uniform();
            needle(&mut random, &Filler::Prose, &fact, depth, length, count)
        }
    }
}

/// Asks the same questions through every policy and pot.
///
/// # Errors
/// When a name is unknown, a pot is too small, the network fails, or `progress` stops the measurement.
pub fn policies(
    engine: &Engine,
    options: &PoliciesOptions,
    progress: &mut Progress<'_>,
) -> Result<PoliciesTable, EvalError> {
    let started = Instant::now();
    let tasks: Vec<&str> = [NEEDLE].into_iter().chain(Task::ALL.map(Task::name)).collect();
    if let Some(unknown) = options.tasks.iter().find(|task| !tasks.contains(&task.as_str())) {
        return Err(EvalError::option(
            Setting::Tasks,
            format!("has no task {unknown:?}"),
            format!("tasks are {}", tasks.join(", ")),
        ));
    }
    let tasks: Vec<&str> = tasks
        .into_iter()
        .filter(|task| options.tasks.is_empty() || options.tasks.iter().any(|t| t == task))
        .collect();
    let variants: Vec<&Variant> = VARIANTS
        .iter()
        .filter(|v| {
            options.only.is_empty() || options.only.iter().any(|name| v.name.starts_with(name.as_str()))
        })
        .collect();
    if variants.is_empty() {
        let names: Vec<&str> = VARIANTS.iter().map(|variant| variant.name).collect();
        let what = format!("names no policy: {}", options.only.join(", "));
        return Err(EvalError::option(Setting::Only, what, format!("policies are {}", names.join(", "))));
    }
    let tokenizer = engine.tokenizer()?;
    let count = |text: &str| tokenizer.encode(text, Special::Plain).map_or(0, |ids| ids.len());
    let mut questions = Vec::new();
    for task in &tasks {
        let of_seed = |seed: &u64| -> Vec<LongQuestion> {
            (0..options.questions)
                .map(|number| question(task, *seed, number, options.length, &count))
                .collect()
        };
        questions.push(options.seeds.iter().map(of_seed).collect::<Vec<_>>());
    }
    // The full cache has no pot to vary, and only reads what fits the window.
    let fits = options.length + options.length / 10 + 64 <= engine.spec().context;
    let mut jobs = Vec::new();
    for &pot in &options.pots {
        jobs.extend(
            variants.iter().filter(|variant| variant.policy != "full").map(|variant| (Some(pot), **variant)),
        );
    }
    jobs.extend(
        variants.iter().filter(|variant| variant.policy == "full" && fits).map(|variant| (None, **variant)),
    );
    let total = jobs.len() * tasks.len() * options.seeds.len() * options.questions;
    let (mut rows, mut done) = (Vec::new(), 0);
    for (pot, variant) in jobs {
        let memory = variant.memory(pot);
        let (mut means, mut choice_means) =
            (vec![Vec::new(); options.seeds.len()], vec![Vec::new(); options.seeds.len()]);
        let (mut all_tokens, mut all_seconds, mut kv_bytes, mut asked) = (0, 0.0, 0, 0);
        for (task, by_seed) in tasks.iter().zip(&questions) {
            let (mut scores, mut choices, mut tokens, began) = (Vec::new(), Vec::new(), 0, Instant::now());
            for (seed, questions) in by_seed.iter().enumerate() {
                let (mut said, mut chosen) = (Vec::new(), Vec::new());
                for question in questions {
                    let found = answer(engine, question, &memory)?;
                    said.push(found.score);
                    chosen.extend(found.chosen.map(|right| f64::from(u8::from(right))));
                    tokens += found.tokens;
                    kv_bytes = kv_bytes.max(found.kv_bytes);
                    done += 1;
                    if progress(done, total).is_break() {
                        return Err(EngineError::Cancelled.into());
                    }
                }
                scores.push(Mean::of(&said).mean);
                means[seed].push(Mean::of(&said).mean);
                if !chosen.is_empty() {
                    choices.push(Mean::of(&chosen).mean);
                    choice_means[seed].push(Mean::of(&chosen).mean);
                }
            }
            let seconds = began.elapsed().as_secs_f64();
            let n = options.questions * options.seeds.len();
            rows.push(row(variant.name, pot, task, &scores, &choices, n, kv_bytes, tokens as f64 / seconds));
            all_tokens += tokens;
            all_seconds += seconds;
            asked += n;
        }
        let over_tasks = |by_seed: &[Vec<f64>]| -> Vec<f64> {
            by_seed.iter().filter(|values| !values.is_empty()).map(|values| Mean::of(values).mean).collect()
        };
        let (scores, choices) = (over_tasks(&means), over_tasks(&choice_means));
        rows.push(row(
            variant.name,
            pot,
            "mean",
            &scores,
            &choices,
            asked,
            kv_bytes,
            all_tokens as f64 / all_seconds,
        ));
    }
    Ok(PoliciesTable { rows, length: options.length, seconds: started.elapsed().as_secs_f64() })
}

#[expect(clippy::too_many_arguments, reason = "the columns of a table")]
fn row(
    policy: &'static str,
    pot: Option<usize>,
    task: &str,
    scores: &[f64],
    choices: &[f64],
    n: usize,
    kv_bytes: usize,
    tok_s: f64,
) -> Row {
    let (scores, choice) = (Mean::of(scores), (!choices.is_empty()).then(|| Mean::of(choices)));
    Row {
        policy,
        pot,
        task: task.to_owned(),
        accuracy: scores.mean,
        standard_error: scores.standard_error,
        choice_accuracy: choice.map(|choice| choice.mean),
        choice_standard_error: choice.and_then(|choice| choice.standard_error),
        n,
        kv_bytes,
        tok_s,
    }
}
