//! Functions that a model may call: what a request offers, the form of an answer that has to be a call, and the calls in what was written.
//! How the model is told of them is [`crayon_engine::Engine::function_prompt`]'s.

use crayon_guided::Form;
use serde_json::{Map, Value, json};

use crate::fields::{Fields, wrong};
use crate::refusal::Refusal;

/// What stands around a call.
const CALL: (&str, &str) = ("<tool_call>", "</tool_call>");
/// Functions of one request.
const MOST: usize = 64;

/// Functions a request offers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tools {
    /// Definitions as they came: name, description, parameters.
    functions: Vec<Value>,
    /// Whether an answer has to be a call, and of which function.
    must: Option<Option<String>>,
}

/// A call that the model wrote.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// An object, as text.
    pub(crate) arguments: String,
}

/// `tools` and `tool_choice`; `None` where no function may be called.
pub(crate) fn read_tools(fields: &mut Fields) -> Result<Option<Tools>, Refusal> {
    let list = match fields.value("tools") {
        None => Vec::new(),
        Some(Value::Array(list)) if list.len() <= MOST => list,
        Some(_) => return Err(wrong("tools", &format!("a list of at most {MOST} functions"))),
    };
    let mut functions = Vec::with_capacity(list.len());
    for (at, tool) in list.into_iter().enumerate() {
        let function = tool.get("function").filter(|_| tool.get("type") == Some(&json!("function")));
        // `/v1/responses` has them flat.
        let flat =
            (tool.get("type") == Some(&json!("function")) && tool.get("name").is_some()).then_some(&tool);
        let named = |function: &&Value| {
            function.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty())
                && function.get("parameters").is_none_or(Value::is_object)
        };
        let name = format!("tools.{at}");
        let expected = "a function with its name and, where it has any, its parameters as a schema";
        let function = function.or(flat).filter(named).ok_or_else(|| wrong(&name, expected))?;
        let parts = ["name", "description", "parameters"];
        let kept = parts.iter().filter_map(|part| Some(((*part).to_owned(), function.get(*part)?.clone())));
        functions.push(Value::Object(kept.collect()));
    }
    let choice = fields.value("tool_choice").unwrap_or(json!("auto"));
    let named = choice.pointer("/function/name").or(choice.get("name")).and_then(Value::as_str);
    let known = |name: &str| functions.iter().any(|function| function["name"] == name);
    let must = match (choice.as_str(), named) {
        (Some("none"), _) => return Ok(None),
        (Some("auto"), _) => None,
        (Some("required"), _) if !functions.is_empty() => Some(None),
        (None, Some(name)) if known(name) => Some(Some(name.to_owned())),
        _ => return Err(wrong("tool_choice", "none, auto, required or one of the functions in tools")),
    };
    Ok((!functions.is_empty()).then_some(Tools { functions, must }))
}

impl Tools {
    /// Definitions, as the model is told of them.
    pub(crate) fn functions(&self) -> &[Value] {
        &self.functions
    }

    /// The form of an answer that has to be a call.
    pub(crate) fn form(&self) -> Option<Form> {
        let must = self.must.as_ref()?;
        let wanted = self
            .functions
            .iter()
            .filter(|function| must.as_deref().is_none_or(|name| function["name"] == name));
        let calls: Vec<Value> = wanted
            .map(|function| {
                let parameters = function.get("parameters").cloned().unwrap_or(json!({"type": "object"}));
                json!({
                    "type": "object",
                    "properties": {"name": {"const": function["name"]}, "arguments": parameters},
                    "required": ["name", "arguments"],
                    "additionalProperties": false,
                })
            })
            .collect();
        Some(Form::Schema(match calls.len() {
            1 => calls.into_iter().next().unwrap_or_default(),
            _ => json!({"anyOf": calls}),
        }))
    }

    /// The calls in an answer, and the text beside them; `None` where it calls nothing.
    pub(crate) fn calls(&self, text: &str) -> Option<(String, Vec<Call>)> {
        let (mut beside, mut calls, mut rest) = (String::new(), Vec::new(), text);
        while let Some((before, behind)) = rest.split_once(CALL.0) {
            let (inner, after) = behind.split_once(CALL.1).unwrap_or((behind, ""));
            calls.extend(self.read(inner)?);
            beside.push_str(before);
            rest = after;
        }
        if calls.is_empty() {
            return Some((String::new(), self.read(text)?));
        }
        beside.push_str(rest);
        Some((beside.trim().to_owned(), calls))
    }

    /// One call, or a list of them.
    fn read(&self, text: &str) -> Option<Vec<Call>> {
        let value: Value = serde_json::from_str(text.trim()).ok()?;
        let list = match value {
            Value::Array(list) => list,
            value => vec![value],
        };
        let call = |value: &Value| {
            let name = value.get("name")?.as_str()?;
            let known = self.functions.iter().any(|function| function["name"] == name);
            let arguments = value.get("arguments").or(value.get("parameters"));
            let arguments = arguments.cloned().unwrap_or(Value::Object(Map::new()));
            (known && arguments.is_object())
                .then(|| Call { name: name.to_owned(), arguments: arguments.to_string() })
        };
        let calls: Option<Vec<Call>> = list.iter().map(call).collect();
        calls.filter(|calls| !calls.is_empty())
    }
}

/// How much of an answer is not a call whatever follows: bytes from its beginning.
pub(crate) fn no_call(text: &str) -> usize {
    if text.trim_start().is_empty() || text.trim_start().starts_with(['{', '[']) {
        return 0;
    }
    if let Some(at) = text.find(CALL.0) {
        return at;
    }
    let begins = |at: &usize| CALL.0.starts_with(&text[*at..]);
    text.char_indices().map(|(at, _)| at).find(begins).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(choice: &str) -> Result<Option<Tools>, Refusal> {
        let body = format!(
            r#"{{"tools":[{{"type":"function","function":{{"name":"weather","description":"tells it","parameters":{{"type":"object",
                "properties":{{"town":{{"type":"string"}}}}}}}}}},{{"type":"function","function":{{"name":"time"}}}}],
                "tool_choice":{choice}}}"#
        );
        read_tools(&mut Fields::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn calls_are_found_in_every_form() {
        let tools = tools(r#""auto""#).unwrap().unwrap();
        let one =
            |name: &str, arguments: &str| Call { name: name.to_owned(), arguments: arguments.to_owned() };
        let weather = one("weather", r#"{"town":"Rome"}"#);
        let written = r#"{"name": "weather", "arguments": {"town": "Rome"}}"#;
        assert_eq!(tools.calls(written), Some((String::new(), vec![weather.clone()])));
        let tagged = format!(
            "Let me see.\n<tool_call>\n{written}\n</tool_call>\n<tool_call>{{\"name\":\"time\"}}</tool_call>"
        );
        assert_eq!(
            tools.calls(&tagged),
            Some(("Let me see.".to_owned(), vec![weather.clone(), one("time", "{}")]))
        );
        let unclosed = format!("<tool_call>{written}");
        assert_eq!(tools.calls(&unclosed), Some((String::new(), vec![weather])));
        for text in
            ["It is sunny.", "{}", r#"{"name":"other","arguments":{}}"#, "<tool_call>{</tool_call>", "[]"]
        {
            assert_eq!(tools.calls(text), None, "{text}");
        }
    }

    #[test]
    fn a_choice_is_one_of_the_functions() {
        assert_eq!(tools(r#""none""#), Ok(None));
        assert_eq!(tools(r#""auto""#).unwrap().unwrap().form(), None);
        let Some(Form::Schema(schema)) = tools(r#""required""#).unwrap().unwrap().form() else { panic!() };
        assert_eq!(schema["anyOf"].as_array().unwrap().len(), 2);
        let named = tools(r#"{"type":"function","function":{"name":"time"}}"#).unwrap().unwrap();
        let Some(Form::Schema(schema)) = named.form() else { panic!() };
        assert_eq!(schema["properties"]["name"]["const"], "time");
        for choice in [r#""perhaps""#, r#"{"type":"function","function":{"name":"other"}}"#] {
            assert_eq!(tools(choice).unwrap_err().param.unwrap(), "tool_choice");
        }
    }

    #[test]
    fn what_may_become_a_call_is_held_back() {
        for (text, free) in [
            ("Hello", 5),
            ("a <", 2),
            ("a <tool_c", 2),
            ("a <b", 4),
            ("x<tool_call>{", 1),
            (" {\"n", 0),
            ("", 0),
        ] {
            assert_eq!(no_call(text), free, "{text:?}");
        }
    }
}
