//! From what `--model` says to an open model of texts and pictures.

use std::path::PathBuf;

use crayon_engine::EngineError;
use crayon_hub::{Hub, Reference};
use crayon_vision::{Clip, Options};

use crate::args::ImagesModelArgs;
use crate::failure::{Result, mistake};
use crate::output::Output;
use crate::show;

/// Opens the model that was named, or else the one that made the index.
pub(super) fn open(args: &ImagesModelArgs, made_with: Option<&str>, output: &Output) -> Result<Clip> {
    let path = match (&args.model, made_with) {
        (Some(name), _) => resolve(name)?,
        (None, Some(path)) if PathBuf::from(path).exists() => PathBuf::from(path),
        (None, Some(path)) => {
            return Err(mistake(
                format!("the index was made with the model at {path}, which is not there"),
                "-m names the model's folder",
            ));
        }
        (None, None) => {
            return Err(mistake(
                "no model of texts and pictures is built in",
                "-m names one: a folder in Hugging Face layout with a CLIP or SigLIP model",
            ));
        }
    };
    let options = Options { threads: args.threads.map(usize::from), ..Options::default() };
    let clip = Clip::open(&path, options)?;
    for note in clip.notes() {
        output.note(&note.to_string());
    }
    output.detail(&format!(
        "{}: embeddings of {}, pictures of {} by {}, {}",
        clip.name(),
        clip.dim(),
        clip.image_size(),
        clip.image_size(),
        show::counted(clip.threads().count(), "thread"),
    ));
    Ok(clip)
}

/// A path that exists, else a pulled model. Nothing is ever downloaded here.
fn resolve(text: &str) -> Result<PathBuf> {
    let path = PathBuf::from(text);
    if path.exists() {
        return Ok(std::path::absolute(&path)?);
    }
    let reference: Option<Reference> =
        if text.starts_with(['.', '/', '~']) { None } else { text.parse().ok() };
    match reference {
        Some(reference) => Hub::from_env()?.find(&reference).ok_or_else(|| {
            mistake(
                format!("{reference} is not on this device"),
                format!("`crayon pull {reference}` downloads it; a path names a folder"),
            )
        }),
        None => Err(EngineError::NotFound { path: text.to_owned() }.into()),
    }
}
