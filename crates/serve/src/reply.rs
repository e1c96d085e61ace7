//! Answers as OpenAI's objects. `crayon` holds what those have no place for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crayon_answer::Outcome;
use crayon_customize::{Rung, Tried};
use serde_json::{Map, Value, json};

use crate::answered::{Answered, Spelled, Told};
use crate::models::Entry;
use crate::refusal::spell;
use crate::shared::now;
use crate::tools::{Call, Tools};

/// Name of the header that says which fields were ignored.
pub(crate) const IGNORED_FIELDS: &str = "x-crayon-ignored";

/// Which of the two kinds of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Completion,
}

/// An id that no other answer has.
pub(crate) fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{:016x}{count:08x}", since.as_nanos() as u64)
}

/// What all objects of one answer share.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
}

impl Reply {
    pub(crate) fn new(kind: Kind, model: &str) -> Reply {
        let id = match kind {
            Kind::Chat => unique("chatcmpl"),
            Kind::Completion => unique("cmpl"),
        };
        let created = now();
        Reply { kind, id, created, model: model.to_owned() }
    }

    /// The whole of it: `n` answers for each prompt, behind the texts that are `echoed`.
    pub(crate) fn whole(
        &self,
        answered: &[Answered],
        echoed: &[String],
        n: usize,
        tools: Option<&Tools>,
    ) -> Value {
        let alone = answered.len() == 1;
        let choice = |(index, answered): (usize, &Answered)| {
            let (text, logprobs) = (answered.outcome.text(), self.logprobs(&answered.tokens, 0));
            let mut choice = match self.kind {
                Kind::Chat => {
                    let called = tools.and_then(|tools| tools.calls(text));
                    let (message, finish) = match called {
                        None => {
                            let message = json!({"role": "assistant", "content": text, "refusal": null});
                            (message, finish(&answered.outcome))
                        }
                        Some((beside, calls)) => {
                            let (beside, calls) =
                                ((!beside.is_empty()).then_some(beside), self.calls(index, &calls));
                            let message = json!({
                                "role": "assistant", "content": beside, "refusal": null, "tool_calls": calls,
                            });
                            (message, CALLED)
                        }
                    };
                    json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish})
                }
                Kind::Completion => {
                    let text = format!("{}{text}", echoed[index]);
                    self.choice(index, json!(text), logprobs, Some(answered))
                }
            };
            if !alone {
                choice["crayon"] = extra(answered);
            }
            choice
        };
        let choices: Vec<Value> = answered.iter().enumerate().map(choice).collect();
        let mut object = self.object(false, json!(choices));
        object["usage"] = usage(answered, n);
        if alone {
            object["crayon"] = extra(&answered[0]);
        }
        object
    }

    /// The first chunk of an answer's stream, where there is one to send before any text.
    pub(crate) fn first(&self, index: usize, usage: bool) -> Option<Value> {
        let choice = self.choice(index, json!({"role": "assistant", "content": ""}), Value::Null, None);
        (self.kind == Kind::Chat).then(|| self.chunk(choice, usage))
    }

    /// A piece of text and the tokens it is made of, where these are told; the text before it has so many bytes.
    pub(crate) fn piece(
        &self,
        index: usize,
        text: &str,
        tokens: &[Told],
        before: usize,
        usage: bool,
    ) -> Value {
        let body = match self.kind {
            Kind::Chat => json!({"content": text}),
            Kind::Completion => json!(text),
        };
        self.chunk(self.choice(index, body, self.logprobs(tokens, before), None), usage)
    }

    /// The calls of an answer, each at once.
    pub(crate) fn called(&self, index: usize, calls: &[Call], usage: bool) -> Value {
        let mut calls = self.calls(index, calls);
        for (at, call) in calls.iter_mut().enumerate() {
            call["index"] = json!(at);
        }
        self.chunk(self.choice(index, json!({"tool_calls": calls}), Value::Null, None), usage)
    }

    fn calls(&self, index: usize, calls: &[Call]) -> Vec<Value> {
        let one = |(at, Call { name, arguments }): (usize, &Call)| {
            let function = json!({"name": name, "arguments": arguments});
            json!({"id": format!("call-{}-{index}-{at}", self.id), "type": "function", "function": function})
        };
        calls.iter().enumerate().map(one).collect()
    }

    /// The end of an answer's text. Where it is the only one its end tells what those have no place for.
    pub(crate) fn last(
        &self,
        index: usize,
        answered: &Answered,
        called: bool,
        alone: bool,
        usage: bool,
    ) -> Value {
        let body = match self.kind {
            Kind::Chat => json!({}),
            Kind::Completion => json!(""),
        };
        let mut choice = self.choice(index, body, Value::Null, Some(answered));
        if called {
            choice["finish_reason"] = json!(CALLED);
        }
        if !alone {
            choice["crayon"] = extra(answered);
        }
        let mut object = self.chunk(choice, usage);
        if alone {
            object["crayon"] = extra(answered);
        }
        object
    }

    /// The numbers of tokens, after the end, for those who want them.
    pub(crate) fn usage(&self, answered: &[Answered], n: usize) -> Value {
        let mut object = self.object(true, json!([]));
        object["usage"] = usage(answered, n);
        object
    }

    /// Tokens in the form of this kind of answers; the text before them has so many bytes.
    fn logprobs(&self, tokens: &[Told], before: usize) -> Value {
        if tokens.is_empty() {
            return Value::Null;
        }
        let text = |spelled: &Spelled| String::from_utf8_lossy(&spelled.bytes).into_owned();
        match self.kind {
            Kind::Chat => {
                let one = |spelled: &Spelled| {
                    let (token, logprob) = (text(spelled), short(spelled.logprob));
                    json!({"token": token, "logprob": logprob, "bytes": spelled.bytes})
                };
                let told = |told: &Told| {
                    let mut object = one(&told.token);
                    object["top_logprobs"] = told.likeliest.iter().map(one).collect();
                    object
                };
                json!({"content": tokens.iter().map(told).collect::<Vec<_>>(), "refusal": null})
            }
            Kind::Completion => {
                let mut offset = before;
                let offsets = tokens.iter().map(|told| {
                    offset += told.token.bytes.len();
                    offset - told.token.bytes.len()
                });
                let offsets: Vec<usize> = offsets.collect();
                let likeliest = |told: &Told| -> Map<String, Value> {
                    told.likeliest.iter().map(|one| (text(one), short(one.logprob))).collect()
                };
                json!({
                    "tokens": tokens.iter().map(|told| text(&told.token)).collect::<Vec<_>>(),
                    "token_logprobs": tokens.iter().map(|told| short(told.token.logprob)).collect::<Vec<_>>(),
                    "top_logprobs": tokens.iter().map(likeliest).collect::<Vec<_>>(),
                    "text_offset": offsets,
                })
            }
        }
    }

    fn choice(&self, index: usize, body: Value, logprobs: Value, answered: Option<&Answered>) -> Value {
        let key = match self.kind {
            Kind::Chat => "delta",
            Kind::Completion => "text",
        };
        let finish = answered.map(|answered| finish(&answered.outcome));
        json!({"index": index, key: body, "logprobs": logprobs, "finish_reason": finish})
    }

    fn chunk(&self, choice: Value, usage: bool) -> Value {
        let mut object = self.object(true, json!([choice]));
        if usage {
            object["usage"] = Value::Null;
        }
        object
    }

    fn object(&self, chunk: bool, choices: Value) -> Value {
        let object = match (self.kind, chunk) {
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Chat, false) => "chat.completion",
            (Kind::Completion, _) => "text_completion",
        };
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

/// What OpenAI's objects have no place for.
pub(crate) fn extra(answered: &Answered) -> Value {
    let Answered { outcome, weights, shown, fits, tried, chosen, notes, .. } = answered;
    let counts = outcome.counts();
    let weights = weights.iter().map(|(name, weight)| (name.clone(), short(*weight)));
    let weights: Map<String, Value> = weights.collect();
    let notes: Vec<String> = notes.iter().map(spell).collect();
    let row = |tried: &Tried| {
        let (name, seconds) = (tried.rung.name(), tried.seconds);
        json!({"name": name, "right": tried.right(), "of": tried.of(), "loss": tried.loss(), "seconds": seconds})
    };
    let tried: Vec<Value> = tried.iter().map(row).collect();
    json!({
        "where": outcome.decision.place.name(),
        "reason": outcome.decision.reason,
        "confidence": outcome.confidence.map(short),
        "scope": outcome.scope.map(short),
        "sure": outcome.sure,
        "adapter": (!weights.is_empty()).then_some(weights),
        "shown": shown,
        "tried": tried,
        "chosen": chosen.map(Rung::name),
        "fits": fits,
        "kept": counts.kept.unwrap_or(0),
        "evicted": counts.evicted.unwrap_or(0),
        "notes": notes,
    })
}

/// A number with the digits it has: what is 0.7 in f32 is not 0.699999988079071.
pub(crate) fn short(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// Tokens read and written. A prompt that gets `n` answers counts once.
fn usage(answered: &[Answered], n: usize) -> Value {
    let read = answered.iter().step_by(n).map(|one| one.outcome.counts().read.unwrap_or(0));
    let written = answered.iter().map(|one| one.outcome.counts().generated.unwrap_or(0));
    let cached: usize = answered.iter().step_by(n).map(|one| one.outcome.counts().cached).sum();
    let (read, written): (usize, usize) = (read.sum(), written.sum());
    json!({
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    })
}

/// Why an answer ended that calls functions.
const CALLED: &str = "tool_calls";

/// Why an answer ended, in OpenAI's words.
fn finish(outcome: &Outcome) -> &'static str {
    match outcome.finish() {
        "length" | "full" | "cancelled" => "length",
        "content_filter" => "content_filter",
        _ => "stop",
    }
}

/// A model as `/v1/models` lists it; `created` is when the server began. What it offers is known while it is open.
pub(crate) fn model(entry: &Entry, created: u64) -> Value {
    let hosted = entry.hosted();
    let adapters = hosted.as_ref().map(|hosted| hosted.registry.names());
    json!({
        "id": entry.name,
        "object": "model",
        "created": created,
        "owned_by": "crayon",
        "open": hosted.is_some(),
        "adapters": adapters,
    })
}
