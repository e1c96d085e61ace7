//! `crayon customize`: one adapter from a pool for a person's examples. `ask` and `chat` do the same with `--examples`.

use std::path::Path;
use std::time::Instant;

use crayon_engine::adapters::{Form, peft};
use serde::Serialize;

use crate::answering::{self, PoolRequest, Scores, told};
use crate::args::CustomizeArgs;
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::{model, show};

/// What `--json` prints.
#[derive(Serialize)]
struct CustomizeReport<'a> {
    weights: &'a [f32],
    scores: &'a [f32],
    /// The scores as they were blended by: rounded for a server, and with noise where it was asked for.
    sent: &'a [f32],
    names: Vec<&'a str>,
    /// Folder of the adapter, if one was written.
    adapter: Option<&'a Path>,
    /// Whether the examples are near to something the pool learned.
    fits: bool,
    form: &'static str,
    /// Of the adapter, if one was made.
    rank: Option<usize>,
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

/// Runs the command.
pub(crate) fn run(args: &CustomizeArgs, output: &Output) -> Result {
    super::pool_shown::refuse_adapters(&args.model)?;
    if let Some(temperature) = args.temperature
        && !(temperature.is_finite() && temperature > 0.0)
    {
        return Err(mistake(format!("--temperature must be above 0, not {temperature}"), "0.1 is usual"));
    }
    let Some(form) = Form::from_name(&args.form) else {
        return Err(mistake(format!("{} is no form", args.form), "known are exact, svd and factor"));
    };
    let engine = model::open_to_ask(&args.model, output)?;
    let request = PoolRequest {
        examples: &args.examples,
        pool: &args.pool,
        server: &args.server,
        temperature: args.temperature,
        seed: args.seed,
        force: args.force,
    };
    let Scores { source, catalogue, blend } = answering::score(&engine, &request, output)?;
    let started = Instant::now();
    // A server learns nothing where its adapter would not be used.
    let made = match blend.used() || source.host().is_none() {
        true => {
            let sink = &mut |event| told(event, output);
            Some(source.blend(&blend.sent, args.temperature, form, &engine, sink)?)
        }
        false => None,
    };
    let blending = show::millis(started.elapsed());
    let written = match (&args.output, &made) {
        (Some(folder), Some(made)) if blend.used() => {
            peft::write(folder, &made.lora, engine.spec())?;
            blend.scope.write(folder, &catalogue.base)?;
            Some(folder.as_path())
        }
        _ => None,
    };
    let traffic = made.as_ref().map_or(source.traffic(), |made| made.traffic);
    let rank = made.as_ref().map(|made| made.lora.rank());
    if output.json {
        return Ok(output.object(&CustomizeReport {
            weights: &blend.weights,
            scores: &blend.scored.scores,
            sent: &blend.sent,
            names: catalogue.members.iter().map(|member| member.name.as_str()).collect(),
            adapter: written,
            fits: blend.fits,
            form: form.name(),
            rank,
            examples: blend.scored.examples,
            outside: blend.scored.outside,
            millis: Millis { embed: show::millis(blend.embedding), blend: blending },
            bytes_sent: traffic.sent,
            bytes_received: traffic.received,
        })?);
    }
    for line in answering::bars(&catalogue, &blend, output) {
        output.line(&line)?;
    }
    if let Some(note) = blend.note() {
        answering::note(&note, output);
    }
    output.line(&format!(
        "{} read in {} ms, blended in {} ms; {}",
        show::counted(blend.scored.examples, "example"),
        show::millis(blend.embedding),
        blending,
        answering::left(&source, &blend, traffic),
    ))?;
    if let (Some(folder), Some(rank)) = (written, rank) {
        output.line(&format!("adapter of rank {rank} in {}", folder.display()))?;
    }
    Ok(())
}
