//! `crayon route calibrate`: from held-out queries to the thresholds that `--route auto` uses.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crayon_answer::{Input, Limits, Request, Through, thresholds_path};
use crayon_engine::{Engine, Event, GenerateOptions, Message, Role};
use crayon_hybrid::{Calibration, Signals, Thresholds, confidence};
use serde::{Deserialize, Serialize};

use crate::answering;
use crate::args::{CalibrateArgs, RouteCommand};
use crate::failure::{Interrupted, Result, mistake};
use crate::output::Output;
use crate::progress::Counting;
use crate::{input, interrupt, model, show};

/// A line of a file of queries; other fields, such as answers, are of no interest.
#[derive(Deserialize)]
struct Query {
    prompt: String,
    choices: Option<serde::de::IgnoredAny>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct CalibrateReport<'a> {
    path: &'a Path,
    model: &'a str,
    after: Option<usize>,
    thresholds: Thresholds,
    wanted: f64,
    share: f64,
    queries: usize,
    seconds: f64,
}

/// Runs the command.
pub(crate) fn run(command: &RouteCommand, output: &Output) -> Result {
    match command {
        RouteCommand::Calibrate(args) => calibrate(args, output),
    }
}

fn calibrate(args: &CalibrateArgs, output: &Output) -> Result {
    // A share out of range is told before any work.
    crayon_hybrid::calibrate(&[Signals::default()], args.share)?;
    let mut queries = Vec::new();
    for path in &args.data {
        queries.extend(read(path)?);
    }
    let mut engine = model::open_to_answer(&args.model, output)?;
    let custom = answering::customize(&mut engine, &args.model, &args.custom, output)?.custom;
    interrupt::watch();
    let started = Instant::now();
    let mut bar = Counting::new("asking", "queries", output);
    let mut signals = Vec::new();
    for (done, query) in queries.iter().enumerate() {
        bar.at(done, queries.len());
        let through = custom.through(&engine, query)?;
        let scope = through.scope;
        signals.push(Signals { confidence: ask(&engine, through, query, args)?, scope });
    }
    bar.finish();
    let fingerprint = engine.checkpoint().fingerprint();
    let after = args.tokens.map(|tokens| tokens as usize);
    let custom = custom.fingerprint(&engine);
    let calibration = Calibration::new(&fingerprint, custom.as_deref(), after, &signals, args.share)?;
    let path = match &args.output {
        Some(path) => path.clone(),
        None => usual(&fingerprint, custom.as_deref())?,
    };
    calibration.save(&path)?;
    let Calibration { thresholds, wanted, share, queries, .. } = calibration;
    if output.json {
        let (model, seconds) = (engine.name(), started.elapsed().as_secs_f64());
        return Ok(output.object(&CalibrateReport {
            path: &path,
            model,
            after,
            thresholds,
            wanted,
            share,
            queries,
            seconds,
        })?);
    }
    let scope = thresholds.scope.map(|scope| format!(", scope {scope:.4}")).unwrap_or_default();
    output.line(&format!("threshold  confidence {:.4}{scope}", thresholds.confidence))?;
    let decided = after.map_or_else(|| "the whole answer".to_owned(), |k| show::counted(k, "token"));
    output.line(&format!("decided    after {decided}"))?;
    output.line(&format!(
        "share      {:.1} % of {} go to the server, {:.1} % wanted",
        share * 100.0,
        if queries == 1 { "1 query".to_owned() } else { format!("{} queries", show::count(queries)) },
        wanted * 100.0,
    ))?;
    output.line(&format!("file       {}", path.display())).map_err(Into::into)
}

/// How sure the model is of its answer to `query` `through` what it is customized with, which is made as `crayon ask` makes it.
fn ask(engine: &Engine, through: Through<'_>, query: &str, args: &CalibrateArgs) -> Result<Option<f32>> {
    let Through { adapter, demonstrations, .. } = through;
    let request = Request {
        demonstrations: demonstrations.to_vec(),
        ..Request::new(Input::Chat(vec![Message::new(Role::User, query)]))
    };
    let prompt = request.prompt(engine)?;
    let left = engine.spec().context.saturating_sub(prompt.len());
    let longest = args.max_tokens.map_or(Limits::default().longest, |tokens| tokens as usize);
    let max_tokens = args.tokens.map_or(longest, |tokens| longest.min(tokens as usize)).min(left);
    if max_tokens == 0 {
        let beginning: String = query.chars().take(40).collect();
        return Err(mistake(
            format!("a query of {} tokens does not fit the model: {beginning:?}…", show::count(prompt.len())),
            "leave it out; held-out queries are short ones",
        ));
    }
    let mut session = engine.session(prompt.len() + max_tokens)?;
    session.set_adapter(adapter);
    session.feed(&prompt, &mut |_| interrupt::flow())?;
    let sampling = request.sampling(engine)?;
    let options = GenerateOptions { sampling, max_tokens, ..GenerateOptions::default() };
    let mut logprobs = Vec::new();
    session.generate(&options, &mut |event| {
        if let Event::Token { logprob, .. } = event {
            logprobs.push(logprob);
        }
        interrupt::flow()
    })?;
    if interrupt::flow() == ControlFlow::Break(()) {
        return Err(Interrupted.into());
    }
    Ok(confidence::of_text(&logprobs))
}

/// The prompts in a file of JSON lines.
fn read(path: &Path) -> Result<Vec<String>> {
    let text = input::file(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut prompts = Vec::new();
    for (number, line) in lines {
        let place = format!("{}, line {}", path.display(), number + 1);
        let hint = "a line is {\"prompt\": str}; an answer beside it is not looked at";
        let query: Query =
            serde_json::from_str(line).map_err(|error| mistake(format!("{place}: {error}"), hint))?;
        if query.choices.is_some() {
            return Err(mistake(
                format!("{place} is multiple choice"),
                "`ask` answers in free text: give prompts",
            ));
        }
        prompts.push(query.prompt);
    }
    if prompts.is_empty() {
        return Err(mistake(format!("{} holds no query", path.display()), "give one query a line"));
    }
    Ok(prompts)
}

/// Where `ask` looks for the thresholds of a model, customized or not.
fn usual(fingerprint: &str, custom: Option<&str>) -> Result<PathBuf> {
    let path = thresholds_path(&answering::thresholds_folder()?, fingerprint, custom);
    if let Some(folder) = path.parent() {
        crayon_files::create_folder(folder)?;
    }
    Ok(path)
}
