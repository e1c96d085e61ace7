//! `crayon images search`: pictures for words, for a picture, or both.

use std::path::{Path, PathBuf};

use crayon_files::write_file;
use crayon_images::{
    Cell, CutOff, Embedder as _, Filter, Found, Hit, Prompt, Query, Section, contact_sheet, parse_search,
    weighted_tokens,
};
use crayon_vision::{Clip, KINDS};
use serde_json::json;

use super::index::printable;
use super::model;
use super::place::Place;
use crate::args::SearchArgs;
use crate::failure::{Context as _, Result, mistake};
use crate::output::Output;
use crate::show;

/// Runs the command.
pub(crate) fn run(args: &SearchArgs, output: &Output) -> Result {
    let words = words_of(args);
    let prompt = weighted(args, &words)?;
    let (place, remembered) = Place::open(args)?;
    let clip = model::open(&args.clip, remembered.as_deref(), output)?;
    let (is_empty, no_cut_off) = place.lacks();
    if is_empty {
        output.note("the index holds no pictures");
    } else if no_cut_off && args.min_score.is_none() && !args.all {
        output.note("the index is not finished, so where results end was not measured: all are shown");
    }
    let like = args.like.as_deref().map(|path| vector(path, &place, &clip)).transpose()?;
    let query = Query {
        text: Some(prompt.clone()),
        like,
        filter: Filter {
            after: args.after.clone(),
            before: args.before.clone(),
            folder: args.folder.as_deref().map(real).transpose()?,
            keywords: args.keyword.clone(),
        },
        count: args.count as usize,
        cut_off: match (args.min_score, args.all) {
            (Some(least), _) => CutOff::Score(least),
            (None, true) => CutOff::None,
            (None, false) => CutOff::Neutral,
        },
        apart: args.duplicates,
    };
    let found = place.search(&query, &clip)?;
    if let Some(file) = &args.html {
        write_file(file, page(args, &words, &prompt, &found).as_bytes())?;
        output.note(&format!("{} shows the pictures", file.display()));
    }
    match output.json {
        true => Ok(output.object(&as_json(&found, &prompt, &query, &clip)?)?),
        false => print(&found, &prompt, &query, output),
    }
}

/// What is searched for. With a server, no index is named before it.
fn words_of(args: &SearchArgs) -> String {
    let first = args.index.as_ref().filter(|_| args.remote.is_some());
    let first = first.map(|index| index.display().to_string());
    first.into_iter().chain(args.prompt.iter().cloned()).collect::<Vec<_>>().join(" ")
}

/// The prompt with the weights given by name.
fn weighted(args: &SearchArgs, words: &str) -> Result<Prompt> {
    let mut prompt = parse_search(words)?;
    for named in &args.weight {
        prompt.weigh(&named.word, named.weight)?;
    }
    if prompt.text.is_empty() && args.like.is_none() {
        let hint = "write what the picture shows, or name a picture with --like";
        return Err(mistake("there is nothing to search for", hint));
    }
    if args.min_score.is_some_and(f32::is_nan) {
        return Err(mistake(
            "the least score must be a number",
            "--min-score 0.25 keeps cosines from 0.25 on",
        ));
    }
    Ok(prompt)
}

fn real(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).context(path.display())
}

/// The vector of a picture, from the index if it is there.
fn vector(path: &Path, place: &Place, clip: &Clip) -> Result<Vec<f32>> {
    if let Some(vector) = place.vector_of(&real(path)?)? {
        return Ok(vector);
    }
    let bytes = std::fs::read(path).context(path.display())?;
    let pixels = clip
        .prepare(&bytes)
        .map_err(|why| mistake(format!("{}: {why}", path.display()), format!("{KINDS} are read")))?;
    Ok(clip.embed_images(&[pixels])?.remove(0))
}

fn as_json(found: &Found, prompt: &Prompt, query: &Query, clip: &Clip) -> Result<serde_json::Value> {
    let tokens = weighted_tokens(clip, prompt)?;
    let tokens: Vec<_> = tokens
        .into_iter()
        .map(|(token, weight)| json!({"text": prompt.text.get(token.range).unwrap_or_default(), "weight": weight}))
        .collect();
    let results: Vec<_> = found
        .hits
        .iter()
        .map(|hit| {
            json!({
                "path": hit.path.display().to_string(),
                "score": hit.score,
                "date": Some(&hit.date).filter(|date| !date.is_empty()),
                "width": hit.details.width,
                "height": hit.details.height,
                "camera": hit.details.camera,
                "keywords": hit.details.keywords,
                "caption": hit.details.caption,
                "keyword": hit.keyword,
                "duplicates": hit.also.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
            })
        })
        .collect();
    let minus: Vec<_> =
        prompt.minus.iter().map(|minus| json!({"text": minus.text, "weight": minus.weight})).collect();
    let cut_off = match query.cut_off {
        CutOff::Neutral => json!("neutral"),
        CutOff::Score(least) => json!(least),
        CutOff::None => json!(null),
    };
    Ok(json!({
        "results": results,
        "tokens": tokens,
        "minus": minus,
        "considered": found.considered,
        "below": found.below,
        "cut_off": cut_off,
    }))
}

fn print(found: &Found, prompt: &Prompt, query: &Query, output: &Output) -> Result {
    if !prompt.weights.is_empty() || !prompt.minus.is_empty() {
        output.aside(&words(prompt));
    }
    if found.hits.is_empty() {
        let why = match (found.considered, query.cut_off) {
            (0, _) => "no picture of the index passes the filters".to_owned(),
            (_, CutOff::Score(least)) => format!("no picture reaches {least}"),
            _ => format!(
                "nothing in {} has more to do with these words than with words without sense; --all shows the nearest",
                show::counted(found.considered, "picture"),
            ),
        };
        output.note(&why);
        return Ok(());
    }
    let here = std::env::current_dir().ok();
    let rows: Vec<Vec<String>> = found
        .hits
        .iter()
        .map(|hit| {
            vec![
                format!("{:.3}{}", hit.score, if hit.keyword { " *" } else { "" }),
                hit.date.chars().take(10).collect(),
                match (hit.details.width, hit.details.height) {
                    (0, 0) => String::new(),
                    (width, height) => format!("{width} x {height}"),
                },
                shown(&hit.path, here.as_deref()),
                more(hit),
            ]
        })
        .collect();
    Ok(output.line(&show::table(&["SCORE", "DATE", "SIZE", "FILE", ""], &rows))?)
}

/// A path as it is seen from here.
fn shown(path: &Path, here: Option<&Path>) -> String {
    let below = here.and_then(|here| path.strip_prefix(here).ok());
    printable(below.unwrap_or(path))
}

fn more(hit: &Hit) -> String {
    let mut parts = Vec::new();
    if !hit.also.is_empty() {
        parts.push(format!("+{} alike", hit.also.len()));
    }
    if !hit.details.keywords.is_empty() {
        parts.push(hit.details.keywords.join(", "));
    }
    parts.extend(hit.details.caption.as_deref().map(|caption| caption.replace(char::is_control, " ")));
    parts.join("; ")
}

/// The words with their weights, and those that should not be there.
fn words(prompt: &Prompt) -> String {
    let word = |(word, weight): (&str, f32)| match weight == 1.0 {
        true => word.to_owned(),
        false => format!("{word} ({weight})"),
    };
    let mut words: Vec<String> = prompt.words().into_iter().map(word).collect();
    words.extend(prompt.minus.iter().map(|minus| format!("without {} ({})", minus.text, minus.weight)));
    words.join("  ")
}

fn page(args: &SearchArgs, typed: &str, prompt: &Prompt, found: &Found) -> String {
    let mut words: Vec<(String, f32)> =
        prompt.words().into_iter().map(|(word, weight)| (word.to_owned(), weight)).collect();
    words.extend(prompt.minus.iter().map(|minus| (format!("−{}", minus.text), 1.0)));
    let mut note = format!("{} of {}", found.hits.len(), show::counted(found.considered, "picture"));
    if let Some(like) = &args.like {
        note = format!("like {}: {note}", like.display());
    }
    let cells = found.hits.iter().map(|hit| Cell {
        file: hit.path.clone(),
        note: format!("{:.3}", hit.score),
        more: more(hit),
    });
    let section = Section { words, note, cells: cells.collect() };
    contact_sheet(typed, &[section])
}
