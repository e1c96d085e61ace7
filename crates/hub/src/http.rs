//! Requests to a hub: its addresses, the token that goes to the hub alone, and what its answers mean.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crayon_net::{Fault as NetFault, Next, Response, Retries, Url, address, status_words, wait};

use crate::error::HubError;
use crate::settings::Settings;

/// Redirects followed for one request.
const MAX_REDIRECTS: usize = 10;

/// A connection to the hub, with the token for it.
#[derive(Debug)]
pub(crate) struct Client {
    net: crayon_net::Client,
    settings: Settings,
    /// Whether any server has answered: from then on an unreachable one counts as a passing trouble.
    answered: AtomicBool,
}

/// Why a request gave no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// May pass by itself.
    Passing { reason: String, after: Option<Duration> },
    /// No such host, or nobody listening.
    Unreachable(HubError),
    /// The setting that forbids the network.
    Offline(&'static str),
    /// The hub refuses; the code is its `X-Error-Code`.
    Refused { status: u16, code: String },
    /// Will not pass.
    Final(HubError),
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Client {
        let net = crayon_net::Client::new(settings.retry.clone());
        Client { net, settings, answered: AtomicBool::new(false) }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// An address of the hub; each part of the path is encoded, so that none can leave its place.
    pub(crate) fn address(&self, parts: &[&str]) -> Result<Url, HubError> {
        let wrong = |what| HubError::Setting { variable: "HF_ENDPOINT".to_owned(), what };
        let mut url = address::parse(&self.settings.endpoint).map_err(wrong)?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        Ok(url)
    }

    /// Asks for `url`, an address of the hub, from byte `start` on, following redirects. The status of the response
    /// promises a body: 200, 206, or 416 for a range beyond the end.
    pub(crate) fn get(&self, url: &Url, start: u64) -> Result<Response, Fault> {
        let hub = url;
        let mut url = url.clone();
        let range = format!("bytes={start}-");
        let bearer = self.settings.token.as_ref().map(|token| format!("Bearer {}", token.value()));
        for _ in 0..=MAX_REDIRECTS {
            let at_hub = address::same_origin(&url, hub);
            let mut headers = Vec::new();
            if start > 0 {
                headers.push(("Range", range.as_str()));
            }
            if let (true, Some(bearer)) = (at_hub, &bearer) {
                headers.push(("Authorization", bearer.as_str()));
            }
            let response = self.net.get(&url, &headers, None).map_err(|fault| Fault::new(&url, fault))?;
            self.answered.store(true, Ordering::Relaxed);
            match response.status() {
                200 | 206 | 416 => return Ok(response),
                301 | 302 | 303 | 307 | 308 => {
                    url = response.location(&url).map_err(|what| wrong(&url, what))?;
                }
                _ if response.may_pass() => return Err(passing(&response)),
                // Elsewhere these mean that a signed address has run out; the hub gives a fresh one.
                401 | 403 if !at_hub => return Err(passing(&response)),
                status @ (401 | 403 | 404) => {
                    let code = response.header("x-error-code").unwrap_or_default().to_owned();
                    return Err(Fault::Refused { status, code });
                }
                status => return Err(Fault::Final(HubError::Status { url: address::shown(&url), status })),
            }
        }
        Err(wrong(&url, "redirects without end"))
    }

    /// The whole body of `url`, at most `limit` bytes.
    pub(crate) fn read(&self, url: &Url, limit: u64) -> Result<Vec<u8>, Fault> {
        self.get(url, 0)?.bytes(limit).map_err(|fault| Fault::new(url, fault))
    }
}

impl Fault {
    /// What went wrong at `url`.
    pub(crate) fn new(url: &Url, fault: NetFault) -> Fault {
        let reason = fault.to_string();
        match fault {
            NetFault::Forbidden { variable } => Fault::Offline(variable),
            NetFault::NoHost | NetFault::NoConnection { .. } | NetFault::NotSafe { .. } => {
                Fault::Unreachable(HubError::Unreachable { host: address::host(url), reason })
            }
            NetFault::Silent { .. }
            | NetFault::OutOfTime
            | NetFault::Cut { .. }
            | NetFault::Broken { .. } => Fault::Passing { reason, after: None },
            NetFault::TooLong { .. } | NetFault::Request { .. } => wrong(url, &reason),
        }
    }
}

fn wrong(url: &Url, what: &str) -> Fault {
    Fault::Final(HubError::Answer { url: address::shown(url), what: what.to_owned() })
}

/// A status that may pass, with the pause the server asks for.
fn passing(response: &Response) -> Fault {
    Fault::Passing { reason: status_words(response.status()), after: response.retry_after() }
}

/// Counts tries and waits between them.
pub(crate) struct Retry<'a> {
    client: &'a Client,
    url: &'a Url,
    retries: Retries<'a>,
}

impl<'a> Retry<'a> {
    pub(crate) fn new(client: &'a Client, url: &'a Url) -> Retry<'a> {
        Retry { client, url, retries: Retries::new(&client.settings.retry) }
    }

    /// Bytes came: the count starts anew.
    pub(crate) fn progress(&mut self) {
        self.retries.progress();
    }

    /// Waits before the next try, or says why there is none. `refused` says what a refusal means for this
    /// request; `tick` hears the reason and the time left.
    pub(crate) fn pause(
        &mut self,
        fault: Fault,
        refused: &dyn Fn(Refusal<'_>) -> HubError,
        tick: &mut dyn FnMut(&str, Duration) -> ControlFlow<()>,
    ) -> Result<(), HubError> {
        let (reason, after) = match fault {
            Fault::Passing { reason, after } => (reason, after),
            Fault::Unreachable(error) if self.client.answered.load(Ordering::Relaxed) => {
                (error.to_string(), None)
            }
            Fault::Unreachable(error) | Fault::Final(error) => return Err(error),
            Fault::Offline(variable) => return Err(refused(Refusal::Offline(variable))),
            Fault::Refused { status, code } => {
                return Err(refused(Refusal::Hub { url: self.url, status, code: &code }));
            }
        };
        let url = || address::shown(self.url);
        let pause = match self.retries.failed(after) {
            Next::Pause(pause) => pause,
            Next::GiveUp => {
                return Err(HubError::GaveUp { url: url(), tries: self.retries.failures(), reason });
            }
            Next::TooLong(wait) => {
                let token = self.client.settings.token.is_some();
                return Err(HubError::RateLimited { url: url(), wait, token });
            }
        };
        match wait(pause, &mut |left| tick(&reason, left)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(HubError::Cancelled),
        }
    }
}

/// Who does not let a request through.
pub(crate) enum Refusal<'a> {
    /// The setting that forbids the network.
    Offline(&'static str),
    /// The hub, at this address, with a status and the code of its `X-Error-Code`.
    Hub { url: &'a Url, status: u16, code: &'a str },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_path_cannot_leave_it() {
        let lookup = |name: &str| match name {
            "HF_ENDPOINT" => Some("http://mirror:8080/hf/".to_owned()),
            "CRAYON_HOME" => Some("h".to_owned()),
            _ => None,
        };
        let client = Client::new(Settings::from_lookup(lookup).unwrap());
        let check = |part: &str, wanted: &str| {
            let url = client.address(&["api", part]).unwrap();
            assert_eq!(url.as_str(), format!("http://mirror:8080/hf/api/{wanted}"));
        };
        check("refs/pr/1", "refs%2Fpr%2F1");
        check("a b?#%.gguf", "a%20b%3F%23%25.gguf");
        check("a\\b", "a%5Cb");
    }
    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        use crayon_net::Fault as Net;
        let words = || "words".to_owned();
        let url = Url::parse("https://cdn.example/x?signature=secret").unwrap();
        let fault = |fault: Net| Fault::new(&url, fault);
        assert!(matches!(fault(Net::Forbidden { variable: "X" }), Fault::Offline("X")));
        for away in [Net::NoHost, Net::NoConnection { reason: words() }, Net::NotSafe { reason: words() }] {
            let reason = away.to_string();
            let Fault::Unreachable(error) = fault(away) else { panic!("{reason}") };
            assert_eq!(error.to_string(), format!("cannot reach cdn.example: {reason}"));
        }
        for cut in [
            Net::Silent { after: Duration::from_secs(1) },
            Net::OutOfTime,
            Net::Cut { reason: words() },
            Net::Broken { reason: words() },
        ] {
            assert!(matches!(fault(cut), Fault::Passing { after: None, .. }));
        }
        for wrong in [Net::TooLong { limit: 1 }, Net::Request { reason: words() }] {
            let Fault::Final(error) = fault(wrong) else { panic!("no end") };
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
