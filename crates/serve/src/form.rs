//! The form an answer shall have: `response_format` and `grammar`.

use crayon_engine::Constrained;
use crayon_guided::Form;
use serde_json::Value;

use crate::fields::{Fields, wrong};
use crate::hosted::Hosted;
use crate::refusal::Refusal;

/// The form that a request asks for, and the field that says so.
pub(crate) fn read_form(fields: &mut Fields) -> Result<Option<(&'static str, Form)>, Refusal> {
    let format = match fields.value("response_format") {
        None => None,
        Some(format) => read_format(&format, "response_format")?,
    };
    match (format, fields.value("grammar")) {
        (Some(_), Some(_)) => Err(wrong("grammar", "left out with response_format")),
        (format, None) => Ok(format.map(|form| ("response_format", form))),
        (None, Some(Value::String(text))) => Ok(Some(("grammar", Form::Lark(text)))),
        (None, Some(Value::Object(map))) => match map.iter().next() {
            Some((kind, Value::String(text))) if kind == "regex" && map.len() == 1 => {
                Ok(Some(("grammar", Form::Regex(text.clone()))))
            }
            _ => Err(wrong("grammar", "a text in Lark, or {\"regex\": text}")),
        },
        (None, Some(_)) => Err(wrong("grammar", "a text in Lark, or {\"regex\": text}")),
    }
}

/// `{"type": "text" | "json_object" | "json_schema", …}` as `name`; the schema stands in `json_schema`, or beside the type.
pub(crate) fn read_format(format: &Value, name: &str) -> Result<Option<Form>, Refusal> {
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Form::Object)),
        Some("json_schema") => {
            let schema = format.get("json_schema").unwrap_or(format).get("schema");
            let schema = schema.filter(|schema| schema.is_object() || schema.is_boolean());
            let schema = schema.ok_or_else(|| wrong(name, "a json_schema with its schema"))?;
            Ok(Some(Form::Schema(schema.clone())))
        }
        _ => Err(wrong(name, "of the type text, json_object or json_schema")),
    }
}

/// `form` for the model that is asked; `field` asked for it.
pub(crate) fn constrained(hosted: &Hosted, field: &str, form: &Form) -> Result<Constrained, Refusal> {
    let refused =
        |error: String| Refusal::invalid(format!("{field}: {error}")).at(field).code("invalid_value");
    let guide = hosted.guide().map_err(refused)?;
    let grammar = guide.grammar(form).map_err(|error| refused(error.to_string()))?;
    Ok(Constrained(grammar))
}
