//! A conversation at a terminal: somebody types, and an answer is written.
#![cfg(unix)]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use support::{Place, binary};

/// The prompt, behind which the cursor is moved.
const PROMPT: &str = "\r> \r";

/// `crayon` at a terminal of 80 columns.
struct Terminal {
    keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl Terminal {
    fn start(place: &Place, arguments: &[&str]) -> Terminal {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let side = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let child = Command::new(binary())
            .args(arguments)
            .current_dir(place.path("."))
            .env("CRAYON_HOME", place.path("home"))
            .env("HOME", place.path("."))
            .env("CRAYON_OFFLINE", "1")
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(side(&pty.slave))
            .stdout(side(&pty.slave))
            .stderr(side(&pty.slave))
            .spawn()
            .unwrap();
        let (shown, mut screen) =
            (Arc::new(Mutex::new(Vec::new())), File::from(pty.master.try_clone().unwrap()));
        let kept = shown.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The end of the last process at a terminal is an error for those who read it.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                kept.lock().unwrap().extend(&bytes[..count]);
            }
        });
        // The slave stays open here until the child is started; it is the child's alone from now on.
        drop(pty.slave);
        Terminal { keys: File::from(pty.master), shown, child }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// What was shown so far.
    fn raw(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// The same without colours and movements of the cursor.
    fn text(&self) -> String {
        console::strip_ansi_codes(&self.raw()).into_owned()
    }

    fn wait(&self, what: &str, there: impl Fn(&Terminal) -> bool) {
        let begun = Instant::now();
        while !there(self) {
            assert!(begun.elapsed() < Duration::from_secs(120), "no {what} in {:?}", self.text());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether keys are shown by the terminal itself, and whether it hands over whole lines.
    fn modes(&self) -> (bool, bool) {
        let flags = tcgetattr(&self.keys).unwrap().local_flags;
        (flags.contains(LocalFlags::ECHO), flags.contains(LocalFlags::ICANON))
    }

    fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        (status, self.text())
    }
}

/// A conversation whose first message takes a while to read.
fn long(place: &Place) {
    let text = "The dog sat on the mat and looked at the rain. ".repeat(300);
    let message = |role: &str, content: &str| serde_json::json!({"role": role, "content": content});
    let talk = serde_json::json!({
        "format": "crayon-conversation",
        "version": 1,
        "messages": [message("user", &text), message("assistant", "I see.")],
    });
    place.write("long.json", talk.to_string());
}

#[test]
fn what_is_typed_meanwhile_stays_out_of_the_answer_and_is_the_next_message() {
    let place = Place::new();
    long(&place);
    let mut terminal = Terminal::start(&place, &["chat", "--load", "long.json", "--max-tokens", "24"]);
    terminal.wait("prompt", |terminal| terminal.text().contains("> "));
    terminal.press("Hello!\r");
    // While it reads and writes, the terminal collects lines and does not show them.
    terminal.wait("hidden keys", |terminal| terminal.modes() == (false, true));
    terminal.press("What is a cat?\r");
    terminal.wait("third prompt", |terminal| terminal.text().matches(PROMPT).count() == 3);
    terminal.press("/quit\r");
    let raw = terminal.raw();
    let (status, text) = terminal.end();
    assert!(status.success(), "{text}");
    let typed: Vec<usize> = text.match_indices("What is a cat?").map(|(at, _)| at).collect();
    assert!(
        !typed.is_empty() && typed.iter().all(|at| text[..*at].ends_with(PROMPT)),
        "typed among the answer: {text}"
    );
    // A machine that reads fast shows no progress; what was shown is gone before the answer begins.
    if let Some(at) = raw.rfind(" left") {
        assert!(raw[at + " left".len()..].starts_with("\r\x1b[2K"), "{:?}", &raw[at..]);
    }
}

#[test]
fn a_terminal_is_left_as_it_was_found() {
    let place = Place::new();
    let mut terminal = Terminal::start(&place, &["chat", "--max-tokens", "8"]);
    terminal.wait("prompt", |terminal| terminal.text().contains("> "));
    terminal.press("Hello!\r");
    terminal.wait("answer", |terminal| terminal.text().matches("> ").count() > 1);
    terminal.press("/quit\r");
    terminal.wait("end", |terminal| terminal.modes() == (true, true));
    assert!(terminal.end().0.success());
}
