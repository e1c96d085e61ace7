//! What the tests share.

#![allow(dead_code)]

use std::path::PathBuf;

use crayon_vision::{Clip, Options, Pixels};

pub(crate) const MODELS: [&str; 3] = ["clip", "clip-gelu", "siglip"];

pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub(crate) fn open(name: &str) -> Clip {
    open_with(name, Options { threads: Some(2), ..Options::default() })
}

pub(crate) fn open_with(name: &str, options: Options) -> Clip {
    Clip::open(&fixture(name), options).unwrap()
}

pub(crate) fn json(path: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(fixture(path)).unwrap()).unwrap()
}

pub(crate) fn floats(value: &serde_json::Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

/// The picture of `scripts/fixtures/clip.py` of this index.
pub(crate) fn picture(index: usize, size: usize) -> Pixels {
    let value = |y: usize, x: usize, c: usize| x * (7 + index) + y * 13 + c * 29 + x * y * (index + 1);
    let pixels = (0..size * size).flat_map(|at| (0..3).map(move |c| value(at / size, at % size, c) as u8));
    Pixels { size, rgb: pixels.collect() }
}

/// The largest difference, NaN if there is one.
pub(crate) fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |most, d| if d > most || d.is_nan() { d } else { most })
}
