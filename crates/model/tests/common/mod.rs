//! The committed tiny networks and what the reference implementation computes for them.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};

use crayon_formats::Checkpoint;
use serde_json::Value;

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures")
}

/// One case: a network read by one configuration, and its expected answer.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) tokens: Vec<u32>,
    /// `[rows][vocab]`.
    pub(crate) logits: Vec<Vec<f32>>,
    /// Layer, then `[head][row][key]`.
    pub(crate) attention: Vec<(usize, Vec<Vec<Vec<f32>>>)>,
    pub(crate) checkpoint: Checkpoint,
    // Keeps a folder with an exchanged configuration alive while its files are mapped.
    _folder: Option<tempfile::TempDir>,
}

pub(crate) fn cases() -> Vec<Case> {
    let list = json(&fixtures().join("cases.json"));
    let cases: Vec<Case> = list.as_array().unwrap().iter().map(case).collect();
    assert!(cases.len() >= 25, "only {} cases", cases.len());
    cases
}

pub(crate) fn named(name: &str) -> Case {
    let list = json(&fixtures().join("cases.json"));
    let entry = list.as_array().unwrap().iter().find(|entry| entry["model"] == name);
    case(entry.unwrap_or_else(|| panic!("no fixture {name}")))
}

fn case(entry: &Value) -> Case {
    let path = |key: &str| fixtures().join(entry[key].as_str().unwrap());
    let expected = json(&path("expected"));
    let (checkpoint, folder) = open(&path("model"), &path("config"));
    let attention = expected["attention"].as_object().map(|layers| {
        let layer = |(layer, heads): (&String, &Value)| {
            let heads = heads.as_array().unwrap().iter().map(rows).collect();
            (layer.parse().unwrap(), heads)
        };
        layers.iter().map(layer).collect()
    });
    Case {
        name: entry["name"].as_str().unwrap().to_string(),
        tokens: expected["token_ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_u64().unwrap() as u32)
            .collect(),
        logits: rows(&expected["logits"]),
        attention: attention.unwrap_or_default(),
        checkpoint,
        _folder: folder,
    }
}

fn open(model: &Path, config: &Path) -> (Checkpoint, Option<tempfile::TempDir>) {
    if config.file_name().unwrap() == "config.json" {
        return (
            Checkpoint::open(model).unwrap_or_else(|error| panic!("{}: {error}", model.display())),
            None,
        );
    }
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(model).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name.to_string_lossy().contains("safetensors") {
            std::fs::copy(entry.path(), folder.path().join(name)).unwrap();
        }
    }
    std::fs::copy(config, folder.path().join("config.json")).unwrap();
    let checkpoint = Checkpoint::open(folder.path());
    (checkpoint.unwrap_or_else(|error| panic!("{}: {error}", config.display())), Some(folder))
}

pub(crate) fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn rows(value: &Value) -> Vec<Vec<f32>> {
    let number = |value: &Value| value.as_f64().unwrap() as f32;
    value.as_array().unwrap().iter().map(|row| row.as_array().unwrap().iter().map(number).collect()).collect()
}

/// The largest difference as a share of the largest expected magnitude.
pub(crate) fn relative_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let difference = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    // A NaN must not pass for a small difference.
    difference.fold(0.0, |largest: f32, d| if d.is_nan() { f32::INFINITY } else { largest.max(d) }) / scale
}

/// The workspace's evaluation data, or `None` after saying that the test skips.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn data(test: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = std::env::var_os("CRAYON_DATA").map_or(default, PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {test} needs the evaluation data (CRAYON_DATA)");
    None
}
