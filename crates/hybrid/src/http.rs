//! What all requests to servers share: the key, the tries, and what failures mean.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crayon_net::{
    Aborted, Client, Next, Response, Retries, RetryPolicy, Url, in_background, status_words, wait,
};

use crate::{Endpoint, Key, RemoteError, read};

/// Largest body of an error that is read, in bytes.
const LONGEST_ERROR: u64 = 1 << 16;

/// What happens while an answer is awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// More text, in whole characters.
    Text(String),
    /// The text so far counts no more: the stream was cut.
    Discard,
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
#[derive(Debug)]
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
/// When an answer has to be there.
pub(crate) type Until = Option<Instant>;

/// A request whose answer is read whole.
pub(crate) enum Call {
    Get(Url),
    Post(Url, String),
}

/// One server, as all requests to it see it.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client,
    host: String,
    key: Option<Key>,
}

impl Http {
    pub(crate) fn new(endpoint: &Endpoint, key: Option<Key>, policy: RetryPolicy) -> Http {
        Http { client: Client::new(policy), host: endpoint.host().to_owned(), key }
    }

    /// Calls `attempt` with the time until which it may take, until it succeeds, fails for good, or tries and time are
    /// used up. Returns what it gave and the number of tries.
    pub(crate) fn keep_trying<T>(
        &self,
        on_event: OnEvent<'_>,
        attempt: &mut dyn FnMut(Until, OnEvent<'_>) -> Attempted<T>,
    ) -> Result<(T, u32), RemoteError> {
        let mut retries = Retries::new(self.client.policy());
        loop {
            let (reason, after) = match attempt(retries.until(), on_event)? {
                Ok(value) => return Ok((value, retries.failures() + 1)),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing { reason, after }) => (reason, after),
            };
            let Next::Pause(pause) = retries.failed(after) else {
                let (host, tries, time) = (self.host.clone(), retries.failures(), retries.elapsed());
                return Err(RemoteError::GaveUp { host, tries, time, reason });
            };
            let flow = on_event(Event::Retry { reason, pause });
            if flow.is_break() || wait(pause, &mut |_| on_event(Event::Waiting)).is_break() {
                return Err(RemoteError::Cancelled);
            }
        }
    }

    /// One try, on a thread of its own so that the caller can stop at any time; `event` makes events of what it sends.
    pub(crate) fn attempt<P: Send + 'static, T: Send + 'static>(
        &self,
        until: Until,
        exchange: impl FnOnce(&Http, &dyn Fn(P) -> ControlFlow<()>) -> Result<T, Fault> + Send + 'static,
        event: &mut dyn FnMut(P) -> Event,
        on_event: OnEvent<'_>,
    ) -> Attempted<T> {
        let http = self.clone();
        let work = move |send: &dyn Fn(P) -> ControlFlow<()>| exchange(&http, send);
        match in_background(until, work, &mut |piece| on_event(piece.map_or(Event::Waiting, &mut *event))) {
            Ok(outcome) => Ok(outcome),
            Err(Aborted::Stopped) => Err(RemoteError::Cancelled),
            Err(Aborted::OutOfTime) => Ok(Err(passing("the time is used up"))),
            Err(Aborted::Failed(reason)) => Ok(Err(passing(reason))),
        }
    }

    /// One request, and again where that helps. Returns the body of the answer, of `most` bytes at most, and the number of tries.
    pub(crate) fn fetch(
        &self,
        call: Call,
        accept: &'static str,
        most: u64,
        on_event: OnEvent<'_>,
    ) -> Result<(Vec<u8>, u32), RemoteError> {
        let call = Arc::new(call);
        self.keep_trying(on_event, &mut |until, on_event| {
            let call = call.clone();
            // There is no news before the whole of it.
            let exchange = move |http: &Http, _: &dyn Fn(Infallible) -> ControlFlow<()>| {
                let mut response = match &*call {
                    Call::Get(url) => http.get(url, accept, until)?,
                    Call::Post(url, body) => http.post(url, accept, body, until)?,
                };
                response.bytes(most).map_err(|fault| http.fault(&fault))
            };
            self.attempt(until, exchange, &mut |never| match never {}, on_event)
        })
    }

    /// Sends `body`, a JSON object, to `url`. Any status but success is a fault.
    pub(crate) fn post(&self, url: &Url, accept: &str, body: &str, until: Until) -> Result<Response, Fault> {
        let bearer = self.bearer();
        let mut headers = vec![("Content-Type", "application/json"), ("Accept", accept)];
        headers.extend(bearer.iter().map(|bearer| ("Authorization", bearer.as_str())));
        self.checked(self.client.post(url, &headers, body, until))
    }

    /// Asks for `url`. Any status but success is a fault.
    pub(crate) fn get(&self, url: &Url, accept: &str, until: Until) -> Result<Response, Fault> {
        let bearer = self.bearer();
        let mut headers = vec![("Accept", accept)];
        headers.extend(bearer.iter().map(|bearer| ("Authorization", bearer.as_str())));
        self.checked(self.client.get(url, &headers, until))
    }

    fn bearer(&self) -> Option<String> {
        self.key.as_ref().map(|key| format!("Bearer {}", key.value()))
    }

    fn checked(&self, response: Result<Response, crayon_net::Fault>) -> Result<Response, Fault> {
        let response = response.map_err(|fault| self.fault(&fault))?;
        match response.status() {
            200..=299 => Ok(response),
            _ => Err(self.refused(response)),
        }
    }

    /// What a status other than success means.
    fn refused(&self, mut response: Response) -> Fault {
        let (host, status) = (self.host.clone(), response.status());
        if matches!(status, 300..=399) {
            return self.unusable("it leads to another address; give that one".to_owned());
        }
        // What cannot be read is left out of the message, nothing more.
        let body = response.bytes(LONGEST_ERROR).unwrap_or_default();
        let message = serde_json::from_slice(&body).ok().and_then(|value| read::message(&value));
        let message = message.map(|message| self.hide(&message));
        if response.may_pass() {
            let words = message.map(|message| format!(" ({message})")).unwrap_or_default();
            let reason = format!("{}{words}", status_words(status));
            return Fault::Passing { reason, after: response.retry_after() };
        }
        Fault::Final(RemoteError::Refused { host, status, message })
    }

    /// What it means that no answer came, or not all of it.
    pub(crate) fn fault(&self, fault: &crayon_net::Fault) -> Fault {
        use crayon_net::Fault as Net;
        let (host, reason) = (self.host.clone(), fault.to_string());
        match fault {
            Net::Forbidden { variable } => Fault::Final(RemoteError::Forbidden { host, variable }),
            Net::NoHost | Net::NotSafe { .. } | Net::Request { .. } => {
                Fault::Final(RemoteError::Unreachable { host, reason })
            }
            Net::TooLong { .. } => self.unusable(reason),
            // Who listens nowhere may be starting up.
            Net::NoConnection { .. }
            | Net::Silent { .. }
            | Net::OutOfTime
            | Net::Cut { .. }
            | Net::Broken { .. } => passing(reason),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        use crayon_net::Fault as Net;
        let words = || "words".to_owned();
        let http = Http::new(&Endpoint::parse("http://a.example").unwrap(), None, RetryPolicy::default());
        let forbidden = http.fault(&Net::Forbidden { variable: "X" });
        let wanted = RemoteError::Forbidden { host: "a.example".to_owned(), variable: "X" };
        assert!(matches!(forbidden, Fault::Final(error) if error == wanted));
        for fault in [Net::NoHost, Net::NotSafe { reason: words() }, Net::Request { reason: words() }] {
            assert!(matches!(http.fault(&fault), Fault::Final(RemoteError::Unreachable { .. })), "{fault}");
        }
        for fault in [
            Net::NoConnection { reason: words() },
            Net::Silent { after: Duration::from_secs(1) },
            Net::OutOfTime,
            Net::Cut { reason: words() },
            Net::Broken { reason: words() },
        ] {
            assert!(matches!(http.fault(&fault), Fault::Passing { after: None, .. }), "{fault}");
        }
        let too_long = http.fault(&Net::TooLong { limit: 1 });
        assert!(matches!(too_long, Fault::Final(RemoteError::Answer { .. })));
    }
}
