//! Runs of the built binary, away from the user's own files and from any network.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

pub(crate) mod server;
pub(crate) mod serving;

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// A place to run in: its own data folder and working directory.
pub(crate) struct Place {
    folder: TempDir,
    offline: &'static str,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { folder: tempfile::tempdir().expect("a temporary folder"), offline: "1" }
    }

    /// A place from which servers may be asked; tests have them on 127.0.0.1 only.
    pub(crate) fn online() -> Place {
        Place { offline: "0", ..Place::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a test file");
        path
    }

    /// `crayon` with `arguments`, nothing on stdin, offline unless the place is online.
    pub(crate) fn crayon(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.folder.path());
        for name in [
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "HF_ENDPOINT",
            "HF_HUB_OFFLINE",
            "NO_COLOR",
            "CRAYON_SERVER_KEY",
        ] {
            command.env_remove(name);
        }
        command
            .env("CRAYON_HOME", self.path("home"))
            .env("HOME", self.folder.path())
            .env("CRAYON_OFFLINE", self.offline);
        command
    }

    /// What a run that succeeds prints.
    pub(crate) fn text(&self, arguments: &[&str]) -> String {
        let output = self.crayon(arguments).output().expect("a run");
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The one object that a run with `--json` prints.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.text(&[arguments, &["--json"]].concat());
        assert_eq!(text.trim_end().lines().count(), 1, "{arguments:?} printed more than one line: {text}");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert!(value.is_object(), "{arguments:?}: {text}");
        value
    }

    /// A run that the user got wrong: exit code 2, an error that contains `message`, a hint that contains `hint`, and
    /// nothing on stdout.
    pub(crate) fn mistake(&self, arguments: &[&str], message: &str, hint: &str) -> String {
        let output = self.crayon(arguments).output().expect("a run");
        check_mistake(&output, message, hint)
    }
}

/// See [`Place::mistake`].
pub(crate) fn check_mistake(output: &Output, message: &str, hint: &str) -> String {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    let error =
        text.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("no error: {text}"));
    assert!(text.contains(message), "{text}");
    let hints: Vec<&str> = text.lines().filter(|line| line.starts_with("hint: ")).collect();
    assert!(hints.iter().any(|line| line.contains(hint)), "{text}");
    assert_eq!(hints.len(), 1, "{text}");
    assert!(output.stdout.is_empty(), "{text}");
    error.to_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The built binary.
pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_crayon"))
}

/// Public data that is not part of the repository; tests that need it say when it is missing.
pub(crate) fn data(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = std::env::var_os("CRAYON_DATA").map_or(root, PathBuf::from).join(name);
    if !path.exists() {
        eprintln!("skipped: {name} is not in ../shared/data (CRAYON_DATA names another folder)");
        return None;
    }
    Some(path)
}

/// Keys of an object, in order.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Numbers of the last position of `eval logits`.
pub(crate) fn logits(place: &Place, model: &str, ids: &Path) -> Vec<f64> {
    let ids = ids.to_str().expect("UTF-8");
    let value = place.json(&["eval", "logits", "-m", model, "--exact", "--token-ids", ids]);
    let rows = value["logits"].as_array().expect("rows");
    assert_eq!(rows.len(), 1);
    rows[0].as_array().expect("a row").iter().map(|value| value.as_f64().expect("a number")).collect()
}

/// Largest difference as a share of the largest logit.
pub(crate) fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = a.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    a.iter().zip(b).fold(0.0f64, |largest, (a, b)| largest.max((a - b).abs())) / scale
}
