//! A request that can be left at any time.

use std::ops::ControlFlow;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use crate::retry::SLICE;

/// Why work was left before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// The caller stopped it.
    Stopped,
    /// It took too long.
    OutOfTime,
    /// There was no thread for it, or it broke.
    Failed(String),
}

enum Part<P, T> {
    News(P),
    End(T),
}

/// Runs `work` on a thread of its own, until it ends, `until` has come or `hear` stops it. `hear` gets what the work
/// tells, and `None` several times a second while it tells nothing. A thread that is left ends by its own timeouts; what
/// it tells then is refused with [`ControlFlow::Break`].
///
/// # Errors
/// When the work was left before its end.
pub fn in_background<P: Send + 'static, T: Send + 'static>(
    until: Option<Instant>,
    work: impl FnOnce(&dyn Fn(P) -> ControlFlow<()>) -> T + Send + 'static,
    hear: &mut dyn FnMut(Option<P>) -> ControlFlow<()>,
) -> Result<T, Left> {
    let (sender, parts) = channel();
    let spawned = thread::Builder::new().name("request".to_owned()).spawn(move || {
        let tell = |news| match sender.send(Part::News(news)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let end = work(&tell);
        // Nobody may listen any more.
        let _ = sender.send(Part::End(end));
    });
    if let Err(error) = spawned {
        return Err(Left::Failed(format!("no thread: {error}")));
    }
    loop {
        let news = match parts.recv_timeout(SLICE) {
            Ok(Part::News(news)) => Some(news),
            Ok(Part::End(end)) => return Ok(end),
            Err(RecvTimeoutError::Timeout) if until.is_some_and(|until| Instant::now() >= until) => {
                return Err(Left::OutOfTime);
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Err(Left::Failed("the request failed".to_owned())),
        };
        if hear(news).is_break() {
            return Err(Left::Stopped);
        }
    }
}
