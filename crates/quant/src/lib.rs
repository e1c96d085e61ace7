//! Quantised models that keep their quality: calibration, scales per channel that fold away (Quadapter, SmoothQuant), ranges,
//! and the checkpoint that runs on integers.
//!
//! [`Recipe`] says what is done; [`quantise`] does it block by block ([`run`](crate::quantise)): it observes the block on what the
//! quantised blocks before it give, finds scales ([`scales`]) and ranges ([`ranges`]), folds ([`fold`]), rounds the weights
//! ([`weights`], [`gptq`]), and goes on with what the finished block gives. Learning itself stands in [`crayon_train::quantised`].
//! A model can be rotated as a whole before ([`rotate`]).

mod block;
mod calibration;
mod error;
pub mod fold;
pub mod gptq;
mod kept;
mod prepare;
pub mod ranges;
mod recipe;
pub mod rotate;
mod run;
pub mod scales;
mod scheme;
mod tune;
pub mod weights;

pub use block::{BlockReport, PlaceReport};
pub use calibration::Calibration;
pub use crayon_model::Place;
pub use crayon_train::quantised::{GridKind, Groups};
pub use error::QuantError;
pub use prepare::prepared;
pub use recipe::{Activations, Form, Method, Places, RangeKind, Recipe, Start, WeightKind};
pub use run::{Progress, Quantised, Watch, forget, quantise};
pub use scheme::Scheme;
pub use tune::tune;
