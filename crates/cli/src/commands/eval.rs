//! `crayon eval`: hands files to the measurements of `crayon-eval` and prints what they return.

use std::path::Path;

use crayon_engine::EngineError;
use crayon_eval::ChoiceOptions;

use super::{eval_customize, eval_routing, long_texts, watched};
use crate::answering;
use crate::args::{
    ChoiceArgs, CustomArgs, EvalArgs, EvalCommand, LogitsArgs, PerplexityArgs, PoolServerArgs,
};
use crate::failure::Result;
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
        EvalCommand::Needle(args) => long_texts::needle(args, output),
        EvalCommand::Policies(args) => long_texts::policies(args, output),
        EvalCommand::Routing(args) => eval_routing::run(args, output),
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

fn choice(args: &ChoiceArgs, output: &Output) -> Result {
    let framing = super::framing::framing(&args.framing)?;
    let options = ChoiceOptions { framing, limit: args.limit, seed: args.seed };
    let mut engine = super::framing::open(framing, &args.model, output)?;
    let mut shown = args.examples.as_deref();
    if let (Some(examples), Some(pool)) = (shown, &args.pool) {
        let custom = CustomArgs {
            examples: Some(examples.to_owned()),
            pool: Some(pool.clone()),
            force: true,
            server: PoolServerArgs { pool_timeout: 60, ..PoolServerArgs::default() },
        };
        let custom = answering::customize(&mut engine, &args.model, &custom, output)?.custom;
        engine.set_adapter(custom.adapter().cloned());
        shown = None;
    }
    let result = watched("questions", output, |progress| {
        crayon_eval::choice(&engine, &args.task, shown, &options, progress)
    })?;
    if result.skipped > 0 {
        output.note(&format!(
            "{} questions do not fit the context and are left out",
            show::count(result.skipped)
        ));
    }
    if output.json {
        return Ok(output.object(&result)?);
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
