//! The parts of `crayon eval` that read long texts: needle, policies, published sets, streams.

use std::path::Path;

use crayon_answer::{Catalyst, MemoryRequest};
use crayon_engine::{Engine, EngineError};
use crayon_eval::long::{self, Filler, Kind};
use crayon_eval::pots::{self, GridOptions, PoliciesOptions};
use crayon_files::write_file;
use crayon_text::Special;

use super::watched;
use crate::args::{LongArgs, NeedleArgs, NoveltyArgs, PerplexityArgs, PoliciesArgs, PotArgs};
use crate::failure::{Context, Result, mistake};
use crate::output::Output;
use crate::{input, model, show};

/// How the arguments want texts to be read: through a pot if one was asked for, by the general catalyst unless another was.
fn memory(args: &PotArgs) -> MemoryRequest {
    let mut memory = args.request();
    if memory.size.is_none() {
        memory.policy = Some("full".to_owned());
    }
    if memory.catalyst == Catalyst::Usual {
        memory.catalyst = Catalyst::General;
    }
    memory
}

pub(super) fn perplexity(args: &PerplexityArgs, engine: &Engine, output: &Output) -> Result {
    let ids = match (&args.text, &args.token_ids) {
        (Some(path), _) => tokens(path, engine, output)?,
        (None, Some(path)) => crayon_eval::read_token_ids(path, engine.spec().vocab)?,
        (None, None) => return Err(EngineError::EmptyPrompt.into()),
    };
    if args.window.is_some() {
        return Err(mistake("--window and --pot exclude each other", "with a pot the text is one stream"));
    }
    let options = args.long.request().options(engine, None, false, &[])?;
    let result =
        watched("tokens", output, |progress| pots::perplexity_through_pot(engine, &ids, options, progress))?;
    if output.json {
        return Ok(output.object(&result)?);
    }
    output.line(&format!("perplexity      {:.4}", result.perplexity))?;
    output.line(&format!("nll             {:.6} nats a token", result.nll))?;
    if let Some(bits) = result.bits_per_byte {
        output.line(&format!("bits per byte   {bits:.4}"))?;
    }
    output.line(&format!(
        "tokens scored   {}, one stream through a pot of {} ({}), distilled {}",
        show::count(result.tokens),
        show::count(result.pot),
        result.policy,
        show::counted(result.distillations, "time"),
    ))?;
    Ok(output.line(&format!("seconds         {:.2}", result.seconds))?)
}

/// The tokens of a text, from a file or stdin (`-`).
fn tokens(path: &Path, engine: &Engine, output: &Output) -> Result<Vec<u32>> {
    let text = if path == Path::new("-") { input::stdin("the text", output)? } else { input::file(path)? };
    Ok(engine.tokenizer()?.encode(&text, Special::Plain).map_err(EngineError::from)?)
}

pub(super) fn novelty(args: &NoveltyArgs, output: &Output) -> Result {
    let engine = model::open(&args.model, output)?;
    let ids = tokens(&args.text, &engine, output)?;
    let (window, windows) = (args.window, (ids.len() / args.window).min(args.windows));
    let starts = (0..windows).map(|at| at * (ids.len() / windows));
    let ids: Vec<u32> = starts.flat_map(|start| ids[start..start + window].iter().copied()).collect();
    let check =
        watched("windows", output, |progress| pots::novelty(&engine, &ids, window, args.chunk, progress))?;
    if output.json {
        return Ok(output.object(&check)?);
    }
    let of_layers = |seconds: f64| format!("{:.1} % of the layers' time", 100.0 * seconds / check.layers_s);
    output.line(&format!("tokens             {}", show::count(check.tokens)))?;
    if let Some(spearman) = check.spearman {
        output.line(&format!("rank correlation   {spearman:.3}"))?;
    }
    output.line(&format!("kept by both       {:.1} %", 100.0 * check.overlap))?;
    output.line(&format!("missing            {:.2} nats a token", check.missing_nats))?;
    output.line(&format!("exact novelty      {}", of_layers(check.exact_s)))?;
    Ok(output.line(&format!("cheap novelty      {}", of_layers(check.cheap_s)))?)
}

pub(super) fn needle(args: &NeedleArgs, output: &Output) -> Result {
    let engine = model::open_to_ask(&args.model, output)?;
    let kind = |name: &String| {
        Kind::from_name(name).ok_or_else(|| {
            let names = Kind::ALL.map(Kind::name).join(", ");
            mistake(format!("there is no kind of fact {name:?}"), format!("kinds are {names}"))
        })
    };
    let kinds = match args.kinds.is_empty() {
        true => Kind::ALL.to_vec(),
        false => args.kinds.iter().map(kind).collect::<Result<_, _>>()?,
    };
    if let Some(depth) = args.depths.iter().find(|depth| !(0.0..=1.0).contains(*depth)) {
        return Err(mistake(format!("a depth of {depth} lies outside the text"), "depths go from 0 to 1"));
    }
    let filler = match &args.text {
        Some(path) => Filler::open(path)?,
        None => Filler::Prose,
    };
    let options = GridOptions {
        lengths: args.lengths.clone(),
        depths: args.depths.clone(),
        kinds,
        samples: args.samples,
        seed: args.seed,
        filler,
    };
    let memory = memory(&args.long);
    let grid = watched("questions", output, |progress| pots::grid(&engine, &memory, &options, progress))?;
    if let Some(path) = &args.plot {
        let choices = path.with_extension("choices.svg");
        for (path, picture) in [(path, grid.heatmap(false)), (&choices, grid.heatmap(true))] {
            write_file(path, picture.svg().as_bytes()).context("cannot write the picture")?;
            output.note(&format!("drew {}", path.display()));
        }
    }
    if output.json {
        return Ok(output.object(&grid)?);
    }
    let rows: Vec<Vec<String>> = grid
        .grid
        .iter()
        .map(|cell| {
            let percent = |share: f64| format!("{:.0} %", 100.0 * share);
            vec![
                show::count(cell.length),
                percent(cell.depth),
                percent(cell.accuracy),
                percent(cell.choice_accuracy),
                cell.n.to_string(),
            ]
        })
        .collect();
    output.line(&show::table(&["TOKENS", "DEPTH", "SAID", "CHOSEN", "N"], &rows))?;
    output.line(&format!(
        "{}: {:.1} % said, {:.1} % chosen among {}; at most {} for keys and values",
        grid.pot.map_or("full cache".to_owned(), |pot| format!("{}, pot {pot}", grid.policy)),
        100.0 * grid.accuracy,
        100.0 * grid.choice_accuracy,
        grid.choices,
        show::bytes(grid.peak_kv_bytes as u64),
    ))?;
    Ok(())
}

pub(super) fn policies(args: &PoliciesArgs, output: &Output) -> Result {
    let engine = model::open_to_ask(&args.model, output)?;
    let options = PoliciesOptions {
        pots: args.pots.clone(),
        length: args.length,
        questions: args.questions,
        seeds: (0..args.seeds).collect(),
        only: args.only.clone(),
        tasks: args.tasks.clone(),
    };
    let table = watched("questions", output, |progress| pots::policies(&engine, &options, progress))?;
    if output.json {
        return Ok(output.object(&table)?);
    }
    let share = |value: Option<f64>, error: Option<f64>| match (value, error) {
        (Some(value), Some(error)) => format!("{:.1} ± {:.1}", 100.0 * value, 100.0 * error),
        (Some(value), None) => format!("{:.1}", 100.0 * value),
        (None, _) => "-".to_owned(),
    };
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| {
            vec![
                row.pot.map_or("-".to_owned(), |pot| pot.to_string()),
                row.policy.to_owned(),
                row.task.clone(),
                share(Some(row.accuracy), row.standard_error),
                share(row.choice_accuracy, row.choice_standard_error),
                row.n.to_string(),
            ]
        })
        .collect();
    output.line(&show::table(&["POT", "POLICY", "TASK", "SAID %", "CHOSEN %", "N"], &rows))?;
    Ok(())
}

pub(super) fn published(args: &LongArgs, output: &Output) -> Result {
    let engine = model::open_to_ask(&args.model, output)?;
    let mut tasks = match args.task.extension().is_some_and(|end| end == "json") {
        true => long::locomo(&args.task)?,
        false => long::longbench(&args.task)?,
    };
    tasks.truncate(args.limit.unwrap_or(usize::MAX));
    let memory = memory(&args.long);
    let table = watched("questions", output, |progress| pots::published(&engine, &tasks, &memory, progress))?;
    if table.skipped > 0 {
        output.note(&format!(
            "{} do not fit the model's window and are left out; --pot reads them",
            show::counted(table.skipped, "question")
        ));
    }
    if output.json {
        return Ok(output.object(&table)?);
    }
    let error =
        |row: &pots::PublishedRow| row.standard_error.map_or("-".to_owned(), |e| format!("{:.1}", 100.0 * e));
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| vec![row.task.clone(), format!("{:.1}", 100.0 * row.score), error(row), row.n.to_string()])
        .collect();
    output.line(&show::table(&["TASK", "SCORE %", "±", "N"], &rows))?;
    Ok(())
}
