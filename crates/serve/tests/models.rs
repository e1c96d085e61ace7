//! Several models in one server.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crayon_engine::{Engine, ModelSource, Settings};
use crayon_serve::{Model, Offers, Opened, ServeOptions};
use serde_json::{Value, json};

use support::made_up::pool;
use support::{Running, alone, engine, serving};

/// The built-in model in GPT-2's architecture, and how often it was opened.
fn second(name: &str) -> (Model, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let opened = count.clone();
    let open = move || {
        opened.fetch_add(1, Ordering::SeqCst);
        let source = ModelSource::embedded("mini-gpt2").unwrap();
        let engine = Engine::open(&source, &Settings { threads: Some(2), ..Settings::default() }).unwrap();
        Some(Opened { engine, offers: Offers::default() })
    };
    let bytes = ModelSource::embedded("mini-gpt2").unwrap().checkpoint().unwrap().bytes();
    let model =
        Model { name: name.to_owned(), bytes, pools: Vec::new(), opened: None, open: Some(Box::new(open)) };
    (model, count)
}

fn ask(server: &Running, model: &str) -> support::Answer {
    let body = json!({
        "model": model, "max_tokens": 12, "messages": [{"role": "user", "content": "Tell me a story about a fox."}],
    });
    server.post("/v1/chat/completions", &body.to_string())
}

fn text(answer: &support::Answer) -> String {
    let value = answer.json();
    value["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

fn listed(server: &Running) -> Vec<(String, bool)> {
    let list = server.ask("GET", "/v1/models", "").json();
    let one = |model: &Value| (model["id"].as_str().unwrap().to_owned(), model["open"].as_bool().unwrap());
    list["data"].as_array().unwrap().iter().map(one).collect()
}

#[test]
fn a_model_is_opened_when_it_is_asked_for_and_listed_before() {
    let (model, count) = second("team/other.gguf");
    let mut models = alone();
    models.push(model);
    let server = serving(ServeOptions::default(), models);
    let names = |open| vec![("mini".to_owned(), true), ("team/other.gguf".to_owned(), open)];
    assert_eq!((listed(&server), count.load(Ordering::SeqCst)), (names(false), 0));
    let shown = server.ask("GET", "/v1/models/other", "").json();
    assert_eq!((&shown["id"], &shown["open"]), (&json!("team/other.gguf"), &json!(false)));

    let first = ask(&server, "mini");
    // By its short names, twice: it is opened once.
    let others = [ask(&server, "other"), ask(&server, "team/other")];
    assert_eq!(others[0].status, 200, "{}", others[0].body);
    assert_eq!(others[0].json()["model"], "team/other.gguf");
    assert_eq!((text(&others[0]), count.load(Ordering::SeqCst)), (text(&others[1]), 1));
    assert_ne!(text(&first), text(&others[0]));
    assert_eq!(listed(&server), names(true));

    let unknown = ask(&server, "nobody");
    assert_eq!((unknown.status, unknown.error("code")), (404, json!("model_not_found")));
    let message = unknown.error("message");
    let message = message.as_str().unwrap();
    assert!(message.contains("\"mini\"") && message.contains("\"team/other.gguf\""), "{message}");

    // Other paths find their model too, and the first where they name none.
    let count_of = |body: Value| server.post("/tokenize", &body.to_string()).json()["max_model_len"].clone();
    assert_eq!(count_of(json!({"content": "a"})), engine().spec().context);
    let vector = server.post("/v1/embeddings", r#"{"model":"other","input":"a cat"}"#);
    assert_eq!((vector.status, &vector.json()["model"]), (200, &json!("team/other.gguf")), "{}", vector.body);
    let held = server.ask("GET", "/metrics", "").body;
    assert!(held.contains("crayon_memory_bytes{holder=\"weights\"}"), "{held}");
}

#[test]
fn pools_and_people_stay_with_their_model() {
    let engine = engine();
    let offers = Offers { pools: vec![("mine".to_owned(), pool(&engine))], ..Offers::default() };
    let (other, count) = second("other");
    // The default has no pool; the second one has.
    let server =
        serving(ServeOptions::default(), vec![other_first(), Model::new("mini", engine, offers), other]);
    let pools = server.ask("GET", "/v1/pools", "").json();
    assert_eq!((&pools["data"][0]["id"], pools["data"].as_array().unwrap().len()), (&json!("mine"), 1));
    assert_eq!(server.ask("GET", "/v1/pools/mine", "").status, 200);
    let missing = server.ask("GET", "/v1/pools/yours", "");
    assert_eq!((missing.status, missing.error("code")), (404, json!("pool_not_found")));

    let weights = json!({"name": "anna", "model": "mini", "weights": [0.75, 0.5]});
    let anna = server.post("/v1/customizations", &weights.to_string());
    assert_eq!((anna.status, &anna.json()["model"]), (200, &json!("mini:anna")), "{}", anna.body);
    assert_ne!(text(&ask(&server, "mini:anna")), text(&ask(&server, "mini")));
    let nobody = ask(&server, "other:anna");
    assert_eq!((nobody.status, nobody.error("code")), (404, json!("model_not_found")));
    let refused = server.post("/v1/customizations", &json!({"weights": [0.75, 0.5]}).to_string());
    assert_eq!((refused.status, refused.error("param")), (400, json!("weights")), "{}", refused.body);
    // Looking at people and pools opened nothing but what was named.
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// A model that is open from the start and has no pool.
fn other_first() -> Model {
    let (mut model, _) = second("first");
    model.opened = model.open.as_ref().and_then(|open| open());
    model
}

#[test]
fn a_model_that_cannot_be_opened_is_told_and_tried_again() {
    let (good, _) = second("late");
    let tries = AtomicUsize::new(0);
    let open = move || match tries.fetch_add(1, Ordering::SeqCst) {
        0 => None,
        _ => good.open.as_ref().and_then(|open| open()),
    };
    let model = Model {
        name: "late".to_owned(),
        bytes: 1,
        pools: Vec::new(),
        opened: None,
        open: Some(Box::new(open)),
    };
    let mut models = alone();
    models.push(model);
    let server = serving(ServeOptions::default(), models);
    let failed = ask(&server, "late");
    assert_eq!((failed.status, failed.error("code")), (500, json!("model_failed")));
    assert_eq!(ask(&server, "mini").status, 200);
    assert_eq!(ask(&server, "late").status, 200);
}
