//! Progress on stderr, only when there is something to wait for: a bar at a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;
use crate::show;

/// Work shorter than this shows nothing.
const WORTH_SHOWING: Duration = Duration::from_millis(800);
/// Time between lines where stderr is no terminal: a log stays short.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// Work whose pieces are counted: how far, and how long yet.
pub(crate) struct Counting {
    verb: &'static str,
    unit: &'static str,
    started: Instant,
    shown: Shown,
    lines: Lines,
    bar: Option<ProgressBar>,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Bar,
    Lines,
    Nothing,
}

impl Counting {
    /// A bar such as "reading … 512 of 4,096 tokens, 3 s left".
    pub(crate) fn new(verb: &'static str, unit: &'static str, output: &Output) -> Counting {
        let shown = match output.shows_progress() {
            true => Shown::Bar,
            false if output.notes() => Shown::Lines,
            false => Shown::Nothing,
        };
        Counting { verb, unit, started: Instant::now(), shown, lines: Lines::new(), bar: None }
    }

    /// `done` of `total` are done.
    pub(crate) fn at(&mut self, done: usize, total: usize) {
        let elapsed = self.started.elapsed();
        if self.shown == Shown::Nothing || done == 0 || elapsed < WORTH_SHOWING {
            return;
        }
        if self.shown == Shown::Lines && self.lines.due().is_none() {
            return;
        }
        let left = elapsed.mul_f64(total.saturating_sub(done) as f64 / done as f64);
        let (done_text, all, unit) = (show::count(done), show::count(total), self.unit);
        let text = format!("{done_text} of {all} {unit}, {} left", show::duration(left));
        if self.shown == Shown::Lines {
            Output::progress(&format!("{}: {text}", self.verb));
            return;
        }
        let template = "{prefix} {wide_bar} {msg}";
        let bar = self.bar.get_or_insert_with(|| new_bar(total as u64, template).with_prefix(self.verb));
        bar.set_message(text);
        bar.set_position(done as u64);
    }

    /// Removes the bar; returns the time since the start.
    pub(crate) fn finish(self) -> Duration {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.started.elapsed()
    }
}

/// Lines about long work where no bar can be drawn: one now and then.
pub(crate) struct Lines {
    started: Instant,
    last: Duration,
}

impl Lines {
    pub(crate) fn new() -> Lines {
        Lines { started: Instant::now(), last: Duration::ZERO }
    }

    /// Time so far, if it is time for a line.
    pub(crate) fn due(&mut self) -> Option<Duration> {
        let elapsed = self.started.elapsed();
        if elapsed - self.last < BETWEEN_LINES {
            return None;
        }
        self.last = elapsed;
        Some(elapsed)
    }
}

/// A bar of bytes with speed and time left, for downloads.
pub(crate) fn download(output: &Output) -> Option<ProgressBar> {
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    output.shows_progress().then(|| new_bar(0, template))
}

fn new_bar(total: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_now_and_then() {
        let began = |seconds: u64| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let mut lines = Lines { started: began(29), last: Duration::ZERO };
        assert!(lines.due().is_none());
        lines.started = began(31);
        assert!(lines.due().is_some() && lines.due().is_none());
        lines.started = began(62);
        assert!(lines.due().is_some() && lines.due().is_none());
    }
}
