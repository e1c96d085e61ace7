//! Scope: how near a question is to what an adapter was customized for, and who answers what lies elsewhere.

#[path = "support/pools.rs"]
mod pools;
mod support;

use pools::{Serving, engine, write_pool};
use serde_json::Value;
use support::{Place, stderr};

const NEAR: &str = "Do cats like milk and fish?";
const FAR: &str = "When does the train to the city leave?";

/// A place with a pool, and examples about animals.
fn place() -> Place {
    let place = Place::online();
    write_pool(&place, "pool", &engine("mini"));
    place.write("mine.jsonl", "{\"prompt\": \"cats like milk\"}\n{\"prompt\": \"my cat likes fish\"}\n");
    place
}

fn scope(value: &Value) -> f64 {
    value["scope"].as_f64().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn an_answer_says_how_near_the_question_was_and_through_what_it_came() {
    let place = place();
    let custom = ["--examples", "mine.jsonl", "--pool", "pool"];
    place.json(&[&["customize", "-o", "out"], &custom[..]].concat());
    let ask = |options: &[&str], question: &str| {
        place.json(&[&["ask", "--max-tokens", "4"], options, &[question]].concat())
    };
    let (near, far) = (ask(&custom, NEAR), ask(&custom, FAR));
    assert!(scope(&near) > 0.5 && scope(&near) > scope(&far) + 0.3, "{near} {far}");
    let weights = near["adapter"].as_object().unwrap();
    assert_eq!(weights.keys().collect::<Vec<_>>(), ["animals", "sums", "travel"]);
    assert!((weights.values().map(|w| w.as_f64().unwrap()).sum::<f64>() - 1.0).abs() < 1e-5, "{near}");
    // The file remembers what it was made for, merged or not; the question alone counts, not the documents beside it.
    let file = ask(&["-a", "out"], NEAR);
    assert_eq!((scope(&file), &file["adapter"]), (scope(&near), &serde_json::json!({"out": 1.0})));
    assert_eq!(scope(&ask(&["-a", "out", "--merge"], NEAR)), scope(&near));
    place.write("story.txt", "The train left at noon, and the city was far.");
    assert_eq!(scope(&ask(&["-a", "out", "-c", "story.txt"], NEAR)), scope(&near));
    // What was read of a document through an adapter is kept for that adapter alone.
    let read = |options: &[&str]| {
        let document = ["ask", "--max-tokens", "12", "-c", "story.txt"];
        place.json(&[&document[..], options, &[NEAR]].concat())["text"].clone()
    };
    let (with, without) = (read(&["-a", "out"]), read(&[]));
    assert_ne!(with, without);
    for _ in 0..2 {
        assert_eq!(read(&["--cache", "-a", "out"]), with);
        assert_eq!(read(&["--cache"]), without);
        assert_eq!(read(&["--cache", "--examples", "mine.jsonl", "--pool", "pool"]), with);
    }
    let plain = ask(&[], NEAR);
    assert!(plain["scope"].is_null() && plain["adapter"].is_null(), "{plain}");
    // Without the file there is no scope, and nothing else changes; another model's file is refused.
    let sidecar = place.path("out/scope.safetensors");
    std::fs::rename(&sidecar, place.path("kept")).unwrap();
    let without = ask(&["-a", "out"], NEAR);
    assert_eq!((&without["scope"], &without["text"]), (&Value::Null, &file["text"]));
    std::fs::write(&sidecar, "junk").unwrap();
    place.mistake(&["ask", "-a", "out", "hi"], "scope.safetensors", "");
}

#[test]
fn questions_from_elsewhere_go_to_the_server_by_a_calibrated_threshold() {
    let place = place();
    let custom = ["--examples", "mine.jsonl", "--pool", "pool"];
    place.json(&[&["customize", "-o", "out"], &custom[..]].concat());
    let queries: Vec<String> = [NEAR, FAR, "My cat likes milk.", "The train was late."]
        .iter()
        .map(|q| format!("{{\"prompt\": \"{q}\"}}"))
        .collect();
    place.write("held-out.jsonl", queries.join("\n"));
    let calibrate = ["route", "calibrate", "--data", "held-out.jsonl", "--share", "0.5", "--max-tokens", "4"];
    let made = place.json(&[&calibrate[..], &custom].concat());
    assert!(made["thresholds"]["scope"].is_f64() && made["queries"] == 4, "{made}");
    let plain = place.json(&[&calibrate[..], &["-o", "plain.json"]].concat());
    assert!(plain["thresholds"]["scope"].is_null(), "{plain}");

    // Thresholds by hand, so that scope alone decides: as sure as it may be, the far question goes.
    let written = made["path"].as_str().unwrap();
    let mut file: Value = serde_json::from_str(&std::fs::read_to_string(written).unwrap()).unwrap();
    file["thresholds"] = serde_json::json!({"confidence": -2.0, "scope": 0.5});
    std::fs::write(written, file.to_string()).unwrap();
    let server = Serving::start(&place, &[]);
    let ask = |options: &[&str], question: &str| {
        let remote = ["--server", &server.address, "--server-model", "mini", "--max-tokens", "4"];
        place.json(&[&["ask"], &remote[..], options, &[question]].concat())
    };
    for options in [&custom[..], &["-a", "out"]] {
        let (near, far) = (ask(options, NEAR), ask(options, FAR));
        assert_eq!((&near["where"], &far["where"]), (&"device".into(), &"server".into()), "{near} {far}");
        assert!(far["reason"].as_str().unwrap().contains("outside the customized task"), "{far}");
        assert!(scope(&far) < 0.5 && far["adapter"].is_object(), "{far}");
        // The device has not written a word of it.
        assert!(far["confidence"].is_null() && near["confidence"].is_f64(), "{far}");
    }
    // The server is gone: the device answers after all, and says why.
    drop(server);
    let gone = Serving::start(&place, &[]).address.clone();
    let mut arguments =
        vec!["ask", "--json", "--max-tokens", "4", "--server", &gone, "--server-model", "mini"];
    arguments.extend(["--server-timeout", "2"].iter().chain(&custom));
    arguments.push(FAR);
    let output = place.crayon(&arguments).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["where"], "device");
    let reason = value["reason"].as_str().unwrap();
    assert!(reason.contains("outside") && reason.contains("the server failed"), "{value}");
    assert!(value["confidence"].is_f64() && !value["text"].as_str().unwrap().is_empty(), "{value}");

    // Thresholds of one customization are not used for another, nor for the model alone.
    place.write("other.jsonl", "{\"prompt\": \"seven plus nine\"}\n");
    let other = ["ask", "--server", &gone, "--server-model", "m", "--thresholds", written];
    place.mistake(
        &[&other[..], &["--examples", "other.jsonl", "--pool", "pool", "hi"]].concat(),
        "customized",
        "calibrate",
    );
    place.mistake(&[&other[..], &["hi"]].concat(), "customized", "calibrate");
}
