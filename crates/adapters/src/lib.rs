//! Adapters: LoRA in and out of PEFT's files, a pool of them with a key each, and one adapter blended from a pool for a
//! person's examples (Crayon, arXiv 2406.07007).
//!
//! The steps of a customization are separate functions, because they may run on different machines:
//! 1. [`QueryEncoder`] turns the tokens of an example's prompt into a query, on the device that holds the examples;
//! 2. [`Keys::scores`] compares the mean query with the keys of a pool, on the same device: these few numbers are all that
//!    has to leave it;
//!    A [`Catalogue`] is what the device needs of the pool for it;
//! 3. [`Pool::blend`] makes one adapter from the scores, wherever the pool is; a [`Stack`] holds the adapters once and weighs them for
//!    any number of people without copying.
//!
//! Nothing here knows tokenizers, nor any text but the general ones that a [`Scope`] is told from.

mod arrow;
mod blend;
mod catalogue;
mod demonstrations;
mod error;
mod examples;
mod fitting;
mod general;
mod keys;
mod kmeans;
mod known;
mod lora;
mod noise;
mod packed;
pub mod peft;
mod plot;
mod pool;
mod query;
mod random;
mod sample;
mod scope;
mod stack;
mod svd;

pub use arrow::Arrow;
pub use blend::{Form, blend, blend_into};
pub use catalogue::{Catalogue, Listed};
pub use demonstrations::{
    Demonstration, fingerprint, read_demonstrations, remove_demonstrations, write_demonstrations,
};
pub use error::AdapterError;
pub use examples::{Example, Examples};
pub use general::General;
pub use keys::{AnswerKeys, Keys, TEMPERATURE, weights};
pub use kmeans::{Clusters, k_means};
pub use known::Known;
pub use lora::Lora;
pub use noise::{add_noise, secret_seed};
pub use plot::svg;
pub use pool::{Blended, Member, Pool};
pub use query::{Query, QueryEncoder, QueryMean};
pub use random::Random;
pub use sample::Sample;
pub use scope::{Scope, ScopeQueries};
pub use stack::{Stack, Weighted};
