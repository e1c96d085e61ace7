//! Bars on stderr, for a terminal only, and only when there is something to wait for.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;
use crate::show;

/// Work shorter than this shows nothing.
const WORTH_SHOWING: Duration = Duration::from_millis(800);

/// Work whose pieces are counted: how far, and how long yet.
pub(crate) struct Counting {
    verb: &'static str,
    unit: &'static str,
    started: Instant,
    shown: bool,
    bar: Option<ProgressBar>,
}

impl Counting {
    /// A bar such as "reading … 512 of 4,096 tokens, 3 s left".
    pub(crate) fn new(verb: &'static str, unit: &'static str, output: &Output) -> Counting {
        Counting { verb, unit, started: Instant::now(), shown: output.shows_progress(), bar: None }
    }

    /// `done` of `total` are done.
    pub(crate) fn at(&mut self, done: usize, total: usize) {
        let elapsed = self.started.elapsed();
        if !self.shown || done == 0 || elapsed < WORTH_SHOWING {
            return;
        }
        let left = elapsed.mul_f64(total.saturating_sub(done) as f64 / done as f64);
        let template = "{prefix} {wide_bar} {msg}";
        let bar = self.bar.get_or_insert_with(|| new_bar(total as u64, template).with_prefix(self.verb));
        let (done_text, total, unit) = (show::count(done), show::count(total), self.unit);
        bar.set_message(format!("{done_text} of {total} {unit}, {} left", show::duration(left)));
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
