//! What the server's objects mean.

use serde_json::Value;

/// Longest message of a server that is passed on, in characters.
const LONGEST_MESSAGE: usize = 200;

/// What an answer has told so far, besides its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
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
pub(crate) fn object(text: &str, told: &mut Told) -> Result<Option<String>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("an object is broken: {error}"))?;
    if let Some(message) = message(&value) {
        return Err(format!("the server reports: {message}"));
    }
    let usage = &value["usage"];
    let count = |name: &str| usage[name].as_u64().map(|count| count as usize);
    told.prompt_tokens = count("prompt_tokens").or(told.prompt_tokens);
    told.written = count("completion_tokens").or(told.written);
    if told.model.is_none() {
        told.model = value["model"].as_str().map(clean);
    }
    let Some(choice) = value["choices"].as_array().ok_or("an object has no choices")?.first() else {
        return Ok(None);
    };
    if let Some(finish) = choice["finish_reason"].as_str() {
        told.finish = Some(clean(finish));
    }
    let content = choice.pointer("/delta/content").or_else(|| choice.pointer("/message/content"));
    match content {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err("an object's content is no text".to_owned()),
    }
}

/// The message of an error object.
pub(crate) fn message(value: &Value) -> Option<String> {
    let error = value.get("error").filter(|error| !error.is_null())?;
    let text = error.get("message").and_then(Value::as_str).or_else(|| error.as_str());
    Some(clean(text.unwrap_or("an error without words")))
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
        let mut told = Told::default();
        let mut read = |text: &str| object(text, &mut told);
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
        let wanted = Told {
            finish: Some("stop".to_owned()),
            prompt_tokens: Some(3),
            written: Some(4),
            model: Some("m".to_owned()),
        };
        assert_eq!(told, wanted);
    }

    #[test]
    fn errors_and_nonsense_are_told_apart_from_text() {
        let read = |text: &str| object(text, &mut Told::default()).unwrap_err();
        assert_eq!(
            read(r#"{"error":{"message":"too\u001b[31m hot\n"}}"#),
            "the server reports: too [31m hot"
        );
        for text in ["", "[]", "{}", r#"{"choices":[{"delta":{"content":5}}]}"#, "<html>"] {
            read(text);
        }
        assert_eq!(clean(&"é".repeat(300)).chars().count(), LONGEST_MESSAGE + 1);
    }
}
