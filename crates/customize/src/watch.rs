//! Time, and who watches it pass.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::rung::Rung;

/// How far a rung is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which one.
    pub rung: Rung,
    /// Steps or examples done.
    pub done: usize,
    /// Of so many.
    pub total: usize,
}

/// Is told how far a rung is, and may stop it; what was found until then counts.
pub type Watch<'w> = dyn FnMut(Stage) -> ControlFlow<()> + 'w;

/// The time that is left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) started: Instant,
    pub(crate) budget: Duration,
}

impl Clock {
    pub(crate) fn left(&self) -> Duration {
        self.budget.saturating_sub(self.started.elapsed())
    }

    pub(crate) fn over(&self) -> bool {
        self.left().is_zero()
    }
}
