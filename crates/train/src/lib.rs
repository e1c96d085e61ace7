//! Training, with candle behind it: the only crate that knows a tensor library.
//!
//! Two forms of the network stand here beside the one that answers ([`crayon_model::Decoder`]), and are tested against it:
//! - [`plain::PlainDecoder`] is written with candle tensors: exact f32, slow, differentiable in everything, on any device. It
//!   judges the other two;
//! - [`frozen::FrozenDecoder`] runs on slices with fixed weights and knows the way back to what is trained beside them
//!   ([`frozen::TrainableAdapter`]).
//!
//! [`quantised`] is the plain form with everything rounded as a quantised model rounds it, to learn what softens that.
//!
//! What every training shares knows neither networks nor adapters: variables and their optimiser ([`Trainable`], [`Adam`]), the
//! learning rate's [`Schedule`], a [`State`] that is kept on disk so that a stopped training goes on, and the [`Device`].
//! [`PlainTextTower`] is CLIP's tower of texts in candle tensors, beside which [`learn_words`] learns weights of words.
//! [`pool`] trains LoRA adapters on top of it: a pool of them, or one for a person.

mod device;
mod error;
pub mod frozen;
mod optimiser;
pub mod plain;
mod plain_text;
pub mod pool;
mod progress;
pub mod quantised;
mod schedule;
mod state;
mod stress;

pub use device::Device;
pub use error::TrainError;
pub use optimiser::{Adam, Trainable, Variable};
pub use plain_text::{PlainTextTower, TextRows};
pub use progress::{Progress, TrainSummary};
pub use schedule::Schedule;
pub use state::State;
pub use stress::{
    ClassText, FewShot, StressOptions, Stressed, learn_context, learn_words, loss_and_gradient,
};
