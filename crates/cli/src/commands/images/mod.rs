//! `crayon images`.

mod classes;
mod classify;
mod index;
#[cfg(feature = "train")]
mod learn;
mod model;
mod search;
mod watch;

use crate::args::{ImagesArgs, ImagesCommand};
use crate::failure::Result;
use crate::output::Output;

/// The name under which an index remembers where its model was.
const MODEL_PATH: &str = "model path";

/// Runs the command.
pub(crate) fn run(args: &ImagesArgs, output: &Output) -> Result {
    match &args.what {
        ImagesCommand::Index(args) => index::run(args, output),
        ImagesCommand::Watch(args) => watch::run(args, output),
        ImagesCommand::Search(args) => search::run(args, output),
        ImagesCommand::Classify(args) => classify::run(args, output),
        #[cfg(feature = "train")]
        ImagesCommand::Learn(args) => learn::run(args, output),
    }
}
