//! `crayon customize`: the best that a person's examples allow, as one adapter. `ask` and `chat` do the instant part of it with
//! `--examples`.

use std::path::Path;

use crayon_customize::Rung;
use crayon_engine::Engine;
use crayon_engine::adapters::{Form, Lora, peft, remove_demonstrations, write_demonstrations};
use serde::Serialize;

use super::taken::{self, Asked, Found, Taken, find};
use crate::answering::{self, Scores, TriedRow, table};
use crate::args::CustomizeArgs;
use crate::failure::{Interrupted, Result, mistake};
use crate::output::Output;
use crate::{model, show};

/// What `--json` prints.
#[derive(Serialize)]
struct CustomizeReport<'a> {
    /// Every candidate that was judged, the simplest first.
    tried: Vec<TriedRow>,
    /// The one taken.
    chosen: &'static str,
    /// Of the pool's adapters in the blend.
    weights: &'a [f32],
    /// Of the pool's adapters in what was taken, where it consists of them.
    chosen_weights: Option<&'a [f32]>,
    scores: &'a [f32],
    /// The scores as they were blended by: rounded for a server, and with noise where it was asked for.
    sent: &'a [f32],
    names: Vec<&'a str>,
    /// Folder of the adapter, or of the examples for the prompt, if something was written.
    adapter: Option<&'a Path>,
    /// Examples for the prompt.
    shown: usize,
    /// Whether it was stopped before its end; the same command goes on.
    stopped: bool,
    /// Whether the examples are near to something the pool learned; null without a pool.
    fits: Option<bool>,
    form: &'static str,
    /// Of the adapter, if one was made.
    rank: Option<usize>,
    examples: usize,
    outside: usize,
    /// How likely an example is of a kind that the pool learned, on average.
    known: Option<f32>,
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
        return Err(mistake(format!("{} is not a form", args.form), "known are exact, svd and factor"));
    };
    let (effort, budget) = (taken::effort(&args.effort)?, taken::budget(args.budget)?);
    let engine = model::open_to_ask(&args.model, output)?;
    let unfinished = args.output.as_ref().map(|folder| folder.join(UNFINISHED));
    let asked = Asked {
        examples: &args.examples,
        pool: args.pool.as_deref(),
        server: &args.server,
        temperature: args.temperature,
        seed: args.seed,
        force: args.force,
        form,
        effort,
        budget,
        folder: unfinished.as_deref(),
    };
    let Found { scores, made, blending, examples, taken, tried, stopped } = find(&engine, &asked, output)?;
    let written = match &args.output {
        Some(folder) if taken.write(folder, &engine)? => {
            match &scores {
                Some(Scores { blend, catalogue, .. }) => blend.scope.write(folder, &catalogue.base)?,
                None => {
                    let scope = engine.scope(examples.iter().map(|example| example.prompt.as_str()))?;
                    scope.write(folder, &engine.checkpoint().fingerprint())?;
                }
            }
            Some(folder.as_path())
        }
        _ => None,
    };
    let examples = examples.len();
    let report = Report { scores: scores.as_ref(), taken, tried, written, blending, examples, stopped };
    report.print(args, made.as_ref(), form, output)?;
    match stopped {
        true => Err(Interrupted.into()),
        false => Ok(()),
    }
}

/// Folder within OUT that holds what learns, until it is done.
const UNFINISHED: &str = ".unfinished";

impl Taken {
    /// Writes what was taken into `folder`; says whether there was something to write.
    fn write(&self, folder: &Path, engine: &Engine) -> Result<bool> {
        match &self.lora {
            Some(lora) => {
                peft::write(folder, lora, engine.spec())?;
                remove_demonstrations(folder)?;
            }
            None if self.demonstrations.is_empty() => return Ok(false),
            None => write_demonstrations(folder, &self.demonstrations)?,
        }
        Ok(true)
    }
}

/// Everything there is to say in the end.
struct Report<'a> {
    scores: Option<&'a Scores>,
    taken: Taken,
    tried: Vec<TriedRow>,
    written: Option<&'a Path>,
    /// Milliseconds.
    blending: f64,
    /// Where there is no pool that counts them.
    examples: usize,
    stopped: bool,
}

impl Report<'_> {
    fn print(
        self,
        args: &CustomizeArgs,
        made: Option<&crayon_answer::Made>,
        form: Form,
        output: &Output,
    ) -> Result {
        let Report { scores, taken, tried, written, blending, examples, stopped } = self;
        let blend = scores.map(|scores| &scores.blend);
        let traffic = match (made, scores) {
            (Some(made), _) => made.traffic,
            (None, Some(scores)) => scores.source.traffic(),
            (None, None) => Default::default(),
        };
        let rank = taken.lora.as_ref().or(made.map(|made| &made.lora)).map(Lora::rank);
        let examples = blend.map_or(examples, |blend| blend.scored.examples);
        let embedding = blend.map_or(0.0, |blend| show::millis(blend.embedding));
        if output.json {
            let members = scores.map_or(&[][..], |scores| &scores.catalogue.members);
            return Ok(output.object(&CustomizeReport {
                tried,
                chosen: taken.rung.name(),
                weights: blend.map_or(&[], |blend| &blend.weights),
                chosen_weights: taken.weights.as_deref(),
                scores: blend.map_or(&[], |blend| &blend.scored.scores),
                sent: blend.map_or(&[], |blend| &blend.sent),
                names: members.iter().map(|member| member.name.as_str()).collect(),
                adapter: written,
                shown: taken.demonstrations.len(),
                stopped,
                fits: blend.map(|blend| blend.fits),
                form: form.name(),
                rank,
                examples,
                outside: blend.map_or(0, |blend| blend.scored.outside),
                known: blend.map(|blend| blend.scored.known),
                millis: Millis { embed: embedding, blend: blending },
                bytes_sent: traffic.sent,
                bytes_received: traffic.received,
            })?);
        }
        if let Some(scores) = scores {
            for line in answering::bars(&scores.catalogue, &scores.blend, output) {
                output.line(&line)?;
            }
            // Where answers were judged, they say more.
            if let Some(note) = scores.blend.note().filter(|_| tried.is_empty()) {
                answering::note(&note, output);
            }
            output.line(&format!(
                "{} read in {embedding} ms, blended in {blending} ms; {}",
                show::counted(examples, "example"),
                answering::left(&scores.source, &scores.blend, traffic),
            ))?;
        }
        if !tried.is_empty() {
            output.line(&table(&tried, taken.rung.name()))?;
        }
        match (written, rank) {
            (Some(folder), _) if !taken.demonstrations.is_empty() => {
                let shown = show::counted(taken.demonstrations.len(), "example");
                output.line(&format!("{shown} for the prompt in {}", folder.display()))?;
            }
            (Some(folder), Some(rank)) => {
                output.line(&format!("adapter of rank {rank} in {}", folder.display()))?;
            }
            _ if args.output.is_some() && taken.rung == Rung::Base => {
                output.line("the model is best as it is: no adapter was written")?;
            }
            _ => {}
        }
        if stopped && args.output.is_some() {
            output.note("stopped: this is the best until then; the same command goes on");
        }
        Ok(())
    }
}
