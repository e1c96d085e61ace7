//! Ctrl-C during work that runs without Python's lock.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::error::{Failure, Result};

/// Signals are looked for this often: the lock may have to be waited for.
const EVERY: Duration = Duration::from_millis(50);

/// Stops work when a signal's handler raised something.
pub(crate) struct Interrupt {
    looked: Instant,
    raised: Option<PyErr>,
}

impl Interrupt {
    pub(crate) fn new() -> Interrupt {
        Interrupt { looked: Instant::now(), raised: None }
    }

    /// Whether to go on.
    pub(crate) fn flow(&mut self) -> ControlFlow<()> {
        if self.raised.is_none() && self.looked.elapsed() >= EVERY {
            self.raised = Python::attach(|py| py.check_signals()).err();
            self.looked = Instant::now();
        }
        match self.raised {
            None => ControlFlow::Continue(()),
            Some(_) => ControlFlow::Break(()),
        }
    }

    /// What was raised, or else the result.
    pub(crate) fn result<T, E: Into<Failure>>(self, result: std::result::Result<T, E>) -> Result<T> {
        match self.raised {
            Some(error) => Err(error.into()),
            None => result.map_err(Into::into),
        }
    }
}
