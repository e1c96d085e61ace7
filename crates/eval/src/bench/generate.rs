//! Reading a prompt and writing an answer, timed.
//!
//! Several runs, each in a session of its own, after a short one that brings the weights into memory and the
//! threads to life. Limits are measured afterwards with the same threads.
//!
//! - prefill: prompt tokens by the time until the logits after them are there;
//! - time to first token: the same until the first token is drawn;
//! - decode: the other tokens by the time they take, one pass and one draw each.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crayon_engine::{Engine, EngineError, ModelSource, Sampler, Sampling, Session, Settings};
use crayon_errors::Setting;
use crayon_kernels::limits;
use serde::Serialize;

use super::limit::{Limit, Load};
use super::made_up::MadeUp;
use super::memory::{forget_peak, peak_mb};
use super::shape::{Scheme, Shape};
use crate::score::not_finite;
use crate::{EvalError, Progress};

/// What is timed.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A model.
    Model(ModelSource),
    /// A shape with made-up weights, written to the system's folder for temporary files.
    Shape(Shape, Scheme),
}

/// How much is read and written.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens of the answer, at least 2.
    pub tokens: usize,
    /// Tokens the session has room for; prompt and answer when `None`.
    pub context: Option<usize>,
    /// Timed runs, at least 1.
    pub runs: usize,
    /// How the model is run.
    pub settings: Settings,
}

impl Default for GenerateOptions {
    fn default() -> GenerateOptions {
        GenerateOptions { prompt: 512, tokens: 128, context: None, runs: 3, settings: Settings::default() }
    }
}

/// Speed and memory. Speeds and times are medians of the runs.
#[derive(Clone, Debug, Serialize)]
pub struct Bench {
    /// The model's or shape's name.
    pub model: String,
    /// The scheme asked for, or the format of most of a model's weights.
    pub scheme: &'static str,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens of the answer.
    pub tokens: usize,
    /// Tokens the session had room for.
    pub context: usize,
    /// Threads.
    pub threads: usize,
    /// Timed runs.
    pub runs: usize,
    /// Tokens read a second.
    pub prefill_tok_s: f64,
    /// Tokens written a second.
    pub decode_tok_s: f64,
    /// Milliseconds from the prompt to the first token.
    pub ttft_ms: f64,
    /// Milliseconds to open the model; files are mapped, so weights are read later.
    pub load_ms: f64,
    /// Most memory resident at once in 10^6 bytes, touched pages of the mapped file included.
    pub peak_rss_mb: Option<f64>,
    /// Bytes of all tensors.
    pub weight_bytes: usize,
    /// Bytes of keys and values at the session's size.
    pub kv_bytes: usize,
    /// Smallest and largest of the runs.
    pub spread: Spread,
    /// What the machine can do at most.
    pub limit: Limit,
}

/// `[smallest, largest]` of the runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// Of [`Bench::prefill_tok_s`].
    pub prefill_tok_s: [f64; 2],
    /// Of [`Bench::decode_tok_s`].
    pub decode_tok_s: [f64; 2],
    /// Of [`Bench::ttft_ms`].
    pub ttft_ms: [f64; 2],
}

/// Times `subject`. `progress` is told after every run, the first untimed one included.
///
/// # Errors
/// When the model cannot be opened, prompt and answer do not fit its context, or `progress` stops it.
pub fn generate(
    subject: &Subject,
    options: &GenerateOptions,
    progress: &mut Progress<'_>,
) -> Result<Bench, EvalError> {
    check(options)?;
    // What is measured is a pass for each token, whatever the tokens are.
    let settings = Settings { no_guess: true, ..options.settings.clone() };
    let opened = open(subject, &settings)?;
    let mut bench = time(&opened.engine, options, progress)?;
    if let Subject::Shape(shape, scheme) = subject {
        bench.model = shape.name.to_owned();
        bench.scheme = scheme.name();
    }
    Ok(bench)
}

/// An open subject. A made-up one is deleted with it.
pub struct Opened {
    /// The model.
    pub engine: Engine,
    _file: Option<MadeUp>,
}

/// Opens `subject`, with made-up weights written to a temporary file where it is a shape. What was resident before
/// does not count into the peak any more.
///
/// # Errors
/// When the model cannot be opened or its file not written.
pub fn open(subject: &Subject, settings: &Settings) -> Result<Opened, EvalError> {
    let (source, file) = match subject {
        Subject::Model(source) => (source.clone(), None),
        Subject::Shape(shape, scheme) => {
            let file = MadeUp::write(&std::env::temp_dir(), shape, *scheme)?;
            (ModelSource::Path(file.path().to_owned()), Some(file))
        }
    };
    forget_peak();
    let engine = Engine::open(&source, settings)?;
    // A mapped file stays readable without its name, and then no interruption leaves it behind.
    let file = if cfg!(unix) { None } else { file };
    Ok(Opened { engine, _file: file })
}

fn check(options: &GenerateOptions) -> Result<(), EvalError> {
    let least = |name: Setting, value: usize, least: usize| match value >= least {
        true => Ok(()),
        false => {
            Err(EvalError::option(name, format!("{value} is too small"), format!("take {least} or more")))
        }
    };
    least(Setting::Prompt, options.prompt, 1)?;
    // The first token's time belongs to the prompt.
    least(Setting::Tokens, options.tokens, 2)?;
    least(Setting::Runs, options.runs, 1)?;
    least(Setting::Context, options.context.unwrap_or(usize::MAX), options.prompt + options.tokens)
}

/// Times of one run.
#[derive(Clone, Copy)]
struct Run {
    prefill: Duration,
    first: Duration,
    decode: Duration,
}

fn time(engine: &Engine, options: &GenerateOptions, progress: &mut Progress<'_>) -> Result<Bench, EvalError> {
    let (prompt, tokens) = (options.prompt, options.tokens);
    let context = options.context.unwrap_or(prompt + tokens);
    let ids = prompt_ids(prompt, engine.spec().vocab);
    let mut kv_bytes = 0;
    let mut runs = Vec::with_capacity(options.runs);
    for index in 0..=options.runs {
        let is_warm_up = index == 0;
        let mut session = engine.session(context)?;
        kv_bytes = session.kv_bytes();
        let run = run(&mut session, &ids, if is_warm_up { WARM_UP.min(tokens) } else { tokens })?;
        if !is_warm_up {
            runs.push(run);
        }
        if progress(index + 1, options.runs + 1).is_break() {
            return Err(EngineError::Cancelled.into());
        }
    }
    // Before the limits are measured, which takes memory of its own.
    let peak_rss_mb = peak_mb();
    let prefill = Values::of(&runs, |run| prompt as f64 / run.prefill.as_secs_f64());
    let decode = Values::of(&runs, |run| (tokens - 1) as f64 / run.decode.as_secs_f64());
    let first = Values::of(&runs, |run| run.first.as_secs_f64() * 1e3);
    let load = Load::new(engine, prompt, tokens)?;
    Ok(Bench {
        model: engine.name().to_owned(),
        scheme: load.format.name(),
        prompt,
        tokens,
        context,
        threads: engine.threads().count(),
        runs: options.runs,
        prefill_tok_s: prefill.median(),
        decode_tok_s: decode.median(),
        ttft_ms: first.median(),
        load_ms: engine.loading().as_secs_f64() * 1e3,
        peak_rss_mb,
        weight_bytes: engine.checkpoint().bytes(),
        kv_bytes,
        spread: Spread { prefill_tok_s: prefill.ends(), decode_tok_s: decode.ends(), ttft_ms: first.ends() },
        limit: load.limit(&limits::measure(engine.threads()), prefill.median(), decode.median()),
    })
}

/// Tokens the untimed run writes.
const WARM_UP: usize = 4;

/// Reads `prompt` and writes `tokens` tokens, whatever they are.
fn run(session: &mut Session<'_>, prompt: &[u32], tokens: usize) -> Result<Run, EvalError> {
    let mut sampler = Sampler::new(Sampling::default())?;
    let mut draw = |session: &Session<'_>| {
        let drawn = sampler.draw(session.logits(), &[]);
        drawn.map(|drawn| drawn.id).ok_or_else(|| not_finite(session.engine()))
    };
    let started = Instant::now();
    session.feed(prompt, &mut |_| ControlFlow::Continue(()))?;
    let prefill = started.elapsed();
    let mut id = draw(session)?;
    let first = started.elapsed();
    for _ in 1..tokens {
        session.feed(&[id], &mut |_| ControlFlow::Continue(()))?;
        id = draw(session)?;
    }
    Ok(Run { prefill, first, decode: started.elapsed() - first })
}

/// Made-up prompt: ids spread over the vocabulary, always the same.
pub fn prompt_ids(length: usize, vocab: usize) -> Vec<u32> {
    let spread = |index: u64| index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    (0..length as u64).map(|index| (spread(index + 1) % vocab as u64) as u32).collect()
}

/// Sorted results of the runs.
struct Values(Vec<f64>);

impl Values {
    fn of(runs: &[Run], value: impl Fn(&Run) -> f64) -> Values {
        let mut values: Vec<f64> = runs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        Values(values)
    }

    fn median(&self) -> f64 {
        let (low, high) = (self.0[(self.0.len() - 1) / 2], self.0[self.0.len() / 2]);
        (low + high) / 2.0
    }

    fn ends(&self) -> [f64; 2] {
        [self.0[0], self.0[self.0.len() - 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(Values(vec![1.0, 2.0, 9.0]).median(), 2.0);
        assert_eq!(Values(vec![1.0, 2.0, 4.0, 9.0]).median(), 3.0);
        assert_eq!(Values(vec![1.0, 2.0, 9.0]).ends(), [1.0, 9.0]);
    }

    #[test]
    fn prompts_stay_inside_the_vocabulary_and_vary() {
        let ids = prompt_ids(1000, 300);
        assert!(ids.iter().all(|&id| id < 300));
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert!(distinct.len() > 200, "{}", distinct.len());
    }

    #[test]
    fn options_that_cannot_be_timed_are_refused() {
        let check = |options: GenerateOptions| super::check(&options).map_err(|error| error.to_string());
        assert!(check(GenerateOptions::default()).is_ok());
        assert!(
            check(GenerateOptions { prompt: 0, ..Default::default() })
                .unwrap_err()
                .contains("length of the prompt")
        );
        assert!(
            check(GenerateOptions { tokens: 1, ..Default::default() })
                .unwrap_err()
                .contains("number of tokens")
        );
        assert!(
            check(GenerateOptions { runs: 0, ..Default::default() }).unwrap_err().contains("number of runs")
        );
        let short = GenerateOptions { context: Some(600), ..Default::default() };
        assert_eq!(check(short).unwrap_err(), "the context 600 is too small");
    }
}
