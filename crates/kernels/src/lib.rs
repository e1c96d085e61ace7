//! Numbers only: products, attention, norms and the thread pool under them, with no tensor library.
//!
//! Every fast version of an operation stands beside a plain one that says what it computes; the choice among
//! them is made once, at run time, from what the processor can do ([`limits::features`] shows it).
//!
//! Two promises hold for every function here:
//! - the number of threads never changes a result: one task computes an output, always in the same order;
//! - a row's result never depends on the other rows in its batch, so a prefill and single steps agree bit for bit.

mod accumulate;
mod activations;
mod attention;
mod chunks;
mod format;
#[cfg(target_arch = "x86_64")]
mod hints;
pub mod limits;
mod matrix;
pub mod ops;
mod packed;
mod products;
mod quants;
mod rounding;
mod threads;
pub mod timing;
mod variant;

pub use accumulate::{Factors, accumulate};
pub use activations::Activations;
pub use attention::{AttentionShape, KvSlice, Tap, attend, attend_all, attend_heads};
pub use format::Format;
pub use matrix::{Matrix, MatrixError};
pub use packed::{Packed, PackedProduct, PackedRows, matmul_packed};
pub use products::{Mode, Product, matmul};
pub use quants::nibbles::{self, NibbleGrid};
pub use quants::{dequantize, dequantize_rows, quantize, quantize_bytes, quantize_nibbles, quantize_rows};
pub use rounding::Rounding;
pub use threads::Threads;
