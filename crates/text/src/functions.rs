//! Functions that a model may call, in the talk: told by the template where it knows them, else in plain text.
//!
//! The plain text is the form that Hermes and Qwen were taught: a list in `<tools>`, a call in `<tool_call>`, a result in
//! `<tool_response>`.

use serde_json::{Value, json};

use crate::chat::{Message, Role};

/// A call that the model made.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FunctionCall {
    /// The function's name.
    pub name: String,
    /// What it is called with: an object, or a text that is none.
    pub arguments: Value,
    /// By what its result is told apart, where there is such a name.
    pub id: Option<String>,
}

/// `messages` with `functions` (each with `name`, and `description` and `parameters` where it has them), calls and results as plain text:
/// the functions behind the instructions, or in front of the first message where there are none.
pub fn in_plain_text(messages: &[Message], functions: &[Value]) -> Vec<Message> {
    let mut talk: Vec<Message> = Vec::with_capacity(messages.len() + 1);
    let mut results = false;
    for message in messages {
        let role = if message.role == Role::Tool { Role::User } else { message.role };
        let mut parts: Vec<String> = message.calls.iter().map(call).collect();
        if message.role == Role::Tool {
            parts.push(format!("<tool_response>\n{}\n</tool_response>", message.content));
        } else if !message.content.is_empty() || parts.is_empty() {
            parts.insert(0, message.content.clone());
        }
        let text = parts.join("\n");
        match talk.last_mut() {
            // Turns are to alternate.
            Some(last) if results && message.role == Role::Tool => {
                last.content = format!("{}\n{text}", last.content)
            }
            _ => talk.push(Message::new(role, text)),
        }
        results = message.role == Role::Tool;
    }
    if !functions.is_empty() {
        tell(functions, &mut talk);
    }
    talk
}

fn call(call: &FunctionCall) -> String {
    format!("<tool_call>\n{}\n</tool_call>", json!({"name": call.name, "arguments": call.arguments}))
}

fn tell(functions: &[Value], messages: &mut Vec<Message>) {
    let list: Vec<String> = described(functions).iter().map(Value::to_string).collect();
    let told = format!(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function \
         signatures within <tools></tools> XML tags:\n<tools>\n{}\n</tools>\n\nFor each function call, return a json object \
         with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{{\"name\": \
         <function-name>, \"arguments\": <args-json-object>}}\n</tool_call>",
        list.join("\n")
    );
    let place = messages.iter().position(|message| message.role == Role::System);
    let place = place.or_else(|| messages.iter().position(|message| message.role == Role::User));
    match place.map(|at| &mut messages[at]) {
        Some(message) if message.role == Role::System => {
            message.content = format!("{}\n\n{told}", message.content)
        }
        Some(message) => message.content = format!("{told}\n\n{}", message.content),
        None => messages.insert(0, Message::new(Role::System, told)),
    }
}

/// Functions as templates and OpenAI's interface have them.
pub(crate) fn described(functions: &[Value]) -> Vec<Value> {
    functions.iter().map(|function| json!({"type": "function", "function": function})).collect()
}

/// `value` with `change` made to every text in it, names of fields left out.
pub(crate) fn with_texts(value: &Value, change: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(text)),
        Value::Array(list) => list.iter().map(|value| with_texts(value, change)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), with_texts(value, change))).collect()
        }
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_stand_behind_the_instructions() {
        let functions = [json!({"name": "weather"})];
        let talk = [Message::new(Role::System, "Be short."), Message::new(Role::User, "Hi.")];
        let told = in_plain_text(&talk, &functions);
        assert!(
            told[0].content.starts_with("Be short.\n\n# Tools") && told[0].content.contains("\"weather\"")
        );
        let told = in_plain_text(&talk[1..], &functions);
        assert!(told.len() == 1 && told[0].content.ends_with("\n\nHi."));
        assert_eq!(in_plain_text(&talk, &[]), talk);
    }

    #[test]
    fn calls_and_results_are_turns_that_alternate() {
        let call = |town: &str| FunctionCall {
            name: "weather".to_owned(),
            arguments: json!({"town": town}),
            id: None,
        };
        let called = Message {
            calls: vec![call("Rome"), call("Oslo")],
            ..Message::new(Role::Assistant, "Let me see.")
        };
        let talk = [
            Message::new(Role::User, "And?"),
            called,
            Message::new(Role::Tool, "sun"),
            Message::new(Role::Tool, "snow"),
        ];
        let told = in_plain_text(&talk, &[]);
        let roles: Vec<Role> = told.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant, Role::User]);
        assert!(
            told[1].content.starts_with("Let me see.\n<tool_call>\n{")
                && told[1].content.matches("<tool_call>").count() == 2
        );
        assert_eq!(
            told[2].content,
            "<tool_response>\nsun\n</tool_response>\n<tool_response>\nsnow\n</tool_response>"
        );
    }
}
