//! In place of `crayon eval quantize`, where this program was built without training.

use crate::args::EvalQuantizeArgs;
use crate::failure::{Result, mistake};
use crate::output::Output;

/// Refuses.
pub(super) fn run(_: &EvalQuantizeArgs, _: &Output) -> Result {
    Err(mistake(
        "this program was built without training, which quantising needs",
        "`cargo build --release` builds one with it; --no-default-features needs --features train",
    ))
}
