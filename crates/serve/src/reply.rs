//! Answers as OpenAI's objects. `crayon` holds what those have no place for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crayon_answer::Outcome;
use crayon_customize::{Rung, Tried};
use serde_json::{Map, Value, json};

use crate::answered::Answered;
use crate::refusal::spell;

/// Which of the two kinds of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Completion,
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
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = match kind {
            Kind::Chat => "chatcmpl",
            Kind::Completion => "cmpl",
        };
        let id = format!("{prefix}-{:016x}{count:08x}", since.as_nanos() as u64);
        Reply { kind, id, created: since.as_secs(), model: model.to_owned() }
    }

    /// The whole answer.
    pub(crate) fn whole(&self, answered: &Answered) -> Value {
        let choice = match self.kind {
            Kind::Chat => json!({
                "index": 0,
                "message": {"role": "assistant", "content": answered.outcome.text(), "refusal": null},
                "logprobs": null,
                "finish_reason": finish(&answered.outcome),
            }),
            Kind::Completion => self.choice(json!(answered.outcome.text()), Some(answered)),
        };
        let mut object = self.object(false, json!([choice]));
        object["usage"] = usage(&answered.outcome);
        object["crayon"] = self.extra(answered);
        object
    }

    /// The first chunk of a stream, where there is one to send before any text.
    pub(crate) fn first(&self, usage: bool) -> Option<Value> {
        let choice = self.choice(json!({"role": "assistant", "content": ""}), None);
        (self.kind == Kind::Chat).then(|| self.chunk(choice, usage))
    }

    /// A piece of text.
    pub(crate) fn piece(&self, text: &str, usage: bool) -> Value {
        let body = match self.kind {
            Kind::Chat => json!({"content": text}),
            Kind::Completion => json!(text),
        };
        self.chunk(self.choice(body, None), usage)
    }

    /// The end of the text.
    pub(crate) fn last(&self, answered: &Answered, usage: bool) -> Value {
        let body = match self.kind {
            Kind::Chat => json!({}),
            Kind::Completion => json!(""),
        };
        let mut object = self.chunk(self.choice(body, Some(answered)), usage);
        object["crayon"] = self.extra(answered);
        object
    }

    /// The numbers of tokens, after the end, for those who want them.
    pub(crate) fn usage(&self, answered: &Answered) -> Value {
        let mut object = self.object(true, json!([]));
        object["usage"] = usage(&answered.outcome);
        object
    }

    fn extra(&self, answered: &Answered) -> Value {
        let Answered { outcome, weights, shown, fits, tried, chosen, notes } = answered;
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

    fn choice(&self, body: Value, answered: Option<&Answered>) -> Value {
        let key = match self.kind {
            Kind::Chat => "delta",
            Kind::Completion => "text",
        };
        let finish = answered.map(|answered| finish(&answered.outcome));
        json!({"index": 0, key: body, "logprobs": null, "finish_reason": finish})
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

/// A number with the digits it has: what is 0.7 in f32 is not 0.699999988079071.
pub(crate) fn short(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

fn usage(outcome: &Outcome) -> Value {
    let counts = outcome.counts();
    let (read, written) = (counts.read.unwrap_or(0), counts.generated.unwrap_or(0));
    json!({"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written})
}

/// Why an answer ended, in OpenAI's words.
fn finish(outcome: &Outcome) -> &'static str {
    match outcome.finish() {
        "length" | "full" | "cancelled" => "length",
        "content_filter" => "content_filter",
        _ => "stop",
    }
}

/// A model as `/v1/models` lists it; `created` is when the server began.
pub(crate) fn model(name: &str, created: u64) -> Value {
    json!({"id": name, "object": "model", "created": created, "owned_by": "crayon"})
}
