//! `crayon demo`: a tour of what the program does, by its own commands, on the built-in models.

mod steps;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use crate::args::DemoArgs;
use crate::failure::{Context as _, Interrupted, Result};
use crate::output::Output;
use crate::{drawings, interrupt, itself, show};
use steps::STEPS;

/// A step as `--json` prints it.
#[derive(Serialize)]
struct Done {
    step: &'static str,
    command: String,
    seconds: f64,
    /// What the command printed with `--json`.
    result: Value,
}

/// The folder of the tour, which goes with it unless the person named it.
struct Place {
    folder: PathBuf,
    keep: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing can be done about a folder that does not go, and nothing depends on it.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &DemoArgs, output: &Output) -> Result {
    let folder = match &args.output {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("crayon-demo-{}", std::process::id())),
    };
    let place = Place { folder, keep: args.output.is_some() };
    std::fs::create_dir_all(&place.folder).context(place.folder.display())?;
    prepare(&place.folder)?;
    interrupt::watch();
    let (began, mut done) = (Instant::now(), Vec::new());
    for (number, step) in STEPS.iter().enumerate() {
        if !output.json {
            let title = format!("{}. {}", number + 1, step.title);
            output.line(&format!("{}\n{}\n", output.paint(&title, 81), step.about))?;
        }
        for words in step.commands {
            if interrupt::requested() {
                return Err(Interrupted.into());
            }
            let command = itself::spelled(words);
            if !output.json {
                output.line(&format!("$ {command}"))?;
                itself::shown(words, &place.folder)?;
                continue;
            }
            let began = Instant::now();
            let result = itself::object(words, &place.folder)?;
            let seconds = (began.elapsed().as_secs_f64() * 1e3).round() / 1e3;
            done.push(Done { step: step.name, command, seconds, result });
        }
        if !output.json {
            output.line("")?;
        }
    }
    if output.json {
        return Ok(output.object(&serde_json::json!({ "steps": done }))?);
    }
    output.line(&format!("That was all, in {}, on this device.", show::duration(began.elapsed())))?;
    if place.keep {
        output.note(&format!("the files of the tour are in {}", place.folder.display()));
    }
    Ok(())
}

/// Writes what the steps work on.
fn prepare(folder: &Path) -> Result {
    let put = |name: &str, text: &str| -> Result {
        let path = folder.join(name);
        std::fs::write(&path, text).context(path.display())
    };
    put("home.jsonl", include_str!("../../../../../examples/home.jsonl"))?;
    put("day.txt", &steps::long_text())?;
    drawings::draw(&folder.join("pictures"))?;
    Ok(())
}
