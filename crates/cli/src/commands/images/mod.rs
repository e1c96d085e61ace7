//! `crayon images`.

mod index;
mod search;

use crate::args::{ImagesArgs, ImagesCommand};
use crate::failure::Result;
use crate::output::Output;

/// The name under which an index remembers where its model was.
const MODEL_PATH: &str = "model path";

/// Runs the command.
pub(crate) fn run(args: &ImagesArgs, output: &Output) -> Result {
    match &args.what {
        ImagesCommand::Index(args) => index::run(args, output),
        ImagesCommand::Search(args) => search::run(args, output),
    }
}
