//! People whose models a server keeps.

mod support;

use serde_json::{Value, json};
use support::Place;
use support::serving::Serving;

fn ask(server: &Serving, model: &str) -> Value {
    let body = json!({
        "model": model, "max_tokens": 16, "messages": [{"role": "user", "content": "Tell me a story."}],
    });
    server.post("/v1/chat/completions", &body)
}

/// Who was told to be kept is kept, however the program ends.
#[test]
fn people_survive_a_server_that_is_killed() {
    let place = Place::new();
    let file = place.path("people.redb");
    let arguments = ["--people", file.to_str().unwrap()];
    let mut server = Serving::start(&place, &arguments);
    let pool = server.get("/v1/pools/built-in");
    let names = pool["names"].as_array().unwrap().len();
    let weights: Vec<f32> = (0..names).map(|at| if at == 1 { 1.0 } else { 0.0 }).collect();
    let anna = server.post("/v1/customizations", &json!({"name": "anna", "weights": weights}));
    assert_eq!(anna["model"], "mini:anna", "{anna}");
    let before = ask(&server, "mini:anna");
    // SIGKILL: nothing is put in order.
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let server = Serving::start(&place, &arguments);
    assert_eq!(server.get("/v1/customizations/anna"), anna);
    assert_eq!(ask(&server, "mini:anna")["choices"], before["choices"]);
    assert_eq!(before["model"], "mini:anna", "{before}");
}
