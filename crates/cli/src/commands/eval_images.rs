//! `crayon eval images`: word weights beside other ways to stress a word.

use std::path::Path;

use crayon_eval::draw::{Axis, Curves, Line};
use crayon_eval::images::{Control, ControlOptions, ControlRow, Gallery, Way, control};
use crayon_files::write_file;
use serde::Serialize;

use super::watched;
use crate::args::EvalImagesArgs;
use crate::clip;
use crate::failure::Result;
use crate::output::Output;
use crate::show;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    fingerprint: &'a str,
    #[serde(flatten)]
    control: &'a Control,
}

/// Runs the command.
pub(super) fn run(args: &EvalImagesArgs, output: &Output) -> Result {
    let gallery = Gallery::read(&args.gallery, &args.captions)?;
    let clip = clip::open(&args.model, output)?;
    let options = ControlOptions { ways: Way::all(clip.text_layers()) };
    let result = watched("steps", output, |progress| control(&clip, &gallery, &options, progress))?;
    if result.broken > 0 {
        output.note(&format!("{} could not be read", show::counted(result.broken, "picture")));
    }
    if result.skipped > 0 {
        let captions = show::counted(result.skipped, "caption");
        output.note(&format!("{captions} left out: no picture has one of the two facts"));
    }
    if let Some(path) = &args.plot {
        write_file(path, chart(&args.gallery, &result).svg().as_bytes())?;
    }
    if output.json {
        let report = Report { model: clip.name(), fingerprint: clip.fingerprint(), control: &result };
        return Ok(output.object(&report)?);
    }
    let counted = |count, what| show::counted(count, what);
    output.line(&format!(
        "{}, {}",
        counted(result.pictures, "picture"),
        counted(result.captions, "caption")
    ))?;
    output.line("")?;
    let cells = |row: &ControlRow| {
        let percent = |share: f64| format!("{:.1}", 100.0 * share);
        let shares = [row.ap_stressed, row.ap_other, row.ap_both, row.first_stressed, row.first_other];
        [row.way.clone(), row.strength.to_string()].into_iter().chain(shares.map(percent)).collect()
    };
    let rows: Vec<Vec<String>> = result.rows.iter().map(cells).collect();
    let header =
        ["WAY", "STRENGTH", "AP STRESSED", "AP OTHER", "AP BOTH", "FIRST 10 STRESSED", "FIRST 10 OTHER"];
    output.line(&show::table(&header, &rows))?;
    output.line("")?;
    let correlation = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    let summaries = result.summaries.iter().map(|one| {
        let mut cells = vec![one.way.clone(), correlation(one.spearman), correlation(one.spearman_each)];
        cells.extend(one.gains.iter().map(|gain| format!("{:+.1}", 100.0 * gain.gain)));
        let last = one.gains.last();
        cells.push(last.map_or_else(String::new, |gain| {
            format!("{:.1} ± {:.1}", 100.0 * gain.behind, 100.0 * gain.behind_stderr)
        }));
        cells
    });
    let losses = result.summaries.first().map(|one| one.gains.iter().map(|gain| gain.loss));
    let gains: Vec<String> =
        losses.into_iter().flatten().map(|loss| format!("GAIN AT -{:.0}", 100.0 * loss)).collect();
    let mut header = vec!["WAY", "SPEARMAN", "OF EACH CAPTION"];
    header.extend(gains.iter().map(String::as_str));
    header.push("BEHIND WORD WEIGHTS");
    output.line(&show::table(&header, &summaries.collect::<Vec<_>>()))?;
    Ok(())
}

fn chart(gallery: &Path, result: &Control) -> Curves {
    let mut lines: Vec<Line> = Vec::new();
    for row in &result.rows {
        let point = [100.0 * row.ap_other, 100.0 * row.ap_stressed];
        match lines.last_mut().filter(|line| line.name == row.way) {
            Some(line) => line.points.push(point),
            None => lines.push(Line::new(&row.way, vec![point])),
        }
    }
    let name = gallery
        .parent()
        .and_then(Path::file_name)
        .map_or_else(String::new, |name| format!(" in {}", name.to_string_lossy()));
    Curves {
        title: format!("A word is stressed{name}"),
        x: Axis::new("average precision of the other fact", "%"),
        y: Axis::new("average precision of the stressed fact", "%"),
        lines,
    }
}
