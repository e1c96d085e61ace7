//! `crayon bench serve`: this program's server under load, alone or beside another one.

use crayon_eval::bench::{self, Load, Program, ServeBench, ServeBenchOptions, Wait};

use super::watched;
use crate::args::ServeBenchArgs;
use crate::failure::{Result, fault, mistake};
use crate::output::Output;
use crate::{model, show};

/// Requests that may wait in a `crayon serve` that is not told otherwise.
const QUEUE: u16 = 32;

/// Runs the command.
pub(crate) fn run(args: &ServeBenchArgs, output: &Output) -> Result {
    if let Some(name) = crayon_net::forbidden() {
        let hint = "a server on this device is asked through a socket, too: unset it for this command";
        return Err(mistake(format!("{name} forbids the network"), hint));
    }
    let name = model::lasting(&args.model)?;
    let options = ServeBenchOptions {
        at_once: args.at_once.iter().map(|count| usize::from(*count)).collect(),
        tokens: usize::from(args.tokens),
        rounds: usize::from(args.rounds),
        people: usize::from(args.people),
        behind: args.behind.iter().filter(|tokens| **tokens > 0).map(|tokens| *tokens as usize).collect(),
    };
    let most = args.at_once.iter().copied().max().unwrap_or_default().max(args.people);
    let mut words = vec!["-m".to_owned(), args.model.clone()];
    if most > QUEUE {
        words.extend(["--queue".to_owned(), most.to_string()]);
    }
    words.extend(args.serve.iter().cloned());
    let ours = Program::ours(&std::env::current_exe().map_err(fault)?, &words);
    let rival = args.rival.as_deref().map(|line| Program::rival(line, &name)).transpose()?;
    let bench = watched("turns", output, |progress| bench::serve(ours, rival, &options, progress))?;
    match output.json {
        true => output.object(&bench)?,
        false => print(&bench, output)?,
    }
    match bench.same {
        true => Ok(()),
        false => Err(fault("the same question got different answers in different company")),
    }
}

fn print(bench: &ServeBench, output: &Output) -> Result {
    let rounds = show::counted(bench.rounds, "round");
    output.line(&format!("{}, {} tokens an answer at most, {rounds}", bench.model, bench.tokens))?;
    if let Some(rival) = &bench.rival {
        output.line(&format!("beside {rival}"))?;
    }
    output.line("")?;
    let mut rows = Vec::new();
    for row in &bench.rows {
        let ratio = row.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        rows.push(load(&row.at_once.to_string(), &row.load, ratio));
        rows.extend(row.rival.as_ref().map(|rival| load("  the other", rival, String::new())));
    }
    if let Some(people) = &bench.people {
        let named = |what: &str| format!("{} {what}", people.people);
        rows.push(load(&named("without blends"), &people.plain, String::new()));
        rows.push(load(&named("blends"), &people.own, format!("{:.2}", people.share)));
    }
    let heading = ["AT ONCE", "TOKENS A SECOND", "RATIO", "FIRST", "WORST", "BETWEEN", "99 %", "LAST"];
    output.line(&show::table(&heading, &rows))?;
    if let Some(people) = &bench.people {
        let (changed, adapters) = (people.changed, people.adapters);
        output.line(&format!(
            "blends of {adapters} adapters changed the answers of {changed} of {}",
            people.people
        ))?;
    }
    if !bench.behind.is_empty() {
        output.line("")?;
        let mut rows = Vec::new();
        for row in &bench.behind {
            rows.push(wait(&show::count(row.prompt_tokens), &row.wait));
            rows.extend(row.rival.as_ref().map(|rival| wait("  the other", rival)));
        }
        let heading = ["BEHIND", "FIRST OF IT", "OF A SHORT QUESTION ALONE", "BEHIND IT"];
        output.line(&show::table(&heading, &rows))?;
    }
    for tokens in &bench.left_out {
        output
            .note(&format!("the model's window has no room for a prompt of {} tokens", show::count(*tokens)));
    }
    let said = |same| if same { "the same answer each time" } else { "DIFFERENT answers" };
    output.line(&format!("\nThe same question got {}.", said(bench.same)))?;
    if let Some(same) = bench.rival_same {
        output.line(&format!("In the other server it got {}.", said(same)))?;
    }
    Ok(())
}

fn load(name: &str, load: &Load, ratio: String) -> Vec<String> {
    let millis = |time: f64| format!("{time:.1} ms");
    vec![
        name.to_owned(),
        format!("{:.1}", load.tok_s),
        ratio,
        millis(load.first_ms),
        millis(load.first_worst_ms),
        millis(load.between_ms),
        millis(load.between_p99_ms),
        format!("{:.2} s", load.last_s),
    ]
}

fn wait(name: &str, wait: &Wait) -> Vec<String> {
    let times = [wait.long_ms, wait.alone_ms, wait.behind_ms].map(|time| format!("{time:.1} ms"));
    [vec![name.to_owned()], times.to_vec()].concat()
}
