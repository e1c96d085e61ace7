//! What a download tells its caller, and how the caller stops it.

use std::ops::ControlFlow;
use std::time::Duration;

/// A moment of a pull.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// File in work.
    pub file: &'a str,
    /// Bytes of that file that are here.
    pub file_bytes: u64,
    /// Bytes that file has.
    pub file_total: u64,
    /// Bytes of the whole plan that are here, earlier pulls included.
    pub bytes: u64,
    /// Bytes of the whole plan.
    pub total: u64,
    /// What is being done.
    pub stage: Stage<'a>,
}

/// What a pull is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage<'a> {
    /// Reading what an earlier pull left, for its checksum.
    Checking,
    /// Receiving.
    Downloading,
    /// Waiting before another try.
    Waiting {
        /// What went wrong.
        reason: &'a str,
        /// Time left.
        left: Duration,
    },
}

/// Called several times a second while bytes arrive; [`ControlFlow::Break`] ends the pull and keeps the part.
///
/// When a server falls silent the next call comes when the silence is given up, after the
/// [`silence`](crayon_net::RetryPolicy::silence) of [`crate::Settings::retry`]. Ending the process instead loses nothing either.
pub type Report<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + 'a;
