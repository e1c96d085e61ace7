//! The fields of a request, taken one by one, so that what nobody took can be refused rather than ignored.

use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// What is left of a request's object.
pub(crate) struct Fields {
    left: Map<String, Value>,
    /// Fields that were there and change nothing.
    pub(crate) ignored: Vec<&'static str>,
}

impl Fields {
    /// # Errors
    /// When `body` is not a JSON object.
    pub(crate) fn parse(body: &[u8]) -> Result<Fields, Refusal> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(left)) => Ok(Fields { left, ignored: Vec::new() }),
            Ok(_) => Err(Refusal::invalid("the body is JSON, but no object")),
            Err(error) => Err(Refusal::invalid(format!("the body is not JSON: {error}"))),
        }
    }

    /// The value called `name`; `null` counts as absent.
    pub(crate) fn value(&mut self, name: &str) -> Option<Value> {
        self.left.shift_remove(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(name, "a string")),
        }
    }

    /// A list of texts; empty when absent.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(Vec::new()) };
        serde_json::from_value(value).map_err(|_| wrong(name, "a list of strings"))
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.value(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(wrong(name, "true or false")),
        }
    }

    /// A number from `least` to `most`.
    pub(crate) fn number(&mut self, name: &str, least: f64, most: f64) -> Result<Option<f32>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        match value.as_f64().filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number as f32)),
            None => Err(wrong(name, &format!("a number from {least} to {most}"))),
        }
    }

    /// A whole number, at least `least`.
    pub(crate) fn count(&mut self, name: &str, least: u64) -> Result<Option<usize>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        match value.as_u64().filter(|number| *number >= least).and_then(|number| number.try_into().ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(name, &format!("a whole number, {least} or more"))),
        }
    }

    /// Leaves a field aside that changes nothing here.
    pub(crate) fn ignore(&mut self, name: &'static str) {
        if self.value(name).is_some() {
            self.ignored.push(name);
        }
    }

    /// Refuses a field that asks for something this server does not do, unless it asks for nothing.
    pub(crate) fn only(&mut self, name: &str, neutral: &[Value], what: &str) -> Result<(), Refusal> {
        match self.value(name) {
            Some(value) if !neutral.contains(&value) => {
                Err(Refusal::invalid(format!("{name}: {what}")).at(name).code("unsupported_value"))
            }
            _ => Ok(()),
        }
    }

    /// # Errors
    /// When a field is left that nobody took.
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => Err(Refusal::invalid(format!("unknown field: {name}"))
                .at(name.as_str())
                .code("unknown_parameter")),
        }
    }
}

/// The refusal of a value that does not fit.
pub(crate) fn wrong(name: &str, expected: &str) -> Refusal {
    Refusal::invalid(format!("{name} must be {expected}")).at(name).code("invalid_value")
}
