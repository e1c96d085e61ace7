//! The plain network with everything rounded as a quantised model rounds it, to learn what softens that.
//!
//! Quadapter (arXiv 2211.16912) puts a scale per channel before the rounding of an activation and its inverse behind it; both fold
//! into the neighbouring parameters. A [`BlockSetup`] says how a block is rounded and what of it learns: those scales, the ends of
//! static ranges, the share that weights keep of their range, or the weights themselves. [`QuantisedBlock`] learns it alone against
//! the exact block, [`QuantisedDecoder`] all blocks together by the language model's loss. Weights are rounded after folding, so
//! what learns is what is exported.
//!
//! Hidden rows `[sequences, rows, hidden]` go in and out as slices.

mod block;
mod decoder;
pub mod fake;
mod grid;
mod setup;

pub use block::{QuantisedBlock, See};
pub use decoder::QuantisedDecoder;
pub use grid::{Cut, Grid, GridKind, Groups, WeightRounding};
pub use setup::{BlockRounding, BlockSetup, Extremes, InputRounding, Learns};
