//! Whether and when to try again.

use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the caller may stop a pause or a request.
pub(crate) const SLICE: Duration = Duration::from_millis(50);
/// Longest pause that grows by itself.
const LONGEST_GROWN: Duration = Duration::from_secs(30);

/// How long to bear with a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// From the first try to the end of the answer; [`Duration::MAX`] for no bound.
    pub budget: Duration,
    /// How long a server may be silent.
    pub silence: Duration,
    /// How long a connection may take.
    pub connecting: Duration,
    /// Requests sent at most.
    pub tries: u32,
    /// First pause after a failure; it doubles with every further one.
    pub backoff: Duration,
    /// Longest pause that a server may ask for.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            budget: Duration::from_secs(120),
            silence: Duration::from_secs(30),
            connecting: Duration::from_secs(5),
            tries: 4,
            backoff: Duration::from_millis(500),
            longest_pause: Duration::from_secs(120),
        }
    }
}

impl RetryPolicy {
    /// The usual one with another budget. Who waits longer for an answer waits longer for its beginning.
    pub fn within(budget: Duration) -> RetryPolicy {
        let usual = RetryPolicy::default();
        RetryPolicy { budget, silence: usual.silence.max(budget / 2), longest_pause: budget, ..usual }
    }

    /// The pause after `failed` failures: doubling, and a little different each time so that many clients do not come
    /// back together.
    fn grown(&self, failed: u32) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << (failed.max(1) - 1).min(10)).min(LONGEST_GROWN);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        doubled.mul_f64(0.75 + f64::from(since.subsec_micros() % 1000) / 2000.0)
    }
}

/// What to do after a try that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again after this pause.
    Pause(Duration),
    /// Tries or time are used up.
    GiveUp,
    /// The server asks for this pause, longer than the policy waits.
    TooLong(Duration),
}

/// Counts the tries of one request.
#[derive(Debug)]
pub struct Retries<'a> {
    policy: &'a RetryPolicy,
    began: Instant,
    failed: u32,
}

impl<'a> Retries<'a> {
    /// The first try begins now.
    pub fn new(policy: &'a RetryPolicy) -> Retries<'a> {
        Retries { policy, began: Instant::now(), failed: 0 }
    }

    /// When the budget ends, if it does.
    pub fn until(&self) -> Option<Instant> {
        self.began.checked_add(self.policy.budget)
    }

    /// Time since the first try began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Tries that failed.
    pub fn failures(&self) -> u32 {
        self.failed
    }

    /// The last try brought something that is kept: the count starts anew.
    pub fn progress(&mut self) {
        self.failed = 0;
    }

    /// A try failed, and the server may have asked to be left alone for `after`.
    pub fn failed(&mut self, after: Option<Duration>) -> Next {
        self.failed += 1;
        if self.failed >= self.policy.tries {
            return Next::GiveUp;
        }
        if let Some(after) = after.filter(|after| *after > self.policy.longest_pause) {
            return Next::TooLong(after);
        }
        let pause = after.unwrap_or_else(|| self.policy.grown(self.failed));
        match self.until() {
            Some(until) if Instant::now().checked_add(pause).is_none_or(|again| again >= until) => {
                Next::GiveUp
            }
            _ => Next::Pause(pause),
        }
    }
}

/// Waits for `pause`. `tick` hears the time left several times a second, and may stop it.
pub fn wait(pause: Duration, tick: &mut dyn FnMut(Duration) -> ControlFlow<()>) -> ControlFlow<()> {
    let began = Instant::now();
    loop {
        let left = pause.saturating_sub(began.elapsed());
        if left.is_zero() {
            return ControlFlow::Continue(());
        }
        tick(left)?;
        std::thread::sleep(left.min(SLICE));
    }
}

/// How long `Retry-After` asks to wait: seconds, or a date (RFC 9110, 10.2.3); a date that has passed asks for nothing.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let seconds = value.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_name_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        let after = |value| retry_after(value, now);
        assert_eq!(after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn pauses_double_and_end() {
        let second = Duration::from_secs(1);
        let policy = RetryPolicy { budget: Duration::MAX, backoff: second, ..RetryPolicy::default() };
        let mut retries = Retries::new(&policy);
        for wanted in [1, 2, 4] {
            let next = retries.failed(None);
            let Next::Pause(pause) = next else { panic!("{next:?}") };
            let share = pause.as_secs_f64() / f64::from(wanted);
            assert!((0.75..1.25).contains(&share), "{pause:?} instead of {wanted} s");
        }
        assert_eq!((retries.failed(None), retries.failures()), (Next::GiveUp, 4));
        retries.progress();
        assert!(matches!(retries.failed(None), Next::Pause(pause) if pause < 2 * second));
        assert!(RetryPolicy { backoff: 3600 * second, ..policy }.grown(9) < 40 * second);
    }

    #[test]
    fn a_server_is_left_alone_as_long_as_it_asks_and_no_longer_than_there_is_time() {
        let seconds = Duration::from_secs;
        let check = |budget: Duration, longest_pause: Duration, after: Duration, wanted: Next| {
            let policy = RetryPolicy { budget, longest_pause, ..RetryPolicy::default() };
            assert_eq!(Retries::new(&policy).failed(Some(after)), wanted, "{policy:?} {after:?}");
        };
        check(seconds(60), seconds(60), seconds(7), Next::Pause(seconds(7)));
        check(seconds(60), seconds(600), seconds(61), Next::GiveUp);
        check(seconds(60), seconds(6), seconds(7), Next::TooLong(seconds(7)));
        check(Duration::MAX, seconds(600), seconds(86_400), Next::TooLong(seconds(86_400)));
        check(Duration::MAX, Duration::MAX, Duration::MAX, Next::Pause(Duration::MAX));
        check(seconds(60), Duration::MAX, Duration::MAX, Next::GiveUp);
    }

    #[test]
    fn a_pause_is_kept_and_can_be_stopped() {
        let began = Instant::now();
        let mut ticks = Vec::new();
        let mut hear = |left| {
            ticks.push(left);
            ControlFlow::Continue(())
        };
        assert!(wait(Duration::from_millis(120), &mut hear).is_continue());
        assert!(began.elapsed() >= Duration::from_millis(120));
        assert!(ticks.len() >= 2 && ticks.iter().rev().is_sorted(), "{ticks:?}");
        assert!(wait(Duration::MAX, &mut |_| ControlFlow::Break(())).is_break());
    }
}
