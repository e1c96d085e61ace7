//! Values between Python and Rust: its own `json` knows what its objects are.

use pyo3::prelude::*;
use serde::Serialize;
use serde_json::Value;

/// A value as `json.dumps` writes it.
pub(crate) fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    let text: String = value.py().import("json")?.call_method1("dumps", (value,))?.extract()?;
    // Its NaN is not JSON, and no field here takes a number that could be one.
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

/// A value as `json.loads` reads it.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    let text = serde_json::to_string(value).unwrap_or_default();
    py.import("json")?.call_method1("loads", (text,))
}
