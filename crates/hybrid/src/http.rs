//! What all requests to servers share: bounds, patience, and what failures mean.

use std::io::Read;
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ureq::http::Response;
use ureq::{Agent, Body};

use crate::{Endpoint, Key, RemoteError, read};

/// How often the caller may stop it.
pub(crate) const SLICE: Duration = Duration::from_millis(50);
/// Largest body of an error that is read, in bytes.
const LONGEST_ERROR: u64 = 1 << 16;
/// Longest pause that grows by itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How long to bear with a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the first try to the end of the answer.
    pub budget: Duration,
    /// How long a server may be silent.
    pub silence: Duration,
    /// How long a connection may take.
    pub connecting: Duration,
    /// Requests sent at most.
    pub tries: u32,
    /// First pause after a failure; it doubles with every further one.
    pub backoff: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            budget: Duration::from_secs(120),
            silence: Duration::from_secs(30),
            connecting: Duration::from_secs(5),
            tries: 4,
            backoff: Duration::from_millis(500),
        }
    }
}

impl Patience {
    /// The usual one with another budget. Who waits longer for an answer waits longer for its beginning.
    pub fn within(budget: Duration) -> Patience {
        let usual = Patience::default();
        Patience { budget, silence: usual.silence.max(budget / 2), ..usual }
    }
}

/// What happens while an answer is awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// More text, in whole characters.
    Text(String),
    /// The text so far counts no more: the stream was cut.
    Void,
    /// A try failed, and another one follows after a pause.
    Retry {
        /// What went wrong.
        reason: String,
        /// Time until the next try.
        pause: Duration,
    },
    /// Nothing new; a chance to stop.
    Waiting,
}

/// Why a try failed.
pub(crate) enum Fault {
    /// May pass by itself; `after` is the pause the server wants.
    Passing { reason: String, after: Option<Duration> },
    /// Will not pass.
    Final(RemoteError),
}

pub(crate) fn passing(reason: impl Into<String>) -> Fault {
    Fault::Passing { reason: reason.into(), after: None }
}

/// Who hears of what happens, and may stop it.
pub(crate) type OnEvent<'a> = &'a mut dyn FnMut(Event) -> ControlFlow<()>;
/// What one try came to; the outer error ends all tries.
pub(crate) type Attempted<T> = Result<Result<T, Fault>, RemoteError>;

/// One server, as all requests to it see it.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    host: String,
    loopback: bool,
    key: Option<Key>,
    patience: Patience,
}

impl Http {
    pub(crate) fn new(endpoint: &Endpoint, key: Option<Key>, patience: Patience) -> Http {
        Http { host: endpoint.host().to_owned(), loopback: endpoint.is_loopback(), key, patience }
    }

    /// Calls `attempt` with the time until which it may take, until it succeeds, fails for good, or tries and time are
    /// used up. Returns what it gave and the number of tries.
    pub(crate) fn keep_trying<T>(
        &self,
        on_event: OnEvent<'_>,
        attempt: &mut dyn FnMut(Instant, OnEvent<'_>) -> Attempted<T>,
    ) -> Result<(T, u32), RemoteError> {
        let started = Instant::now();
        let until = started + self.patience.budget;
        let mut tries = 0;
        loop {
            tries += 1;
            let (reason, after) = match attempt(until, on_event)? {
                Ok(value) => return Ok((value, tries)),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing { reason, after }) => (reason, after),
            };
            let pause = after.unwrap_or_else(|| self.pause(tries));
            if tries >= self.patience.tries || Instant::now() + pause >= until {
                let host = self.host.clone();
                return Err(RemoteError::GaveUp { host, tries, time: started.elapsed(), reason });
            }
            if on_event(Event::Retry { reason, pause }).is_break() {
                return Err(RemoteError::Cancelled);
            }
            let again = Instant::now() + pause;
            while let Some(left) = again.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            {
                std::thread::sleep(left.min(SLICE));
                if on_event(Event::Waiting).is_break() {
                    return Err(RemoteError::Cancelled);
                }
            }
        }
    }

    /// The pause after `tries` failures: doubling, and a little different each time so that many clients do not come
    /// back together.
    fn pause(&self, tries: u32) -> Duration {
        let doubled = self.patience.backoff.saturating_mul(1 << (tries - 1).min(10)).min(LONGEST_PAUSE);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        doubled.mul_f64(0.75 + f64::from(since.subsec_micros() % 1000) / 2000.0)
    }

    /// Sends `body`, a JSON object, to `url`. Any status but success is a fault.
    pub(crate) fn post(
        &self,
        url: &str,
        accept: &str,
        body: &str,
        until: Instant,
    ) -> Result<Response<Body>, Fault> {
        let mut request =
            self.agent(until).post(url).header("Content-Type", "application/json").header("Accept", accept);
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {}", key.value()));
        }
        self.checked(request.send(body))
    }

    /// Asks for `url`. Any status but success is a fault.
    pub(crate) fn get(&self, url: &str, accept: &str, until: Instant) -> Result<Response<Body>, Fault> {
        let mut request = self.agent(until).get(url).header("Accept", accept);
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {}", key.value()));
        }
        self.checked(request.call())
    }

    fn agent(&self, until: Instant) -> Agent {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let mut config = Agent::config_builder()
            .user_agent(concat!("crayon/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // A redirect would carry question and key to somewhere else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(left))
            .timeout_resolve(Some(self.patience.connecting))
            .timeout_connect(Some(self.patience.connecting))
            .timeout_recv_response(Some(self.patience.silence))
            .timeout_per_read(Some(self.patience.silence))
            .timeout_per_write(Some(self.patience.silence));
        if self.loopback {
            config = config.proxy(None);
        }
        config.build().new_agent()
    }

    fn checked(&self, response: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, Fault> {
        let response = response.map_err(|error| self.fault(&error))?;
        match response.status().as_u16() {
            200..=299 => Ok(response),
            status => Err(self.refused(status, response)),
        }
    }

    /// What a status other than success means.
    fn refused(&self, status: u16, response: Response<Body>) -> Fault {
        let host = self.host.clone();
        if matches!(status, 300..=399) {
            return self.unusable("it leads to another address; give that one".to_owned());
        }
        let after = header(&response, "retry-after").and_then(|value| wait(value, SystemTime::now()));
        let mut text = String::new();
        // What cannot be read is left out of the message, nothing more.
        let _ = response.into_body().into_reader().take(LONGEST_ERROR).read_to_string(&mut text);
        let message = serde_json::from_str(&text).ok().and_then(|value| read::message(&value));
        let message = message.map(|message| self.hide(&message));
        let said = message.as_ref().map(|message| format!(" ({message})")).unwrap_or_default();
        match status {
            429 => Fault::Passing { reason: format!("too many requests{said}"), after },
            408 | 409 | 425 | 500..=599 => Fault::Passing { reason: format!("status {status}{said}"), after },
            _ => Fault::Final(RemoteError::Refused { host, status, message }),
        }
    }

    fn fault(&self, error: &ureq::Error) -> Fault {
        let unreachable = |reason: String| {
            let host = self.host.clone();
            Fault::Final(RemoteError::Unreachable { host, reason })
        };
        match error {
            ureq::Error::HostNotFound => unreachable("no such host, or no network".to_owned()),
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) => {
                unreachable(format!("no safe connection ({error})"))
            }
            ureq::Error::BadUri(_) => unreachable("not an address".to_owned()),
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                passing("no connection in time")
            }
            ureq::Error::Timeout(ureq::Timeout::Global) => passing("the time is used up"),
            ureq::Error::Timeout(_) => {
                passing(format!("the server was silent for {} s", self.patience.silence.as_secs()))
            }
            ureq::Error::Io(error) => self.cut(error),
            error => passing(error.to_string()),
        }
    }

    pub(crate) fn cut(&self, error: &std::io::Error) -> Fault {
        match error.kind() {
            std::io::ErrorKind::TimedOut => passing("the server was silent, or too slow"),
            std::io::ErrorKind::ConnectionRefused => passing("nobody listens there"),
            _ => passing(format!("the connection was cut ({error})")),
        }
    }

    pub(crate) fn unusable(&self, what: String) -> Fault {
        Fault::Final(RemoteError::Answer { host: self.host.clone(), what })
    }

    /// `text` without the key.
    pub(crate) fn hide(&self, text: &str) -> String {
        self.key.as_ref().map_or_else(|| text.to_owned(), |key| key.hide(text))
    }
}

/// How long `Retry-After` asks to wait: seconds, or a date (RFC 9110, 10.2.3); a date that has passed asks for nothing.
fn wait(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let seconds = value.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()))
}

pub(crate) fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_name_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(wait(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(wait("soon", now), None);
    }
}
