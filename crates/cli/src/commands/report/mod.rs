//! `crayon report`: the evaluations on this machine, as one page.

mod html;
mod parts;

use std::path::Path;
use std::time::Instant;

use crayon_files::write_file;
use serde_json::{Value, json};

use crate::args::ReportArgs;
use crate::failure::{Context as _, Interrupted, Result};
use crate::output::Output;
use crate::progress::Counting;
use crate::{drawings, interrupt, itself, show};
use html::Page;
use parts::{Part, parts};

/// Runs the command.
pub(crate) fn run(args: &ReportArgs, output: &Output) -> Result {
    let folder = &args.output;
    std::fs::create_dir_all(folder).context(folder.display())?;
    let folder = std::path::absolute(folder)?;
    prepare(&folder)?;
    interrupt::watch();
    let (parts, began) = (parts(args)?, Instant::now());
    let mut page = Page::new(&format!("crayon: {} on this machine", args.model));
    let mut results = serde_json::Map::new();
    let mut bar = Counting::new("measuring", "parts", output);
    for (done, part) in parts.iter().enumerate() {
        if interrupt::requested() {
            return Err(Interrupted.into());
        }
        bar.at(done, parts.len());
        let words: Vec<&str> = part.words.iter().map(String::as_str).collect();
        let result = itself::object(&words, &folder)?;
        add(&mut page, part, &itself::spelled(&words), &result, &folder)?;
        results.insert(part.name.to_owned(), result);
    }
    bar.finish();
    let file = folder.join("report.html");
    write_file(&file, page.end(&show::duration(began.elapsed())).as_bytes())?;
    match output.json {
        true => Ok(output.object(&json!({ "file": file.display().to_string(), "results": results }))?),
        false => Ok(output.line(&format!("{} is written", file.display()))?),
    }
}

/// Writes what the parts work on.
fn prepare(folder: &Path) -> Result {
    let home = folder.join("home.jsonl");
    std::fs::write(&home, include_str!("../../../../../examples/home.jsonl")).context(home.display())?;
    let drawn = drawings::draw(&folder.join("pictures"))?;
    let (mut gallery, mut captions) = (String::new(), String::new());
    for drawing in &drawn {
        let colour = format!("colour={}", drawing.colour);
        let shape = format!("shape={}", drawing.shape);
        let picture = format!("pictures/{}", drawing.file);
        gallery += &format!("{}\n", json!({"picture": picture, "facts": [colour, shape]}));
        let text = format!("a {} {}", drawing.colour, drawing.shape);
        for (word, stressed, other) in [(drawing.colour, &colour, &shape), (drawing.shape, &shape, &colour)] {
            captions +=
                &format!("{}\n", json!({"text": text, "word": word, "stressed": stressed, "other": other}));
        }
    }
    for (name, lines) in [("gallery.jsonl", gallery), ("captions.jsonl", captions)] {
        let path = folder.join(name);
        std::fs::write(&path, lines).context(path.display())?;
    }
    Ok(())
}

/// A part of the page: what it says, the command, pictures, tables.
fn add(page: &mut Page, part: &Part, command: &str, result: &Value, folder: &Path) -> Result {
    page.part(part.title, part.about, command);
    for plot in part.plots {
        let path = folder.join(plot);
        page.picture(&std::fs::read_to_string(&path).context(path.display())?);
    }
    page.value(result);
    Ok(())
}
