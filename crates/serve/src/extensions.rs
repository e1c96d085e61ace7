//! The fields that go beyond OpenAI's: memory, adapters, examples, route.

use crayon_answer::{Catalyst, MemoryRequest, MemorySize, PASSES, policy_names};
use crayon_engine::adapters::Example;
use crayon_hybrid::Route;
use serde_json::{Value, json};

use crate::fields::{Fields, wrong};
use crate::refusal::Refusal;

/// What is asked of the memory.
pub(crate) fn read_memory(fields: &mut Fields) -> Result<MemoryRequest, Refusal> {
    let policy = fields.text("policy")?;
    if policy.as_deref().is_some_and(|name| !policy_names().contains(&name)) {
        return Err(wrong("policy", &format!("one of {}", policy_names().join(", "))));
    }
    let passes = fields.count("passes", 1)?;
    if passes.is_some_and(|passes| passes > PASSES) {
        return Err(wrong("passes", &format!("1 to {PASSES}")));
    }
    Ok(MemoryRequest {
        size: read_size(fields)?,
        policy,
        keep: fields.count("keep", 1)?,
        novelty: fields.number("novelty", 0.0, 1.0)?,
        exact_novelty: fields.flag("novelty_exact")?,
        smooth: fields.count("smooth", 1)?,
        sinks: fields.count("sinks", 0)?,
        recent: fields.count("recent", 0)?,
        catalyst: fields.text("catalyst")?.as_deref().map_or(Catalyst::Usual, Catalyst::from),
        passes,
    })
}

/// Entries, or memory in words such as `64MiB`.
fn read_size(fields: &mut Fields) -> Result<Option<MemorySize>, Refusal> {
    match fields.value("pot") {
        None => Ok(None),
        Some(Value::String(text)) => {
            let size = text.parse().map_err(|_| wrong("pot", "entries (4096) or memory (\"64MiB\")"))?;
            Ok(Some(size))
        }
        Some(value) => match value.as_u64().filter(|entries| *entries > 0) {
            Some(entries) => Ok(Some(MemorySize::Entries(usize::try_from(entries).unwrap_or(usize::MAX)))),
            None => Err(wrong("pot", "entries (4096) or memory (\"64MiB\")")),
        },
    }
}

/// One name, or an object of names and weights.
pub(crate) fn read_adapter(value: Option<Value>) -> Result<Vec<(String, f32)>, Refusal> {
    let refusal = || wrong("adapter", "a name, or an object of names and weights");
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(name)) => Ok(vec![(name, 1.0)]),
        Some(Value::Object(weights)) if !weights.is_empty() => weights
            .into_iter()
            .map(|(name, weight)| {
                let weight = weight.as_f64().map(|weight| weight as f32).filter(|weight| weight.is_finite());
                Ok((name, weight.ok_or_else(refusal)?))
            })
            .collect(),
        Some(_) => Err(refusal()),
    }
}

/// Texts, or objects as lines of a file of examples are.
pub(crate) fn read_examples(value: Option<Value>) -> Result<Vec<Example>, Refusal> {
    let list = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(_) => {
            let expected = "a list of at least one {\"prompt\": text, \"answer\": text} or text";
            return Err(wrong("examples", expected));
        }
    };
    let read = |(at, example): (usize, Value)| {
        let example = match example {
            Value::String(prompt) => json!({"prompt": prompt}),
            example => example,
        };
        let name = format!("examples.{at}");
        Example::from_value(&example, at + 1)
            .map_err(|what| Refusal::invalid(format!("{name} {what}")).at(name))
    };
    list.into_iter().enumerate().map(read).collect()
}

pub(crate) fn read_route(name: Option<String>) -> Result<Option<Route>, Refusal> {
    let Some(name) = name else { return Ok(None) };
    Route::from_name(&name).map(Some).ok_or_else(|| wrong("route", "auto, device or server"))
}
