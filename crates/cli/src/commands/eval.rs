//! `crayon eval`: hands files to the measurements of `crayon-eval` and prints what they return.

use std::path::Path;
use std::sync::Arc;

use crayon_customize::Effort;
use crayon_engine::adapters::{Demonstration, Form};
use crayon_engine::{Engine, EngineError};
use crayon_eval::{Choice, ChoiceOptions, tasks};
use serde::Serialize;

use super::taken::{self, Asked, Taken, find};
use super::{eval_customize, eval_images, eval_quantize, eval_routing, long_texts, watched};
use crate::args::{ChoiceArgs, EvalArgs, EvalCommand, LogitsArgs, PerplexityArgs, PoolServerArgs};
use crate::failure::{Interrupted, Result};
use crate::output::Output;
use crate::{input, model, show};

/// Logits shown of one position without `--json`.
const SHOWN: usize = 10;

/// Runs the command.
pub(crate) fn run(args: &EvalArgs, output: &Output) -> Result {
    match &args.what {
        EvalCommand::Perplexity(args) => perplexity(args, output),
        EvalCommand::Logits(args) => logits(args, output),
        EvalCommand::Choice(args) => choice(args, output),
        EvalCommand::Customize(args) => eval_customize::run(args, output),
        EvalCommand::Quantize(args) => eval_quantize::run(args, output),
        EvalCommand::Needle(args) => long_texts::needle(args, output),
        EvalCommand::Policies(args) => long_texts::policies(args, output),
        EvalCommand::Novelty(args) => long_texts::novelty(args, output),
        EvalCommand::Routing(args) => eval_routing::run(args, output),
        EvalCommand::Images(args) => eval_images::run(args, output),
        EvalCommand::Long(args) => long_texts::published(args, output),
    }
}

fn perplexity(args: &PerplexityArgs, output: &Output) -> Result {
    let engine = model::open(&args.model, output)?;
    if args.long.pot.is_some() {
        return long_texts::perplexity(args, &engine, output);
    }
    let window = args.window.map(|window| window as usize);
    let result = match (&args.text, &args.token_ids) {
        (Some(path), _) => {
            let text =
                if path == Path::new("-") { input::stdin("the text", output)? } else { input::file(path)? };
            watched("tokens", output, |progress| {
                crayon_eval::perplexity_of_text(&engine, &text, window, progress)
            })?
        }
        (None, Some(path)) => {
            let ids = crayon_eval::read_token_ids(path, engine.spec().vocab)?;
            watched("tokens", output, |progress| crayon_eval::perplexity(&engine, &ids, window, progress))?
        }
        // The arguments demand one of the two.
        (None, None) => return Err(EngineError::EmptyPrompt.into()),
    };
    if output.json {
        return Ok(output.object(&result)?);
    }
    output.line(&format!("perplexity      {:.4}", result.perplexity))?;
    output.line(&format!("nll             {:.6} nats a token", result.nll))?;
    if let Some(bits) = result.bits_per_byte {
        output.line(&format!("bits per byte   {bits:.4}"))?;
    }
    let (tokens, windows) = (show::count(result.tokens), show::counted(result.windows, "window"));
    output.line(&format!(
        "tokens scored   {tokens}, in {windows} of up to {}",
        show::counted(result.window, "token")
    ))?;
    output.line(&format!("seconds         {:.2}", result.seconds))?;
    if result.dropped > 0 {
        output.note("the last token makes a window of its own and is not scored");
    }
    Ok(())
}

fn logits(args: &LogitsArgs, output: &Output) -> Result {
    let engine = model::open(&args.model, output)?;
    let ids = crayon_eval::read_token_ids(&args.token_ids, engine.spec().vocab)?;
    let result = crayon_eval::logits(&engine, &ids, args.all)?;
    if output.json {
        return Ok(output.object(&result)?);
    }
    let first = ids.len().saturating_sub(result.logits.len());
    for (offset, row) in result.logits.iter().enumerate() {
        let mut best: Vec<(usize, f32)> = row.iter().copied().enumerate().collect();
        best.sort_by(|a, b| b.1.total_cmp(&a.1));
        let best: Vec<String> =
            best.iter().take(SHOWN).map(|(id, logit)| format!("{id}: {logit:.4}")).collect();
        output.line(&format!("after token {}: {}", first + offset + 1, best.join(", ")))?;
    }
    output.note(&format!("the {SHOWN} largest are shown; --json prints all"));
    Ok(())
}

/// What `eval choice --json` prints.
#[derive(Serialize)]
struct ChoiceReport<'a> {
    #[serde(flatten)]
    choice: &'a Choice,
    /// What `customize` took for the examples, where it was asked.
    through: Option<&'static str>,
}

/// What `customize` takes for examples.
fn customized(engine: &Engine, args: &ChoiceArgs, examples: &Path, output: &Output) -> Result<Taken> {
    let server = PoolServerArgs { pool_timeout: 60, ..PoolServerArgs::default() };
    let asked = Asked {
        examples,
        pool: args.pool.as_deref(),
        server: &server,
        temperature: None,
        seed: None,
        force: false,
        form: Form::Exact,
        effort: taken::effort(args.effort.as_deref().unwrap_or(Effort::Auto.name()))?,
        budget: taken::budget(args.budget)?,
        folder: None,
    };
    let found = find(engine, &asked, output)?;
    match found.stopped {
        true => Err(Interrupted.into()),
        false => Ok(found.taken),
    }
}

fn choice(args: &ChoiceArgs, output: &Output) -> Result {
    let framing = super::framing::framing(&args.framing)?;
    let options = ChoiceOptions { framing, limit: args.limit, seed: args.seed };
    let mut engine = super::framing::open(framing, &args.model, output)?;
    let (mut shown, mut through) = (Vec::new(), None);
    match &args.examples {
        Some(examples) if args.pool.is_some() || args.effort.is_some() => {
            let found = customized(&engine, args, examples, output)?;
            output.note(&format!("answered through {}", found.rung));
            if let Some(lora) = found.lora {
                engine.set_adapter(Some(Arc::new(lora.attach(engine.spec())?)));
            }
            let turn = |one: Demonstration| tasks::Example { prompt: one.prompt, answer: one.answer };
            shown = found.demonstrations.into_iter().map(turn).collect();
            through = Some(found.rung.name());
        }
        Some(examples) => shown = tasks::examples(examples)?,
        None => {}
    }
    let result = watched("questions", output, |progress| {
        crayon_eval::choice(&engine, &args.task, &shown, &options, progress)
    })?;
    if result.skipped > 0 {
        output.note(&format!(
            "{} questions do not fit the context and are left out",
            show::count(result.skipped)
        ));
    }
    if output.json {
        return Ok(output.object(&ChoiceReport { choice: &result, through })?);
    }
    let line = |name: &str, value: f64, error: f64| format!("{name:<20} {value:.4} ± {error:.4}");
    output.line(&line("accuracy", result.accuracy, result.accuracy_stderr))?;
    output.line(&line("accuracy, per byte", result.accuracy_norm, result.accuracy_norm_stderr))?;
    output.line(&format!("{:<20} {:.4}", "guessing", result.chance))?;
    let examples =
        if result.examples > 0 { format!(" after {} examples", result.examples) } else { String::new() };
    output.line(&format!(
        "{:<20} {}, framed {}{examples}",
        "questions",
        show::count(result.n),
        result.framing
    ))?;
    output.line(&format!("{:<20} {:.1}", "seconds", result.seconds))?;
    Ok(())
}
