//! The messages of a conversation.

use crayon_engine::{FunctionCall, Message, Role};
use serde_json::{Value, json};

use crate::fields::wrong;
use crate::refusal::Refusal;

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
                let id = item.get("call_id").and_then(Value::as_str);
                let call = function_call(text("name")?, text("arguments")?, id);
                Message { calls: vec![call], ..Message::new(Role::Assistant, "") }
            }
            Some("function_call_output") => {
                let answers = item.get("call_id").and_then(Value::as_str).map(str::to_owned);
                Message { answers, ..Message::new(Role::Tool, text("output")?) }
            }
            Some(_) => {
                return Err(wrong(&format!("{name}.type"), "message, function_call or function_call_output"));
            }
        };
        push(&mut messages, message);
    }
    Ok(messages)
}

/// Adds a message; calls of one turn are one message.
fn push(messages: &mut Vec<Message>, message: Message) {
    let calls_on = message.content.is_empty() && !message.calls.is_empty();
    match messages.last_mut() {
        Some(last) if calls_on && last.role == message.role => last.calls.extend(message.calls),
        _ => messages.push(message),
    }
}

fn read_message(message: &Value, name: &str) -> Result<Message, Refusal> {
    let role = match message.get("role").and_then(Value::as_str) {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        _ => return Err(wrong(&format!("{name}.role"), "system, developer, user, assistant or tool")),
    };
    let calls = read_calls(message.get("tool_calls").unwrap_or(&Value::Null), name)?;
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
    let answers = message.get("tool_call_id").and_then(Value::as_str).filter(|_| role == Role::Tool);
    Ok(Message { calls, answers: answers.map(str::to_owned), ..Message::new(role, text) })
}

/// A call that the model made earlier; arguments that are not JSON stay text.
fn function_call(name: &str, arguments: &str, id: Option<&str>) -> FunctionCall {
    let arguments = serde_json::from_str(arguments).unwrap_or(json!(arguments));
    FunctionCall { name: name.to_owned(), arguments, id: id.map(str::to_owned) }
}

/// Calls of functions that the model made earlier.
fn read_calls(list: &Value, name: &str) -> Result<Vec<FunctionCall>, Refusal> {
    let call = |call: &Value| {
        let function = call.get("function")?;
        let id = call.get("id").and_then(Value::as_str);
        Some(function_call(function.get("name")?.as_str()?, function.get("arguments")?.as_str()?, id))
    };
    match list {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => {
            let calls: Option<Vec<FunctionCall>> = list.iter().map(call).collect();
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
