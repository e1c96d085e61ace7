//! A request that can be left at any time.

use std::ops::ControlFlow;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use crate::retry::SLICE;

/// Why work was left before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aborted {
    /// The caller stopped it.
    Stopped,
    /// It took too long.
    OutOfTime,
    /// There was no thread for it, or it broke.
    Failed(String),
}

enum Part<E, T> {
    Event(E),
    Done(T),
}

/// Runs `work` on a thread of its own, until it ends, `until` has come or `on_event` stops it. `on_event` gets what the
/// work sends, and `None` several times a second while it sends nothing. A thread that is left ends by its own timeouts;
/// what it sends then is refused with [`ControlFlow::Break`].
///
/// # Errors
/// When the work was left before its end.
pub fn in_background<E: Send + 'static, T: Send + 'static>(
    until: Option<Instant>,
    work: impl FnOnce(&dyn Fn(E) -> ControlFlow<()>) -> T + Send + 'static,
    on_event: &mut dyn FnMut(Option<E>) -> ControlFlow<()>,
) -> Result<T, Aborted> {
    let (sender, parts) = channel();
    let spawned = thread::Builder::new().name("request".to_owned()).spawn(move || {
        let send = |event| match sender.send(Part::Event(event)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let end = work(&send);
        // Nobody may listen any more.
        let _ = sender.send(Part::Done(end));
    });
    if let Err(error) = spawned {
        return Err(Aborted::Failed(format!("no thread: {error}")));
    }
    loop {
        let event = match parts.recv_timeout(SLICE) {
            Ok(Part::Event(event)) => Some(event),
            Ok(Part::Done(end)) => return Ok(end),
            Err(RecvTimeoutError::Timeout) if until.is_some_and(|until| Instant::now() >= until) => {
                return Err(Aborted::OutOfTime);
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Aborted::Failed("the request failed".to_owned()));
            }
        };
        if on_event(event).is_break() {
            return Err(Aborted::Stopped);
        }
    }
}
