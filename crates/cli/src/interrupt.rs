//! Ctrl-C, and the signals by which systems end programs (SIGTERM, SIGHUP): the work in hand is asked to stop; again and
//! again, the program ends.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Presses after which the program ends without waiting for the work in hand.
const IMPATIENT: u32 = 3;

static PRESSED: AtomicU32 = AtomicU32::new(0);
static INSTALLED: OnceLock<bool> = OnceLock::new();

/// From now on Ctrl-C and SIGTERM are only noted, for [`requested`]. Call it when input has been read and work begins: a program
/// that waits for input should end at once.
pub(crate) fn watch() {
    INSTALLED.get_or_init(|| {
        // Without a handler Ctrl-C ends the program, which is the second-best behaviour.
        ctrlc::set_handler(|| {
            if PRESSED.fetch_add(1, Ordering::Relaxed) + 1 >= IMPATIENT {
                std::process::exit(130);
            }
        })
        .is_ok()
    });
}

/// Whether Ctrl-C was pressed, or a signal came, since [`watch`] or [`forget`].
pub(crate) fn requested() -> bool {
    PRESSED.load(Ordering::Relaxed) > 0
}

/// Starts anew: the next answer can be stopped again.
pub(crate) fn forget() {
    PRESSED.store(0, Ordering::Relaxed);
}

/// What callbacks of long work return.
pub(crate) fn flow() -> std::ops::ControlFlow<()> {
    if requested() { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
}
