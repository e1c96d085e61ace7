//! The messages of a conversation.

use crayon_engine::{Message, Role};
use serde_json::{Value, json};

use crate::fields::wrong;
use crate::refusal::Refusal;
use crate::tools::{told_call, told_result};

pub(crate) fn read_messages(value: Value) -> Result<Vec<Message>, Refusal> {
    let Value::Array(list) = value else { return Err(wrong("messages", "a list")) };
    if list.is_empty() {
        return Err(wrong("messages", "a list of at least one message"));
    }
    let mut messages: Vec<Message> = Vec::with_capacity(list.len());
    for (at, message) in list.iter().enumerate() {
        push(&mut messages, read_message(message, &format!("messages.{at}"))?);
    }
    Ok(messages)
}

/// The input of `/v1/responses`: a text, or messages, calls of functions and their results.
pub(crate) fn read_items(value: Value) -> Result<Vec<Message>, Refusal> {
    let list = match value {
        Value::String(text) => return Ok(vec![Message::new(Role::User, text)]),
        Value::Array(list) if !list.is_empty() => list,
        _ => return Err(wrong("input", "a text, or a list of at least one item")),
    };
    let mut messages: Vec<Message> = Vec::with_capacity(list.len());
    for (at, item) in list.iter().enumerate() {
        let name = format!("input.{at}");
        let text = |field: &str| {
            let text = item.get(field).and_then(Value::as_str);
            text.ok_or_else(|| wrong(&format!("{name}.{field}"), "a string"))
        };
        let message = match item.get("type").and_then(Value::as_str) {
            None | Some("message") => read_message(item, &name)?,
            Some("function_call") => {
                Message::new(Role::Assistant, told_call(text("name")?, text("arguments")?))
            }
            Some("function_call_output") => Message::new(Role::User, told_result(text("output")?)),
            Some(_) => {
                return Err(wrong(&format!("{name}.type"), "message, function_call or function_call_output"));
            }
        };
        push(&mut messages, message);
    }
    Ok(messages)
}

/// Adds a message; calls and results of one turn are one message, because templates want turns to alternate.
fn push(messages: &mut Vec<Message>, message: Message) {
    let marked = message.content.starts_with("<tool_");
    match messages.last_mut() {
        Some(last) if marked && last.role == message.role => {
            last.content = format!("{}\n{}", last.content, message.content);
        }
        _ => messages.push(message),
    }
}

fn read_message(message: &Value, name: &str) -> Result<Message, Refusal> {
    let role = match message.get("role").and_then(Value::as_str) {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::User,
        _ => return Err(wrong(&format!("{name}.role"), "system, developer, user, assistant or tool")),
    };
    let calls = read_calls(message.get("tool_calls").unwrap_or(&Value::Null), name)?;
    let is_result = message.get("role") == Some(&json!("tool"));
    let name = format!("{name}.content");
    let text = match message.get("content") {
        None | Some(Value::Null) if !calls.is_empty() => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts: Option<Vec<&str>> = parts.iter().map(text_of).collect();
            texts.ok_or_else(|| wrong(&name, "text; pictures and sounds are not read"))?.concat()
        }
        _ => return Err(wrong(&name, "a string or a list of text parts")),
    };
    if is_result {
        return Ok(Message::new(role, told_result(&text)));
    }
    let mut parts = calls;
    if !text.is_empty() {
        parts.insert(0, text);
    }
    Ok(Message::new(role, parts.join("\n")))
}

/// Calls of functions that the model made earlier, as it wrote them.
fn read_calls(list: &Value, name: &str) -> Result<Vec<String>, Refusal> {
    let call = |call: &Value| {
        let function = call.get("function")?;
        Some(told_call(function.get("name")?.as_str()?, function.get("arguments")?.as_str()?))
    };
    match list {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => {
            let calls: Option<Vec<String>> = list.iter().map(call).collect();
            calls.ok_or_else(|| {
                wrong(&format!("{name}.tool_calls"), "calls of functions with name and arguments")
            })
        }
        _ => Err(wrong(&format!("{name}.tool_calls"), "a list")),
    }
}

fn text_of(part: &Value) -> Option<&str> {
    let kinds = ["text", "input_text", "output_text"];
    kinds.contains(&part.get("type")?.as_str()?).then(|| part.get("text")?.as_str())?
}
