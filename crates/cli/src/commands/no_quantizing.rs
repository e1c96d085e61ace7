//! In place of `crayon quantize`, where this program was built without training.

use crate::args::QuantizeArgs;
use crate::failure::{Result, mistake};
use crate::output::Output;

/// Refuses.
pub(super) fn run(_: &QuantizeArgs, _: &Output) -> Result {
    Err(mistake(
        "this program was built without training, which quantising needs",
        "`cargo build --release` builds one with it; --no-default-features needs --features train",
    ))
}
