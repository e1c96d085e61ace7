//! `/v1/responses`: OpenAI's later interface, for texts and functions, whole or as events. Nothing is kept: a request holds its whole
//! conversation.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::block_in_place;

use crate::answered::{Answered, News};
use crate::asking::{SIGN_OF_LIFE, begin, told_ignored};
use crate::body::{object, read_body};
use crate::refusal::Refusal;
use crate::reply::{extra, unique};
use crate::request::ApiRequest;
use crate::shared::{Peer, Shared, now};
use crate::tools::{Tools, no_call};

pub(crate) async fn respond(
    State(shared): State<Arc<Shared>>,
    peer: Extension<Peer>,
    request: Request,
) -> Result<Response<Body>, Refusal> {
    let limits = &shared.options.limits;
    let body = read_body(limits, request, limits.body).await?;
    let mut asked = ApiRequest::response(&body)?;
    drop(body);
    let whom = block_in_place(|| {
        let whom = shared.asked(&asked.model)?;
        asked.constrain(&whom.hosted)?;
        Ok::<_, Refusal>(Arc::new(whom))
    })?;
    let asked = Arc::new(asked);
    let mut responding = Responding {
        news: begin(&shared, &whom, peer.0, &asked),
        id: unique("resp"),
        message: unique("msg"),
        created: now(),
        model: whom.name(),
        tools: asked.tools.clone(),
        text: String::new(),
        told: 0,
        number: 0,
        ready: VecDeque::new(),
        answered: None,
    };
    let response = match asked.stream {
        true => {
            // A stream begins when it is clear that there is a place for it.
            let first = responding.hear().await?;
            responding.begin();
            responding.tell(first);
            responding.response()
        }
        false => {
            while responding.answered.is_none() {
                let news = responding.hear().await?;
                responding.tell(news);
            }
            object(&responding.object())
        }
    };
    Ok(told_ignored(response, &asked.ignored))
}

/// A response in the making.
struct Responding {
    news: UnboundedReceiver<(usize, News)>,
    id: String,
    message: String,
    created: u64,
    model: String,
    tools: Option<Tools>,
    /// Text so far.
    text: String,
    /// Bytes of it that were told.
    told: usize,
    /// Number of the next event.
    number: usize,
    ready: VecDeque<(&'static str, Value)>,
    answered: Option<Answered>,
}

impl Responding {
    async fn hear(&mut self) -> Result<News, Refusal> {
        match self.news.recv().await {
            Some((_, News::Ended(ended))) => Ok(News::Ended(Box::new(Ok((*ended)?)))),
            Some((_, news)) => Ok(news),
            None => Err(Refusal::stopping()),
        }
    }

    fn event(&mut self, name: &'static str, mut value: Value) {
        value["type"] = json!(name);
        value["sequence_number"] = json!(self.number);
        self.number += 1;
        self.ready.push_back((name, value));
    }

    /// The events before any text.
    fn begin(&mut self) {
        for name in ["response.created", "response.in_progress"] {
            let response = self.object();
            self.event(name, json!({"response": response}));
        }
        if self.tools.is_none() {
            self.begin_message();
        }
    }

    fn begin_message(&mut self) {
        let item = self.item("in_progress", None);
        self.event("response.output_item.added", json!({"output_index": 0, "item": item}));
        let part = json!({"type": "output_text", "text": "", "annotations": [], "logprobs": []});
        let place = self.place();
        self.event("response.content_part.added", with(&place, json!({"part": part})));
    }

    fn place(&self) -> Value {
        json!({"item_id": self.message, "output_index": 0, "content_index": 0})
    }

    /// Makes events of `news`.
    fn tell(&mut self, news: News) {
        match news {
            News::Waiting | News::Token(_) => {}
            News::Text(text) => {
                self.text.push_str(&text);
                let free = if self.tools.is_some() { no_call(&self.text) } else { self.text.len() };
                self.tell_text(free);
            }
            News::Ended(ended) => {
                let Ok(answered) = *ended else { return };
                let calls = self.tools.as_ref().and_then(|tools| tools.calls(answered.outcome.text()));
                self.answered = Some(answered);
                match calls {
                    None => self.tell_text(self.text.len()),
                    Some(_) if self.told == 0 => self.text.clear(),
                    Some(_) => {}
                }
                self.end();
            }
        }
    }

    /// Tells the text up to so many bytes.
    fn tell_text(&mut self, end: usize) {
        if end <= self.told {
            return;
        }
        if self.told == 0 && self.tools.is_some() {
            self.begin_message();
        }
        let delta = self.text[self.told..end].to_owned();
        self.told = end;
        let place = self.place();
        self.event("response.output_text.delta", with(&place, json!({"delta": delta, "logprobs": []})));
    }

    /// The events behind all text.
    fn end(&mut self) {
        let response = self.object();
        let output = response["output"].as_array().cloned().unwrap_or_default();
        for (index, item) in output.into_iter().enumerate() {
            if item["type"] == "message" {
                if self.told == 0 && self.tools.is_some() {
                    self.begin_message();
                }
                let (place, part) = (self.place(), item["content"][0].clone());
                let done = json!({"text": part["text"], "logprobs": []});
                self.event("response.output_text.done", with(&place, done));
                self.event("response.content_part.done", with(&place, json!({"part": part})));
            } else {
                self.event("response.output_item.added", json!({"output_index": index, "item": item}));
                let place = json!({"item_id": item["id"], "output_index": index});
                let done = json!({"arguments": item["arguments"], "name": item["name"]});
                let delta = json!({"delta": item["arguments"]});
                self.event("response.function_call_arguments.delta", with(&place, delta));
                self.event("response.function_call_arguments.done", with(&place, done));
            }
            self.event("response.output_item.done", json!({"output_index": index, "item": item}));
        }
        let whole = response["status"] == "completed";
        let name = if whole { "response.completed" } else { "response.incomplete" };
        self.event(name, json!({"response": response}));
    }

    fn item(&self, status: &str, text: Option<&str>) -> Value {
        let part = |text| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
        let content: Vec<Value> = text.into_iter().map(part).collect();
        json!({"id": self.message, "type": "message", "role": "assistant", "status": status, "content": content})
    }

    /// The response as far as it is.
    fn object(&self) -> Value {
        let mut response = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": "in_progress",
            "error": null,
            "incomplete_details": null,
            "instructions": null,
            "metadata": {},
            "model": self.model,
            "output": [],
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "store": false,
            "tool_choice": "auto",
            "tools": [],
            "usage": null,
        });
        let Some(answered) = &self.answered else { return response };
        let counts = answered.outcome.counts();
        let (read, written) = (counts.read.unwrap_or(0), counts.generated.unwrap_or(0));
        let cut = matches!(answered.outcome.finish(), "length" | "full" | "cancelled");
        let status = if cut { "incomplete" } else { "completed" };
        response["status"] = json!(status);
        if cut {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        let text = answered.outcome.text();
        let calls = self.tools.as_ref().and_then(|tools| tools.calls(text));
        let mut output = Vec::new();
        match calls {
            None => output.push(self.item(status, Some(text))),
            Some((beside, calls)) => {
                if !beside.is_empty() {
                    output.push(self.item(status, Some(&beside)));
                }
                for (at, call) in calls.into_iter().enumerate() {
                    output.push(json!({
                        "id": format!("fc-{}-{at}", self.id),
                        "type": "function_call",
                        "status": "completed",
                        "call_id": format!("call-{}-{at}", self.id),
                        "name": call.name,
                        "arguments": call.arguments,
                    }));
                }
            }
        }
        response["output"] = json!(output);
        response["usage"] = json!({
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": counts.cached},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        });
        response["crayon"] = extra(answered);
        response
    }

    /// Server-sent events until the response ends.
    fn response(self) -> Response<Body> {
        let events = stream::unfold(Some(self), |responding| async move {
            let mut responding = responding?;
            loop {
                if let Some((name, value)) = responding.ready.pop_front() {
                    return Some((event(name, &value), Some(responding)));
                }
                if responding.answered.is_some() {
                    return None;
                }
                match responding.hear().await {
                    Ok(news) => responding.tell(news),
                    Err(refusal) => {
                        let mut value = refusal.object()["error"].clone();
                        value["type"] = json!("error");
                        value["sequence_number"] = json!(responding.number);
                        return Some((event("error", &value), None));
                    }
                }
            }
        });
        let alive = KeepAlive::new().interval(SIGN_OF_LIFE).text("still here");
        Sse::new(events).keep_alive(alive).into_response()
    }
}

fn with(place: &Value, more: Value) -> Value {
    let (Value::Object(mut whole), Value::Object(more)) = (place.clone(), more) else { return Value::Null };
    whole.extend(more);
    Value::Object(whole)
}

fn event(name: &str, value: &Value) -> Result<Event, Infallible> {
    Ok(Event::default().event(name).data(value.to_string()))
}
