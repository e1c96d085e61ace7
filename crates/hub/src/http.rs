//! The one place that opens sockets: GET requests with the token kept to the hub, and patience with failures.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::{HeaderMap, Response};
use ureq::{Body, BodyReader};

use crate::error::HubError;
use crate::settings::Settings;

/// Redirects followed for one request.
const MAX_REDIRECTS: usize = 10;
/// Tries without progress before giving up.
const MAX_TRIES: u32 = 6;
/// Longest pause between tries, asked for by the server or not.
const MAX_PAUSE: Duration = Duration::from_secs(600);
/// How often a pause looks whether it is to end.
const SLICE: Duration = Duration::from_millis(100);

/// A connection pool, the hub it talks to and the token for it.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    settings: Settings,
    /// Scheme, host and port of the hub: the only place that sees the token.
    origin: String,
    /// Whether any server has answered: from then on an unreachable one counts as a passing trouble.
    answered: AtomicBool,
}

/// A response whose status promises a body: 200, 206, or 416 for a range beyond the end.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: BodyReader<'static>,
}

impl Answer {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why a request gave no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// May pass by itself.
    Passing { reason: String, after: Option<Duration> },
    /// No such host, or nobody listening.
    Unreachable(HubError),
    /// The hub refuses; the code is its `X-Error-Code`.
    Refused { status: u16, code: String },
    /// Will not pass.
    Final(HubError),
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Client {
        let origin = origin(&settings.endpoint).unwrap_or_default();
        let mut config = Agent::config_builder()
            .user_agent(concat!("crayon/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(settings.patience))
            .timeout_connect(Some(settings.patience))
            .timeout_per_read(Some(settings.patience))
            .timeout_per_write(Some(settings.patience));
        if is_loopback(&origin) {
            config = config.proxy(None);
        }
        Client { agent: config.build().new_agent(), settings, origin, answered: AtomicBool::new(false) }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Asks for `url` from byte `start` on, following redirects. The caller has checked that sockets are allowed.
    pub(crate) fn get(&self, url: &str, start: u64) -> Result<Answer, Fault> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let at_hub = origin(&url).is_some_and(|origin| origin == self.origin);
            let mut request = self.agent.get(&url);
            if start > 0 {
                request = request.header("Range", format!("bytes={start}-"));
            }
            if let (true, Some(token)) = (at_hub, &self.settings.token) {
                request = request.header("Authorization", format!("Bearer {}", token.value()));
            }
            let response = request.call().map_err(|error| self.fault(&url, error))?;
            self.answered.store(true, Ordering::Relaxed);
            match response.status().as_u16() {
                status @ (200 | 206 | 416) => {
                    let (parts, body) = response.into_parts();
                    return Ok(Answer { status, headers: parts.headers, body: body.into_reader() });
                }
                301 | 302 | 303 | 307 | 308 => url = redirected(&url, &response)?,
                status @ (408 | 425 | 429 | 500 | 502 | 503 | 504) => return Err(passing(status, &response)),
                // Elsewhere these mean that a signed address has run out; the hub gives a fresh one.
                status @ (401 | 403) if !at_hub => return Err(passing(status, &response)),
                status @ (401 | 403 | 404) => {
                    let code = text(&response, "x-error-code").unwrap_or_default().to_owned();
                    return Err(Fault::Refused { status, code });
                }
                status => return Err(Fault::Final(HubError::Status { url: shown(&url), status })),
            }
        }
        Err(Fault::Final(HubError::Answer { url: shown(&url), what: "redirects without end".to_owned() }))
    }

    /// The whole body of `url`, at most `limit` bytes.
    pub(crate) fn read(&self, url: &str, limit: u64) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        let answer = self.get(url, 0)?;
        answer.body.take(limit + 1).read_to_end(&mut body).map_err(|error| self.cut(&error))?;
        if body.len() as u64 > limit {
            let what = format!("the answer is longer than {limit} bytes");
            return Err(Fault::Final(HubError::Answer { url: shown(url), what }));
        }
        Ok(body)
    }

    /// The fault behind a body that ended early.
    pub(crate) fn cut(&self, error: &io::Error) -> Fault {
        let reason = match error.kind() {
            io::ErrorKind::TimedOut => {
                format!("the server was silent for {} s", self.settings.patience.as_secs())
            }
            _ => format!("the connection was cut ({error})"),
        };
        Fault::Passing { reason, after: None }
    }

    fn fault(&self, url: &str, error: ureq::Error) -> Fault {
        let unreachable = |reason: String| {
            let host = origin(url).unwrap_or_default();
            let host = host.split_once("://").map_or(host.as_str(), |(_, host)| host).to_owned();
            Fault::Unreachable(HubError::Unreachable { host, reason })
        };
        match error {
            ureq::Error::HostNotFound => unreachable("no such host, or no network".to_owned()),
            ureq::Error::ConnectionFailed => unreachable("no connection".to_owned()),
            ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
                unreachable("it does not answer".to_owned())
            }
            ureq::Error::ConnectProxyFailed(reason) => unreachable(format!("the proxy refused: {reason}")),
            ureq::Error::Io(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::TimedOut => self.cut(&error),
                // Refused, no route, no network; a resolver's failure has no kind of its own.
                _ => unreachable(error.to_string()),
            },
            ureq::Error::Timeout(_) => self.cut(&io::ErrorKind::TimedOut.into()),
            ureq::Error::Protocol(_) | ureq::Error::BodyStalled => {
                Fault::Passing { reason: format!("the answer is broken ({error})"), after: None }
            }
            other => Fault::Final(HubError::Answer { url: shown(url), what: other.to_string() }),
        }
    }
}

/// Counts tries and waits between them.
pub(crate) struct Retry<'a> {
    client: &'a Client,
    url: &'a str,
    tries: u32,
}

impl<'a> Retry<'a> {
    pub(crate) fn new(client: &'a Client, url: &'a str) -> Retry<'a> {
        Retry { client, url, tries: 0 }
    }

    /// Bytes came: the count starts anew.
    pub(crate) fn progress(&mut self) {
        self.tries = 0;
    }

    /// Waits before the next try, or says why there is none. `wait` hears the reason and the time left.
    pub(crate) fn pause(
        &mut self,
        fault: Fault,
        refused: impl FnOnce(u16, &str) -> HubError,
        wait: &mut dyn FnMut(&str, Duration) -> ControlFlow<()>,
    ) -> Result<(), HubError> {
        let (reason, after) = match fault {
            Fault::Passing { reason, after } => (reason, after),
            Fault::Unreachable(error) if self.client.answered.load(Ordering::Relaxed) => {
                (error.to_string(), None)
            }
            Fault::Unreachable(error) | Fault::Final(error) => return Err(error),
            Fault::Refused { status, code } => return Err(refused(status, &code)),
        };
        self.tries += 1;
        if self.tries >= MAX_TRIES {
            return Err(HubError::GaveUp { url: shown(self.url), tries: self.tries, reason });
        }
        if let Some(wait) = after.filter(|after| *after > MAX_PAUSE) {
            let token = self.client.settings.token.is_some();
            return Err(HubError::RateLimited { url: shown(self.url), wait, token });
        }
        let pause = after.unwrap_or(self.client.settings.backoff * 2_u32.pow(self.tries - 1)).min(MAX_PAUSE);
        let end = Instant::now() + pause;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if wait(&reason, left).is_break() {
                return Err(HubError::Cancelled);
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}

/// Text of a header.
fn text<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// A status that may pass, with the pause the server asks for. Its other form, a date, is left to the backoff.
fn passing(status: u16, response: &Response<Body>) -> Fault {
    let after =
        text(response, "retry-after").and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
    let reason = match status {
        429 => "too many requests".to_owned(),
        _ => format!("the server answered with status {status}"),
    };
    Fault::Passing { reason, after }
}

/// Where a redirect leads. One from https to http is refused.
fn redirected(from: &str, response: &Response<Body>) -> Result<String, Fault> {
    let wrong = |what: &str| Fault::Final(HubError::Answer { url: shown(from), what: what.to_owned() });
    let location = text(response, "location").ok_or_else(|| wrong("redirects without saying where"))?;
    let to = join(from, location).ok_or_else(|| wrong("redirects to something that is no address"))?;
    if from.starts_with("https://") && !to.starts_with("https://") {
        return Err(wrong("redirects from https to http"));
    }
    Ok(to)
}

/// An absolute, scheme-relative or path-absolute location as an address.
fn join(from: &str, location: &str) -> Option<String> {
    if origin(location).is_some() {
        Some(location.to_owned())
    } else if location.starts_with("//") {
        let (scheme, _) = from.split_once(':')?;
        let to = format!("{scheme}:{location}");
        origin(&to).map(|_| to)
    } else if location.starts_with('/') {
        Some(format!("{}{location}", origin(from)?))
    } else {
        None
    }
}

/// Scheme, host and port of an http or https address, the port always written.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return None,
    };
    let host = rest.split(['/', '?', '#']).next().filter(|host| !host.is_empty())?.to_ascii_lowercase();
    // The last colon of `[::1]` belongs to the address.
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    Some(if has_port { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") })
}

fn is_loopback(origin: &str) -> bool {
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    host.starts_with("localhost:") || host.starts_with("[::1]:") || host.starts_with("127.")
}

/// An address for messages: without its query, which may hold a signature.
pub(crate) fn shown(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or(url).to_owned()
}

/// One part of a path, percent-encoded.
pub(crate) fn encode(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let check = |url: &str, wanted: Option<&str>| assert_eq!(origin(url).as_deref(), wanted, "{url}");
        check("https://Hub.example/a?b", Some("https://hub.example:443"));
        check("https://hub.example:443", Some("https://hub.example:443"));
        check("http://127.0.0.1:8080/x", Some("http://127.0.0.1:8080"));
        check("http://[::1]/x", Some("http://[::1]:80"));
        check("https://hub.example@evil.example/", Some("https://hub.example@evil.example:443"));
        check("ftp://hub.example/", None);
        check("https:///x", None);
        check("/x", None);
    }

    #[test]
    fn locations_are_joined() {
        let check = |location: &str, wanted: Option<&str>| {
            assert_eq!(join("https://hub.example/a/b", location).as_deref(), wanted, "{location}");
        };
        check("https://cdn.example/x?s=1", Some("https://cdn.example/x?s=1"));
        check("//cdn.example/x", Some("https://cdn.example/x"));
        check("/other", Some("https://hub.example:443/other"));
        check("file:///etc/passwd", None);
        check("b", None);
    }

    #[test]
    fn a_redirect_never_leaves_https() {
        let answer = |location: &str| {
            Response::builder()
                .status(302)
                .header("location", location)
                .body(Body::builder().data(""))
                .unwrap()
        };
        let to = |location| redirected("https://hub.example/a", &answer(location));
        assert_eq!(to("https://cdn.example/x").unwrap(), "https://cdn.example/x");
        assert!(matches!(to("http://cdn.example/x"), Err(Fault::Final(_))));
        assert!(matches!(to("file:///x"), Err(Fault::Final(_))));
    }

    #[test]
    fn parts_of_a_path_cannot_leave_it() {
        assert_eq!(encode("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(encode("a b?#%.gguf"), "a%20b%3F%23%25.gguf");
    }
}
