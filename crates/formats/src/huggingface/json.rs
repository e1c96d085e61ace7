//! A JSON object with typed getters that name file and key when a value is of the wrong kind.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// A JSON object of a named file. `null` counts as absent, as it does in transformers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object<'a> {
    pub(crate) file: &'a str,
    pub(crate) map: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn usize(&self, key: &str) -> Result<Option<usize>> {
        self.get(key)
            .map(|value| {
                // Sizes written as 4096.0 occur in configurations made by scripts.
                let integer = value.as_u64().or_else(|| {
                    value.as_f64().filter(|v| v.fract() == 0.0 && (0.0..1e15).contains(v)).map(|v| v as u64)
                });
                integer
                    .and_then(|value| usize::try_from(value).ok())
                    .ok_or_else(|| self.wrong(key, "a whole number of zero or more", value))
            })
            .transpose()
    }

    pub(crate) fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.get(key)
            .map(|value| {
                let number = value.as_f64().ok_or_else(|| self.wrong(key, "a number", value))? as f32;
                if number.is_finite() { Ok(number) } else { Err(self.wrong(key, "a finite number", value)) }
            })
            .transpose()
    }

    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.get(key)
            .map(|value| value.as_bool().ok_or_else(|| self.wrong(key, "true or false", value)))
            .transpose()
    }

    pub(crate) fn str(&self, key: &str) -> Result<Option<&'a str>> {
        self.get(key)
            .map(|value| value.as_str().ok_or_else(|| self.wrong(key, "a string", value)))
            .transpose()
    }

    pub(crate) fn object(&self, key: &str) -> Result<Option<Object<'a>>> {
        self.get(key)
            .map(|value| match value {
                Value::Object(map) => Ok(Object { file: self.file, map }),
                _ => Err(self.wrong(key, "an object", value)),
            })
            .transpose()
    }

    pub(crate) fn strings(&self, key: &str) -> Result<Option<Vec<&'a str>>> {
        self.get(key)
            .map(|value| {
                let list = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
                list.ok_or_else(|| self.wrong(key, "a list of strings", value))
            })
            .transpose()
    }

    pub(crate) fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.get(key)
            .map(|value| {
                let list = value
                    .as_array()
                    .and_then(|list| list.iter().map(|v| v.as_f64().map(|v| v as f32)).collect());
                list.ok_or_else(|| self.wrong(key, "a list of numbers", value))
            })
            .transpose()
    }

    /// A token id or a list of them, as `eos_token_id` is written.
    pub(crate) fn ids(&self, key: &str) -> Result<Option<Vec<u32>>> {
        let id = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
        self.get(key)
            .map(|value| {
                let ids = match value {
                    Value::Array(list) => list.iter().map(id).collect(),
                    single => id(single).map(|id| vec![id]),
                };
                ids.ok_or_else(|| self.wrong(key, "a token id or a list of token ids", value))
            })
            .transpose()
    }

    /// Lists of token ids, as `bad_words_ids` is written.
    pub(crate) fn id_lists(&self, key: &str) -> Result<Option<Vec<Vec<u32>>>> {
        let id = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
        let ids = |value: &Value| value.as_array()?.iter().map(id).collect::<Option<Vec<u32>>>();
        self.get(key)
            .map(|value| {
                let lists = value.as_array().and_then(|lists| lists.iter().map(ids).collect());
                lists.ok_or_else(|| self.wrong(key, "a list of lists of token ids", value))
            })
            .transpose()
    }

    pub(crate) fn missing(&self, key: &str) -> Error {
        Error::key(self.file, key, "is missing")
    }

    fn wrong(&self, key: &str, wanted: &str, found: &Value) -> Error {
        let mut found = found.to_string();
        if found.chars().count() > 60 {
            found = found.chars().take(60).chain(['…']).collect();
        }
        Error::key(self.file, key, format!("should be {wanted}, is {found}"))
    }
}

/// Parses `bytes` as a JSON object.
pub(crate) fn parse_object(file: &str, bytes: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::file(file, format!("is not valid JSON: {error}"))
            .with_hint("the file is damaged or was cut short; download it again")
    })
}
