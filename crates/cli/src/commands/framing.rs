//! The framing of questions with choices, as `eval choice` and `eval routing` take it.

use crayon_engine::Engine;
use crayon_eval::Framing;

use crate::args::ModelArgs;
use crate::failure::{Result, mistake};
use crate::model;
use crate::output::Output;

/// The framing of this name.
pub(super) fn framing(name: &str) -> Result<Framing> {
    Framing::from_name(name).ok_or_else(|| {
        let names = Framing::ALL.map(Framing::name).join(", ");
        mistake(format!("there is no framing {name:?}"), format!("framings are {names}"))
    })
}

/// Opens a model that is asked so.
pub(super) fn open(framing: Framing, args: &ModelArgs, output: &Output) -> Result<Engine> {
    match framing {
        Framing::Plain => model::open(args, output),
        Framing::Auto | Framing::Chat => model::open_to_ask(args, output),
    }
}
