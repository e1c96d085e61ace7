//! One budget of memory for everything a server holds.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crayon_engine::{Batch, Engine, ModelSource, Settings};
use crayon_errors::{Explain as _, size};
use crayon_serve::{Limits, Model, Offers, Opened, ServeError, ServeOptions, Server};
use serde_json::{Value, json};

use support::{Answer, Running, alone, read, serving};

const QUESTION: &str = "Tell me a story about a fox.";
/// Requests at once; buffers depend on it.
const PARALLEL: usize = 2;

fn open(name: &str) -> Engine {
    let source = ModelSource::embedded(name).unwrap();
    Engine::open(&source, &Settings { threads: Some(2), ..Settings::default() }).unwrap()
}

/// A model that can be closed and opened again.
fn model(name: &'static str, opened: bool) -> Model {
    let make = move || Opened { engine: open(name), offers: Offers::default() };
    Model {
        name: name.to_owned(),
        bytes: open(name).checkpoint().bytes(),
        pools: Vec::new(),
        opened: opened.then(make),
        open: Some(Box::new(move || Some(make()))),
    }
}

/// Bytes of an open model without any conversation.
fn fixed(name: &str) -> usize {
    let engine = open(name);
    engine.checkpoint().bytes() + Batch::scratch_for(&engine, PARALLEL)
}

fn options(memory: usize) -> ServeOptions {
    let limits = Limits { parallel: PARALLEL, ..Limits::default() };
    ServeOptions { memory: Some(memory), limits, ..ServeOptions::default() }
}

fn body(model: &str, fields: Value) -> String {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": QUESTION}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body.to_string()
}

fn ask(server: &Running, model: &str, fields: Value) -> Answer {
    server.post("/v1/chat/completions", &body(model, fields))
}

fn text(answer: &Answer) -> String {
    let value = answer.json();
    value["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

fn number(server: &Running, name: &str) -> f64 {
    let metrics = server.ask("GET", "/metrics", "").body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name}\n{metrics}")).parse().unwrap()
}

fn open_models(server: &Running) -> Vec<String> {
    let list = server.ask("GET", "/v1/models", "").json();
    let open = list["data"].as_array().unwrap().iter().filter(|model| model["open"] == true);
    open.map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_conversation_gets_a_smaller_pot_or_is_refused_with_the_numbers() {
    let room = 1_500_000;
    let server = serving(options(fixed("mini") + room), alone());
    let small = ask(&server, "mini", json!({"max_tokens": 400}));
    assert_eq!(small.status, 200, "{}", small.body);
    let notes = small.json()["crayon"]["notes"].to_string();
    assert!(notes.contains("the memory allowed has room for") && notes.contains("distilled"), "{notes}");

    // Where nothing may be forgotten there is no smaller pot.
    let refused = ask(&server, "mini", json!({"max_tokens": 400, "policy": "full"}));
    assert_eq!((refused.status, refused.error("code")), (400, json!("memory_exceeded")), "{}", refused.body);
    let prompt = small.json()["usage"]["prompt_tokens"].as_u64().unwrap() as usize;
    let needed = size(open("mini").session_bytes(prompt + 400, false));
    let message = refused.error("message");
    let message = message.as_str().unwrap();
    for part in [&needed, "1.5 MB", &size(fixed("mini") + room), "`max_tokens`", "the memory allowed"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // What fits is answered as ever, and everything is given back.
    let fits = ask(&server, "mini", json!({"max_tokens": 20, "policy": "full"}));
    assert_eq!((fits.status, &fits.json()["crayon"]["notes"]), (200, &json!([])), "{}", fits.body);
    assert_eq!(number(&server, r#"crayon_memory_bytes{holder="sessions"}"#), 0.0);
    assert_eq!(
        number(&server, r#"crayon_memory_bytes{holder="weights"}"#) as usize,
        open("mini").checkpoint().bytes()
    );
}

#[test]
fn who_finds_no_room_waits_for_it() {
    let engine = open("mini");
    // Room for one and a half.
    let server = serving(options(fixed("mini") + engine.session_bytes(450, false) * 3 / 2), alone());
    let fields = json!({"max_tokens": 400, "policy": "full", "stop": []});
    let expected = text(&ask(&server, "mini", fields.clone()));
    let over = Arc::new(AtomicBool::new(false));
    let mut most = 0.0f64;
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..3)
            .map(|_| {
                let (server, fields) = (&server, fields.clone());
                scope.spawn(move || read(server.send("/v1/chat/completions", &body("mini", fields))))
            })
            .collect();
        let watch = over.clone();
        let (server, most) = (&server, &mut most);
        let watcher = scope.spawn(move || {
            while !watch.load(Ordering::SeqCst) {
                *most = most.max(number(server, "crayon_sessions"));
            }
        });
        let answers = askers.into_iter().map(|asker| asker.join().unwrap()).collect();
        over.store(true, Ordering::SeqCst);
        watcher.join().unwrap();
        answers
    });
    for answer in &answers {
        assert_eq!((answer.status, text(answer)), (200, expected.clone()), "{}", answer.body);
    }
    assert_eq!(most, 1.0, "two were answered at once");
}

#[test]
fn a_model_with_nothing_to_do_is_closed_for_another() {
    let memory = fixed("mini").max(fixed("mini-gpt2")) + 6_000_000;
    assert!(memory < fixed("mini") + fixed("mini-gpt2"), "both fit");
    let server = serving(options(memory), vec![model("mini", true), model("mini-gpt2", false)]);
    let first = ask(&server, "mini", json!({"max_tokens": 12}));
    assert_eq!((first.status, open_models(&server)), (200, vec!["mini".to_owned()]), "{}", first.body);
    let other = ask(&server, "mini-gpt2", json!({"max_tokens": 12}));
    assert_eq!((other.status, open_models(&server)), (200, vec!["mini-gpt2".to_owned()]), "{}", other.body);
    let again = ask(&server, "mini", json!({"max_tokens": 12}));
    assert_eq!((text(&again), open_models(&server)), (text(&first), vec!["mini".to_owned()]));
    let log = server.log();
    assert!(log.contains("closed mini: ") && log.contains("opened mini-gpt2: weights "), "{log}");
}

#[test]
fn a_model_that_can_never_fit_is_refused_with_the_numbers() {
    let error = Server::bind(options(1_000_000), alone()).unwrap_err();
    assert!(matches!(error, ServeError::Memory(_)) && error.is_mistake(), "{error}");
    assert!(error.to_string().contains("1.0 MB") && error.hint().is_some(), "{error}");

    let memory = fixed("mini-gpt2") + 1_000_000;
    assert!(memory < fixed("mini"));
    let server = serving(options(memory), vec![model("mini-gpt2", true), model("mini", false)]);
    let refused = ask(&server, "mini", json!({"max_tokens": 4}));
    assert_eq!((refused.status, refused.error("code")), (400, json!("memory_exceeded")), "{}", refused.body);
    assert!(refused.error("message").as_str().unwrap().contains(&size(memory)), "{}", refused.body);
    assert_eq!(ask(&server, "mini-gpt2", json!({"max_tokens": 4})).status, 200);
}
