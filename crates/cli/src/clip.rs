//! From what `--model` says to an open model of texts and pictures.

use std::path::PathBuf;
use std::time::Instant;

use crayon_engine::ModelSource;
use crayon_formats::Format;
use crayon_kernels::Mode;
use crayon_vision::{Clip, Options};

use crate::args::{ClipArgs, ClipRunArgs};
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::{model, show};

/// Finds and opens a model. With `--verbose`, says how it runs.
pub(crate) fn open(args: &ClipArgs, output: &Output) -> Result<Clip> {
    let path = path(&args.model)?;
    let started = Instant::now();
    let clip = Clip::open(&path, options(&args.run)?)?;
    for told in clip.notes() {
        output.note(&told.to_string());
    }
    let spec = clip.spec();
    output.detail(&format!(
        "{}: embeddings of {}, pictures of {} × {} pixels, texts of up to {} tokens, {}, opened in {} ms",
        clip.name(),
        clip.dim(),
        clip.image_size(),
        clip.image_size(),
        clip.room(),
        show::counted(clip.threads().count(), "thread"),
        show::millis(started.elapsed()),
    ));
    output.detail(&format!(
        "{} layers for texts, {} for pictures, {} kernels",
        spec.text.tower.layers,
        spec.image.tower.layers,
        crayon_kernels::limits::features().variant,
    ));
    Ok(clip)
}

/// Where the model called `text` lies.
pub(crate) fn path(text: &str) -> Result<PathBuf> {
    match model::resolve(text)? {
        ModelSource::Path(path) => Ok(path),
        ModelSource::Embedded(found) => Err(mistake(
            format!("{} reads text only", found.name),
            "give the folder of a CLIP or SigLIP model, or pull one: `crayon pull openai/clip-vit-base-patch32`",
        )),
    }
}

/// How the model should run.
pub(crate) fn options(args: &ClipRunArgs) -> Result<Options> {
    let weights = args.kind.as_deref().map(|name| {
        Format::from_name(name).ok_or_else(|| {
            let known: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
            mistake(
                format!("there is no number type {name:?}"),
                format!("--type takes one of {}", known.join(", ")),
            )
        })
    });
    let mode = if args.exact { Mode::Exact } else { Mode::Fast };
    Ok(Options {
        threads: args.threads.map(usize::from),
        mode,
        weights: weights.transpose()?,
        whole_pictures: args.exact,
    })
}
