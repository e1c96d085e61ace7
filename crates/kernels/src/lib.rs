//! Numbers only: products, attention, norms and the thread pool under them, with no tensor library.
//!
//! Every fast version of an operation stands beside a plain one that says what it computes; the choice among
//! them is made once, at run time, from what the processor can do.

mod format;

pub use format::Format;
