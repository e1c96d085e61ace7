//! The model of an index, or the one that is named.

use std::path::Path;

use crayon_vision::Clip;

use crate::args::{ClipArgs, ImagesModelArgs};
use crate::clip;
use crate::failure::{Result, mistake};
use crate::output::Output;

/// Opens the model that was named, or else the one that made the index.
pub(super) fn open(args: &ImagesModelArgs, made_with: Option<&str>, output: &Output) -> Result<Clip> {
    let model = match (&args.model, made_with) {
        // The index remembers it for searches from other places.
        (Some(name), _) => std::path::absolute(clip::path(name)?)?.display().to_string(),
        (None, Some(path)) if Path::new(path).exists() => path.to_owned(),
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
    clip::open(&ClipArgs { model, run: args.run.clone() }, output)
}
