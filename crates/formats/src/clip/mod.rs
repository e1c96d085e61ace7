//! Models of text and pictures: CLIP (Hugging Face, OpenAI, OpenCLIP) and SigLIP.
//!
//! As for decoders there is one description, [`ClipSpec`], and one set of tensor names, whatever the files are called.

mod checkpoint;
mod config;
mod export;
mod layout;
mod names;
mod preprocess;
mod spec;

pub use checkpoint::{ClipCheckpoint, ClipFiles, ClipTokenizer, spec_from_config, stored_tensors};
pub use preprocess::{Fit, Preprocess, Resample};
pub use spec::{ClipSpec, ImageSpec, TextSpec, TowerSpec};
