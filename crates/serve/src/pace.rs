//! How fast the model gets on, and whether it has to end.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// What handlers ask the worker's state for.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Milliseconds the last request took.
    pub(crate) last: AtomicU64,
    /// Answers in progress.
    pub(crate) active: AtomicUsize,
    /// The server has no more patience: what is being written ends.
    pub(crate) cut: AtomicBool,
}

impl Pace {
    /// Seconds until a place among `waiting` requests is likely to be free.
    pub(crate) fn seconds(&self, waiting: usize) -> u64 {
        let millis = self.last.load(Ordering::Relaxed).saturating_mul(waiting as u64 / 2 + 1);
        millis.div_ceil(1000).clamp(1, 60)
    }
}
