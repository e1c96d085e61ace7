//! What the server's objects mean: OpenAI's chat completions, whole or in chunks, as OpenAI's own client and the servers
//! that imitate it have them.

use serde_json::Value;

/// Longest message of a server that is passed on, in characters.
const LONGEST_MESSAGE: usize = 200;

/// What an answer has told so far, besides its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// Why it ended; an answer without it is cut.
    pub(crate) finish: Option<String>,
    pub(crate) prompt_tokens: Option<usize>,
    pub(crate) written: Option<usize>,
    /// The model's name, as the server gives it.
    pub(crate) model: Option<String>,
}

/// Reads one object, whole answer or chunk; returns its text.
///
/// # Errors
/// The message of an error object, or what is wrong.
pub(crate) fn object(text: &str, metadata: &mut Metadata) -> Result<Option<String>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("an object is broken: {error}"))?;
    if let Some(message) = message(&value) {
        return Err(reported(&message));
    }
    let usage = &value["usage"];
    let count = |name: &str| usage[name].as_u64().map(|count| count as usize);
    metadata.prompt_tokens = count("prompt_tokens").or(metadata.prompt_tokens);
    metadata.written = count("completion_tokens").or(metadata.written);
    if metadata.model.is_none() {
        metadata.model = value["model"].as_str().filter(|model| !model.is_empty()).map(clean);
    }
    let choices = match &value["choices"] {
        Value::Array(choices) => choices.as_slice(),
        // A chunk that counts the tokens has no choices, and some servers write that as none.
        Value::Null if usage.is_object() => &[],
        _ => return Err("an object has no choices".to_owned()),
    };
    // One answer was asked for: it is the first, wherever its number stands or is left out.
    let first = |choice: &&Value| choice["index"].as_u64().unwrap_or(0) == 0;
    let Some(choice) = choices.iter().find(first) else { return Ok(None) };
    if let Some(finish) = choice["finish_reason"].as_str().filter(|finish| !finish.is_empty()) {
        metadata.finish = Some(clean(finish));
    }
    let contents = ["/delta/content", "/message/content"];
    let content = contents.iter().filter_map(|path| choice.pointer(path)).find(|content| !content.is_null());
    content.map_or(Ok(None), text_of)
}

/// The text of a content: as it is, or in parts, of which those that hold no text (thoughts, pictures) are left out.
fn text_of(content: &Value) -> Result<Option<String>, String> {
    match content {
        Value::String(text) => Ok(Some(text.clone())),
        Value::Array(parts) if parts.iter().all(|part| part.is_object() || part.is_string()) => {
            let text = |part: &Value| part.as_str().or_else(|| part["text"].as_str()).map(str::to_owned);
            Ok(Some(parts.iter().filter_map(text).collect()))
        }
        _ => Err("an object's content is not a text".to_owned()),
    }
}

/// The message of an error object. An empty error is none, as for OpenAI's client.
pub(crate) fn message(value: &Value) -> Option<String> {
    let error = value.get("error").filter(|error| match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    })?;
    let text = error.get("message").and_then(Value::as_str).or_else(|| error.as_str());
    Some(clean(text.unwrap_or("an error without words")))
}

/// The message of an event called `error`, whatever its data look like.
pub(crate) fn error_event(data: &str) -> String {
    let value: Value = serde_json::from_str(data).unwrap_or_default();
    let words = || value["message"].as_str().or_else(|| value.as_str()).map(clean);
    let text = match value.is_null() {
        true => Some(clean(data)).filter(|text| !text.is_empty()),
        false => message(&value).or_else(words),
    };
    reported(&text.unwrap_or_else(|| "an error without words".to_owned()))
}

fn reported(message: &str) -> String {
    format!("the server reports: {message}")
}

/// Words of a server for a terminal: one line, without control characters, not too long.
pub(crate) fn clean(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.trim().chars().take(LONGEST_MESSAGE).map(visible).collect();
    if text.trim().chars().nth(LONGEST_MESSAGE).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_and_whole_answers_are_read() {
        let mut metadata = Metadata::default();
        let mut read = |text: &str| object(text, &mut metadata);
        assert_eq!(
            read(r#"{"model":"m","choices":[{"delta":{"role":"assistant","content":""}}]}"#).unwrap(),
            Some(String::new())
        );
        assert_eq!(
            read(r#"{"choices":[{"delta":{"content":"hé"}}],"usage":null}"#).unwrap(),
            Some("hé".to_owned())
        );
        assert_eq!(read(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#).unwrap(), None);
        assert_eq!(
            read(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#).unwrap(),
            None
        );
        let whole = r#"{"choices":[{"message":{"content":"all"},"finish_reason":"stop"}]}"#;
        assert_eq!(read(whole).unwrap(), Some("all".to_owned()));
        let wanted = Metadata {
            finish: Some("stop".to_owned()),
            prompt_tokens: Some(3),
            written: Some(4),
            model: Some("m".to_owned()),
        };
        assert_eq!(metadata, wanted);
    }

    #[test]
    fn odd_but_legal_objects_are_read() {
        for (text, content, finish) in [
            (r#"{"choices":[]}"#, None, None),
            (r#"{"choices":null,"usage":{"completion_tokens":1}}"#, None, None),
            (r#"{"usage":{"completion_tokens":1}}"#, None, None),
            (r#"{"choices":[{"index":0,"delta":null}]}"#, None, None),
            (r#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#, None, Some("stop")),
            (r#"{"choices":[{"delta":{"role":"assistant"},"finish_reason":null}]}"#, None, None),
            (r#"{"choices":[{"delta":{"content":null},"finish_reason":"length"}]}"#, None, Some("length")),
            (r#"{"choices":[{"delta":{"content":"a"},"finish_reason":""}]}"#, Some("a"), None),
            (r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#, Some("a"), Some("stop")),
            (r#"{"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}]}"#, None, None),
            (
                r#"{"choices":[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"a"}}]}"#,
                Some("a"),
                None,
            ),
            (r#"{"choices":[{"index":null,"delta":{"content":"a"}}]}"#, Some("a"), None),
            (r#"{"choices":[{"delta":null,"message":{"content":"a"}}]}"#, Some("a"), None),
            (r#"{"choices":[{"delta":{"content":null},"message":{"content":"a"}}]}"#, Some("a"), None),
            (
                r#"{"choices":[{"delta":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}"#,
                Some("ab"),
                None,
            ),
            (
                r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[]},{"text":"a"}]}}]}"#,
                Some("a"),
                None,
            ),
            (r#"{"choices":[{"delta":{"content":[]}}]}"#, Some(""), None),
            (r#"{"error":null,"choices":[{"delta":{"content":"a"}}]}"#, Some("a"), None),
            (r#"{"error":{},"choices":[{"delta":{"content":"a"}}]}"#, Some("a"), None),
            (r#"{"error":"","choices":[{"delta":{"content":"a"}}]}"#, Some("a"), None),
            (r#"{"model":"","choices":[{"delta":{"content":"\ud83e\udd8a"}}]}"#, Some("🦊"), None),
        ] {
            let mut metadata = Metadata::default();
            assert_eq!(object(text, &mut metadata).unwrap().as_deref(), content, "{text}");
            assert_eq!((metadata.finish.as_deref(), metadata.model), (finish, None), "{text}");
        }
    }

    #[test]
    fn errors_and_nonsense_are_told_apart_from_text() {
        let read = |text: &str| object(text, &mut Metadata::default()).unwrap_err();
        assert_eq!(
            read(r#"{"error":{"message":"too\u001b[31m hot\n"}}"#),
            "the server reports: too [31m hot"
        );
        assert_eq!(read(r#"{"error":"hot"}"#), "the server reports: hot");
        assert_eq!(
            read(r#"{"error":{"code":3},"choices":[]}"#),
            "the server reports: an error without words"
        );
        for text in ["", "[]", "{}", r#"{"choices":[{"delta":{"content":5}}]}"#, "<html>"] {
            read(text);
        }
        assert_eq!(clean(&"é".repeat(300)).chars().count(), LONGEST_MESSAGE + 1);
    }

    #[test]
    fn error_events_have_words_in_many_places() {
        for (data, wanted) in [
            (r#"{"error":{"message":"hot"}}"#, "hot"),
            (r#"{"error":"hot"}"#, "hot"),
            (r#"{"message":"hot"}"#, "hot"),
            (r#""hot""#, "hot"),
            ("too hot", "too hot"),
            (r#"{"code":3}"#, "an error without words"),
            ("", "an error without words"),
        ] {
            assert_eq!(error_event(data), format!("the server reports: {wanted}"), "{data}");
        }
    }
}
