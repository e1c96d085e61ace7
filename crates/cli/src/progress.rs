//! Progress on stderr, only when there is something to wait for: a bar at a terminal, a line now and then elsewhere.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;
use crate::show;

/// Work shorter than this shows nothing.
const WORTH_SHOWING: Duration = Duration::from_millis(800);
/// Time between lines where stderr is not a terminal: a log stays short.
const BETWEEN_LINES: Duration = Duration::from_secs(30);
/// Time between two pictures of a spinner.
const TICK: Duration = Duration::from_millis(120);

/// Work whose pieces are counted: how far, and how long yet. It leaves the screen when it is dropped.
pub(crate) struct Counting {
    verb: &'static str,
    unit: &'static str,
    started: Instant,
    pace: Pace,
    lines: Option<Lines>,
    spinner: Option<Spinner>,
}

impl Counting {
    /// A spinner with "reading", which becomes a bar such as "reading … 512 of 4,096 tokens, 3 s left" when pieces are counted.
    pub(crate) fn new(verb: &'static str, unit: &'static str, output: &Output) -> Counting {
        let bar = output.shows_progress();
        Counting {
            verb,
            unit,
            started: Instant::now(),
            pace: Pace::default(),
            lines: (!bar && output.notes()).then(Lines::new),
            spinner: bar.then(|| Spinner::after(WORTH_SHOWING, verb, ProgressDrawTarget::stderr())),
        }
    }

    /// `done` of `total` are done.
    pub(crate) fn at(&mut self, done: usize, total: usize) {
        let elapsed = self.started.elapsed();
        let left = self.pace.left(done, total, elapsed);
        if done == 0 || elapsed < WORTH_SHOWING {
            return;
        }
        let text = || {
            let (done, total, unit) = (show::count(done), show::count(total), self.unit);
            let left = left.map_or_else(String::new, |left| format!(", {} left", show::duration(left)));
            format!("{done} of {total} {unit}{left}")
        };
        if let Some(spinner) = &mut self.spinner {
            spinner.count(done as u64, total as u64, text());
        } else if self.lines.as_mut().and_then(Lines::due).is_some() {
            Output::progress(&format!("{}: {}", self.verb, text()));
        }
    }

    /// Removes the bar; returns the time since the start.
    pub(crate) fn finish(self) -> Duration {
        self.started.elapsed()
    }
}

/// How long pieces take.
#[derive(Default)]
struct Pace {
    /// Pieces done at the beginning, and when that was: a work that is resumed begins with some.
    first: Option<(usize, Duration)>,
    /// Pieces done, and since when.
    last: (usize, Duration),
    /// Pieces that were done together last.
    together: usize,
}

impl Pace {
    /// Time left after `elapsed`, once a piece was done. The pieces at hand take as long as those before took in the mean, or as long as they
    /// have taken already, and so do those behind them.
    fn left(&mut self, done: usize, total: usize, elapsed: Duration) -> Option<Duration> {
        let begun = if elapsed < WORTH_SHOWING { (done, elapsed) } else { (0, Duration::ZERO) };
        let (start, began) = *self.first.get_or_insert(begun);
        if done > self.last.0 {
            self.together = done - self.last.0.max(start);
            self.last = (done, elapsed);
        }
        let pieces = done.checked_sub(start).filter(|pieces| *pieces > 0)? as f64;
        let (mean, since) = ((self.last.1 - began).div_f64(pieces), elapsed - self.last.1);
        let each = mean.max(since.div_f64(self.together.max(1) as f64));
        Some(each.mul_f64(total.saturating_sub(done) as f64).saturating_sub(since))
    }
}

/// A spinner that appears after a while, moves by itself, and leaves nothing behind.
struct Spinner {
    bar: ProgressBar,
    counted: bool,
    /// Dropped to end the thread that waits until the spinner is worth showing.
    waiting: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Spinner {
    fn after(delay: Duration, verb: &'static str, target: ProgressDrawTarget) -> Spinner {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_prefix(verb);
        set_style(&bar, "{spinner} {prefix}");
        let (waiting, ended) = mpsc::channel::<()>();
        let shown = bar.clone();
        let appear = move || {
            if ended.recv_timeout(delay) == Err(RecvTimeoutError::Timeout) {
                shown.set_draw_target(target);
                shown.enable_steady_tick(TICK);
            }
        };
        // Without a thread the spinner stays away: the work goes on all the same.
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(appear).ok();
        Spinner { bar, counted: false, waiting: Some(waiting), thread }
    }

    fn count(&mut self, done: u64, total: u64, text: String) {
        if !self.counted {
            set_style(&self.bar, "{spinner} {prefix} {wide_bar} {msg}");
            self.counted = true;
        }
        self.bar.set_length(total);
        self.bar.set_message(text);
        self.bar.set_position(done);
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.waiting = None;
        // It may be about to draw.
        let _ = self.thread.take().map(JoinHandle::join);
        self.bar.finish_and_clear();
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

/// A bar with a name in front and words behind, for downloads.
pub(crate) fn download(output: &Output) -> Option<ProgressBar> {
    output.shows_progress().then(|| {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        set_style(&bar, "{prefix} {wide_bar} {msg}");
        bar
    })
}

/// How fast bytes arrive, of those that arrive while it looks: what an earlier download left came at no speed.
#[derive(Default)]
pub(crate) struct Arrival {
    began: Option<(Instant, u64)>,
}

/// The first moments of a download are slower than the rest.
const SETTLING: Duration = Duration::from_secs(2);

impl Arrival {
    /// Bytes a second and the time left, when `bytes` of `total` are here; nothing in the first seconds.
    pub(crate) fn at(&mut self, bytes: u64, total: u64, now: Instant) -> Option<(u64, Duration)> {
        let (began, first) = *self.began.get_or_insert((now, bytes));
        let (elapsed, arrived) = (now.duration_since(began), bytes.saturating_sub(first));
        if elapsed < SETTLING || arrived == 0 {
            return None;
        }
        let rate = arrived as f64 / elapsed.as_secs_f64();
        let left =
            Duration::try_from_secs_f64(total.saturating_sub(bytes) as f64 / rate).unwrap_or(Duration::MAX);
        Some((rate as u64, left))
    }
}

fn set_style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// A terminal that remembers every line drawn on it, and which stands there now.
    #[derive(Clone, Debug, Default)]
    struct Screen(Arc<Mutex<(Vec<String>, String)>>);

    impl Screen {
        fn drawn(&self) -> Vec<String> {
            self.0.lock().unwrap().0.clone()
        }

        fn now(&self) -> String {
            self.0.lock().unwrap().1.trim().to_owned()
        }

        /// Waits until a line that contains `part` has been drawn.
        fn until(&self, part: &str) {
            let begun = Instant::now();
            while !self.drawn().iter().any(|line| line.contains(part)) {
                assert!(begun.elapsed() < Duration::from_secs(60), "no {part} in {:?}", self.drawn());
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            let (drawn, now) = &mut *self.0.lock().unwrap();
            drawn.push(text.to_owned());
            now.push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().unwrap().1.clear();
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn counting(delay: Duration, screen: &Screen) -> Counting {
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        let spinner = Some(Spinner::after(delay, "reading", target));
        let started = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        Counting { verb: "reading", unit: "tokens", started, pace: Pace::default(), lines: None, spinner }
    }

    #[test]
    fn time_left_follows_from_what_was_done_here_and_from_what_takes_long_now() {
        let seconds = Duration::from_secs;
        let mut pace = Pace::default();
        assert_eq!(pace.left(0, 10, Duration::ZERO), None);
        assert_eq!(pace.left(2, 10, seconds(4)), Some(seconds(16)));
        // The next two take longer: as long as those before until they have, and then as long as they did.
        assert_eq!(pace.left(2, 10, seconds(6)), Some(seconds(14)));
        assert_eq!(pace.left(2, 10, seconds(24)), Some(seconds(60)));
        assert_eq!(pace.left(4, 10, seconds(24)), Some(seconds(36)));
        assert_eq!(pace.left(10, 10, seconds(60)), Some(seconds(0)));
        // What was there at the start took no time here.
        let mut resumed = Pace::default();
        assert_eq!(resumed.left(90, 100, Duration::from_millis(500)), None);
        assert_eq!(resumed.left(92, 100, Duration::from_millis(4500)), Some(seconds(16)));
        // The first that is told comes late.
        assert_eq!(Pace::default().left(5, 10, seconds(5)), Some(seconds(5)));
    }

    #[test]
    fn a_spinner_counts_tells_the_time_left_and_leaves_nothing_behind() {
        let screen = Screen::default();
        let mut counting = counting(Duration::ZERO, &screen);
        // It moves before anything is counted, and between counts.
        screen.until("reading");
        assert!(!screen.drawn().iter().any(|line| line.contains("left")), "{:?}", screen.drawn());
        counting.at(1024, 4096);
        screen.until("1,024 of 4,096 tokens, 30 s left");
        drop(counting);
        assert_eq!(screen.now(), "");
        let drawn = screen.drawn().len();
        std::thread::sleep(3 * TICK);
        assert_eq!(screen.drawn().len(), drawn, "something is drawn behind the end");
    }

    #[test]
    fn short_work_shows_nothing() {
        let screen = Screen::default();
        let mut counting = counting(Duration::from_secs(600), &screen);
        counting.at(1024, 4096);
        assert!(counting.finish() >= Duration::from_secs(10));
        assert_eq!(screen.drawn(), Vec::<String>::new());
    }

    #[test]
    fn the_time_left_counts_what_arrives_now() {
        let (mut arrival, start) = (Arrival::default(), Instant::now());
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        // 900 bytes were here before.
        assert_eq!(arrival.at(900, 2000, after(0)), None);
        assert_eq!(arrival.at(950, 2000, after(1)), None);
        assert_eq!(arrival.at(1000, 2000, after(10)), Some((10, Duration::from_secs(100))));
        assert_eq!(Arrival::default().at(5, 10, start), None);
    }

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
