//! `crayon eval routing`: the device and a server answer the same questions, and what each share of the server brings.

use std::time::Duration;

use crayon_answer::Calibrated;
use crayon_engine::{EngineError, Message};
use crayon_eval::draw::{Axis, Curves, Line};
use crayon_eval::routing::{Ask, Doubted, RoutingOptions, Row, Told, routing};
use crayon_eval::{EvalError, Framing};
use crayon_hybrid::{Endpoint, HybridError, Question, Remote, RemoteError};

use super::watched;
use crate::answering;
use crate::args::RoutingArgs;
use crate::failure::{Context, Result};
use crate::output::Output;
use crate::{interrupt, model, show};

/// Longest answer of the server: a choice is a few words.
const LONGEST: usize = 48;

/// Runs the command.
pub(crate) fn run(args: &RoutingArgs, output: &Output) -> Result {
    let mut options = RoutingOptions {
        tasks: args.tasks.clone(),
        outside: args.outside.clone(),
        framing: super::framing::framing(&args.framing)?,
        written: args.written,
        max_tokens: Some(args.max_tokens.map_or(LONGEST, |tokens| tokens as usize)),
        bare: args.bare,
        solved: args.solved.clone(),
        cells: args.cells.clone(),
        doubt: None,
        limit: args.limit.map(|limit| limit as usize),
        seed: args.seed,
    };
    let remote = remote(args)?;
    let mut engine = match options.framing {
        Framing::Plain if !args.written => model::open_beside(&args.model, output)?,
        _ => model::open_to_answer(&args.model, output)?,
    };
    let custom = answering::customize(&mut engine, &args.model, &args.custom, output)?.custom;
    if args.written {
        let (model, print) = (engine.checkpoint().fingerprint(), custom.fingerprint(&engine));
        let (file, folder) = (args.thresholds.as_deref(), answering::thresholds_folder()?);
        let calibrated = Calibrated::find(&model, print.as_deref(), file, &folder)?;
        options.doubt = calibrated.below(&engine, &custom);
    }
    let longest = options.max_tokens;
    let mut ask = |messages: Vec<Message>| {
        let question =
            Question { messages, max_tokens: longest, temperature: Some(0.0), ..Question::default() };
        match remote.as_ref().map(|remote| remote.ask(&question, &mut |_| interrupt::flow())) {
            Some(Ok(answer)) => Ok(answer.text),
            None | Some(Err(RemoteError::Cancelled)) => Err(EvalError::from(EngineError::Cancelled)),
            Some(Err(error)) => Err(error.into()),
        }
    };
    let mut ask = remote.is_some().then_some(&mut ask as &mut Ask<'_>);
    let result = watched("questions", output, |progress| {
        routing(&engine, &|prompt| custom.through(&engine, prompt), &options, ask.take(), progress)
    })?;
    if let (Some(path), Some(row)) = (&args.plot, result.rows.first()) {
        let server = args.server_model.as_deref().unwrap_or_default();
        let svg = chart(&result.model, server, row).svg();
        crayon_files::write_file(path, svg.as_bytes()).context("cannot write the picture")?;
    }
    if output.json {
        return Ok(output.object(&result)?);
    }
    for row in &result.rows {
        for line in table(row) {
            output.line(&line)?;
        }
    }
    if let Some(outside) = &result.outside {
        let area = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
        output.line(&format!(
            "{} prompts outside the task told from {} inside (AUROC): confidence {}, scope {}",
            show::count(outside.outside),
            show::count(outside.inside),
            area(outside.confidence),
            area(outside.scope),
        ))?;
    }
    Ok(())
}

/// The server, if there is one.
fn remote(args: &RoutingArgs) -> Result<Option<Remote>> {
    let (Some(server), Some(model)) = (&args.server, &args.server_model) else { return Ok(None) };
    let endpoint = Endpoint::parse(server)?;
    if let Some(name) = crayon_net::forbidden() {
        let reason = format!("{name} forbids the network");
        return Err(HybridError::Forbidden { reason }.into());
    }
    let key = args.server_key_file.as_deref();
    Ok(Some(answering::open_server(endpoint, model, key, Duration::from_secs(120))?))
}

fn percent(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{:.1} %", 100.0 * value))
}

fn with_error(value: Option<f64>, error: Option<f64>) -> String {
    match (value, error) {
        (Some(value), Some(error)) => format!("{value:.3} ± {error:.3}"),
        (Some(value), None) => format!("{value:.3}"),
        _ => "–".to_owned(),
    }
}

fn table(row: &Row) -> Vec<String> {
    let server = row.server.map(|right| format!(", on the server {}", percent(Some(right))));
    let mut lines = vec![format!(
        "{}: {}, right on the device {}{}",
        row.task,
        show::counted(row.n, "question"),
        percent(Some(row.device)),
        server.unwrap_or_default(),
    )];
    if row.unmatched > 0 {
        lines.push(format!("  {} of the server's answers name no choice", show::count(row.unmatched)));
    }
    if row.skipped > 0 {
        lines.push(format!("  {} more do not fit the device's context", show::count(row.skipped)));
    }
    if !row.orders.is_empty() {
        lines.push(format!(
            "  {:<12} {:>8} {:>16} {:>9} {:>9}",
            "order", "AUC", "APGR", "CPT 50 %", "CPT 80 %"
        ));
    }
    for order in &row.orders {
        let apgr = with_error(order.apgr, order.apgr_stderr);
        let auc = percent(Some(order.auc));
        let (half, most) = (percent(order.cpt50), percent(order.cpt80));
        lines.push(format!("  {:<12} {auc:>8} {apgr:>16} {half:>9} {most:>9}", order.by));
    }
    for Told { by, auroc, auroc_stderr } in &row.told {
        lines.push(format!("  right told from wrong by {by} (AUROC): {}", with_error(*auroc, *auroc_stderr)));
    }
    if let Some(Doubted { below, doubted, wrong, believed, right }) = row.doubted {
        lines.push(format!(
            "  below the threshold of {below:.3}: {wrong} of {doubted} wrong; from there on: {right} of {believed} right"
        ));
    }
    lines
}

fn chart(device: &str, server: &str, row: &Row) -> Curves {
    let percent = |point: &[f64; 2]| point.map(|share| 100.0 * share);
    let line =
        |order: &crayon_eval::routing::Order| Line::new(order.by, order.curve.iter().map(percent).collect());
    Curves {
        // Some servers call a model by its file.
        title: format!(
            "{}: {device} on the device, {} on the server",
            row.task,
            server.rsplit('/').next().unwrap_or(server)
        ),
        x: Axis::new("questions that go to the server", "%").over(0.0, 100.0),
        y: Axis::new("right answers", "%"),
        lines: row.orders.iter().map(line).collect(),
    }
}
