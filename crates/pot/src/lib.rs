//! Key-value memory of fixed size: context of any length in a fixed amount of memory.
//!
//! A [`Pot`] reads a text; when it is full, a [`Policy`] scores what every head holds, the best part stays, moves
//! together to the first positions, and reading goes on (InfiniPot, arXiv 2410.01518). The path through this crate:
//! [`Pot::read`] (the loop, in `reading`), `distill` (evidence, choice, moving), `policy/` (one rule a file), [`Slab`] (the memory).
//!
//! What holds, and is tested: a text that fits is read as with a full cache; no head ever holds more than its slots;
//! a moved key equals the key computed at its new position; the catalyst prompt leaves no trace; pinned tokens stay.

pub mod budget;
mod cache;
mod distill;
mod episodes;
mod error;
mod file;
mod options;
mod policy;
mod pot;
mod prefixes;
mod reading;
mod select;
mod slab;
mod sliding;
mod storage;
mod turns;
mod watch;
mod weights;

pub use cache::PrefixCache;
pub use error::PotError;
pub use file::{Owner, Saved};
pub use options::{GENERAL_CATALYST, PotOptions};
pub use policy::{Attention, Head, Named, Needs, POLICIES, Policy, named};
pub use pot::{Network, Pot, distillable};
pub use prefixes::Prefixes;
pub use reading::Reading;
pub use slab::Slab;
pub use storage::KvStorage;
pub use weights::KeyWeights;
