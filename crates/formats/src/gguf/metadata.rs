//! Typed key-value metadata of a GGUF file.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the variants are the types they hold
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// An array of one element type; arrays of arrays are allowed.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the variants are the types they hold
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(v) => v.len(),
            Array::I8(v) => v.len(),
            Array::U16(v) => v.len(),
            Array::I16(v) => v.len(),
            Array::U32(v) => v.len(),
            Array::I32(v) => v.len(),
            Array::U64(v) => v.len(),
            Array::I64(v) => v.len(),
            Array::F32(v) => v.len(),
            Array::F64(v) => v.len(),
            Array::Bool(v) => v.len(),
            Array::String(v) => v.len(),
            Array::Array(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as integers, if that is what they are.
    fn integers(&self) -> Option<Vec<i64>> {
        Some(match self {
            Array::U8(v) => v.iter().map(|&x| x.into()).collect(),
            Array::I8(v) => v.iter().map(|&x| x.into()).collect(),
            Array::U16(v) => v.iter().map(|&x| x.into()).collect(),
            Array::I16(v) => v.iter().map(|&x| x.into()).collect(),
            Array::U32(v) => v.iter().map(|&x| x.into()).collect(),
            Array::I32(v) => v.iter().map(|&x| x.into()).collect(),
            Array::I64(v) => v.clone(),
            Array::U64(v) => {
                v.iter().map(|&x| i64::try_from(x)).collect::<std::result::Result<_, _>>().ok()?
            }
            _ => return None,
        })
    }
}

impl Value {
    /// The value as an integer, if it is one and fits.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::U8(v) => Some(v.into()),
            Value::I8(v) => Some(v.into()),
            Value::U16(v) => Some(v.into()),
            Value::I16(v) => Some(v.into()),
            Value::U32(v) => Some(v.into()),
            Value::I32(v) => Some(v.into()),
            Value::U64(v) => v.try_into().ok(),
            Value::I64(v) => Some(v),
            _ => None,
        }
    }

    /// The kind of value, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::U8(_) | Value::U16(_) | Value::U32(_) | Value::U64(_) => "an unsigned integer",
            Value::I8(_) | Value::I16(_) | Value::I32(_) | Value::I64(_) => "an integer",
            Value::F32(_) | Value::F64(_) => "a float",
            Value::Bool(_) => "a bool",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
        }
    }
}

impl From<u32> for Value {
    fn from(v: u32) -> Value {
        Value::U32(v)
    }
}

impl From<f32> for Value {
    fn from(v: f32) -> Value {
        Value::F32(v)
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Value {
        Value::Bool(v)
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Value {
        Value::String(v.to_owned())
    }
}

impl From<String> for Value {
    fn from(v: String) -> Value {
        Value::String(v)
    }
}

impl From<Vec<String>> for Value {
    fn from(v: Vec<String>) -> Value {
        Value::Array(Array::String(v))
    }
}

impl From<Vec<f32>> for Value {
    fn from(v: Vec<f32>) -> Value {
        Value::Array(Array::F32(v))
    }
}

impl From<Vec<i32>> for Value {
    fn from(v: Vec<i32>) -> Value {
        Value::Array(Array::I32(v))
    }
}

impl From<Vec<bool>> for Value {
    fn from(v: Vec<bool>) -> Value {
        Value::Array(Array::Bool(v))
    }
}

/// Keys and values in file order, with the name of the file for messages.
///
/// The typed getters give `None` for an absent key and an error that names file and key for a value of another
/// type. Integers of any width convert if they fit.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    file: String,
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// No entries; `file` is what messages will name.
    pub fn new(file: &str) -> Metadata {
        Metadata { file: file.to_owned(), ..Metadata::default() }
    }

    /// The file messages name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).and_then(|&at| self.entries.get(at)).map(|entry| &entry.1)
    }

    /// Sets `key`, in its old place if it was there; gives what it was.
    pub fn insert(&mut self, key: &str, value: impl Into<Value>) -> Option<Value> {
        let value = value.into();
        match self.index.get(key).and_then(|&at| self.entries.get_mut(at)) {
            Some(entry) => Some(std::mem::replace(&mut entry.1, value)),
            None => {
                self.index.insert(key.to_owned(), self.entries.len());
                self.entries.push((key.to_owned(), value));
                None
            }
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// `key` as an unsigned 32-bit integer.
    ///
    /// # Errors
    /// If it is something else.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.integer(key)
    }

    /// `key` as a size.
    ///
    /// # Errors
    /// If it is something else.
    pub fn usize(&self, key: &str) -> Result<Option<usize>> {
        self.integer(key)
    }

    /// `key` as a 32-bit float; integers and doubles convert.
    ///
    /// # Errors
    /// If it is something else.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::F32(v)) => Ok(Some(*v)),
            Some(Value::F64(v)) => Ok(Some(*v as f32)),
            Some(other) => match other.as_i64() {
                Some(v) => Ok(Some(v as f32)),
                None => Err(self.wrong(key, "a number", other)),
            },
        }
    }

    /// `key` as a truth value; integers 0 and 1 convert.
    ///
    /// # Errors
    /// If it is something else.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(v)) => Ok(Some(*v)),
            Some(other) => match other.as_i64() {
                Some(v @ (0 | 1)) => Ok(Some(v == 1)),
                _ => Err(self.wrong(key, "a bool", other)),
            },
        }
    }

    /// `key` as a string.
    ///
    /// # Errors
    /// If it is something else.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(v)) => Ok(Some(v)),
            Some(other) => Err(self.wrong(key, "a string", other)),
        }
    }

    /// `key` as an array of strings.
    ///
    /// # Errors
    /// If it is something else.
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::String(v))) => Ok(Some(v)),
            Some(other) => Err(self.wrong(key, "an array of strings", other)),
        }
    }

    /// `key` as an array of 32-bit floats.
    ///
    /// # Errors
    /// If it is something else.
    pub fn f32s(&self, key: &str) -> Result<Option<&[f32]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::F32(v))) => Ok(Some(v)),
            Some(other) => Err(self.wrong(key, "an array of 32-bit floats", other)),
        }
    }

    /// `key` as an array of 32-bit integers; other widths convert if every element fits.
    ///
    /// # Errors
    /// If it is something else.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let converted = match value {
            Value::Array(array) => array.integers().and_then(|values| {
                values.into_iter().map(i32::try_from).collect::<std::result::Result<Vec<_>, _>>().ok()
            }),
            _ => None,
        };
        converted.map(Some).ok_or_else(|| self.wrong(key, "an array of 32-bit integers", value))
    }

    /// `key` as one truth value per element of an array of bools or integers.
    ///
    /// # Errors
    /// If it is something else.
    pub fn bools(&self, key: &str) -> Result<Option<Vec<bool>>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::Bool(v))) => Ok(Some(v.clone())),
            Some(other) => match other {
                Value::Array(array) => array
                    .integers()
                    .map(|values| Some(values.into_iter().map(|v| v != 0).collect()))
                    .ok_or_else(|| self.wrong(key, "an array of bools", other)),
                _ => Err(self.wrong(key, "an array of bools", other)),
            },
        }
    }

    /// The value of a getter, which must be there: `metadata.required("general.architecture", Metadata::str)`.
    ///
    /// # Errors
    /// If the key is absent or of another type.
    pub fn required<'a, T>(
        &'a self,
        key: &str,
        getter: impl Fn(&'a Metadata, &str) -> Result<Option<T>>,
    ) -> Result<T> {
        getter(self, key)?.ok_or_else(|| Error::key(&self.file, key, "is missing"))
    }

    fn integer<T: TryFrom<i64>>(&self, key: &str) -> Result<Option<T>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(v) => T::try_from(v)
                    .map(Some)
                    .map_err(|_| Error::key(&self.file, key, format!("{v} is out of range"))),
                None => Err(self.wrong(key, "an integer", value)),
            },
        }
    }

    fn wrong(&self, key: &str, wanted: &str, found: &Value) -> Error {
        Error::key(&self.file, key, format!("should be {wanted}, is {}", found.kind()))
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Metadata) -> bool {
        self.entries == other.entries
    }
}
