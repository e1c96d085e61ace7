//! What somebody types while an answer is written: kept off the screen, so that it does not stand in the answer, and left for the
//! next line.

#[cfg(unix)]
mod terminal {
    use std::io::{IsTerminal, stdin};
    use std::sync::Mutex;

    use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

    /// How the terminal was before.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    pub(super) fn hide() {
        if !stdin().is_terminal() {
            return;
        }
        let Ok(before) = tcgetattr(stdin()) else { return };
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL);
        if let Ok(mut kept) = BEFORE.lock() {
            kept.get_or_insert(before);
            // Where the terminal refuses, what is typed is seen as ever.
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, &hidden);
        }
    }

    pub(super) fn show() {
        if let Some(before) = BEFORE.lock().ok().and_then(|mut kept| kept.take()) {
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, &before);
        }
    }
}

#[cfg(not(unix))]
mod terminal {
    pub(super) fn hide() {}

    pub(super) fn show() {}
}

/// Shows again what is typed when it is dropped.
#[must_use]
pub(crate) struct Hidden(());

impl Drop for Hidden {
    fn drop(&mut self) {
        show();
    }
}

/// Hides what is typed.
pub(crate) fn hide() -> Hidden {
    terminal::hide();
    Hidden(())
}

/// Shows what is typed, for a program that ends at once.
pub(crate) fn show() {
    terminal::show();
}
