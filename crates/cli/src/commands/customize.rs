//! `crayon customize`: one adapter from a pool for a person's examples. `ask` and `chat` do the same with `--examples`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crayon_engine::adapters::{Examples, Form, Pool, peft, weights};
use crayon_engine::{Engine, Scored};
use serde::Serialize;

use crate::args::{CustomArgs, CustomizeArgs};
use crate::failure::mistake;
use crate::output::Output;
use crate::{interrupt, model, show};

/// Terminal colours of a box of crayons, one for each base adapter.
const CRAYONS: [u8; 12] = [196, 33, 34, 208, 141, 178, 206, 37, 130, 75, 112, 244];
/// Characters of the longest bar.
const BAR: usize = 30;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    weights: &'a [f32],
    scores: &'a [f32],
    names: Vec<&'a str>,
    /// Folder of the adapter, if one was written.
    adapter: Option<&'a Path>,
    /// Whether the examples are near to something the pool learned.
    fits: bool,
    form: &'static str,
    rank: usize,
    examples: usize,
    outside: usize,
    millis: Millis,
    bytes_sent: u64,
    bytes_received: u64,
}

#[derive(Serialize)]
struct Millis {
    embed: f64,
    blend: f64,
}

/// What examples ask of a pool.
struct Custom {
    pool: Pool,
    scored: Scored,
    fits: bool,
    weights: Vec<f32>,
    embedding: Duration,
}

/// Runs the command.
pub(crate) fn run(args: &CustomizeArgs, output: &Output) -> anyhow::Result<()> {
    super::pool::refuse_adapters(&args.model)?;
    if let Some(temperature) = args.temperature
        && !(temperature.is_finite() && temperature > 0.0)
    {
        return Err(mistake(format!("--temperature must be above 0, not {temperature}"), "0.1 is usual"));
    }
    let Some(form) = Form::from_name(&args.form) else {
        return Err(mistake(format!("{} is no form", args.form), "known are exact, svd and factor"));
    };
    let engine = model::open(&args.model, output)?;
    let custom = score(&engine, &args.examples, &args.pool, args.temperature)?;
    let started = Instant::now();
    let temperature = args.temperature.unwrap_or(custom.pool.temperature);
    let blended = custom.pool.blend(&custom.scored.scores, temperature, form, engine.pool())?;
    let blending = show::millis(started.elapsed());
    let used = custom.fits || args.force;
    let written = match &args.output {
        Some(folder) if used => {
            peft::write(folder, &blended.lora, engine.spec())?;
            Some(folder.as_path())
        }
        _ => None,
    };
    if output.json {
        return output.object(&Report {
            weights: &blended.weights,
            scores: &custom.scored.scores,
            names: custom.pool.members.iter().map(|member| member.name.as_str()).collect(),
            adapter: written,
            fits: custom.fits,
            form: form.name(),
            rank: blended.lora.rank(),
            examples: custom.scored.examples,
            outside: custom.scored.outside,
            millis: Millis { embed: show::millis(custom.embedding), blend: blending },
            // The pool is on this device.
            bytes_sent: 0,
            bytes_received: 0,
        });
    }
    for line in bars(&custom, output) {
        output.line(&line)?;
    }
    explain(&custom, args.force, output);
    output.line(&format!(
        "{} read in {} ms, blended in {} ms; nothing left this device",
        show::counted(custom.scored.examples, "example"),
        show::millis(custom.embedding),
        blending,
    ))?;
    if let Some(folder) = written {
        output.line(&format!("adapter of rank {} in {}", blended.lora.rank(), folder.display()))?;
    }
    Ok(())
}

/// Lets `engine` answer through the blend for `--examples`, if they are given.
pub(crate) fn apply(engine: &mut Engine, args: &CustomArgs, output: &Output) -> anyhow::Result<()> {
    let (Some(examples), Some(pool)) = (&args.examples, &args.pool) else { return Ok(()) };
    answer_through(engine, examples, pool, args.force, output)
}

/// Lets `engine` answer through the blend of `pool` for `examples`, if they fit it or `force` is given.
pub(crate) fn answer_through(
    engine: &mut Engine,
    examples: &Path,
    pool: &Path,
    force: bool,
    output: &Output,
) -> anyhow::Result<()> {
    let custom = score(engine, examples, pool, None)?;
    explain(&custom, force, output);
    if custom.fits || force {
        for line in bars(&custom, output) {
            output.detail(&line);
        }
        let stack = Arc::new(custom.pool.stack(engine.spec(), engine.pool())?);
        engine.set_adapter(Some(Arc::new(stack.weigh(&custom.weights)?)));
    }
    Ok(())
}

fn score(engine: &Engine, examples: &Path, pool: &Path, temperature: Option<f32>) -> anyhow::Result<Custom> {
    let pool = Pool::open(pool, engine.checkpoint(), engine.name())?;
    interrupt::watch();
    let started = Instant::now();
    let scored = engine.score(&pool.keys, Examples::open(examples)?)?;
    let embedding = started.elapsed();
    let weights = weights(&scored.scores, temperature.unwrap_or(pool.temperature));
    let fits = pool.keys.fits(&scored.scores);
    Ok(Custom { pool, scored, fits, weights, embedding })
}

/// Says what the person should know about examples that are unlike anything the pool learned.
fn explain(custom: &Custom, force: bool, output: &Output) {
    let Scored { examples, outside, .. } = custom.scored;
    if !custom.fits {
        let then = if force {
            "blending all the same"
        } else {
            "the base model answers (--force blends all the same)"
        };
        output.note(&format!("the examples fit nothing that this pool learned; {then}"));
    } else if outside > 0 && examples > 1 {
        output.note(&format!("{} of {} examples fit nothing that this pool learned", outside, examples));
    }
}

/// A bar for each base adapter, in its crayon's colour, with what it learned.
fn bars(custom: &Custom, output: &Output) -> Vec<String> {
    let members = &custom.pool.members;
    let width = members.iter().map(|member| member.name.chars().count()).max().unwrap_or(0);
    let numbers = custom.weights.iter().zip(&custom.scored.scores);
    let rows = members.iter().zip(numbers).zip(CRAYONS.iter().cycle());
    rows.map(|((member, (weight, score)), colour)| {
        let length = (weight * BAR as f32).round() as usize;
        let bar = output.paint(&"█".repeat(length), *colour);
        let rest = " ".repeat(BAR - length.min(BAR));
        format!("{:<width$}  {bar}{rest} {:>5.1} %  cosine {score:+.2}", member.name, 100.0 * weight)
    })
    .collect()
}
