//! From what `--model` says to an open model of texts and pictures.

use std::path::PathBuf;
use std::time::Instant;

use crayon_engine::{EMBEDDED_CLIP, EmbeddedClip, ModelSource};
use crayon_formats::Format;
use crayon_formats::clip::ClipCheckpoint;
use crayon_kernels::Mode;
use crayon_vision::{Clip, Options};

use crate::args::{ClipArgs, ClipRunArgs};
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::{model, show};

/// The model that is taken where none is named.
pub(crate) fn default() -> Result<&'static str> {
    EMBEDDED_CLIP.first().map(|model| model.name).ok_or_else(|| {
        mistake(
            "no model of texts and pictures is built in",
            "-m names one: a folder in Hugging Face layout with a CLIP or SigLIP model",
        )
    })
}

/// Finds and opens a model. With `--verbose`, says how it runs.
pub(crate) fn open(args: &ClipArgs, output: &Output) -> Result<Clip> {
    let name = match &args.model {
        Some(name) => name,
        None => default()?,
    };
    open_named(name, &args.run, output)
}

/// As [`open`], for a model by its name.
pub(crate) fn open_named(name: &str, run: &ClipRunArgs, output: &Output) -> Result<Clip> {
    let started = Instant::now();
    let clip = Clip::of(checkpoint(name)?, options(run)?)?;
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

/// The files of the model called `name`.
pub(crate) fn checkpoint(name: &str) -> Result<ClipCheckpoint> {
    match embedded(name) {
        Some(model) => Ok(ClipCheckpoint::from_files(model.files())?),
        None => Ok(ClipCheckpoint::open(&path(name)?)?),
    }
}

/// A name by which the model is found again from any folder.
pub(crate) fn lasting(name: &str) -> Result<String> {
    match embedded(name) {
        Some(model) => Ok(model.name.to_owned()),
        None => Ok(std::path::absolute(path(name)?)?.display().to_string()),
    }
}

/// The embedded model called `name`.
pub(crate) fn embedded(name: &str) -> Option<&'static EmbeddedClip> {
    EMBEDDED_CLIP.iter().find(|model| model.name == name)
}

/// Where the model called `text` lies.
fn path(text: &str) -> Result<PathBuf> {
    match model::resolve(text)? {
        ModelSource::Path(path) => Ok(path),
        ModelSource::Embedded(found) => Err(mistake(
            format!("{} reads text only", found.name),
            "leave -m out for the built-in model of texts and pictures, or pull one: `crayon pull openai/clip-vit-base-patch32`",
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
