//! How a model is opened.

use crayon_kernels::{Format, Mode};

/// How a model is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads; all cores when `None`.
    pub threads: Option<usize>,
    /// Whether activations stay f32 beside quantised weights.
    pub mode: Mode,
    /// Number type that the linear layers are brought to; as the file has them when `None`. A layer whose rows are not whole
    /// blocks of it stays as it is.
    pub weights: Option<Format>,
}

impl Default for Options {
    /// All cores, the file's numbers, and exact arithmetic.
    fn default() -> Options {
        Options { threads: None, mode: Mode::Exact, weights: None }
    }
}
