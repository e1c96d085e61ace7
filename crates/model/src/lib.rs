//! The network that answers: one decoder for every family, reading its differences from a [`Spec`](crayon_formats::spec::Spec).
//!
//! [`Decoder`] runs on plain slices with the kernels of `crayon-kernels`. Its key-value memory is a trait object per sequence
//! ([`KvMemory`]), attention probabilities can be watched ([`ScoreTap`]), and adapters attach to any linear layer by its
//! [`Site`] ([`Adapter`]).
//!
//! `crayon-train` has two more forms of the same mathematics, which learn and judge.
//!
//! It is made of blocks that know nothing of a decoder, and other networks can be made of them: [`Linear`] layers multiplied by
//! a [`Projector`], [`RowNorm`], [`Attention`] (looking back, or in all directions) and [`Mlp`].

mod adapter;
mod attention;
mod block;
mod decoder;
mod error;
mod likelihood;
mod linear;
mod memory;
mod mlp;
mod norm;
mod place;
pub mod rope;

pub use adapter::{Adapter, LowRank, LowRankPair, Projection, Site};
pub use attention::{Attention, HeadTap, Sight, split_heads};
pub use decoder::{Decoder, Scratch, Step, Want};
pub use error::ModelError;
pub use likelihood::Summed;
pub use linear::{Adapt, Linear, Projector};
pub use memory::{HeadView, KvMemory, ScoreTap};
pub use mlp::{Mlp, act};
pub use norm::RowNorm;
pub use place::Place;
