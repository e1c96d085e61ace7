//! `crayon pull`: a model from the hub. What will come is told first, then how far it is; stopped, it goes on later.

use std::path::Path;
use std::time::Instant;

use crayon_hub::{Hub, HubError, Plan, Progress, Reference, Stage};
use indicatif::ProgressBar;
use serde::Serialize;

use super::doctor;
use crate::args::PullArgs;
use crate::failure::{Failure, Result, mistake};
use crate::output::Output;
use crate::progress::{self, Arrival, Lines};
use crate::{interrupt, show};

/// What `--json` prints.
#[derive(Serialize)]
struct PullReport<'a> {
    model: String,
    commit: &'a str,
    path: &'a Path,
    bytes: u64,
    downloaded_bytes: u64,
    seconds: f64,
}

/// Runs the command.
pub(crate) fn run(args: &PullArgs, output: &Output) -> Result {
    let reference: Reference = args.reference.parse()?;
    let hub = Hub::from_env()?;
    interrupt::watch();
    let started = Instant::now();
    let plan = hub.plan(&reference).map_err(|error| choice(error, &reference))?;
    let missing = hub.missing(&plan);
    announce(&hub, &plan, missing, output);
    let mut shown = Shown::new(output);
    let pulled = hub.pull(&plan, &mut |now| {
        shown.at(&now);
        interrupt::flow()
    });
    drop(shown);
    let path = match pulled {
        Err(HubError::Cancelled) => {
            output.note(&format!("what has arrived is kept; `crayon pull {reference}` goes on from there"));
            return Err(HubError::Cancelled.into());
        }
        pulled => pulled?,
    };
    let seconds = started.elapsed().as_secs_f64();
    if output.json {
        let report = PullReport {
            model: reference.to_string(),
            commit: &plan.commit,
            path: &path,
            bytes: plan.bytes(),
            downloaded_bytes: missing,
            seconds: (seconds * 1000.0).round() / 1000.0,
        };
        return Ok(output.object(&report)?);
    }
    let news = if missing == 0 { "was here already" } else { "is here" };
    output.line(&format!("{reference} {news}: {} in {}", show::bytes(plan.bytes()), path.display()))?;
    output.note(&format!("ask it: crayon ask -m {reference} \"...\""));
    Ok(())
}

/// What goes wrong before a download; where there is a choice, with what can be chosen.
fn choice(error: HubError, reference: &Reference) -> Failure {
    let HubError::Choice { offers, suggested, .. } = &error else { return error.into() };
    let Some(suggested) = suggested else { return error.into() };
    let rows: Vec<Vec<String>> = offers
        .iter()
        .map(|offer| vec![offer.label.clone(), show::bytes(offer.bytes), show::counted(offer.files, "file")])
        .collect();
    let model = Reference { file: Some(suggested.clone()), ..reference.clone() };
    mistake(
        format!("{error}\n{}", show::table(&["NAME", "SIZE", ""], &rows)),
        format!("name one behind a colon: `crayon pull {model}`"),
    )
}

/// Says what is going to come.
fn announce(hub: &Hub, plan: &Plan, missing: u64, output: &Output) {
    let folder = &hub.settings().cache;
    if missing > 0 {
        let rest = match missing == plan.bytes() {
            true => String::new(),
            false => format!(", {} of it not here yet", show::bytes(missing)),
        };
        let files = show::counted(plan.files.len(), "file");
        output.aside(&format!("{}: {files}, {}{rest}", plan.reference, show::bytes(plan.bytes())));
        let rows: Vec<Vec<String>> = plan
            .files
            .iter()
            .map(|file| vec![String::new(), file.name.clone(), show::bytes(file.bytes)])
            .collect();
        output.aside(show::table(&["", "", ""], &rows).trim_start_matches('\n'));
    }
    if let Some(free) = doctor::free(folder).filter(|free| *free < missing) {
        let place = folder.display();
        output.note(&format!(
            "only {} are free where models are kept, {place}; CRAYON_HOME names another folder",
            show::bytes(free)
        ));
    }
    output.detail(&format!("commit {}, into {}", plan.commit, folder.display()));
}

/// How far a download is, on stderr: a bar at a terminal, lines now and then elsewhere.
struct Shown<'o> {
    output: &'o Output,
    bar: Option<ProgressBar>,
    arrival: Arrival,
    lines: Lines,
    /// Whether the first estimate was told where there is no bar.
    estimated: bool,
    /// Why it waits.
    waiting: String,
}

impl<'o> Shown<'o> {
    fn new(output: &'o Output) -> Shown<'o> {
        let (bar, lines) = (progress::download(output), Lines::new());
        Shown { output, bar, arrival: Arrival::default(), lines, estimated: false, waiting: String::new() }
    }

    fn at(&mut self, now: &Progress<'_>) {
        let estimate = match now.stage {
            Stage::Downloading => self.arrival.at(now.bytes, now.total, Instant::now()),
            // What comes after a pause or from the disk says nothing of the connection.
            Stage::Checking | Stage::Waiting { .. } => {
                self.arrival = Arrival::default();
                None
            }
        };
        let far = format!("{} of {}", show::bytes(now.bytes), show::bytes(now.total));
        let estimate = estimate
            .map(|(rate, left)| format!("{} a second, {} left", show::bytes(rate), show::duration(left)));
        if let Some(bar) = &self.bar {
            bar.set_length(now.total);
            bar.set_position(now.bytes);
            bar.set_prefix(now.file.to_owned());
            bar.set_message(match now.stage {
                Stage::Checking => format!("{far}, checking what is here"),
                Stage::Waiting { reason, left } => format!("{reason}; again in {}", show::duration(left)),
                Stage::Downloading => estimate.map_or(far.clone(), |estimate| format!("{far}, {estimate}")),
            });
            return;
        }
        if let Stage::Waiting { reason, .. } = now.stage {
            // Each reason is told once, not several times a second.
            if reason != self.waiting {
                self.output.note(&format!("{reason}; trying again"));
                reason.clone_into(&mut self.waiting);
            }
            return;
        }
        self.waiting.clear();
        let Some(estimate) = estimate.filter(|_| self.output.notes()) else { return };
        if !self.estimated || self.lines.due().is_some() {
            self.estimated = true;
            Output::progress(&format!("pulling: {far}, {estimate}"));
        }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
