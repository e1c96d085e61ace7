//! Speed and memory, each beside what the machine can do at most.
//!
//! Speed does not depend on the values of weights, so named shapes with made-up weights stand in for models that
//! are not at hand: [`Shape`] describes them, [`MadeUp`] writes one as a GGUF file that is opened like any other.

mod blend;
mod blocks;
mod clip;
mod generate;
mod kernels;
mod limit;
mod made_up;
pub(crate) mod memory;
mod pot;
mod search;
mod serve;
mod shape;
#[cfg(feature = "train")]
mod train;

pub use blend::{BlendBench, BlendBenchOptions, FormBench, blend};
pub use clip::{CLIP_SHAPES, ClipBench, ClipBenchOptions, ClipShape, FilesBench, MadeUpClip, clip};
pub use generate::{Bench, GenerateOptions, Opened, Spread, Subject, generate, open, prompt_ids};
pub use kernels::{KernelBench, kernels};
pub use limit::Limit;
pub use made_up::MadeUp;
pub(crate) use memory::peak_mb;
pub use pot::{PotBench, PotBenchOptions, Shares, pot};
pub use search::{ApproximateBench, SearchBench, SearchBenchOptions, search};
pub use serve::{Behind, Load, People, Program, Row, ServeBench, ServeBenchOptions, Wait, serve};
pub use shape::{SCHEMES, Scheme, Shape};
#[cfg(feature = "train")]
pub use train::{TrainBench, TrainBenchOptions, train};
