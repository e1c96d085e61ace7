//! Customization that is judged by the person's own examples: a ladder of candidates, from the model as it is to an adapter
//! trained on the examples, and the simplest good one taken.
//!
//! [`Given`] reads the examples and says what is wrong with them. [`climb`] judges the candidates: those that do not look at
//! answers on all examples, those that learn from them or show them by folds, so that no example is judged by what has seen it. [`choose`]
//! takes the simplest that is not worse than the best by more than one standard error; the model as it is stands at the foot of
//! the ladder like any other candidate, and doubt goes to it.
//!
//! [`instant`] is the part of it that a waiting question has time for.
//!
//! Reading order: `ladder`, `given`, `judge`, `choose`; `shown` puts examples into the prompt, `folds`, `learn`, `journal`, `fitted` and
//! `trained` are what learns.

/// The seed of everything random where none is given.
pub const SEED: u64 = 0;

mod choose;
mod error;
mod folds;
mod given;
mod instant;
mod judge;
mod ladder;
mod note;
mod request;
mod rung;
mod shown;
mod tried;
mod watch;

#[cfg(feature = "train")]
mod fitted;
#[cfg(feature = "train")]
mod journal;
#[cfg(feature = "train")]
mod learn;
#[cfg(feature = "train")]
mod trained;

pub use choose::choose;
pub use error::CustomizeError;
pub use given::{Case, Given, MOST};
pub use instant::{Instantly, Offered, instant};
pub use judge::{Judge, Judged};
pub use ladder::{Climbed, climb};
pub use note::Note;
pub use request::{Members, Request};
pub use rung::{Effort, Rung};
#[cfg(feature = "train")]
pub use trained::training;
pub use tried::Tried;
pub use watch::{Stage, Watch};
