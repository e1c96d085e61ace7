//! `crayon pull` and `crayon models` without a hub.

mod support;

use support::{Place, check_mistake, keys, stderr};

#[test]
fn offline_it_says_what_is_missing() {
    let place = Place::new();
    place.mistake(&["pull", "org/name"], "org/name", "CRAYON_OFFLINE");
    place.mistake(&["pull", "not a reference"], "not a reference", "org/name");
    place.mistake(&["models", "remove", "org/name"], "org/name is not on this device", "crayon models");
}

#[test]
fn a_hub_that_refuses_the_connection_is_a_fault_with_a_hint() {
    let place = Place::new();
    // A port that was free a moment ago: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = place.crayon(&["pull", "org/name"]);
    command.env_remove("CRAYON_OFFLINE").env("HF_ENDPOINT", format!("http://127.0.0.1:{port}"));
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    let output = command.output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("error: ") && text.contains("127.0.0.1") && text.contains("hint: "), "{text}");
    assert!(output.stdout.is_empty());
}

#[test]
fn an_address_that_is_none_is_the_users_mistake() {
    let place = Place::new();
    let mut command = place.crayon(&["pull", "org/name"]);
    let output = command.env_remove("CRAYON_OFFLINE").env("HF_ENDPOINT", "ftp:/nowhere").output().unwrap();
    check_mistake(&output, "HF_ENDPOINT", "HF_ENDPOINT");
}

#[test]
fn the_list_holds_the_built_in_models() {
    let place = Place::new();
    let value = place.json(&["models"]);
    let rows = value["models"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(names.starts_with(&["mini"]), "{names:?}");
    for row in rows {
        assert!(row["parameters"].as_u64().unwrap() > 100_000, "{row}");
        assert!(row["problem"].is_null(), "{row}");
        // A model of texts and pictures reads captions.
        let least = if row["family"] == "clip" { 77 } else { 512 };
        assert!(row["context"].as_u64().unwrap() >= least, "{row}");
    }
    assert!(names.contains(&"mini-clip"), "{names:?}");
    let table = place.text(&["models"]);
    assert!(names.iter().all(|name| table.contains(name)), "{table}");
}

#[test]
fn one_model_is_described() {
    let place = Place::new();
    let value = place.json(&["models", "show", "mini"]);
    for key in [
        "parameters",
        "bytes",
        "bytes_by_type",
        "context",
        "vocabulary",
        "tokenizer",
        "chat_template",
        "fingerprint",
    ] {
        assert!(keys(&value).contains(&key), "{key} is missing: {value}");
    }
    let sum: u64 =
        value["bytes_by_type"].as_object().unwrap().values().filter_map(|bytes| bytes.as_u64()).sum();
    assert_eq!(Some(sum), value["bytes"].as_u64());
    assert_eq!(value["chat_template"], true);
    assert!(place.text(&["models", "show", "mini"]).contains("fingerprint"));
}
