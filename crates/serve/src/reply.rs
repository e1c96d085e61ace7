//! Answers as OpenAI's objects. `crayon` holds what those have no place for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::prepare::Custom;
use crate::worker::Ending;

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
    custom: Custom,
}

impl Reply {
    pub(crate) fn new(kind: Kind, model: &str, custom: Custom) -> Reply {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = match kind {
            Kind::Chat => "chatcmpl",
            Kind::Completion => "cmpl",
        };
        let id = format!("{prefix}-{:016x}{count:08x}", since.as_nanos() as u64);
        Reply { kind, id, created: since.as_secs(), model: model.to_owned(), custom }
    }

    /// The whole answer.
    pub(crate) fn whole(&self, text: &str, ending: &Ending) -> Value {
        let choice = match self.kind {
            Kind::Chat => json!({
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": null},
                "logprobs": null,
                "finish_reason": ending.finish,
            }),
            Kind::Completion => self.choice(json!(text), Some(ending)),
        };
        let mut object = self.object(false, json!([choice]));
        object["usage"] = usage(ending);
        object["crayon"] = self.extra(ending);
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
    pub(crate) fn last(&self, ending: &Ending, usage: bool) -> Value {
        let body = match self.kind {
            Kind::Chat => json!({}),
            Kind::Completion => json!(""),
        };
        let mut object = self.chunk(self.choice(body, Some(ending)), usage);
        object["crayon"] = self.extra(ending);
        object
    }

    /// The numbers of tokens, after the end, for those who want them.
    pub(crate) fn usage(&self, ending: &Ending) -> Value {
        let mut object = self.object(true, json!([]));
        object["usage"] = usage(ending);
        object
    }

    fn extra(&self, ending: &Ending) -> Value {
        let (place, reason) = match &ending.decision {
            Some(decision) => (decision.place.name(), decision.reason.as_str()),
            None => ("device", "no server is set up"),
        };
        let weights = self.custom.weights.iter().map(|(name, weight)| (name.clone(), short(*weight)));
        json!({
            "where": place,
            "reason": reason,
            "confidence": ending.confidence.map(short),
            "scope": self.custom.scope.map(short),
            "adapter": self.custom.used.then(|| weights.collect::<Map<String, Value>>()),
            "fits": self.custom.fits,
            "kept": ending.prompt - ending.evicted,
            "evicted": ending.evicted,
        })
    }

    fn choice(&self, body: Value, ending: Option<&Ending>) -> Value {
        let key = match self.kind {
            Kind::Chat => "delta",
            Kind::Completion => "text",
        };
        let finish = ending.map(|ending| ending.finish);
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

fn usage(ending: &Ending) -> Value {
    json!({
        "prompt_tokens": ending.prompt,
        "completion_tokens": ending.written,
        "total_tokens": ending.prompt + ending.written,
    })
}

/// A model as `/v1/models` lists it; `created` is when the server began.
pub(crate) fn model(name: &str, created: u64) -> Value {
    json!({"id": name, "object": "model", "created": created, "owned_by": "crayon"})
}
