//! `crayon images`.

mod beside;
mod classes;
mod classify;
#[cfg(feature = "parquet")]
mod import;
#[cfg(not(feature = "parquet"))]
#[path = "no_import.rs"]
mod import;
mod index;
#[cfg(feature = "train")]
mod learn;
mod model;
mod place;
mod search;
mod watch;

use crate::args::{ImagesArgs, ImagesCommand};
use crate::failure::Result;
use crate::output::Output;

/// The name under which an index remembers where its model was.
const MODEL_PATH: &str = "model path";

/// Refuses what needs a part that this program was built without.
#[cfg(not(all(feature = "hnsw", feature = "parquet", feature = "qdrant")))]
fn left_out(what: &str, feature: &str) -> crate::failure::Failure {
    crate::failure::mistake(
        format!("this program was built without {what}"),
        format!("`cargo build --release --features {feature}` builds one with it"),
    )
}

/// Runs the command.
pub(crate) fn run(args: &ImagesArgs, output: &Output) -> Result {
    match &args.what {
        ImagesCommand::Index(args) => index::run(args, output),
        ImagesCommand::Import(args) => import::run(args, output),
        ImagesCommand::Watch(args) => watch::run(args, output),
        ImagesCommand::Search(args) => search::run(args, output),
        ImagesCommand::Classify(args) => classify::run(args, output),
        #[cfg(feature = "train")]
        ImagesCommand::Learn(args) => learn::run(args, output),
    }
}
