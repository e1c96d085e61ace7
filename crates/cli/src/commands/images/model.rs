//! The model of an index, or the one that is named.

use std::path::Path;

use crayon_vision::Clip;

use crate::args::ImagesModelArgs;
use crate::clip;
use crate::failure::{Result, mistake};
use crate::output::Output;

/// Opens the model that was named, or else the one that made the index, or else the built-in one.
pub(super) fn open(args: &ImagesModelArgs, made_with: Option<&str>, output: &Output) -> Result<Clip> {
    let model = match (&args.model, made_with) {
        // The index remembers it for searches from other places.
        (Some(name), _) => clip::lasting(name)?,
        (None, Some(name)) if clip::embedded(name).is_some() || Path::new(name).exists() => name.to_owned(),
        (None, Some(path)) => {
            return Err(mistake(
                format!("the index was made with the model at {path}, which is not there"),
                "-m names the model's folder",
            ));
        }
        (None, None) => clip::default()?.to_owned(),
    };
    clip::open_named(&model, &args.run, output)
}
