//! Ctrl-C and SIGTERM: the work in hand is asked to stop; again and again, the program ends.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Presses after which the program ends without waiting for the work in hand.
const IMPATIENT: u32 = 3;

static PRESSED: AtomicU32 = AtomicU32::new(0);
/// Whether the system wants the program to end, rather than a person the work in hand.
static TERMINATED: AtomicBool = AtomicBool::new(false);
/// Whether nothing is being done that could be stopped: the program waits for somebody to type.
static WAITING: AtomicBool = AtomicBool::new(false);
static INSTALLED: OnceLock<bool> = OnceLock::new();

/// From now on Ctrl-C and SIGTERM are only noted, for [`requested`]. Call it when input has been read and work begins: a program
/// that waits for input should end at once.
pub(crate) fn watch() {
    // Without a handler they end the program, which is the second-best behaviour.
    INSTALLED.get_or_init(install);
}

#[cfg(unix)]
fn install() -> bool {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) else { return false };
    let listen = move || signals.forever().for_each(|signal| came(signal == SIGTERM));
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen).is_ok()
}

#[cfg(not(unix))]
fn install() -> bool {
    ctrlc::set_handler(|| came(false)).is_ok()
}

fn came(termination: bool) {
    if termination {
        TERMINATED.store(true, Ordering::Relaxed);
    }
    let often = PRESSED.fetch_add(1, Ordering::Relaxed) + 1 >= IMPATIENT;
    if often || (termination && WAITING.load(Ordering::Relaxed)) {
        crayon_files::abandon();
        crate::typing::show();
        std::process::exit(if termination { 143 } else { 130 });
    }
}

/// Whether Ctrl-C was pressed since [`watch`] or [`forget`], or the program is to end.
pub(crate) fn requested() -> bool {
    PRESSED.load(Ordering::Relaxed) > 0 || TERMINATED.load(Ordering::Relaxed)
}

/// Starts anew: the next answer can be stopped again.
pub(crate) fn forget() {
    PRESSED.store(0, Ordering::Relaxed);
}

/// Waits for somebody to type by `read`; SIGTERM ends the program meanwhile.
pub(crate) fn typing<T>(read: impl FnOnce() -> T) -> T {
    WAITING.store(true, Ordering::Relaxed);
    if TERMINATED.load(Ordering::Relaxed) {
        came(true);
    }
    let typed = read();
    WAITING.store(false, Ordering::Relaxed);
    typed
}

/// What callbacks of long work return.
pub(crate) fn flow() -> std::ops::ControlFlow<()> {
    if requested() { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
}
