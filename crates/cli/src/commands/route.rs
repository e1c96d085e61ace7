//! `crayon route calibrate`: from held-out queries to the thresholds that `--route auto` uses.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crayon_answer::{Through, thresholds_path};
use crayon_engine::{Engine, EngineError};
use crayon_eval::EvalError;
use crayon_eval::routing::{Wrote, says, write};
use crayon_hybrid::{Calibration, Doubt, Judged, Signals, Thresholds, confidence, doubt};
use serde::{Deserialize, Serialize};

use crate::answering;
use crate::args::{CalibrateArgs, RouteCommand};
use crate::failure::{Interrupted, Result, mistake};
use crate::output::Output;
use crate::progress::Counting;
use crate::{input, interrupt, model, show};

/// Known answers from which on it is seen which of the model's are wrong.
const FEWEST: usize = 10;

/// A line of a file of queries; other fields are of no interest.
#[derive(Deserialize)]
struct Query {
    prompt: String,
    answer: Option<String>,
    choices: Option<serde::de::IgnoredAny>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct CalibrateReport<'a> {
    path: &'a Path,
    model: &'a str,
    after: Option<usize>,
    thresholds: Thresholds,
    wanted: Option<f64>,
    share: f64,
    queries: usize,
    doubt: Option<Doubt>,
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
    crayon_hybrid::calibrate(&[Signals::default()], args.share.unwrap_or(0.0))?;
    doubt(&[], args.wrong)?;
    let mut queries = Vec::new();
    for path in &args.data {
        queries.extend(read(path)?);
    }
    let answered = queries.iter().filter(|query| query.answer.is_some()).count();
    if args.share.is_none() && answered < FEWEST {
        return Err(mistake(
            format!(
                "{} with a known answer are too few to see which answers are wrong",
                show::count(answered)
            ),
            format!("give {FEWEST} and more lines of {{\"prompt\": str, \"answer\": str}}, or --share"),
        ));
    }
    let mut engine = model::open_to_answer(&args.model, output)?;
    let custom = answering::customize(&mut engine, &args.model, &args.custom, output)?.custom;
    interrupt::watch();
    let started = Instant::now();
    let mut bar = Counting::new("asking", "queries", output);
    let (mut signals, mut judged) = (Vec::new(), Vec::new());
    // Whether an answer is right is seen when it is whole.
    let whole = answered >= FEWEST;
    let longest = args.max_tokens.into_iter().chain(args.tokens.filter(|_| !whole)).min();
    for (done, query) in queries.iter().enumerate() {
        bar.at(done, queries.len());
        let through = custom.through(&engine, &query.prompt)?;
        let scope = through.scope;
        let wrote = ask(&engine, through, &query.prompt, longest)?;
        let decided = args.tokens.map_or(usize::MAX, |tokens| tokens as usize).min(wrote.logprobs.len());
        signals.push(Signals { confidence: confidence::of_text(&wrote.logprobs[..decided]), scope });
        if let Some(answer) = query.answer.as_ref().filter(|_| whole) {
            let confidence = confidence::of_text(&wrote.logprobs).unwrap_or(0.0);
            let (right, tokens) = (says(&wrote.text, answer), wrote.logprobs.len());
            judged.push(Judged { confidence, right, tokens });
        }
    }
    bar.finish();
    let fingerprint = engine.checkpoint().fingerprint();
    let after = args.tokens.map(|tokens| tokens as usize);
    let custom = custom.fingerprint(&engine);
    let doubt = if whole { Some(doubt(&judged, args.wrong)?) } else { None };
    let calibration = Calibration::new(&fingerprint, custom.as_deref(), after, &signals, args.share, doubt)?;
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
            doubt,
            seconds,
        })?);
    }
    let scope = thresholds.scope.map(|scope| format!(", scope {scope:.4}")).unwrap_or_default();
    output.line(&format!("threshold  confidence {:.4}{scope}", thresholds.confidence))?;
    let decided = after.map_or_else(|| "the whole answer".to_owned(), |k| show::counted(k, "token"));
    output.line(&format!("decided    after {decided}"))?;
    let asked = if queries == 1 { "1 query".to_owned() } else { format!("{} queries", show::count(queries)) };
    let wanted = wanted.map(|wanted| format!(", {:.1} % wanted", wanted * 100.0)).unwrap_or_default();
    output.line(&format!("share      {:.1} % of {asked} go to the server{wanted}", share * 100.0))?;
    if let Some(Doubt { below, answers, doubted, wrong, right, .. }) = doubt {
        output.line(&format!(
            "doubted    below {below:.4}: {} of {} wrong; from there on {} of {} right",
            show::count(wrong),
            show::counted(doubted, "answer"),
            show::count(right),
            show::count(answers - doubted),
        ))?;
    }
    output.line(&format!("file       {}", path.display())).map_err(Into::into)
}

/// The model's answer to `query` `through` what it is customized with, made as `crayon ask` makes it.
fn ask(engine: &Engine, through: Through<'_>, query: &str, longest: Option<u32>) -> Result<Wrote> {
    let longest = longest.map(|tokens| tokens as usize);
    match write(engine, through, query, longest, &mut interrupt::flow) {
        Ok(Some(wrote)) => Ok(wrote),
        Ok(None) => {
            let beginning: String = query.chars().take(40).collect();
            let what = format!("a query does not fit the model: {beginning:?}…");
            Err(mistake(what, "leave it out; held-out queries are short ones"))
        }
        Err(EvalError::Engine(EngineError::Cancelled)) => Err(Interrupted.into()),
        Err(error) => Err(error.into()),
    }
}

/// The prompts in a file of JSON lines.
fn read(path: &Path) -> Result<Vec<Query>> {
    let text = input::file(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut prompts = Vec::new();
    for (number, line) in lines {
        let place = format!("{}, line {}", path.display(), number + 1);
        let hint = "a line is {\"prompt\": str}, with \"answer\": str where that is known";
        let query: Query =
            serde_json::from_str(line).map_err(|error| mistake(format!("{place}: {error}"), hint))?;
        if query.choices.is_some() {
            return Err(mistake(
                format!("{place} is multiple choice"),
                "`ask` answers in free text: give prompts",
            ));
        }
        prompts.push(query);
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
