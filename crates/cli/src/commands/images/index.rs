//! `crayon images index`: an index brought up to date with a folder.

use std::path::Path;
use std::time::Instant;

use crayon_images::{Bank, IndexOptions, MadeWith, Reader, Report, Store, index};
use crayon_vision::Clip;
use serde_json::json;

use super::MODEL_PATH;
use super::{beside, model};
use crate::args::IndexArgs;
use crate::failure::{Context as _, Interrupted, Result};
use crate::output::Output;
use crate::progress::Counting;
use crate::{interrupt, show};

/// Broken files that are named; the rest are counted.
const NAMED: usize = 10;

/// What a run did, and what the index holds after it.
pub(super) struct Updated {
    pub(super) report: Report,
    files: usize,
    pictures: usize,
    bytes: u64,
    beside: beside::Done,
}

/// The model for an index that is there or is to be made.
pub(super) fn opened(args: &IndexArgs, output: &Output) -> Result<Clip> {
    beside::check(&args.beside)?;
    let remembered = match args.output.exists() {
        true => model_path(&Reader::open(&args.output)?)?,
        false => None,
    };
    std::fs::read_dir(&args.folder).context(args.folder.display())?;
    model::open(&args.clip, remembered.as_deref(), output)
}

/// Brings the index up to date once.
pub(super) fn update(args: &IndexArgs, clip: &Clip, output: &Output) -> Result<Updated> {
    let store = Store::open(&args.output, &MadeWith::of(clip))?;
    store.remember(MODEL_PATH, clip.name().as_bytes())?;
    let options =
        IndexOptions { hidden: args.hidden, threads: clip.threads().count(), may_empty: args.allow_empty };
    interrupt::watch();
    let mut bar = Counting::new("indexing", "pictures", output);
    let result = index(&args.folder, &store, clip, &options, &mut |done, total| {
        bar.at(done, total);
        interrupt::flow()
    });
    bar.finish();
    let report = result?;
    let reader = store.reader()?;
    let changed = report.embedded + report.gone > 0;
    if !report.stopped && (changed || Bank::recall(&reader)?.is_none()) {
        Bank::measure(&reader, clip, clip.threads())?.remember(&store)?;
    }
    let beside = match report.stopped {
        true => beside::Done::default(),
        false => beside::update(&args.beside, &store, clip.threads().count(), output)?,
    };
    let (files, pictures) = (reader.files()?.len(), reader.details()?.len());
    Ok(Updated { report, files, pictures, bytes: std::fs::metadata(&args.output)?.len(), beside })
}

/// Runs the command.
pub(crate) fn run(args: &IndexArgs, output: &Output) -> Result {
    let began = Instant::now();
    let clip = opened(args, output)?;
    let Updated { report, files, pictures, bytes, beside } = update(args, &clip, output)?;
    tell(&report, output);
    if output.json {
        let listed = |some: &[(std::path::PathBuf, String)]| -> Vec<serde_json::Value> {
            some.iter().map(|(path, why)| json!({"path": path.display().to_string(), "why": why})).collect()
        };
        let mut object = json!({
            "found": report.found,
            "embedded": report.embedded,
            "known": report.known,
            "unchanged": report.unchanged,
            "gone": report.gone,
            "broken": listed(&report.broken),
            "unreadable": listed(&report.unreadable),
            "not_read": report.not_read.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "files": files,
            "pictures": pictures,
            "bytes": bytes,
            "seconds": (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            "stopped": report.stopped,
        });
        beside.add_to(&mut object);
        output.object(&object)?;
    } else {
        output.line(&summary(&report))?;
        output.line(&format!(
            "{}: {} of {}, {}",
            args.output.display(),
            show::counted(pictures, "picture"),
            show::counted(files, "file"),
            show::bytes(bytes),
        ))?;
        beside.print(output)?;
    }
    match report.stopped {
        true => {
            output.note("stopped; the same command goes on from here");
            Err(Interrupted.into())
        }
        false => Ok(()),
    }
}

/// Where the model of an index was.
pub(super) fn model_path(reader: &Reader) -> Result<Option<String>> {
    Ok(reader.recall(MODEL_PATH)?.and_then(|path| String::from_utf8(path).ok()))
}

/// A path without what would move a terminal's cursor.
pub(super) fn printable(path: &Path) -> String {
    path.display().to_string().replace(char::is_control, "?")
}

/// What was done, in a line.
pub(super) fn summary(report: &Report) -> String {
    let did = [
        (report.embedded, "embedded"),
        (report.known, "known from elsewhere"),
        (report.unchanged, "unchanged"),
        (report.gone, "gone"),
    ];
    let did = did.iter().filter(|(count, _)| *count > 0);
    let did: Vec<String> = did.map(|(count, what)| format!("{} {what}", show::count(*count))).collect();
    let did = if did.is_empty() { "nothing to do".to_owned() } else { did.join(", ") };
    format!("{}: {did}", show::counted(report.found, "picture file"))
}

/// What could not be read, on stderr.
pub(super) fn tell(report: &Report, output: &Output) {
    for (some, what) in [(&report.broken, "not a picture"), (&report.unreadable, "not readable")] {
        for (path, why) in some.iter().take(NAMED) {
            output.note(&format!("{} is {what}: {why}", printable(path)));
        }
        if some.len() > NAMED {
            output.note(&format!("{} more are {what}; --json lists them", show::count(some.len() - NAMED)));
        }
    }
    for (ending, count) in &report.not_read {
        output.note(&format!(
            "{} with the ending .{ending} left out: this kind is not read",
            show::counted(*count, "file")
        ));
    }
}
