//! Classes as the command line names them, and pictures embedded for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crayon_images::{Class, Classes, Embedded, TEMPLATES, embed_files};
use crayon_vision::{Clip, KINDS};

use crate::args::ClassTextArgs;
use crate::failure::{Context as _, Result, mistake};
use crate::output::Output;
use crate::progress::Counting;
use crate::{interrupt, show};

/// Broken files that are named; the rest are counted.
const NAMED: usize = 10;

/// Classes by their names, through templates and descriptions.
pub(super) fn named(names: &[String], args: &ClassTextArgs) -> Result<Classes> {
    if let Some(template) = args.template.iter().find(|template| !template.contains("{}")) {
        let what = format!("the text {template:?} has no place for a class's name");
        return Err(mistake(what, "{} in --template stands for the name: \"a photo of a {}\""));
    }
    let templates: Vec<&str> = match args.template.is_empty() {
        true => TEMPLATES.to_vec(),
        false => args.template.iter().map(String::as_str).collect(),
    };
    let mut described = args.descriptions.as_deref().map(descriptions).transpose()?.unwrap_or_default();
    let most = usize::from(args.described);
    let class = |name: &String| {
        let mut class = Class::from_templates(name, templates.iter().copied());
        let more = described.remove(name).unwrap_or_default();
        if args.descriptions.is_some() && more.is_empty() {
            let what = format!("--descriptions has none of the class {name:?}");
            return Err(mistake(what, "its keys are the classes' names, its values lists of sentences"));
        }
        class.texts.extend(more.into_iter().take(most));
        Ok(class)
    };
    let classes = names.iter().map(class).collect::<Result<Vec<_>>>()?;
    Ok(Classes::new(classes, None)?)
}

fn descriptions(path: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let bytes = std::fs::read(path).context(path.display())?;
    serde_json::from_slice(&bytes).map_err(|error| {
        mistake(
            format!("{}: {error}", path.display()),
            "--descriptions is JSON: {\"cat\": [\"a cat has whiskers\", ...], ...}",
        )
    })
}

/// Embeds files with a bar; names those that are not pictures.
pub(super) fn embedded(clip: &Clip, files: &[PathBuf], output: &Output) -> Result<Embedded> {
    interrupt::watch();
    let mut bar = Counting::new("embedding", "pictures", output);
    let result = embed_files(clip, files, clip.threads(), &mut |done, total| {
        bar.at(done, total);
        interrupt::flow()
    });
    bar.finish();
    let embedded = result?;
    for (path, why) in embedded.broken.iter().take(NAMED) {
        output.note(&format!("{} is left out: {why}", path.display()));
    }
    if embedded.broken.len() > NAMED {
        output.note(&format!("{} more are left out", show::count(embedded.broken.len() - NAMED)));
    }
    if embedded.files.is_empty() {
        return Err(mistake("there is no picture", format!("{KINDS} are read")));
    }
    Ok(embedded)
}
