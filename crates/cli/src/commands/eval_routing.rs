//! `crayon eval routing`: the device and a server answer the same questions, and what each share of the server brings.

use std::time::Duration;

use crayon_engine::{EngineError, Message, Role};
use crayon_eval::routing::{RoutingOptions, Row, routing};
use crayon_eval::{Chart, EvalError, Line};
use crayon_hybrid::{Endpoint, HybridError, Question, RemoteError};

use super::watched;
use crate::answering;
use crate::args::RoutingArgs;
use crate::failure::{Context, Result, mistake};
use crate::output::Output;
use crate::{interrupt, show};

/// Longest answer of the server: a choice is a few words.
const LONGEST: usize = 48;

/// Runs the command.
pub(crate) fn run(args: &RoutingArgs, output: &Output) -> Result {
    let options = RoutingOptions {
        tasks: args.tasks.clone(),
        outside: args.outside.clone(),
        framing: super::framing::framing(&args.framing)?,
        bare: args.bare,
        limit: args.limit.map(|limit| limit as usize),
        seed: args.seed,
    };
    let endpoint = Endpoint::parse(&args.server)?;
    if let Some(name) = crayon_net::forbidden() {
        let reason = format!("{name} forbids the network");
        return Err(HybridError::Forbidden { reason }.into());
    }
    let key = args.server_key_file.as_deref();
    let remote = answering::open_server(endpoint, &args.server_model, key, Duration::from_secs(120))?;
    let mut engine = super::framing::open(options.framing, &args.model, output)?;
    let custom = answering::customize(&mut engine, &args.model, &args.custom, output)?.custom;
    if !custom.demonstrations().is_empty() {
        return Err(mistake(
            "these examples are worth most in the prompt, and adapters alone are measured here",
            "--force blends them",
        ));
    }
    engine.set_adapter(custom.adapter().cloned());
    let mut ask = |prompt: &str| {
        let question = Question {
            messages: vec![Message::new(Role::User, prompt)],
            max_tokens: Some(LONGEST),
            temperature: Some(0.0),
            ..Question::default()
        };
        match remote.ask(&question, &mut |_| interrupt::flow()) {
            Ok(answer) => Ok(answer.text),
            Err(RemoteError::Cancelled) => Err(EvalError::from(EngineError::Cancelled)),
            Err(error) => Err(error.into()),
        }
    };
    let result = watched("questions", output, |progress| {
        routing(&engine, &|prompt| custom.scope(&engine, prompt), &options, &mut ask, progress)
    })?;
    if let (Some(path), Some(row)) = (&args.plot, result.rows.first()) {
        let svg = chart(&result.model, &args.server_model, row).svg();
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

fn table(row: &Row) -> Vec<String> {
    let percent =
        |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{:.1} %", 100.0 * value));
    let mut lines = vec![format!(
        "{}: {}, right on the device {}, on the server {}",
        row.task,
        show::counted(row.n, "question"),
        percent(Some(row.device)),
        percent(Some(row.server)),
    )];
    if row.unmatched > 0 {
        lines.push(format!("  {} of the server's answers name no choice", show::count(row.unmatched)));
    }
    if row.skipped > 0 {
        lines.push(format!("  {} more do not fit the device's context", show::count(row.skipped)));
    }
    lines.push(format!("  {:<12} {:>8} {:>16} {:>9} {:>9}", "order", "AUC", "APGR", "CPT 50 %", "CPT 80 %"));
    for order in &row.orders {
        let apgr = match (order.apgr, order.apgr_stderr) {
            (Some(apgr), Some(error)) => format!("{apgr:.3} ± {error:.3}"),
            (Some(apgr), None) => format!("{apgr:.3}"),
            _ => "–".to_owned(),
        };
        let auc = percent(Some(order.auc));
        let (half, most) = (percent(order.cpt50), percent(order.cpt80));
        lines.push(format!("  {:<12} {auc:>8} {apgr:>16} {half:>9} {most:>9}", order.by));
    }
    lines
}

fn chart(device: &str, server: &str, row: &Row) -> Chart {
    let line =
        |order: &crayon_eval::routing::Order| Line { name: order.by.to_owned(), points: order.curve.clone() };
    Chart {
        title: format!("{}: {device} on the device, {server} on the server", row.task),
        x_label: "share of the questions that go to the server".to_owned(),
        y_label: "accuracy".to_owned(),
        lines: row.orders.iter().map(line).collect(),
    }
}
