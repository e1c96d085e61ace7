//! The networks: one decoder for every family, reading its differences from a [`Spec`](crayon_formats::spec::Spec).
//!
//! Three forms of the same mathematics stand beside each other and are tested against each other:
//! - [`Decoder`] runs on plain slices with the kernels of `crayon-kernels`; it is what answers people. Its key-value
//!   memory is a trait object per sequence ([`KvMemory`]), attention probabilities can be watched
//!   ([`ScoreTap`]), and adapters attach to any linear layer by its [`Site`] ([`Adapter`]).
//! - [`frozen::FrozenDecoder`] runs on slices as well and knows the way back to what is trained beside its fixed weights.
//! - [`plain::PlainDecoder`] is written with candle tensors: exact f32, differentiable in everything, on any device. It judges
//!   the other two.

mod adapter;
mod decoder;
mod error;
pub mod frozen;
mod layers;
mod memory;
pub mod plain;
pub mod rope;

pub use adapter::{Adapter, LowRank, LowRankPair, Projection, Site};
pub use decoder::{Decoder, Scratch, Step, Want};
pub use error::ModelError;
pub use memory::{FullMemory, HeadView, KvMemory, KvType, ScoreTap};
