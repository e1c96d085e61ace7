//! A bigger model on a server: one chat, streamed, with patience for failures within a budget of time.
//!
//! An answer is whole or none: a stream that is cut is asked for again from its beginning, and who was shown the first
//! part is told that it counts no more ([`Event::Void`]).

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crayon_text::Message;
use serde_json::{Value, json};
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::read::{self, Told};
use crate::sse::Events;
use crate::{Endpoint, Key, RemoteError};

/// How often the caller may stop it.
const SLICE: Duration = Duration::from_millis(50);
/// Longest answer in bytes.
const LONGEST: usize = 4 << 20;
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

/// What is asked. Settings that are `None` are left to the server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    /// The conversation, up to where the answer begins.
    pub messages: Vec<Message>,
    /// Longest answer in tokens.
    pub max_tokens: Option<usize>,
    /// 0 for the likeliest tokens.
    pub temperature: Option<f32>,
    /// Share of the likeliest tokens to draw from.
    pub top_p: Option<f32>,
    /// Against tokens already there.
    pub presence_penalty: Option<f32>,
    /// Same seed, same answer, where the server can.
    pub seed: Option<u64>,
    /// The answer ends before any of these.
    pub stop: Vec<String>,
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

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteAnswer {
    /// Its text.
    pub text: String,
    /// Why it ended, in the server's word: `stop`, `length`, `content_filter`.
    pub finish: String,
    /// The model that answered, as the server calls it, else as it was asked for.
    pub model: String,
    /// Tokens read, where the server tells.
    pub prompt_tokens: Option<usize>,
    /// Tokens written, where the server tells.
    pub written: Option<usize>,
    /// Time to its first text, failed tries included.
    pub first: Duration,
    /// Time to its end, failed tries included.
    pub total: Duration,
    /// Requests sent.
    pub tries: u32,
}

/// A server and the model to ask there.
#[derive(Clone, Debug)]
pub struct Remote {
    endpoint: Endpoint,
    model: String,
    key: Option<Key>,
    patience: Patience,
}

/// What a try's thread says.
enum Part {
    Text(String),
    Done(Told),
    Failed(Fault),
}

/// Why a try failed.
enum Fault {
    /// May pass by itself; `after` is the pause the server wants.
    Passing { reason: String, after: Option<Duration> },
    /// Will not pass.
    Final(RemoteError),
}

fn passing(reason: impl Into<String>) -> Fault {
    Fault::Passing { reason: reason.into(), after: None }
}

impl Remote {
    /// A server. No connection is made before [`ask`](Remote::ask).
    pub fn new(endpoint: Endpoint, model: &str, key: Option<Key>, patience: Patience) -> Remote {
        Remote { endpoint, model: model.to_owned(), key, patience }
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks for an answer. `on_event` hears of everything, several times a second, and may stop it.
    ///
    /// # Errors
    /// When tries or time are used up, the server refuses for good, or `on_event` stops it. No part of an answer is
    /// an answer: what was told as [`Event::Text`] is to be forgotten then.
    pub fn ask(
        &self,
        question: &Question,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<RemoteAnswer, RemoteError> {
        let started = Instant::now();
        let until = started + self.patience.budget;
        let body = self.body(question);
        let mut tries = 0;
        loop {
            tries += 1;
            let (mut text, mut first) = (String::new(), None);
            let fault = match self.attempt(&body, until, &mut text, &mut first, on_event)? {
                Ok(told) => {
                    let total = started.elapsed();
                    return Ok(RemoteAnswer {
                        finish: told.finish.unwrap_or_else(|| "stop".to_owned()),
                        model: told.model.unwrap_or_else(|| self.model.clone()),
                        prompt_tokens: told.prompt_tokens,
                        written: told.written,
                        first: first.map_or(total, |at: Instant| at - started),
                        total,
                        tries,
                        text,
                    });
                }
                Err(fault) => fault,
            };
            if !text.is_empty() && on_event(Event::Void).is_break() {
                return Err(RemoteError::Cancelled);
            }
            let (reason, after) = match fault {
                Fault::Final(error) => return Err(error),
                Fault::Passing { reason, after } => (reason, after),
            };
            let pause = after.unwrap_or_else(|| self.pause(tries));
            if tries >= self.patience.tries || Instant::now() + pause >= until {
                let host = self.endpoint.host().to_owned();
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

    fn body(&self, question: &Question) -> String {
        let mut body = json!({
            "model": self.model,
            "messages": question.messages,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[name] = value;
            }
        };
        // The short form: what was typed as 0.7 is not to be sent as 0.699999988079071.
        let number = |value: f32| value.to_string().parse::<f64>().map_or(Value::Null, Value::from);
        set("max_tokens", question.max_tokens.map(Value::from));
        set("temperature", question.temperature.map(number));
        set("top_p", question.top_p.map(number));
        set("presence_penalty", question.presence_penalty.map(number));
        set("seed", question.seed.map(Value::from));
        set("stop", (!question.stop.is_empty()).then(|| json!(question.stop)));
        body.to_string()
    }

    /// One request, on a thread of its own, so that the caller can stop at any time. A thread that nobody listens to
    /// ends by its own time limit.
    fn attempt(
        &self,
        body: &str,
        until: Instant,
        text: &mut String,
        first: &mut Option<Instant>,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Result<Told, Fault>, RemoteError> {
        let (tell, parts): (Sender<Part>, Receiver<Part>) = channel();
        let (remote, body) = (self.clone(), body.to_owned());
        let thread = std::thread::Builder::new().name("remote".to_owned());
        let spawned = thread.spawn(move || {
            let part = match remote.exchange(&body, until, &tell) {
                Ok(told) => Part::Done(told),
                Err(fault) => Part::Failed(fault),
            };
            // Nobody may listen any more.
            let _ = tell.send(part);
        });
        if let Err(error) = spawned {
            return Ok(Err(passing(format!("no thread: {error}"))));
        }
        loop {
            let event = match parts.recv_timeout(SLICE) {
                Ok(Part::Text(piece)) => {
                    first.get_or_insert_with(Instant::now);
                    text.push_str(&piece);
                    Event::Text(piece)
                }
                Ok(Part::Done(_)) if text.trim().is_empty() => {
                    let host = self.endpoint.host().to_owned();
                    let what = "the answer is empty".to_owned();
                    return Ok(Err(Fault::Final(RemoteError::Answer { host, what })));
                }
                Ok(Part::Done(told)) => return Ok(Ok(told)),
                Ok(Part::Failed(fault)) => return Ok(Err(fault)),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= until => {
                    return Ok(Err(passing("the time is used up")));
                }
                Err(RecvTimeoutError::Timeout) => Event::Waiting,
                Err(RecvTimeoutError::Disconnected) => return Ok(Err(passing("the request failed"))),
            };
            if on_event(event).is_break() {
                return Err(RemoteError::Cancelled);
            }
        }
    }

    fn exchange(&self, body: &str, until: Instant, tell: &Sender<Part>) -> Result<Told, Fault> {
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
        if self.endpoint.is_loopback() {
            config = config.proxy(None);
        }
        let agent = config.build().new_agent();
        let mut request = agent
            .post(self.endpoint.url())
            .header("Content-Type", "application/json")
            .header("Accept", "text/event-stream");
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {}", key.value()));
        }
        let response = request.send(body).map_err(|error| self.fault(&error))?;
        match response.status().as_u16() {
            200..=299 => self.read(response, tell),
            status => Err(self.refused(status, response)),
        }
    }

    fn read(&self, response: Response<Body>, tell: &Sender<Part>) -> Result<Told, Fault> {
        let kind = header(&response, "content-type").unwrap_or_default().to_ascii_lowercase();
        let mut reader = response.into_body().into_reader();
        if !kind.starts_with("text/event-stream") {
            return self.read_whole(reader, tell);
        }
        let (mut events, mut told, mut length) = (Events::default(), Told::default(), 0);
        let mut bytes = [0; 8192];
        loop {
            let read = match reader.read(&mut bytes) {
                // An answer whose end has come is whole, whatever becomes of the connection.
                Ok(0) | Err(_) if told.finish.is_some() => return Ok(told),
                Ok(0) => return Err(passing("the stream was cut before the answer's end")),
                Ok(read) => read,
                Err(error) => return Err(self.cut(&error)),
            };
            for event in events.push(&bytes[..read]).map_err(passing)? {
                if event.trim() == "[DONE]" {
                    told.finish.get_or_insert_with(|| "stop".to_owned());
                    return Ok(told);
                }
                let Some(piece) =
                    read::object(&event, &mut told).map_err(|what| passing(self.hide(&what)))?
                else {
                    continue;
                };
                length += piece.len();
                if length > LONGEST {
                    return Err(self.unusable(format!("the answer is longer than {LONGEST} bytes")));
                }
                if !piece.is_empty() && tell.send(Part::Text(piece)).is_err() {
                    return Err(Fault::Final(RemoteError::Cancelled));
                }
            }
        }
    }

    /// An answer in one object, from servers that do not stream.
    fn read_whole(&self, reader: impl Read, tell: &Sender<Part>) -> Result<Told, Fault> {
        let mut bytes = Vec::new();
        reader.take(LONGEST as u64 + 1).read_to_end(&mut bytes).map_err(|error| self.cut(&error))?;
        let text = String::from_utf8(bytes)
            .ok()
            .filter(|text| text.len() <= LONGEST)
            .ok_or_else(|| self.unusable("no text, or too long".to_owned()))?;
        let mut told = Told::default();
        let piece = read::object(&text, &mut told).map_err(|what| self.unusable(self.hide(&what)))?;
        // The end of one object is its own proof.
        told.finish.get_or_insert_with(|| "stop".to_owned());
        if let Some(piece) = piece {
            let _ = tell.send(Part::Text(piece));
        }
        Ok(told)
    }

    /// What a status other than success means.
    fn refused(&self, status: u16, response: Response<Body>) -> Fault {
        let host = self.endpoint.host().to_owned();
        if matches!(status, 300..=399) {
            return self.unusable("it leads to another address; give that one".to_owned());
        }
        let after = header(&response, "retry-after")
            .and_then(|value| value.trim().parse().ok())
            .map(Duration::from_secs);
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
            let host = self.endpoint.host().to_owned();
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

    fn cut(&self, error: &std::io::Error) -> Fault {
        match error.kind() {
            std::io::ErrorKind::TimedOut => passing("the server was silent, or too slow"),
            std::io::ErrorKind::ConnectionRefused => passing("nobody listens there"),
            _ => passing(format!("the connection was cut ({error})")),
        }
    }

    fn unusable(&self, what: String) -> Fault {
        Fault::Final(RemoteError::Answer { host: self.endpoint.host().to_owned(), what })
    }

    /// `text` without the key.
    fn hide(&self, text: &str) -> String {
        self.key.as_ref().map_or_else(|| text.to_owned(), |key| key.hide(text))
    }
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}
