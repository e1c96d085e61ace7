//! Conversations kept by name: files in the user's data folder, each with the messages and the model's memory of them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crayon_engine::Saved;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::conversation::Conversation;
use crate::answering::sessions_folder;
use crate::failure::{Context as _, Failure, Result, mistake};
use crate::output::Output;
use crate::show;

/// End of the files' names.
const END: &str = "pot";
/// Longest name.
const MAX_NAME: usize = 64;

/// A session that is kept.
#[derive(Debug, Serialize)]
struct Kept {
    name: String,
    /// When it was last written, in seconds after 1970.
    modified: u64,
    /// The model it was held with; `null` for a file that cannot be read.
    model: Option<String>,
    /// Questions with their answers.
    turns: usize,
    bytes: u64,
    /// Why it cannot be gone on with.
    problem: Option<String>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    sessions: &'a [Kept],
}

/// Whether `text` is the name of a session rather than a path: letters, digits, `-` and `_`.
pub(super) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && !text.starts_with('-')
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
}

/// The file that NAME or a path means.
pub(super) fn file(text: &str) -> Result<PathBuf> {
    match is_name(text) {
        true => Ok(sessions_folder()?.join(format!("{text}.{END}"))),
        false => Ok(PathBuf::from(text)),
    }
}

/// The file of a session that is there.
pub(super) fn existing(name: &str) -> Result<PathBuf> {
    let path = file(name)?;
    match path.is_file() {
        true => Ok(path),
        false => Err(unknown(name)),
    }
}

/// How a session or file is called.
pub(super) fn called(path: &Path) -> String {
    let ours = sessions_folder().is_ok_and(|folder| path.parent() == Some(&folder));
    match path.file_stem().filter(|_| ours) {
        Some(name) => format!("session {}", name.to_string_lossy()),
        None => path.display().to_string(),
    }
}

/// The model that a session or file was held with, if it can be read.
pub(super) fn model_of(path: &Path) -> Option<String> {
    Conversation::model_of(&Saved::open(path).ok()?.note)
}

/// Prints all sessions, the latest first.
pub(super) fn list(output: &Output) -> Result {
    let kept = all()?;
    if output.json {
        return Ok(output.object(&Report { sessions: &kept })?);
    }
    match table(&kept) {
        Some(table) => output.line(&table)?,
        None => output.note(NONE),
    }
    Ok(())
}

/// Shows all sessions inside a conversation.
pub(super) fn tell(output: &Output) -> Result {
    output.aside(&table(&all()?).unwrap_or_else(|| NONE.to_owned()));
    Ok(())
}

const NONE: &str = "there are no sessions; `crayon chat --session NAME` begins one";

/// Deletes a session; returns the bytes that became free.
pub(super) fn delete(name: &str) -> Result<u64> {
    if !is_name(name) {
        return Err(mistake(
            format!("{name:?} is not the name of a session"),
            "`crayon chat --sessions` lists the names",
        ));
    }
    let path = existing(name)?;
    let bytes = path.metadata().map_or(0, |metadata| metadata.len());
    std::fs::remove_file(&path).context(path.display())?;
    Ok(bytes)
}

fn unknown(name: &str) -> Failure {
    let kept = all().unwrap_or_default();
    let near = kept.iter().map(|one| (strsim::osa_distance(name, &one.name), &one.name));
    let hint = match near.filter(|(distance, _)| *distance <= 2).min() {
        Some((_, near)) => format!("`{near}` may be meant"),
        None => "`crayon chat --sessions` lists those there are".to_owned(),
    };
    mistake(format!("there is no session called {name}"), hint)
}

/// All sessions, the latest first.
fn all() -> Result<Vec<Kept>> {
    let folder = sessions_folder()?;
    // The first time there is none.
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(Vec::new()) };
    let mut kept: Vec<Kept> = entries.flatten().filter_map(|entry| read(&entry.path())).collect();
    kept.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.name.cmp(&b.name)));
    Ok(kept)
}

/// What is known of the session in `path`, if that is one.
fn read(path: &Path) -> Option<Kept> {
    let name = path.file_stem()?.to_str().filter(|name| is_name(name))?;
    let metadata = path.metadata().ok()?;
    if !metadata.is_file() || path.extension()? != END {
        return None;
    }
    let since = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let conversation = Saved::open(path)
        .map_err(Failure::from)
        .and_then(|saved| Ok((Conversation::from_json(name, &saved.note)?, saved.note)));
    let (model, turns, problem) = match conversation {
        Ok((conversation, note)) => (Conversation::model_of(&note), conversation.turns(), None),
        Err(error) => (None, 0, Some(error.to_string())),
    };
    let modified = since.map_or(0, |since| since.as_secs());
    Some(Kept { name: name.to_owned(), modified, model, turns, bytes: metadata.len(), problem })
}

fn table(kept: &[Kept]) -> Option<String> {
    let rows = kept.iter().map(|one| {
        // Of a path the file says most.
        let model = one.model.as_deref().unwrap_or("unknown");
        let model = Path::new(model).file_name().filter(|_| Path::new(model).is_absolute());
        let model =
            model.map_or_else(|| one.model.clone().unwrap_or_default(), |m| m.to_string_lossy().into());
        let (model, turns) = match one.problem {
            Some(_) => ("damaged".to_owned(), "-".to_owned()),
            None => (model, show::count(one.turns)),
        };
        vec![one.name.clone(), date(one.modified), turns, show::bytes(one.bytes), model]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    (!rows.is_empty()).then(|| show::table(&["SESSION", "LAST USED", "TURNS", "SIZE", "MODEL"], &rows))
}

/// Day and time where the user is.
fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let zoned = time.map(|time| time.to_zoned_datetime(TimeZone::system()));
    zoned.map_or_else(String::new, |zoned| zoned.strftime("%Y-%m-%d %H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_told_apart() {
        for name in ["work", "holiday-2026", "a_b", "Grüße", "7"] {
            assert!(is_name(name), "{name}");
        }
        for path in ["", "talk.pot", "./talk", "a/b", "..", "a b", "-x", "C:", "~/x", "a\\b", &"x".repeat(65)]
        {
            assert!(!is_name(path), "{path}");
        }
    }

    #[test]
    fn a_damaged_session_is_listed_as_such() {
        let kept = |name: &str, model: Option<&str>, problem: Option<&str>| Kept {
            name: name.to_owned(),
            modified: 0,
            model: model.map(str::to_owned),
            turns: 1200,
            bytes: 5_200_000,
            problem: problem.map(str::to_owned),
        };
        let path = std::env::temp_dir().join("small.gguf");
        let rows = [
            kept("work", Some("org/name:Q4_K_M"), None),
            kept("play", path.to_str(), None),
            kept("old", None, Some("its checksum is wrong")),
        ];
        let table = table(&rows).unwrap();
        let lines: Vec<Vec<&str>> =
            table.lines().map(|line| line.split("  ").filter(|c| !c.is_empty()).collect()).collect();
        let ends: Vec<String> = lines
            .iter()
            .map(|cells| cells[2..].iter().map(|c| c.trim()).collect::<Vec<_>>().join("|"))
            .collect();
        assert_eq!(
            ends,
            [
                "TURNS|SIZE|MODEL",
                "1,200|5.2 MB|org/name:Q4_K_M",
                "1,200|5.2 MB|small.gguf",
                "-|5.2 MB|damaged"
            ]
        );
        assert!(super::table(&[]).is_none());
    }
}
