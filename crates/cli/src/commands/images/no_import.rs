//! In place of `crayon images import`, where this program was built without a reader of Parquet files.

use super::left_out;
use crate::args::ImportArgs;
use crate::failure::Result;
use crate::output::Output;

/// Refuses.
pub(super) fn run(_: &ImportArgs, _: &Output) -> Result {
    Err(left_out("a reader of Parquet files", "parquet"))
}
