//! In place of `crayon pool train`, where this program was built without training.

use crate::args::PoolTrainArgs;
use crate::failure::{Result, mistake};
use crate::output::Output;

/// Refuses.
pub(super) fn run(_: &PoolTrainArgs, _: &Output) -> Result {
    Err(mistake(
        "this program was built without training",
        "`cargo build --release` builds one with it; --no-default-features needs --features train",
    ))
}
