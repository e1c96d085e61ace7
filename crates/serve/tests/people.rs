//! People with models of their own.

mod support;

use std::sync::Arc;

use crayon_serve::{Model, Offers, People, ServeOptions};
use serde_json::{Value, json};

use support::made_up::pool;
use support::{Running, alone, engine, serving};

const QUESTION: &str = "Tell me a story about a fox.";

fn server(people: Option<People>) -> Running {
    let engine = engine();
    let offers = Offers { pools: vec![("mine".to_owned(), pool(&engine))], ..Offers::default() };
    serving(ServeOptions { people, ..ServeOptions::default() }, vec![Model::new("mini", engine, offers)])
}

fn create(server: &Running, body: Value) -> Value {
    let answer = server.post("/v1/customizations", &body.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn ask(server: &Running, model: &str, fields: Value) -> support::Answer {
    let mut body = json!({
        "model": model, "max_tokens": 20, "messages": [{"role": "user", "content": QUESTION}],
    });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    server.post("/v1/chat/completions", &body.to_string())
}

fn text(value: &Value) -> &str {
    value["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{value}"))
}

/// What the engine writes through the pool's adapters under these weights.
fn expected(weights: &[f32]) -> String {
    use std::ops::ControlFlow;

    use crayon_engine::{GenerateOptions, Message, Role, Sampling};
    let engine = engine();
    let stack = Arc::new(pool(&engine).stack(engine.spec(), engine.threads()).unwrap());
    let prompt = engine.chat_prompt(&[Message::new(Role::User, QUESTION)]).unwrap();
    let mut session = engine.session(prompt.len() + 20).unwrap();
    session.set_adapter(Some(Arc::new(stack.weigh(weights).unwrap())));
    session.feed(&prompt, &mut |_| ControlFlow::Continue(())).unwrap();
    let sampling = Sampling { repetition_penalty: 1.1, ..Sampling::default() };
    let options = GenerateOptions { sampling, max_tokens: 20, ..GenerateOptions::default() };
    session.generate(&options, &mut |_| ControlFlow::Continue(())).unwrap().text
}

#[test]
fn a_mixture_answers_under_its_name_until_it_is_deleted() {
    let server = server(None);
    let anna = create(&server, json!({"name": "anna", "weights": [0.75, 0.5]}));
    assert_eq!(
        (&anna["id"], &anna["model"], &anna["base"]),
        (&json!("anna"), &json!("mini:anna"), &json!("mini"))
    );
    assert_eq!((&anna["weights"], &anna["names"]), (&json!([0.75, 0.5]), &json!(["animals", "sums"])));
    assert!(anna["created"].is_u64() && anna["bytes"].as_u64().unwrap() < 2048, "{anna}");
    create(&server, json!({"name": "bob", "weights": [-0.5, 1.0]}));

    let (mine, bobs) =
        (ask(&server, "mini:anna", json!({})).json(), ask(&server, "mini:bob", json!({})).json());
    assert_eq!(text(&mine), expected(&[0.75, 0.5]));
    assert_eq!(text(&bobs), expected(&[-0.5, 1.0]));
    assert_ne!(text(&mine), text(&bobs));
    assert_eq!((&mine["model"], &mine["crayon"]["adapter"]["animals"]), (&json!("mini:anna"), &json!(0.75)));
    let plain = ask(&server, "mini", json!({})).json();
    assert!(plain["crayon"]["adapter"].is_null() && text(&plain) != text(&mine), "{plain}");

    // Answered together, everybody gets what they got alone.
    let models = ["mini:anna", "mini", "mini:bob", "mini:anna", "mini", "mini:bob"];
    let together: Vec<String> = std::thread::scope(|scope| {
        let asked =
            models.map(|model| scope.spawn(|| text(&ask(&server, model, json!({})).json()).to_owned()));
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let alone = [&mine, &plain, &bobs, &mine, &plain, &bobs].map(|value| text(value).to_owned());
    assert_eq!(together, alone);

    let listed = server.ask("GET", "/v1/customizations", "").json();
    let ids: Vec<&str> =
        listed["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!((ids, &listed["has_more"]), (vec!["anna", "bob"], &json!(false)));
    let page = server.ask("GET", "/v1/customizations?limit=1&after=anna", "").json();
    assert_eq!(page["data"][0]["id"], "bob", "{page}");
    for id in ["anna", "mini:anna"] {
        assert_eq!(server.ask("GET", &format!("/v1/customizations/{id}"), "").json(), anna);
    }
    let gone = server.ask("DELETE", "/v1/customizations/anna", "").json();
    assert_eq!(gone, json!({"id": "anna", "object": "customization.deleted", "deleted": true}));
    assert_eq!(server.ask("DELETE", "/v1/customizations/anna", "").error("code"), "customization_not_found");
    let refused = ask(&server, "mini:anna", json!({}));
    assert_eq!((refused.status, refused.error("code")), (404, json!("model_not_found")), "{}", refused.body);
}

#[test]
fn examples_are_judged_and_what_they_are_worth_is_kept() {
    let server = server(None);
    let example =
        |number: usize| json!({"prompt": format!("Do cats like food number {number}?"), "answer": "yes"});
    let examples: Vec<Value> = (0..6).map(example).collect();
    let anna = create(&server, json!({"name": "anna", "examples": examples, "effort": "instant"}));
    let tried: Vec<&str> =
        anna["tried"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(tried, ["base", "blend", "nearest", "prompt"], "{anna}");
    assert!(anna["tried"].as_array().unwrap().iter().all(|row| row["of"] == 6), "{anna}");
    let chosen = anna["chosen"].as_str().unwrap();
    assert!(tried.contains(&chosen), "{anna}");
    let question = json!({"messages": [{"role": "user", "content": "Do cats like food number 9?"}]});
    let value = ask(&server, "mini:anna", question).json();
    match chosen {
        "base" => assert!(value["crayon"]["adapter"].is_null() && value["crayon"]["shown"] == 0, "{value}"),
        "prompt" => assert!(value["crayon"]["shown"].as_u64().unwrap() > 0, "{value}"),
        _ => assert!(value["crayon"]["adapter"].is_object(), "{value}"),
    }
    // Without answers nearness counts.
    let texts = json!({"name": "texts", "examples": ["cats like fish and milk", "cats like milk and fish"]});
    let texts = create(&server, texts);
    assert!(texts["tried"] == json!([]) && texts["fits"].is_boolean(), "{texts}");
    let nameless = create(&server, json!({"weights": [1, 0]}));
    assert!(nameless["id"].as_str().unwrap().len() > 4, "{nameless}");
}

#[test]
fn what_cannot_be_kept_is_refused_with_the_field_to_blame() {
    let server = server(None);
    create(&server, json!({"name": "anna", "weights": [0.5, 0.5]}));
    for (body, status, param) in [
        (json!({"name": "anna", "weights": [1, 0]}), 409, "name"),
        (json!({"name": "a b", "weights": [1, 0]}), 400, "name"),
        (json!({"name": "a".repeat(65), "weights": [1, 0]}), 400, "name"),
        (json!({"name": "b", "weights": [1, 0, 0]}), 400, "weights"),
        (json!({"name": "b", "weights": [1, "x"]}), 400, "weights"),
        (json!({"name": "b"}), 400, "examples"),
        (json!({"name": "b", "examples": []}), 400, "examples"),
        (json!({"name": "b", "examples": ["a"], "weights": [1, 0]}), 400, "weights"),
        (json!({"name": "b", "examples": ["a"], "effort": "heroic"}), 400, "effort"),
        (json!({"name": "b", "examples": ["a"], "budget": -1}), 400, "budget"),
        (json!({"name": "b", "examples": ["a"], "pool": "other"}), 400, "pool"),
        (json!({"name": "b", "model": "other", "weights": [1, 0]}), 404, "model"),
        (json!({"name": "b", "weights": [1, 0], "colour": "red"}), 400, "colour"),
    ] {
        let answer = server.post("/v1/customizations", &body.to_string());
        assert_eq!((answer.status, answer.error("param")), (status, json!(param)), "{body}: {}", answer.body);
    }
    let replaced = create(&server, json!({"name": "anna", "weights": [1, 0], "replace": true}));
    assert_eq!(replaced["weights"], json!([1.0, 0.0]));
    let refused = ask(&server, "mini:anna", json!({"adapter": "x"}));
    assert_eq!((refused.status, refused.error("param")), (400, json!("adapter")), "{}", refused.body);
}

#[test]
fn people_outlive_the_server() {
    let path = std::env::temp_dir().join(format!("crayon-served-people-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let first = server(Some(People::open(&path).unwrap()));
    create(&first, json!({"name": "anna", "weights": [0.75, 0.5]}));
    let before = text(&ask(&first, "mini:anna", json!({})).json()).to_owned();
    drop(first);
    let second = server(Some(People::open(&path).unwrap()));
    assert_eq!(text(&ask(&second, "mini:anna", json!({})).json()), before);
    drop(second);
    // Beside another pool her weights mean nothing.
    let options = ServeOptions { people: Some(People::open(&path).unwrap()), ..ServeOptions::default() };
    let other = serving(options, alone());
    let refused = ask(&other, "mini:anna", json!({}));
    assert_eq!(
        (refused.status, refused.error("code")),
        (409, json!("customization_outdated")),
        "{}",
        refused.body
    );
    drop(other);
    std::fs::remove_file(&path).unwrap();
}
