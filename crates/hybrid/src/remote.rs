//! A bigger model on a server: one chat, streamed, with patience for failures within a budget of time.
//!
//! An answer is whole or none: a stream that is cut is asked for again from its beginning, and who was shown the first
//! part is told that it counts no more ([`Event::Void`]).

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crayon_text::Message;
use serde_json::{Value, json};
use ureq::Body;
use ureq::http::Response;

use crate::http::{Event, Fault, Http, Patience, SLICE, header, passing};
use crate::read::{self, Told};
use crate::sse::Events;
use crate::{Endpoint, Key, RemoteError};

/// Longest answer in bytes.
const LONGEST: usize = 4 << 20;

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
    http: Http,
}

/// What a try's thread says.
enum Part {
    Text(String),
    Done(Told),
    Failed(Fault),
}

impl Remote {
    /// A server. No connection is made before [`ask`](Remote::ask).
    pub fn new(endpoint: Endpoint, model: &str, key: Option<Key>, patience: Patience) -> Remote {
        let http = Http::new(&endpoint, key, patience);
        Remote { endpoint, model: model.to_owned(), http }
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
        let body = self.body(question);
        let ((told, text, first), tries) = self.http.keep_trying(on_event, &mut |until, on_event| {
            let (mut text, mut first) = (String::new(), None);
            match self.attempt(&body, until, &mut text, &mut first, on_event)? {
                Ok(told) => Ok(Ok((told, text, first))),
                Err(_) if !text.is_empty() && on_event(Event::Void).is_break() => Err(RemoteError::Cancelled),
                Err(fault) => Ok(Err(fault)),
            }
        })?;
        let total = started.elapsed();
        Ok(RemoteAnswer {
            finish: told.finish.unwrap_or_else(|| "stop".to_owned()),
            model: told.model.unwrap_or_else(|| self.model.clone()),
            prompt_tokens: told.prompt_tokens,
            written: told.written,
            first: first.map_or(total, |at: Instant| at - started),
            total,
            tries,
            text,
        })
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
        let response = self.http.post(self.endpoint.url(), "text/event-stream", body, until)?;
        self.read(response, tell)
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
                Err(error) => return Err(self.http.cut(&error)),
            };
            for event in events.push(&bytes[..read]).map_err(passing)? {
                if event.trim() == "[DONE]" {
                    told.finish.get_or_insert_with(|| "stop".to_owned());
                    return Ok(told);
                }
                let Some(piece) =
                    read::object(&event, &mut told).map_err(|what| passing(self.http.hide(&what)))?
                else {
                    continue;
                };
                length += piece.len();
                if length > LONGEST {
                    return Err(self.http.unusable(format!("the answer is longer than {LONGEST} bytes")));
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
        reader.take(LONGEST as u64 + 1).read_to_end(&mut bytes).map_err(|error| self.http.cut(&error))?;
        let text = String::from_utf8(bytes)
            .ok()
            .filter(|text| text.len() <= LONGEST)
            .ok_or_else(|| self.http.unusable("no text, or too long".to_owned()))?;
        let mut told = Told::default();
        let piece =
            read::object(&text, &mut told).map_err(|what| self.http.unusable(self.http.hide(&what)))?;
        // The end of one object is its own proof.
        told.finish.get_or_insert_with(|| "stop".to_owned());
        if let Some(piece) = piece {
            let _ = tell.send(Part::Text(piece));
        }
        Ok(told)
    }
}
