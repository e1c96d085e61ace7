//! `crayon quantize`: a model on integers.
//!
//! What is finished is kept beside the output until the model is whole, so that a run that was stopped goes on.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crayon_engine::{Engine, ModelSource, Settings};
use crayon_errors::Explain as _;
use crayon_formats::export::{ExportOptions, Notice};
use crayon_formats::{Bytes, Checkpoint, Format};
use crayon_quant::{
    Activations, Calibration, Form, GridKind, Method, Places, QuantError, Quantised, RangeKind, Recipe,
    Scheme, Start, WeightKind, forget, quantise,
};
use serde::Serialize;

use super::convert::{format_of, name_of, number_type, refuse_to_overwrite, write_folder};
use crate::args::{FileFormat, QuantizeArgs};
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::progress::Counting;
use crate::{input, interrupt, model, show};

/// Sequences that are left out of calibration, to look at the result.
const HELD_OUT: usize = 8;

/// What `--json` prints.
#[derive(Serialize)]
struct QuantizeReport<'a> {
    model: &'a str,
    output: &'a Path,
    format: &'static str,
    scheme: &'static str,
    method: &'static str,
    places: Vec<&'static str>,
    activations: &'static str,
    perplexity_before: f64,
    perplexity_after: f64,
    /// Tokens that both were measured on.
    held_out: usize,
    bytes_before: usize,
    bytes_after: usize,
    sequences: usize,
    resumed: usize,
    blocks: Vec<Block>,
    /// Nats a token before and after phase 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_to_end: Option<[f32; 2]>,
    seconds: f64,
}

#[derive(Serialize)]
struct Block {
    loss_before: f32,
    loss: f32,
    places: Vec<Place>,
}

#[derive(Serialize)]
struct Place {
    place: &'static str,
    /// Largest magnitude of the channels over their median, without scales and with.
    outliers: [f32; 2],
    kurtosis: [f32; 2],
}

/// Runs the command.
pub(super) fn run(args: &QuantizeArgs, output: &Output) -> Result {
    let started = Instant::now();
    let format = args.format.unwrap_or_else(|| format_of(&args.output));
    let recipe = recipe(args, format)?;
    let embeddings = number_type(&args.embeddings)?;
    let source = model::resolve(&args.model)?;
    let checkpoint = match source {
        ModelSource::Embedded(model) => Checkpoint::from_gguf(model.name, Bytes::from_static(model.bytes))?,
        ModelSource::Path(path) => Checkpoint::open(&path)?,
    };
    refuse_to_overwrite(&args.output, format, args.force)?;
    let text = args.calibration.as_deref().map(input::file).transpose()?;
    for told in checkpoint.notes() {
        output.note(&told.to_string());
    }
    rounded_before(&checkpoint, output)?;
    let exact = Settings { exact: true, ..Settings::default() };
    let engine = Engine::from_checkpoint(args.model.clone(), checkpoint, &exact)?;
    interrupt::watch();
    let calibration = calibration(&engine, text.as_deref(), args, output)?;
    if calibration.sequences() < args.sequences as usize {
        output.note(&format!(
            "the text has {} of {} tokens, {} were asked for",
            show::counted(calibration.sequences(), "sequence"),
            show::count(args.window),
            args.sequences
        ));
    }

    let folder = unfinished(&args.output);
    let mut bar = Counting::new("quantising", "steps", output);
    let mut told = 0;
    let found = quantise(engine.checkpoint(), &recipe, &calibration, Some(&folder), &mut |progress| {
        if progress.resumed > told {
            told = progress.resumed;
            output.note(&format!("going on after {}", show::counted(told, "block")));
        }
        bar.at(progress.done, progress.total);
        interrupt::flow()
    });
    bar.finish();
    let goes_on = || {
        // Empty where not even the first block could be kept.
        if std::fs::remove_dir(&folder).is_err() && folder.is_dir() {
            output
                .note(&format!("what is finished is kept in {}; the same command goes on", folder.display()));
        }
    };
    let found = found.inspect_err(|_| goes_on())?;
    let before = measured(&engine, &calibration)?;
    write(&found.checkpoint, &recipe, embeddings, &args.output, format, output).inspect_err(|_| goes_on())?;
    let written = Engine::open(&ModelSource::path(&args.output)?, &Settings::default())?;
    let after = measured(&written, &calibration)?;
    forget(&folder);

    let report = QuantizeReport {
        model: &args.model,
        output: &args.output,
        format: name_of(format),
        scheme: recipe.scheme.name(),
        method: recipe.method.name(),
        places: recipe.scaled(engine.spec()).into_iter().map(crayon_quant::Place::name).collect(),
        activations: recipe.activations.name(),
        perplexity_before: before,
        perplexity_after: after,
        held_out: calibration.held_out.len(),
        bytes_before: engine.checkpoint().bytes(),
        bytes_after: written.checkpoint().bytes(),
        sequences: calibration.sequences(),
        resumed: found.resumed,
        blocks: blocks(&found),
        end_to_end: found.end_to_end,
        seconds: (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
    };
    if output.json {
        return Ok(output.object(&report)?);
    }
    if output.verbose {
        output.line(&table(&found))?;
    }
    output.line(&format!(
        "{} is written: {}, before {}",
        args.output.display(),
        show::bytes(report.bytes_after as u64),
        show::bytes(report.bytes_before as u64),
    ))?;
    let tokens = show::count(report.held_out);
    let text = if args.calibration.is_some() { "the text" } else { "what it wrote" };
    Ok(output.line(&format!(
        "perplexity {after:.3}, exact {before:.3}, on {tokens} tokens of {text} that were left out; {}",
        show::duration(started.elapsed())
    ))?)
}

/// What a name on the command line stands for, or a mistake that tells all names.
pub(super) fn named<T>(
    what: &str,
    text: &str,
    found: Option<T>,
    all: impl Iterator<Item = &'static str>,
) -> Result<T> {
    let known = || format!("known are {}", all.collect::<Vec<_>>().join(", "));
    found.ok_or_else(|| mistake(format!("{text:?} is not a known {what}"), known()))
}

fn recipe(args: &QuantizeArgs, format: FileFormat) -> Result<Recipe> {
    macro_rules! choice {
        ($kind:ident, $what:literal, $text:expr) => {
            named($what, $text, $kind::from_name($text), $kind::ALL.iter().map(|choice| choice.name()))?
        };
    }
    let scheme = choice!(Scheme, "scheme", &args.scheme);
    let method = choice!(Method, "method", &args.method);
    let mut recipe = Recipe {
        places: choice!(Places, "choice of places", &args.places),
        activations: choice!(Activations, "kind of activations' ranges", &args.activations),
        range: choice!(RangeKind, "way to find ranges", &args.range),
        start: choice!(Start, "start of scales", &args.start),
        alpha: args.alpha,
        final_steps: args.final_steps,
        rate: args.rate,
        final_rate: args.final_rate,
        seed: args.seed,
        ..Recipe::new(scheme, method)
    };
    recipe.steps = args.steps.unwrap_or(recipe.steps);
    if let Some(weights) = &args.weights {
        recipe.weights = choice!(WeightKind, "way to round weights", weights);
    }
    if !(0.0..=1.0).contains(&args.alpha) {
        return Err(mistake(format!("--alpha {} is not a share", args.alpha), "take a number from 0 to 1"));
    }
    for (flag, rate) in [("--rate", args.rate), ("--final-rate", args.final_rate)] {
        if !(rate > 0.0 && rate < 1.0) {
            return Err(mistake(format!("{flag} {rate} teaches nothing good"), "0.02 serves"));
        }
    }
    (recipe.by_block, recipe.end_to_end) = (false, false);
    for phase in &args.phases {
        match phase.as_str() {
            "1" => recipe.by_block = true,
            "2" => recipe.end_to_end = true,
            other => return Err(mistake(format!("{other:?} is not a phase"), "phases are 1, 2, or 1,2")),
        }
    }
    if method != Method::Quadapter && recipe.range == RangeKind::Learned {
        // Nothing learns beside the other methods.
        recipe.range = RangeKind::MinMax;
    }
    recipe.end_to_end &= method == Method::Quadapter;
    if format == FileFormat::Gguf {
        recipe.form = Form::Blocks;
        if scheme.weight_bits() < 8 {
            // As q4_0 has them.
            recipe.grid = GridKind::Symmetric;
        }
    }
    if args.weights.is_none()
        && scheme.weight_bits() < 8
        && method != Method::Rtn
        && recipe.form == Form::Rows
        && !recipe.end_to_end
    {
        // Measured: better than the nearest code on every text, behind scales too.
        recipe.weights = WeightKind::Gptq;
    }
    Ok(recipe)
}

/// Says that the model's weights were rounded before: what is lost then stays lost.
fn rounded_before(checkpoint: &Checkpoint, output: &Output) -> Result {
    let format = checkpoint.tensor("blk.0.attn_q.weight")?.format;
    if !format.is_float() && !format.is_per_channel() {
        output.note(&format!(
            "the weights are {format} already: they are taken as they stand for, and rounded again; the original is better"
        ));
    }
    Ok(())
}

/// The sequences of the text, or of one that the model writes.
fn calibration(
    engine: &Engine,
    text: Option<&str>,
    args: &QuantizeArgs,
    output: &Output,
) -> Result<Calibration> {
    let context = engine.spec().context;
    if args.window > context {
        return Err(mistake(
            format!("--window {} is longer than the model's context", args.window),
            format!("take {context} or fewer"),
        ));
    }
    let mut bar = Counting::new("writing a text to calibrate by", "tokens", output);
    let sequences = args.sequences as usize;
    let found = crayon_eval::quantize::calibration(
        engine,
        text,
        args.window,
        sequences,
        HELD_OUT,
        args.seed,
        &mut |done, total| {
            bar.at(done, total);
            interrupt::flow()
        },
    );
    bar.finish();
    Ok(found?)
}

/// Perplexity on what calibration left out.
fn measured(engine: &Engine, calibration: &Calibration) -> Result<f64> {
    let result =
        crayon_eval::perplexity(engine, &calibration.held_out, Some(calibration.window), &mut |_, _| {
            interrupt::flow()
        });
    match result {
        Err(error) if error.verdict() == crayon_errors::Verdict::Stopped => Err(QuantError::Stopped.into()),
        result => Ok(result?.perplexity),
    }
}

fn write(
    checkpoint: &Checkpoint,
    recipe: &Recipe,
    embeddings: Format,
    path: &Path,
    format: FileFormat,
    output: &Output,
) -> Result {
    let mut bar = Counting::new("writing", "tensors", output);
    let mut warnings = Vec::new();
    let mut notify = |notice| {
        match notice {
            Notice::Written { done, total, .. } => bar.at(done, total),
            Notice::Fallback { tensor, used, .. } => warnings.push(format!("{tensor} is {used}")),
            Notice::Warning(text) => warnings.push(text),
        }
        if interrupt::requested() {
            crayon_files::abandon();
            std::process::exit(130);
        }
    };
    match format {
        FileFormat::Gguf => {
            let weights = Some(recipe.scheme.blocks());
            let options = ExportOptions { weights, embeddings: Some(embeddings) };
            crayon_formats::export::write_gguf(checkpoint, path, options, &mut notify)?;
        }
        FileFormat::Safetensors => {
            write_folder(checkpoint, path, recipe.scheme.rows(), Some(embeddings), &mut notify)?;
        }
    }
    bar.finish();
    warnings.iter().for_each(|warning| output.note(warning));
    Ok(())
}

/// Where a run keeps what is finished, beside the output.
fn unfinished(output: &Path) -> PathBuf {
    let name =
        output.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
    output.with_file_name(format!("{name}.unfinished"))
}

fn blocks(found: &Quantised) -> Vec<Block> {
    let place = |place: &crayon_quant::PlaceReport| Place {
        place: place.place.name(),
        outliers: place.outliers,
        kurtosis: place.kurtosis,
    };
    let block = |block: &crayon_quant::BlockReport| Block {
        loss_before: block.loss_before,
        loss: block.loss,
        places: block.places.iter().map(place).collect(),
    };
    found.blocks.iter().map(block).collect()
}

/// What every block lost, and its outliers without scales and with.
fn table(found: &Quantised) -> String {
    let rows: Vec<Vec<String>> = found
        .blocks
        .iter()
        .map(|block| {
            let mut row = vec![
                block.layer.to_string(),
                format!("{:.5}", block.loss_before),
                format!("{:.5}", block.loss),
            ];
            let outliers = |place: &crayon_quant::PlaceReport| {
                let [before, after] = place.outliers;
                format!("{before:.1} → {after:.1}")
            };
            row.extend(block.places.iter().map(outliers));
            row
        })
        .collect();
    show::table(&["BLOCK", "LOST", "AFTER", "QKV", "O", "UP", "DOWN"], &rows)
}
