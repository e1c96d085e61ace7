//! A bigger model on a server: one chat, streamed, with tries again after failures within a budget of time.
//!
//! An answer is whole or none: a stream that is cut is asked for again from its beginning, and who was shown the first
//! part is told that it counts no more ([`Event::Discard`]).

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crayon_net::RetryPolicy;
use crayon_text::Message;
use serde_json::{Value, json};

use crate::http::{Attempted, Event, Fault, Http, OnEvent, Until, passing};
use crate::read::Metadata;
use crate::reply::{Reply, Wrong};
use crate::{Endpoint, Key, RemoteError};

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
    /// Against tokens already there, each time they occur.
    pub frequency_penalty: Option<f32>,
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

impl Remote {
    /// A server. No connection is made before [`ask`](Remote::ask).
    pub fn new(endpoint: Endpoint, model: &str, key: Option<Key>, policy: RetryPolicy) -> Remote {
        let http = Http::new(&endpoint, key, policy);
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
        let ((metadata, text, first), tries) = self.http.keep_trying(on_event, &mut |until, on_event| {
            let (mut text, mut first) = (String::new(), None);
            match self.attempt(&body, until, &mut text, &mut first, on_event)? {
                Ok(metadata) => Ok(Ok((metadata, text, first))),
                Err(_) if !text.is_empty() && on_event(Event::Discard).is_break() => {
                    Err(RemoteError::Cancelled)
                }
                Err(fault) => Ok(Err(fault)),
            }
        })?;
        let total = started.elapsed();
        Ok(RemoteAnswer {
            finish: metadata.finish.unwrap_or_else(|| "stop".to_owned()),
            model: metadata.model.unwrap_or_else(|| self.model.clone()),
            prompt_tokens: metadata.prompt_tokens,
            written: metadata.written,
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
        set("frequency_penalty", question.frequency_penalty.map(number));
        set("seed", question.seed.map(Value::from));
        set("stop", (!question.stop.is_empty()).then(|| json!(question.stop)));
        body.to_string()
    }

    /// One request. Its text goes to `text` as it comes, the time of the first piece to `first`.
    fn attempt(
        &self,
        body: &str,
        until: Until,
        text: &mut String,
        first: &mut Option<Instant>,
        on_event: OnEvent<'_>,
    ) -> Attempted<Metadata> {
        let (url, body) = (self.endpoint.url().clone(), body.to_owned());
        let exchange = move |http: &Http, on_text: &OnText<'_>| {
            read(http, http.post(&url, "text/event-stream", &body, until)?, on_text)
        };
        let mut event = |piece: String| {
            first.get_or_insert_with(Instant::now);
            text.push_str(&piece);
            Event::Text(piece)
        };
        let outcome = self.http.attempt(until, exchange, &mut event, on_event)?;
        Ok(match outcome {
            Ok(_) if text.trim().is_empty() => Err(self.http.unusable("the answer is empty".to_owned())),
            outcome => outcome,
        })
    }
}

/// Takes the pieces of an answer.
type OnText<'a> = dyn Fn(String) -> ControlFlow<()> + 'a;

/// Reads a whole answer, and passes its text on piece by piece.
fn read(http: &Http, mut response: crayon_net::Response, on_text: &OnText<'_>) -> Result<Metadata, Fault> {
    let wrong = |wrong| match wrong {
        Wrong::Passing(what) => passing(http.hide(&what)),
        Wrong::Unusable(what) => http.unusable(http.hide(&what)),
    };
    let passed = |piece: String| match piece.is_empty() || on_text(piece).is_continue() {
        true => Ok(()),
        false => Err(Fault::Final(RemoteError::Cancelled)),
    };
    let mut reply = Reply::new(response.header("content-type").unwrap_or_default());
    let mut bytes = [0; 8192];
    let cut = loop {
        match response.read(&mut bytes) {
            Ok(0) => break None,
            Ok(read) => passed(reply.push(&bytes[..read]).map_err(wrong)?)?,
            Err(fault) => break Some(http.fault(&fault)),
        }
        if reply.is_done() {
            break None;
        }
    };
    // An answer whose end has come is whole, whatever becomes of the connection.
    match (reply.end(), cut) {
        (Ok(Some((piece, metadata))), _) => passed(piece).map(|()| metadata),
        (_, Some(fault)) => Err(fault),
        (Ok(None), None) => Err(passing("the stream was cut before the answer's end")),
        (Err(what), None) => Err(wrong(what)),
    }
}
