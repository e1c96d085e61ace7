//! Ways to quantise side by side: on text like that of the calibration, and on text that is not.

mod beside;
mod measure;
mod texts;
mod variant;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use crayon_engine::adapters::Lora;
use crayon_engine::{Engine, EngineError, Settings};
use crayon_errors::{Explain as _, Setting, Verdict};
use crayon_formats::export::{embedding_format, fitting};
use crayon_formats::{Checkpoint, Tensor};
use crayon_kernels::quantize_rows;
use crayon_quant::{
    Activations, Calibration, Groups, Method, Quantised, Recipe, Scheme, Start, fold::planted, quantise, tune,
};
use serde::{Deserialize, Serialize};

use crate::appended::Appended;
use crate::bench::memory::peak_mb;
use crate::{EvalError, Progress};
pub use beside::Beside;
use measure::{COMPARED, Exact, Measured, measure};
pub use texts::calibration;
use texts::{Windows, windows};
use variant::Kind;
pub use variant::Variant;

/// Sequences that exponents and rates are chosen on.
const HELD_OUT: usize = 4;

/// What is compared, and on what.
#[derive(Clone, Debug)]
pub struct QuantizeOptions {
    /// Rows.
    pub variants: Vec<Variant>,
    /// Bits.
    pub schemes: Vec<Scheme>,
    /// When ranges of activations are known.
    pub activations: Vec<Activations>,
    /// Who shares a range of weights; `None` for each scheme's own.
    pub groups: Option<Groups>,
    /// Names of texts and their contents; the first is of the kind that the calibration is of.
    pub texts: Vec<(String, String)>,
    /// Text to calibrate by; `None` has the model write some.
    pub calibration: Option<String>,
    /// What the calibration is called.
    pub calibrated: String,
    /// Numbers of sequences.
    pub sequences: Vec<usize>,
    /// Number of seeds.
    pub seeds: u64,
    /// Tokens of a window.
    pub window: usize,
    /// Windows of each text that are measured, spread over it.
    pub windows: usize,
    /// Steps of a block in phase 1.
    pub steps: usize,
    /// Steps of phase 2, and of training all weights.
    pub final_steps: usize,
    /// Rates of training all weights to choose from on held-out text.
    pub tune_rates: Vec<f64>,
    /// Exponents of SmoothQuant to choose from on held-out text.
    pub alphas: Vec<f32>,
    /// File of finished rows.
    pub cells: Option<PathBuf>,
    /// What stands beside the weights in every row.
    pub beside: Beside,
    /// Outliers planted by so much into a few channels, without changing what the model computes.
    pub plant: Option<f32>,
    /// Name of the model in rows.
    pub label: String,
}

/// One way to quantise with one draw of sequences.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct QuantizeRow {
    /// The model.
    pub model: String,
    /// What was done.
    pub variant: String,
    /// Bits.
    pub scheme: String,
    /// When ranges of activations are known.
    pub activations: String,
    /// Who shares a range of weights: channel, tensor, or a number of neighbours.
    pub groups: String,
    /// Name of the calibration text.
    pub calibration: String,
    /// Sequences of it.
    pub sequences: usize,
    /// The draw.
    pub seed: u64,
    /// SmoothQuant's exponent that was taken.
    pub alpha: Option<f32>,
    /// The rate of training all weights that was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Each text's name, perplexity, and divergence from the exact path in nats.
    pub texts: Vec<TextRow>,
    /// For quantising.
    pub seconds: f64,
    /// The most memory the process has taken until then.
    pub peak_mb: Option<f64>,
}

/// A text's figures.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TextRow {
    /// Name.
    pub text: String,
    /// Of its windows, the first token of each not scored.
    pub perplexity: f64,
    /// Mean negative log-likelihood of each window's tokens, in nats.
    // Rows kept by earlier versions have none; their keys differ.
    #[serde(default)]
    pub nll: Vec<f64>,
    /// Mean divergence of distributions from the exact path's, in nats.
    pub kl: f64,
}

impl TextRow {
    fn new(text: &Windows, measured: Measured) -> TextRow {
        TextRow {
            text: text.name.clone(),
            perplexity: measured.mean().exp(),
            kl: measured.kl,
            nll: measured.nll,
        }
    }

    /// By how much of `exact`'s perplexity this one is larger, and the standard error of that over windows, which both were
    /// measured on. `None` with fewer than two windows.
    pub fn lost(&self, exact: &TextRow) -> Option<(f64, f64)> {
        let changes: Vec<f64> = self.nll.iter().zip(&exact.nll).map(|(own, exact)| own - exact).collect();
        let n = changes.len() as f64;
        let mean = changes.iter().sum::<f64>() / n;
        let variance = changes.iter().map(|change| (change - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (n > 1.0).then(|| (mean.exp_m1(), mean.exp() * (variance / n).sqrt()))
    }
}

/// What [`quantize`] measures.
#[derive(Clone, Debug, Serialize)]
pub struct QuantizeTable {
    /// Every row.
    pub rows: Vec<QuantizeRow>,
}

#[derive(Deserialize, Serialize)]
struct Line {
    key: String,
    row: QuantizeRow,
}

/// Quantises `checkpoint` in every way asked for and measures each result as it would run.
///
/// # Errors
/// When a text is too short, the model refuses, or `progress` stops.
pub fn quantize(
    checkpoint: &Checkpoint,
    options: &QuantizeOptions,
    progress: &mut Progress<'_>,
) -> Result<QuantizeTable, EvalError> {
    let checkpoint = match options.plant {
        Some(factor) => &planted(checkpoint, factor).map_err(|error| EvalError::Quantise(Box::new(error)))?,
        None => checkpoint,
    };
    let exact = options.beside.settings(true);
    let mut engine = Engine::from_checkpoint(options.label.clone(), checkpoint.clone(), &exact)?;
    let adapter = options.beside.read(&engine)?;
    if let Some(lora) = &adapter {
        if let Some(variant) = options.variants.iter().find(|variant| variant.rotates()) {
            let what = format!("does not turn with the model that {} rotates", variant.name);
            return Err(EvalError::option(Setting::Adapter, what, "leave the one or the other out"));
        }
        engine.adapt_by(lora.clone())?;
    }
    let mut texts = options
        .texts
        .iter()
        .map(|(name, text)| windows(&engine, name, text, options))
        .collect::<Result<Vec<_>, EvalError>>()?;
    let jobs = jobs(options);
    let mut found: HashMap<String, QuantizeRow> = HashMap::new();
    let mut add = |line: Line| drop(found.insert(line.key, line.row));
    let mut file =
        options.cells.as_deref().map(|path| Appended::open(path, "a row", &mut add)).transpose()?;
    let mut fingerprint = checkpoint.fingerprint();
    if let Some(adapter) = engine.adapter() {
        fingerprint = format!("{fingerprint} through {}", adapter.fingerprint());
    }
    let total = jobs.len();
    let mut references = Vec::new();
    let mut calibrations = HashMap::new();
    let mut rows = Vec::new();
    for (number, job) in jobs.iter().enumerate() {
        let key = format!("{fingerprint} {} {}", job.key(), text_key(options));
        if let Some(row) = found.get(&key) {
            rows.push(row.clone());
            continue;
        }
        let mut tick = || match progress(number, total) {
            ControlFlow::Break(()) => Err(EvalError::Engine(EngineError::Cancelled)),
            ControlFlow::Continue(()) => Ok(()),
        };
        if references.is_empty() {
            for text in std::mem::take(&mut texts) {
                let mut exact = Exact::new();
                let measured = measure(&engine, &options.beside, &text, None, Some(&mut exact), &mut tick)?;
                let row = TextRow::new(&text, measured);
                references.push(Reference { text, row, exact });
            }
        }
        let row = if job.variant.kind() == Kind::Exact {
            let texts = references.iter().map(|reference| reference.row.clone()).collect();
            QuantizeRow { texts, ..job.row(options) }
        } else {
            let calibration = match calibrations.entry((job.sequences, job.recipe.seed)) {
                Entry::Occupied(made) => made.into_mut(),
                Entry::Vacant(free) => {
                    let &(sequences, seed) = free.key();
                    let text = options.calibration.as_deref();
                    let mut flow = |_, _| tick().map_or(ControlFlow::Break(()), ControlFlow::Continue);
                    let drawn =
                        calibration(&engine, text, options.window, sequences, HELD_OUT, seed, &mut flow)?;
                    free.insert(drawn)
                }
            };
            one(&engine, adapter.as_ref(), job, options, calibration, &references, &mut tick)?
        };
        if let Some(file) = &mut file {
            file.keep(&Line { key, row: row.clone() })?;
        }
        rows.push(row);
    }
    Ok(QuantizeTable { rows })
}

/// One row to make.
struct Job {
    variant: Variant,
    recipe: Recipe,
    sequences: usize,
}

impl Job {
    fn key(&self) -> String {
        format!("{} {} {:?}", self.variant.name, self.sequences, self.recipe)
    }

    /// Without figures.
    fn row(&self, options: &QuantizeOptions) -> QuantizeRow {
        let Job { variant, recipe, sequences } = self;
        QuantizeRow {
            model: options.label.clone(),
            variant: variant.name.to_owned(),
            scheme: recipe.scheme.name().to_owned(),
            activations: recipe.activations.name().to_owned(),
            groups: match recipe.groups {
                Groups::Channel => "channel".to_owned(),
                Groups::Tensor => "tensor".to_owned(),
                Groups::Of(size) => size.to_string(),
            },
            calibration: options.calibrated.clone(),
            sequences: *sequences,
            seed: recipe.seed,
            alpha: None,
            rate: None,
            texts: Vec::new(),
            seconds: 0.0,
            peak_mb: None,
        }
    }
}

fn jobs(options: &QuantizeOptions) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for &scheme in &options.schemes {
        for &activations in &options.activations {
            for &sequences in &options.sequences {
                for &variant in &options.variants {
                    for seed in 0..options.seeds {
                        let mut recipe = variant.recipe(scheme, activations, options.groups);
                        recipe.seed = seed;
                        recipe.steps = options.steps;
                        recipe.final_steps = options.final_steps;
                        if let &[alpha] = &options.alphas[..] {
                            recipe.alpha = alpha;
                        }
                        if let (Kind::Tuned { .. }, &[rate]) = (variant.kind(), &options.tune_rates[..]) {
                            recipe.final_rate = rate;
                        }
                        let exact = variant.kind() == Kind::Exact;
                        if exact && jobs.iter().any(|job| job.variant == variant) {
                            continue;
                        }
                        jobs.push(Job { variant, recipe, sequences });
                    }
                }
            }
        }
    }
    jobs
}

/// What of the options, besides the recipe, a row depends on.
fn text_key(options: &QuantizeOptions) -> String {
    let names: Vec<&str> = options.texts.iter().map(|(name, _)| name.as_str()).collect();
    let bytes: usize = options.texts.iter().map(|(_, text)| text.len()).sum();
    let rates = match options.tune_rates[..] {
        // The one is part of the recipe.
        [_] => String::new(),
        _ => format!(" {:?}", options.tune_rates),
    };
    format!(
        "{} {} {names:?} {bytes} {} {}/{COMPARED} {:?} {:?}{rates}",
        options.calibrated,
        options.calibration.as_ref().map_or(0, String::len),
        options.window,
        options.windows,
        options.alphas,
        // The adapter is known by what it holds, wherever it lies.
        Beside { adapter: None, ..options.beside.clone() }
    )
}

/// A text, and what the exact path makes of it.
struct Reference {
    text: Windows,
    row: TextRow,
    exact: Exact,
}

fn one(
    engine: &Engine,
    adapter: Option<&Lora>,
    job: &Job,
    options: &QuantizeOptions,
    calibration: &Calibration,
    references: &[Reference],
    tick: &mut dyn FnMut() -> Result<(), EvalError>,
) -> Result<QuantizeRow, EvalError> {
    let started = Instant::now();
    let Job { variant, recipe, .. } = job;
    let mut row = job.row(options);
    let settings = match variant.kind() {
        // What was not rounded is computed exactly.
        Kind::Tuned { aware: false } => options.beside.settings(true),
        _ => options.beside.settings(false),
    };
    let kind = variant.kind();
    let (recipe, made) = match (kind, &options.alphas[..], &options.tune_rates[..]) {
        (Kind::Recipe(choices), [first, rest @ ..], _) if choices.swept && !rest.is_empty() => {
            let at = |alpha: &f32| Recipe { alpha: *alpha, ..recipe.clone() };
            best(engine, kind, at(first), rest.iter().map(at), calibration, &settings, tick)?
        }
        (Kind::Tuned { .. }, _, [first, rest @ ..]) if !rest.is_empty() => {
            let at = |rate: &f64| Recipe { final_rate: *rate, ..recipe.clone() };
            best(engine, kind, at(first), rest.iter().map(at), calibration, &settings, tick)?
        }
        _ => (recipe.clone(), made(engine, kind, recipe, calibration, tick)?),
    };
    let smooth =
        matches!(recipe.method, Method::SmoothQuant | Method::Quadapter) && recipe.start == Start::Smooth;
    row.alpha = smooth.then_some(recipe.alpha);
    row.rate = matches!(variant.kind(), Kind::Tuned { .. }).then_some(recipe.final_rate);
    row.seconds = started.elapsed().as_secs_f64();
    row.peak_mb = peak_mb();
    let own = beside::open(&options.label, made, &settings, adapter)?;
    for Reference { text, exact, .. } in references {
        let measured = measure(&own, &options.beside, text, Some(exact), None, tick)?;
        row.texts.push(TextRow::new(text, measured));
    }
    Ok(row)
}

/// Quantises, with token embedding and output layer as an export has them.
fn made(
    engine: &Engine,
    kind: Kind,
    recipe: &Recipe,
    calibration: &Calibration,
    tick: &mut dyn FnMut() -> Result<(), EvalError>,
) -> Result<Quantised, EvalError> {
    let checkpoint = engine.checkpoint();
    let mut stopped = None;
    let mut watch = |_: crayon_quant::Progress| match tick() {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            stopped = Some(error);
            ControlFlow::Break(())
        }
    };
    let mut found = match kind {
        Kind::Tuned { aware } => {
            // Ranges start where round-to-nearest has them.
            let setups = match aware {
                true => Some(
                    quantise(checkpoint, recipe, calibration, None, &mut watch).map(|found| found.setups),
                ),
                false => None,
            };
            match setups.transpose() {
                Ok(setups) => tune(checkpoint, recipe, calibration, setups, &mut watch),
                Err(error) => Err(error),
            }
        }
        Kind::Exact | Kind::Recipe(_) => quantise(checkpoint, recipe, calibration, None, &mut watch),
    };
    if let Some(error) = stopped {
        return Err(error);
    }
    if let (Ok(made), true) = (&mut found, !matches!(kind, Kind::Tuned { aware: false })) {
        let names = ["token_embd.weight", "output.weight"];
        let mut tensors = Vec::new();
        for name in names.into_iter().filter(|name| made.checkpoint.has(name)) {
            let tensor = made.checkpoint.tensor(name)?;
            let format = fitting(embedding_format(recipe.scheme.rows()), tensor.cols());
            let mut data = Vec::new();
            // A few rows at a time: the whole would take four times the model.
            for first in (0..tensor.shape[0]).step_by(1024) {
                let rows = tensor.rows(first..(first + 1024).min(tensor.shape[0]));
                quantize_rows(format, tensor.cols(), &rows.to_f32(), &mut data);
            }
            tensors.push(Tensor { format, data: data.into(), ..tensor });
        }
        let origin = made.checkpoint.origin().cloned();
        let rounded = made.checkpoint.clone().with_tensors(tensors)?;
        made.checkpoint = match origin {
            Some(origin) => rounded.with_origin(origin),
            None => rounded,
        };
    }
    found.map_err(|error| match error.verdict() {
        Verdict::Stopped => EvalError::Engine(EngineError::Cancelled),
        _ => EvalError::Quantise(Box::new(error)),
    })
}

/// Of recipes the one with the least loss on held-out sequences of the calibration text, and what
/// it makes.
fn best(
    engine: &Engine,
    kind: Kind,
    first: Recipe,
    rest: impl Iterator<Item = Recipe>,
    calibration: &Calibration,
    settings: &Settings,
    tick: &mut dyn FnMut() -> Result<(), EvalError>,
) -> Result<(Recipe, Quantised), EvalError> {
    let held = Windows {
        name: String::new(),
        windows: calibration.held_out.chunks(calibration.window).map(<[u32]>::to_vec).collect(),
    };
    let mut attempt = |recipe: Recipe| {
        let made = made(engine, kind, &recipe, calibration, tick)?;
        let name = engine.name().to_owned();
        let own = Engine::from_checkpoint(name, made.checkpoint.clone(), settings)?;
        let measured = measure(&own, &Beside::default(), &held, None, None, tick)?;
        Ok::<_, EvalError>((measured.mean(), recipe, made))
    };
    let mut best = attempt(first)?;
    for recipe in rest {
        let found = attempt(recipe)?;
        if found.0 < best.0 {
            best = found;
        }
    }
    Ok((best.1, best.2))
}

#[cfg(test)]
mod tests {
    use super::TextRow;

    #[test]
    fn a_loss_is_told_window_by_window() {
        let row = |nll: &[f64]| TextRow {
            text: String::new(),
            perplexity: (nll.iter().sum::<f64>() / nll.len() as f64).exp(),
            nll: nll.to_vec(),
            kl: 0.0,
        };
        let exact = row(&[1.0, 3.0, 5.0]);
        // The same more everywhere: no error, however windows differ.
        let (lost, error) = row(&[1.1, 3.1, 5.1]).lost(&exact).unwrap();
        assert!((lost - 0.1f64.exp_m1()).abs() < 1e-12 && error < 1e-12);
        let changed = row(&[1.0, 3.1, 5.2]);
        let (lost, error) = changed.lost(&exact).unwrap();
        assert!((lost - (changed.perplexity / exact.perplexity - 1.0)).abs() < 1e-12);
        // A deviation of 0.1 over three windows.
        assert!((error - 0.1f64.exp() * 0.1 / 3f64.sqrt()).abs() < 1e-12);
        assert_eq!(row(&[1.0]).lost(&row(&[1.0])), None);
    }
}
