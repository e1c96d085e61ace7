//! `crayon images watch`: an index kept up to date.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use notify::{EventKind, RecursiveMode, Watcher as _, recommended_watcher};

use super::index::{opened, summary, tell, update};
use crate::args::IndexArgs;
use crate::failure::{Context as _, Interrupted, Result, fault};
use crate::interrupt;
use crate::output::Output;

/// How long files must be left alone before they are read: programs write pictures in pieces.
const QUIET: Duration = Duration::from_secs(2);
/// The longest wait while files keep changing.
const LONGEST: Duration = Duration::from_secs(30);
/// Between two looks for Ctrl-C.
const LOOK: Duration = Duration::from_millis(200);

/// Runs the command.
pub(crate) fn run(args: &IndexArgs, output: &Output) -> Result {
    let clip = opened(args, output)?;
    let (sender, receiver) = channel();
    let mut watcher = recommended_watcher(move |event: notify::Result<notify::Event>| {
        // What is read changes nothing; an error may hide a change.
        if event.is_err() || event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_))) {
            let _ = sender.send(());
        }
    })
    .map_err(fault)?;
    watcher.watch(&args.folder, RecursiveMode::Recursive).map_err(fault).context(args.folder.display())?;
    interrupt::watch();
    let mut first = true;
    loop {
        let updated = update(args, &clip, output)?;
        let report = &updated.report;
        if report.stopped {
            return Err(Interrupted.into());
        }
        if first || report.embedded + report.known + report.gone > 0 {
            tell(report, output);
            output.line(&summary(report))?;
            if first {
                output.note(&format!("watching {}; Ctrl-C ends it", args.folder.display()));
            }
        }
        first = false;
        // The first change, then a while without any.
        let mut changed: Option<(Instant, Instant)> = None;
        loop {
            if interrupt::requested() {
                return Ok(());
            }
            match receiver.recv_timeout(LOOK) {
                Ok(()) => {
                    changed = Some((changed.map_or_else(Instant::now, |(first, _)| first), Instant::now()))
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(fault("the system tells of no changes any more"));
                }
            }
            if changed.is_some_and(|(first, last)| last.elapsed() >= QUIET || first.elapsed() >= LONGEST) {
                break;
            }
        }
    }
}
