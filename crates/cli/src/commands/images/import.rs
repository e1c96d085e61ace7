//! `crayon images import`: vectors that clip-retrieval made, as an index.

use std::time::Instant;

use crayon_images::{Bank, Imported, MadeWith, Reader, Store, import};
use serde_json::json;

use super::MODEL_PATH;
use super::{beside, index, model};
use crate::args::ImportArgs;
use crate::failure::{Interrupted, Result};
use crate::output::Output;
use crate::progress::Counting;
use crate::{interrupt, show};

/// Runs the command.
pub(super) fn run(args: &ImportArgs, output: &Output) -> Result {
    let began = Instant::now();
    beside::check(&args.beside)?;
    let remembered = match args.output.exists() {
        true => index::model_path(&Reader::open(&args.output)?)?,
        false => None,
    };
    let clip = model::open(&args.clip, remembered.as_deref(), output)?;
    let store = Store::open(&args.output, &MadeWith::of(&clip))?;
    store.remember(MODEL_PATH, clip.name().as_bytes())?;
    interrupt::watch();
    let mut bar = Counting::new("importing", "pictures", output);
    let pictures = args.pictures.as_deref().unwrap_or(&args.folder);
    let imported = import(&args.folder, pictures, &store, &clip, &mut |done, total| {
        bar.at(done, total);
        interrupt::flow()
    });
    bar.finish();
    let imported = imported?;
    let reader = store.reader()?;
    if !imported.stopped {
        Bank::measure(&reader, &clip, clip.threads())?.remember(&store)?;
    }
    let beside = match imported.stopped {
        true => beside::Done::default(),
        false => beside::update(&args.beside, &store, clip.threads().count(), output)?,
    };
    if output.json {
        let mut object = json!({
            "rows": imported.rows,
            "here": imported.here,
            "elsewhere": imported.elsewhere,
            "left_out": imported.left_out,
            "agreement": imported.agreement,
            "pictures": reader.details()?.len(),
            "bytes": std::fs::metadata(&args.output)?.len(),
            "seconds": (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            "stopped": imported.stopped,
        });
        beside.add_to(&mut object);
        output.object(&object)?;
    } else {
        output.line(&summary(&imported))?;
        beside.print(output)?;
    }
    if imported.agreement.is_none() && !imported.stopped {
        output
            .note("none of the pictures is here, so that nothing shows whether this model made the vectors");
    }
    match imported.stopped {
        true => {
            output.note("stopped; the same command begins anew and keeps what is done");
            Err(Interrupted.into())
        }
        false => Ok(()),
    }
}

fn summary(imported: &Imported) -> String {
    let parts = [
        (imported.here, "here"),
        (imported.elsewhere, "elsewhere"),
        (imported.left_out, "left out: no path, or no vector"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, what)| format!("{} {what}", show::count(*count))).collect();
    let agreement = imported
        .agreement
        .map_or_else(String::new, |mean| format!("; cosine with this model's own {mean:.3}"));
    format!("{}: {}{agreement}", show::counted(imported.rows, "vector"), parts.join(", "))
}
