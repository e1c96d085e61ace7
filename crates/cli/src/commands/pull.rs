//! `crayon pull`: a model from the hub, with progress; stopped, it goes on later.

use std::path::Path;
use std::time::Instant;

use crayon_hub::{Hub, HubError, Reference, Stage};
use serde::Serialize;

use crate::args::PullArgs;
use crate::failure::Result;
use crate::output::Output;
use crate::{interrupt, progress, show};

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
    let plan = hub.plan(&reference)?;
    let missing = hub.missing(&plan);
    output.detail(&format!(
        "{reference} at commit {}: {} files, {}, {} of them to download into {}",
        plan.commit,
        plan.files.len(),
        show::bytes(plan.bytes()),
        show::bytes(missing),
        hub.settings().cache.display(),
    ));

    let bar = progress::download(output);
    let (mut waiting, mut lines) = (String::new(), progress::Lines::new());
    let pulled = hub.pull(&plan, &mut |now| {
        if let Some(bar) = &bar {
            bar.set_length(now.total);
            bar.set_position(now.bytes);
            bar.set_message(match now.stage {
                Stage::Checking => format!("checking {}", now.file),
                Stage::Downloading => now.file.to_owned(),
                Stage::Waiting { reason, left } => format!("{reason}; again in {}", show::duration(left)),
            });
        } else if let Stage::Waiting { reason, .. } = now.stage {
            // Without a bar each reason is told once, not several times a second.
            if reason != waiting {
                output.note(&format!("{reason}; trying again"));
                reason.clone_into(&mut waiting);
            }
        } else {
            waiting.clear();
            if let Some(elapsed) = lines.due().filter(|_| output.notes() && now.bytes > 0) {
                let left = elapsed.mul_f64(now.total.saturating_sub(now.bytes) as f64 / now.bytes as f64);
                let (bytes, total) = (show::bytes(now.bytes), show::bytes(now.total));
                Output::progress(&format!("pulling: {bytes} of {total}, {} left", show::duration(left)));
            }
        }
        interrupt::flow()
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
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
