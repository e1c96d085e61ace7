//! Adapters, examples, pools and a bigger model, per request.

mod support;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crayon_answer::Calibrated;
use crayon_engine::adapters::{Catalogue, Example, Form, Scope, peft};
use crayon_engine::{Engine, GenerateOptions, Message, Role, Sampling};
use crayon_hybrid::{Endpoint, Remote, RetryPolicy, Route, Thresholds};
use crayon_serve::{Bigger, Limits, Offered, OfferedAdapter, Offers};
use serde_json::{Value, json};

use support::made_up::{lora, pool};
use support::{Running, engine, offering, read, start};

const QUESTION: &str = "Tell me a story about a fox.";

fn offers(engine: &Engine) -> Offers {
    let adapter = |name: &str, seed| OfferedAdapter {
        name: name.to_owned(),
        what: Offered::Adapter(lora(engine, seed)),
        weight: 1.0,
        scope: None,
    };
    Offers {
        adapters: vec![adapter("letters", 3), adapter("jokes", 4)],
        pools: vec![("mine".to_owned(), pool(engine))],
        bigger: None,
        calibrated: Calibrated::default(),
        common: Vec::new(),
        demonstrations: Vec::new(),
    }
}

fn serving() -> Running {
    offering(Limits::default(), None, offers(&engine()))
}

fn text(value: &Value) -> &str {
    value["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{value}"))
}

/// What the engine answers through an adapter, without any server.
fn alone(engine: &Engine, question: &str, tokens: usize) -> String {
    let prompt = engine.chat_prompt(&[Message::new(Role::User, question)]).unwrap();
    let mut session = engine.session(prompt.len() + tokens).unwrap();
    session.feed(&prompt, &mut |_| ControlFlow::Continue(())).unwrap();
    let sampling = Sampling { repetition_penalty: 1.1, ..Sampling::default() };
    let options = GenerateOptions { sampling, max_tokens: tokens, ..GenerateOptions::default() };
    session.generate(&options, &mut |_| ControlFlow::Continue(())).unwrap().text
}

#[test]
fn adapters_are_chosen_per_request_and_never_colour_each_other() {
    let server = serving();
    let ask = |fields: &str| {
        text(&server.chat(QUESTION, &format!(r#","max_tokens":20{fields}"#)).json()).to_owned()
    };
    let (letters, jokes) = (r#","adapter":"letters""#, r#","adapter":{"jokes":1}"#);
    let alone_each = [ask(""), ask(letters), ask(jokes)];
    assert!(
        alone_each[0] != alone_each[1] && alone_each[1] != alone_each[2] && alone_each[0] != alone_each[2]
    );

    // Interleaved: all wait at once, twice over, streamed and not; each gets what it got alone.
    let fields = ["", letters, jokes];
    let bodies: Vec<String> = (0..6)
        .map(|at| {
            let stream = if at < 3 { "" } else { r#","stream":true"# };
            support::chat_body(QUESTION, &format!(r#","max_tokens":20{}{stream}"#, fields[at % 3]))
        })
        .collect();
    let waiting: Vec<_> = bodies.iter().map(|body| server.send("/v1/chat/completions", body)).collect();
    for (at, connection) in waiting.into_iter().enumerate() {
        let answer = read(connection);
        let found = match at < 3 {
            true => text(&answer.json()).to_owned(),
            false => answer
                .events()
                .iter()
                .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
                .collect(),
        };
        assert_eq!(found, alone_each[at % 3], "{at}");
    }

    // As the engine itself answers, and with weights.
    let mut direct = engine();
    let (one, other) = (lora(&direct, 3), lora(&direct, 4));
    assert_eq!(alone_each[0], alone(&direct, QUESTION, 20));
    direct.adapt(&[(&one, 1.0)]).unwrap();
    assert_eq!(alone_each[1], alone(&direct, QUESTION, 20));
    direct.adapt(&[(&one, 0.5), (&other, 0.25)]).unwrap();
    let value = server.chat(QUESTION, r#","max_tokens":20,"adapter":{"letters":0.5,"jokes":0.25}"#).json();
    assert_eq!(text(&value), alone(&direct, QUESTION, 20));
    assert_eq!(value["crayon"]["adapter"], json!({"letters": 0.5, "jokes": 0.25}));
    // A pot and a completion answer through adapters as well.
    assert_eq!(ask(&format!(r#"{letters},"pot":256"#)), alone_each[1]);
    let completion = |fields: &str| {
        let body = format!(r#"{{"model":"mini","prompt":"Once upon a time","max_tokens":12{fields}}}"#);
        server.post("/v1/completions", &body).json()["choices"][0]["text"].clone()
    };
    assert_ne!(completion(""), completion(letters));

    assert_eq!(server.get("/v1/models", "").json()["data"][0]["adapters"], json!(["letters", "jokes"]));
    let unknown = server.chat(QUESTION, r#","adapter":"poems""#);
    assert_eq!((unknown.status, unknown.error("code")), (400, json!("adapter_not_found")));
    assert!(unknown.error("message").as_str().unwrap().contains("letters, jokes"), "{}", unknown.body);
}

#[test]
fn examples_are_blended_from_a_pool_for_one_request() {
    let server = serving();
    let fields = r#","max_tokens":20,"pool":"mine","force":true,"examples":["cats like milk",{"prompt":"dogs like fish","answer":"x"}]"#;
    let value = server.chat(QUESTION, fields).json();

    let mut direct = engine();
    let pool = pool(&direct);
    let example = |prompt: &str| {
        Ok(Example { prompt: prompt.to_owned(), answer: None, task: None, choices: Vec::new(), line: 1 })
    };
    let scored =
        direct.score(&pool.keys, ["cats like milk", "dogs like fish"].into_iter().map(example)).unwrap();
    let weights = pool.keys.weights(&scored.scores, pool.temperature);
    let stack = Arc::new(pool.stack(direct.spec(), direct.threads()).unwrap());
    direct.set_adapter(Some(Arc::new(stack.weigh(&weights).unwrap())));
    assert_eq!(text(&value), alone(&direct, QUESTION, 20));
    let told = &value["crayon"];
    assert_eq!(told["fits"], true, "{value}");
    assert!((told["adapter"]["animals"].as_f64().unwrap() - f64::from(weights[0])).abs() < 1e-6, "{value}");
    let general = direct.general().unwrap();
    let expected = Scope::of_examples(scored.queries, general).of(&direct.query(QUESTION).unwrap(), general);
    assert!((told["scope"].as_f64().unwrap() - f64::from(expected)).abs() < 1e-6, "{value}");

    // Where there is one pool it need not be named; without examples the model answers as it is.
    let unnamed = server.chat(QUESTION, &fields.replace(r#","pool":"mine""#, "")).json();
    assert_eq!(text(&unnamed), text(&value));
    let plain = server.chat(QUESTION, r#","max_tokens":20"#).json();
    assert_eq!(text(&plain), alone(&engine(), QUESTION, 20));
    assert!(plain["crayon"]["adapter"].is_null() && plain["crayon"]["scope"].is_null());
    // Examples that fit nothing leave the model alone, and this is told.
    let foreign = server
        .chat(QUESTION, r#","max_tokens":20,"examples":["The day was long and the people were here."]"#)
        .json();
    assert_eq!((&foreign["crayon"]["fits"], text(&foreign)), (&json!(false), text(&plain)), "{foreign}");
    let unknown = server.chat(QUESTION, r#","examples":["a"],"pool":"other""#);
    assert_eq!((unknown.status, unknown.error("code")), (400, json!("pool_not_found")));
    let none = start(Limits::default(), None).chat(QUESTION, r#","examples":["a"]"#);
    assert_eq!((none.status, none.error("param")), (400, json!("pool")), "{}", none.body);
}

#[test]
fn a_device_gets_keys_and_one_adapter_for_scores() {
    let server = serving();
    let direct = engine();
    let pool = pool(&direct);
    let host = "Host: localhost\r\n";
    let list = server.get("/v1/pools", host).json();
    let offered = &list["data"][0];
    assert_eq!(
        (&offered["id"], &offered["adapters"], &offered["rank"]),
        (&json!("mine"), &json!(2), &json!(2))
    );
    assert_eq!(offered["base"].as_str().unwrap(), pool.base);
    assert_eq!(server.get("/v1/pools/mine", host).json(), *offered);

    let keys = server.bytes(&format!("GET /v1/pools/mine/keys HTTP/1.1\r\n{host}Connection: close\r\n\r\n"));
    assert_eq!(keys.len() as u64, offered["key_bytes"].as_u64().unwrap());
    let catalogue = Catalogue::from_bytes("mine", keys.into(), direct.checkpoint(), "mini").unwrap();
    assert_eq!(catalogue, pool.catalogue());

    let path = "/v1/pools/mine/blend";
    let blend = |body: &str| {
        server.bytes(&format!(
            "POST {path} HTTP/1.1\r\n{host}Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    for (form, body) in [
        (Form::Exact, r#"{"scores":[0.5,-0.25]}"#),
        (Form::Svd, r#"{"scores":[0.5,-0.25],"form":"svd"}"#),
        (Form::Factor, r#"{"scores":[0.5,-0.25],"form":"factor","temperature":0.1}"#),
    ] {
        let lora = peft::from_bytes("mine", blend(body).into(), direct.spec()).unwrap();
        let expected = pool.blend(&[0.5, -0.25], 0.1, form, direct.threads()).unwrap().lora;
        assert_eq!(lora.base, expected.base);
        assert_eq!(lora.pairs.len(), expected.pairs.len());
        for (site, pair) in &expected.pairs {
            assert!(lora.pairs[site].a == pair.a && lora.pairs[site].b == pair.b, "{site} {form:?}");
        }
    }
    for (body, status) in [
        (r#"{"scores":[0.5]}"#.to_owned(), 400),
        (r#"{"scores":[0.5,2]}"#.to_owned(), 400),
        (r#"{"scores":[0.5,0.5],"prompt":"hello"}"#.to_owned(), 400),
        (format!(r#"{{"scores":[0.5,0.5{}]}}"#, ",0.5".repeat(30_000)), 413),
    ] {
        let refused = server.post(path, &body);
        assert_eq!(refused.status, status, "{}", refused.body);
        assert_eq!(refused.error("type"), "invalid_request_error");
    }
    assert_eq!(server.post("/v1/pools/other/blend", r#"{"scores":[0.5,0.5]}"#).status, 404);
    assert_eq!(server.get("/v1/pools/other/keys", host).error("code"), "pool_not_found");
    assert_eq!(server.get(path, host).status, 405);
}

/// A server that passes on what the model is unsure of, to `url`.
fn passing_on(url: &str, thresholds: Thresholds) -> Running {
    let policy = RetryPolicy { budget: Duration::from_secs(60), tries: 1, ..RetryPolicy::default() };
    let remote = Remote::new(Endpoint::parse(url).unwrap(), "mini", None, policy);
    let bigger = Bigger { remote, route: Route::Auto, thresholds, after: None };
    offering(Limits::default(), None, Offers { bigger: Some(bigger), ..offers(&engine()) })
}

const ALWAYS: Thresholds = Thresholds { confidence: 2.0, scope: None };
const NEVER: Thresholds = Thresholds { confidence: -2.0, scope: None };

#[test]
fn a_bigger_model_answers_where_the_device_is_unsure() {
    // The other server answers through an adapter, so that the two can be told apart.
    let (mut other, letters) = (engine(), lora(&engine(), 3));
    other.adapt(&[(&letters, 1.0)]).unwrap();
    let expected = [alone(&engine(), QUESTION, 20), alone(&other, QUESTION, 20)];
    assert_ne!(expected[0], expected[1]);
    let other = support::answering(other);
    let url = format!("http://{}", other.address);

    let server = passing_on(&url, ALWAYS);
    let ask = |fields: &str| server.chat(QUESTION, &format!(r#","max_tokens":20{fields}"#));
    let value = ask("").json();
    assert_eq!(
        (&value["crayon"]["where"], text(&value)),
        (&json!("server"), expected[1].as_str()),
        "{value}"
    );
    assert!(value["crayon"]["reason"].as_str().unwrap().contains("unsure"), "{value}");
    assert!(value["crayon"]["confidence"].is_f64(), "the device was asked first: {value}");
    let events = ask(r#","stream":true"#).events();
    let streamed: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(streamed, expected[1]);
    assert_eq!(events[events.len() - 1]["crayon"]["where"], "server");

    let device = ask(r#","route":"device""#).json();
    assert_eq!((&device["crayon"]["where"], text(&device)), (&json!("device"), expected[0].as_str()));
    let sent = other.log().lines().count();
    assert_eq!(sent, 2, "{}", other.log());
    let at_once = ask(r#","route":"server""#).json();
    assert_eq!(
        (&at_once["crayon"]["where"], &at_once["crayon"]["confidence"]),
        (&json!("server"), &Value::Null)
    );
    for contradiction in [r#","route":"server","adapter":"letters""#, r#","route":"server","pot":256"#] {
        let refused = ask(contradiction);
        assert_eq!((refused.status, refused.error("param")), (400, json!("route")), "{}", refused.body);
    }
    let body = r#"{"model":"mini","prompt":"Once","max_tokens":4,"route":"server"}"#;
    assert_eq!(server.post("/v1/completions", body).error("param"), "route");

    let sure = passing_on(&url, NEVER);
    let value = sure.chat(QUESTION, r#","max_tokens":20"#).json();
    assert_eq!((&value["crayon"]["where"], text(&value)), (&json!("device"), expected[0].as_str()));
    // A question from elsewhere goes to the server before the device writes a word.
    let scoped = passing_on(&url, Thresholds { confidence: -2.0, scope: Some(0.99) });
    let fields = r#","max_tokens":20,"examples":["cats like milk"]"#;
    let value = scoped.chat(QUESTION, fields).json();
    assert!(value["crayon"]["reason"].as_str().unwrap().contains("outside the customized task"), "{value}");
    assert_eq!((&value["crayon"]["where"], text(&value)), (&json!("server"), expected[1].as_str()));
    let value = scoped.chat("cats like milk", fields).json();
    assert_eq!(value["crayon"]["where"], "device", "{value}");
}

#[test]
fn where_the_bigger_model_fails_the_device_answers_and_says_so() {
    // A port nobody listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = passing_on(&format!("http://{free}"), ALWAYS);
    let value = server.chat(QUESTION, r#","max_tokens":20"#).json();
    assert_eq!(
        (&value["crayon"]["where"], text(&value)),
        (&json!("device"), alone(&engine(), QUESTION, 20).as_str())
    );
    assert!(value["crayon"]["reason"].as_str().unwrap().contains("the server failed"), "{value}");
    let refused = server.chat(QUESTION, r#","max_tokens":20,"route":"server""#);
    assert_eq!((refused.status, refused.error("code")), (502, json!("server_failed")), "{}", refused.body);
    let none = start(Limits::default(), None);
    let refused = none.chat(QUESTION, r#","route":"server""#);
    assert_eq!((refused.status, refused.error("code")), (400, json!("no_server")), "{}", refused.body);
    assert_eq!(none.chat(QUESTION, r#","route":"device","max_tokens":4"#).status, 200);
}
