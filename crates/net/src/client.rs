//! One request: sent, bounded, and its answer.

use std::fmt;
use std::io::Read;
use std::time::{Duration, Instant, SystemTime};

use ureq::http::HeaderMap;
use ureq::{Agent, Body, BodyReader, RequestBuilder};
use url::Url;

use crate::retry::{self, RetryPolicy};
use crate::{Fault, address, offline};

/// Sends requests, with the timeouts of a policy. Connections are kept for the next request; clones share them.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    policy: RetryPolicy,
}

/// An answer whose head has come.
pub struct Response {
    status: u16,
    headers: HeaderMap,
    body: BodyReader<'static>,
    silence: Duration,
}

impl Client {
    /// A client; no connection is made yet.
    pub fn new(policy: RetryPolicy) -> Client {
        let config = Agent::config_builder()
            .user_agent(concat!("crayon/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // A redirect would carry body and key to somewhere else: whether to follow is the caller's to say.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(policy.connecting))
            .timeout_connect(Some(policy.connecting))
            .timeout_recv_response(Some(policy.silence))
            .timeout_per_read(Some(policy.silence))
            .timeout_per_write(Some(policy.silence));
        Client { agent: config.build().new_agent(), policy }
    }

    /// How long it bears with a server.
    pub fn policy(&self) -> &RetryPolicy {
        &self.policy
    }

    /// Asks for `url`. The whole answer has to be there at `until`.
    ///
    /// # Errors
    /// When there is no answer. A status is none of them.
    pub fn get(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
        until: Option<Instant>,
    ) -> Result<Response, Fault> {
        self.online()?;
        let request = self.prepared(self.agent.get(url.as_str()), url, headers, until);
        self.answer(request.call())
    }

    /// Sends `body` to `url`. The whole answer has to be there at `until`.
    ///
    /// # Errors
    /// As [`get`](Client::get).
    pub fn post(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
        body: &str,
        until: Option<Instant>,
    ) -> Result<Response, Fault> {
        self.online()?;
        let request = self.prepared(self.agent.post(url.as_str()), url, headers, until);
        self.answer(request.send(body))
    }

    fn online(&self) -> Result<(), Fault> {
        offline::forbidden().map_or(Ok(()), |variable| Err(Fault::Forbidden { variable }))
    }

    fn prepared<B>(
        &self,
        request: RequestBuilder<B>,
        url: &Url,
        headers: &[(&str, &str)],
        until: Option<Instant>,
    ) -> RequestBuilder<B> {
        let left =
            |until: Instant| until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let mut config = request.config().timeout_global(until.map(left));
        if address::is_loopback(url) {
            config = config.proxy(None);
        }
        headers.iter().fold(config.build(), |request, (name, value)| request.header(*name, *value))
    }

    fn answer(&self, sent: Result<ureq::http::Response<Body>, ureq::Error>) -> Result<Response, Fault> {
        let silence = self.policy.silence;
        let (head, body) = sent.map_err(|error| Fault::from_ureq(error, silence))?.into_parts();
        Ok(Response {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.into_reader(),
            silence,
        })
    }
}

impl fmt::Debug for Client {
    /// Without the agent, which knows the proxy's password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Response {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the status says that another try may succeed.
    pub fn may_pass(&self) -> bool {
        matches!(self.status, 408 | 409 | 425 | 429 | 500..=599)
    }

    /// How long the server wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        retry::retry_after(self.header("retry-after")?, SystemTime::now())
    }

    /// Where a redirect leads that was met at `from`.
    ///
    /// # Errors
    /// As [`address::redirected`].
    pub fn location(&self, from: &Url) -> Result<Url, &'static str> {
        address::redirected(from, self.header("location"))
    }

    /// The next bytes of the body; none at its end.
    ///
    /// # Errors
    /// When it ends early.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        self.body.read(buffer).map_err(|error| Fault::from_ureq(error.into(), self.silence))
    }

    /// The rest of the body, of at most `limit` bytes.
    ///
    /// # Errors
    /// When it ends early, or is longer.
    pub fn bytes(&mut self, limit: u64) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        let read = (&mut self.body).take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| Fault::from_ureq(error.into(), self.silence))?;
        match bytes.len() as u64 <= limit {
            true => Ok(bytes),
            false => Err(Fault::TooLong { limit }),
        }
    }
}

/// A status that is not a success, in words.
pub fn status_words(status: u16) -> String {
    match status {
        429 => "too many requests".to_owned(),
        _ => format!("the server answered with status {status}"),
    }
}
