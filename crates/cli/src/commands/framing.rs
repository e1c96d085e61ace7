//! The framing of questions with choices, as `eval choice` and `eval routing` take it.

use crayon_eval::Framing;

use crate::failure::{Result, mistake};

/// The framing of this name.
pub(super) fn framing(name: &str) -> Result<Framing> {
    Framing::from_name(name).ok_or_else(|| {
        let names = Framing::ALL.map(Framing::name).join(", ");
        mistake(format!("there is no framing {name:?}"), format!("framings are {names}"))
    })
}
