//! Weighted prompts, and the search of pictures by them (SToRI, arXiv 2410.08469).

mod error;
mod prompt;

pub use error::ImageError;
pub use prompt::{LARGEST, Minus, Prompt, Weighted, parse, parse_search};
