//! What lies outside the customized task is answered as by the model alone: in `ask`, in a conversation whose turns go in and
//! out, and by a server.

#[path = "support/pools.rs"]
mod pools;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use crayon_engine::adapters::Scope;
use crayon_formats::Tensor;
use crayon_formats::safetensors;
use pools::{Serving, engine};
use serde_json::{Value, json};
use support::{Place, stderr};

const INSIDE: [&str; 3] =
    ["turn off the lamp in the living room", "strike milk off my shopping list", "any reminders for today"];
const OUTSIDE: [&str; 3] = ["Hello!", "Why is the sky blue?", "tell me a joke"];

/// The examples that the documents use.
fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/home.jsonl")
}

/// A place with those examples, and the instant blend for them.
fn place() -> Place {
    let place = Place::online();
    place.write("home.jsonl", std::fs::read_to_string(home()).unwrap());
    let made = place.json(&["customize", "--examples", "home.jsonl", "--effort", "instant", "-o", "mine"]);
    assert_eq!(made["chosen"], "blend", "{made}");
    place
}

fn examples() -> Vec<Value> {
    let lines = std::fs::read_to_string(home()).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ask(place: &Place, options: &[&str], question: &str) -> Value {
    place.json(&[&["ask", "--temperature", "0", "--max-tokens", "12"], options, &[question]].concat())
}

/// What a server answers to `messages`.
fn post(server: &Serving, messages: &Value, fields: &Value) -> Value {
    let mut body = json!({"model": "mini", "messages": messages, "temperature": 0, "max_tokens": 12});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let (body, host) = (body.to_string(), server.address.trim_start_matches("http://"));
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(host).unwrap();
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (_, answer) = text.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn content(answer: &Value) -> &Value {
    &answer["choices"][0]["message"]["content"]
}

#[test]
fn questions_from_elsewhere_are_answered_as_by_the_model_alone() {
    let place = place();
    let server = Serving::start(&place, &["--pool", "built-in", "-a", "home=mine"]);
    let common = Serving::start(&place, &["-a", "mine"]);
    let examples = examples();
    for (question, inside) in INSIDE.map(|q| (q, true)).into_iter().chain(OUTSIDE.map(|q| (q, false))) {
        let base = ask(&place, &[], question);
        let forced = ask(&place, &["-a", "mine", "--force"], question);
        assert_ne!(base["text"], forced["text"], "{question}");
        let expected = if inside { &forced } else { &base };
        for options in [&["-a", "mine"][..], &["--examples", "home.jsonl"]] {
            let told = ask(&place, options, question);
            assert_eq!(told["text"], expected["text"], "{question} {told}");
            assert_eq!(told["adapter"].is_object(), inside, "{told}");
            assert_eq!(
                told["reason"].as_str().unwrap().contains("outside the customized task"),
                !inside,
                "{told}"
            );
            assert_eq!(told["scope"].as_f64().unwrap() >= 0.5, inside, "{told}");
            assert_eq!(told["scope"], forced["scope"]);
        }
        assert!(forced["adapter"].is_object() && !forced["reason"].as_str().unwrap().contains("outside"));
        // A server answers alike, whichever way the adapter is named.
        let messages = json!([{"role": "user", "content": question}]);
        for fields in [json!({"adapter": "home"}), json!({"examples": examples})] {
            let told = post(&server, &messages, &fields);
            assert_eq!(content(&told), &expected["text"], "{question} {told}");
            assert_eq!(told["crayon"]["adapter"].is_object(), inside, "{told}");
            assert_eq!(
                told["crayon"]["notes"].to_string().contains("outside the customized task"),
                !inside,
                "{told}"
            );
            let mut always = fields.clone();
            always["force"] = json!(true);
            assert_eq!(content(&post(&server, &messages, &always)), &forced["text"], "{question}");
        }
        assert_eq!(content(&post(&common, &messages, &json!({}))), &expected["text"], "{question}");
    }
    let noted = place.crayon(&["ask", "-a", "mine", "--max-tokens", "4", "Hello!"]).output().unwrap();
    let told = stderr(&noted);
    assert!(told.contains("outside the customized task") && told.contains("--force"), "{told}");
    // Weights that hold the adapter have nothing beside them to answer instead.
    let merged = ask(&place, &["-a", "mine", "--merge"], "Hello!");
    assert!(merged["adapter"].is_object() && merged["scope"].as_f64().unwrap() < 0.5, "{merged}");
}

#[test]
fn a_conversation_goes_in_and_out_and_every_turn_is_read_by_what_answers_it() {
    let place = place();
    let server = Serving::start(&place, &["-a", "home=mine"]);
    let lines = [INSIDE[0], OUTSIDE[0], OUTSIDE[1], INSIDE[1]];
    let chat = |more: &[&str], lines: &[&str], file: &str| {
        let save = format!("{}\n/save {file}\n", lines.join("\n"));
        let arguments = [&["chat", "-a", "mine", "--temperature", "0", "--max-tokens", "12"], more].concat();
        let output = place.crayon(&arguments).write_stdin(save).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let saved: Value = serde_json::from_slice(&std::fs::read(place.path(file)).unwrap()).unwrap();
        saved["messages"].as_array().unwrap().clone()
    };
    let messages = chat(&[], &lines, "talk.json");
    for turn in 0..lines.len() {
        let told = post(&server, &json!(messages[..2 * turn + 1]), &json!({"adapter": "home"}));
        let inside = INSIDE.contains(&lines[turn]);
        assert_eq!(told["crayon"]["adapter"].is_object(), inside, "{told}");
        let answer = content(&told).as_str().unwrap().trim();
        assert_eq!(messages[2 * turn + 1]["content"].as_str().unwrap(), answer, "turn {turn}");
        let alone = post(&server, &json!(messages[..2 * turn + 1]), &json!({}));
        assert_eq!(content(&alone).as_str().unwrap().trim() == answer, !inside, "{alone}");
    }
    // A session is saved by what answered last, and goes on whichever that was.
    for (file, until) in [("in.pot", 1), ("out.pot", 2)] {
        chat(&["--session", file], &lines[..until], "half.json");
        assert_eq!(chat(&["--session", file], &lines[until..], "whole.json"), messages, "{file}");
    }
}

#[test]
fn the_border_is_kept_beside_the_adapter_and_older_files_have_none() {
    let place = place();
    let engine = engine("mini");
    let base = engine.checkpoint().fingerprint();
    let read = || Scope::read(&place.path("mine"), engine.checkpoint()).unwrap().unwrap();
    let scope = read();
    assert!(scope.border.is_some_and(f32::is_finite) && scope.examples.len() == 20);
    for other in [Scope { border: None, ..scope.clone() }, scope.clone()] {
        other.write(&place.path("mine"), &base).unwrap();
        assert_eq!(read(), other);
        let told = ask(&place, &["-a", "mine"], OUTSIDE[0]);
        assert_eq!(told["adapter"].is_object(), other.border.is_none(), "{told}");
    }
    // What earlier versions wrote: the mean of the examples' centred queries, and the pool's.
    let mean = engine.open_pool(Path::new("built-in")).unwrap().keys.mean;
    let query: Vec<f32> = (0..mean.len())
        .map(|at| scope.examples.iter().map(|query| query[at] - mean[at]).sum::<f32>() / 1000.0)
        .collect();
    let row = |name: &str, values: &[f32]| Tensor::from_f32(name, vec![1, values.len()], values);
    let metadata = [("crayon.base".to_owned(), base.clone())].into();
    let path = place.path("mine/scope.safetensors");
    safetensors::write(&path, &[row("query", &query), row("mean", &mean)], &metadata).unwrap();
    let forced = ask(&place, &["-a", "mine", "--force"], OUTSIDE[0]);
    let old = ask(&place, &["-a", "mine"], OUTSIDE[0]);
    assert_eq!((&old["text"], &old["adapter"]), (&forced["text"], &forced["adapter"]));
    let inside = ask(&place, &["-a", "mine"], INSIDE[0]);
    assert!(inside["scope"].as_f64() > old["scope"].as_f64(), "{inside} {old}");
    // A file cut of its rows is refused.
    safetensors::write(&path, &[row("examples", &query[1..])], &metadata).unwrap();
    place.mistake(&["ask", "-a", "mine", "hi"], "examples", "");
}

#[test]
fn what_a_pool_did_not_learn_is_told() {
    let place = Place::new();
    let fits = |name: &str, prompts: &[&str]| {
        let lines: Vec<String> = prompts.iter().map(|prompt| json!({"prompt": prompt}).to_string()).collect();
        place.write(name, lines.join("\n"));
        let made = place.json(&["customize", "--examples", name]);
        let known = made["known"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&known), "{made}");
        (made["fits"].as_bool().unwrap(), known)
    };
    let known = [
        fits(
            "cards.jsonl",
            &[
                "what is the credit limit of my visa card",
                "how can i make my credit score better",
                "my card was stolen, please report it",
                "when does my credit card expire",
            ],
        ),
        fits(
            "home.jsonl",
            &[
                "put bread and butter on my shopping list",
                "skip this song please",
                "do i have any reminders for tonight",
                "add cleaning the windows to my to do list",
            ],
        ),
    ];
    let foreign = [
        fits(
            "python.jsonl",
            &["def f(x): return x + 1", "for line in open('a.txt'): print(line)", "import sys; sys.exit(0)"],
        ),
        fits(
            "french.jsonl",
            &[
                "Où est la gare, s'il vous plaît ?",
                "Je voudrais un café et un croissant.",
                "Ma sœur habite à Paris.",
            ],
        ),
        fits("noise.jsonl", &["xqz vvkl wprt", "blorp zint frab quuk", "jkl; asdf wert"]),
        fits("dates.jsonl", &["March 3rd, 1998", "2024-03-01", "12/31/2020"]),
        fits(
            "verse.jsonl",
            &[
                "O moon, thou lantern of the silent hill, / thy light upon the meadow lingers still.",
                "The stars are lamps that weary angels tend, / and every road is longing for its end.",
            ],
        ),
    ];
    assert!(known.iter().all(|(fits, _)| *fits), "{known:?}");
    assert!(foreign.iter().all(|(fits, _)| !fits), "{foreign:?}");
    let least = known.iter().map(|(_, known)| *known).fold(f64::MAX, f64::min);
    assert!(foreign.iter().all(|(_, known)| *known < least), "{known:?} {foreign:?}");
}
