//! The server over a local socket, with the built-in model behind it.

mod support;

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crayon_engine::{GenerateOptions, Message, Role, Sampling};
use crayon_errors::Explain as _;
use crayon_serve::{Keys, Limits, ServeError, Server};
use serde_json::{Value, json};

use support::{Running, alone, chat_body, engine, read, start};

const QUESTION: &str = "What do cats like to eat?";

fn text(value: &Value) -> &str {
    value["choices"][0]["message"]["content"].as_str().unwrap()
}

/// Something to read that takes the model a minute or more, in a fixed memory.
fn long_request() -> String {
    chat_body(
        &"The cat sat on the mat and the dog went home. ".repeat(40_000),
        r#","pot":256,"max_tokens":5"#,
    )
}

#[test]
fn a_chat_is_what_the_engine_writes() {
    let server = start(Limits::default(), None);
    let answer = server.chat(QUESTION, r#","max_tokens":24"#);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let value = answer.json();

    let engine = engine();
    let prompt = engine.chat_prompt(&[Message::new(Role::User, QUESTION)]).unwrap();
    let mut session = engine.session(prompt.len() + 24).unwrap();
    session.feed(&prompt, &mut |_| ControlFlow::Continue(())).unwrap();
    let sampling = Sampling { repetition_penalty: 1.1, ..Sampling::default() };
    let options = GenerateOptions { sampling, max_tokens: 24, ..GenerateOptions::default() };
    let expected = session.generate(&options, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(text(&value), expected.text);
    assert!(!expected.text.trim().is_empty());

    let (read, written) = (prompt.len(), expected.tokens.len());
    assert_eq!(
        value["usage"],
        json!({
            "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": 0},
        })
    );
    assert_eq!((&value["object"], &value["model"]), (&json!("chat.completion"), &json!("mini")));
    assert_eq!(value["choices"][0]["message"]["role"], "assistant");
    assert!(value["id"].as_str().unwrap().starts_with("chatcmpl-") && value["created"].is_u64());
    assert_eq!(value["crayon"]["confidence"].as_f64().unwrap() as f32, expected.confidence.unwrap());
}

#[test]
fn a_stream_says_the_same_in_pieces() {
    let server = start(Limits::default(), None);
    let whole = server.chat("Tell me a story about a fox.", r#","max_tokens":40"#).json();
    let answer = server.chat(
        "Tell me a story about a fox.",
        r#","max_tokens":40,"stream":true,"stream_options":{"include_usage":true}"#,
    );
    assert!(answer.head.contains("text/event-stream"), "{}", answer.head);
    let events = answer.events();
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let pieces: Vec<&str> =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert!(pieces.len() > 5, "{pieces:?}");
    assert_eq!(pieces.concat(), text(&whole));
    let (usage, last) = (&events[events.len() - 1], &events[events.len() - 2]);
    assert_eq!((&usage["usage"], &usage["choices"]), (&whole["usage"], &json!([])));
    assert_eq!(last["choices"][0]["finish_reason"], whole["choices"][0]["finish_reason"]);
    assert!(events[..events.len() - 1].iter().all(|event| event["usage"].is_null()));
    assert!(events.iter().all(|event| event["id"] == events[0]["id"]));
    let plain = server.chat("Hello!", r#","max_tokens":4,"stream":true"#).events();
    assert!(plain.iter().all(|event| event.get("usage").is_none()), "{plain:?}");
}

#[test]
fn a_completion_goes_on_with_a_text() {
    let server = start(Limits::default(), None);
    let body = r#"{"model":"mini","prompt":"Once upon a time","max_tokens":12}"#;
    let whole = server.post("/v1/completions", body).json();
    assert_eq!(whole["object"], "text_completion");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["usage"]["completion_tokens"], 12);
    let streamed = body.replace("12}", r#"12,"stream":true}"#);
    let events = server.post("/v1/completions", &streamed).events();
    let pieces: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(whole["choices"][0]["text"], pieces.as_str());
    assert!(pieces.chars().any(char::is_alphabetic));
}

#[test]
fn sampling_and_stop_strings_are_honoured() {
    let server = start(Limits::default(), None);
    let draw = |fields: &str| text(&server.chat("Tell me a story.", fields).json()).to_owned();
    let seeded = |seed: u32| draw(&format!(r#","max_tokens":24,"temperature":1.5,"seed":{seed}"#));
    assert_eq!(seeded(7), seeded(7));
    assert!((8..12).any(|seed| seeded(seed) != seeded(7)));
    let narrow =
        |seed: u32| draw(&format!(r#","max_tokens":24,"temperature":1.5,"top_p":1e-6,"seed":{seed}"#));
    assert_eq!(narrow(1), narrow(2));

    let whole = draw(r#","max_tokens":40"#);
    let word = whole.split(' ').nth(4).unwrap();
    let value = server.chat("Tell me a story.", &format!(r#","max_tokens":40,"stop":["{word}"]"#)).json();
    assert_eq!(text(&value), &whole[..whole.find(word).unwrap()]);
    assert_eq!(value["choices"][0]["finish_reason"], "stop");
    let value = server.chat("Tell me a story.", r#","max_completion_tokens":3"#).json();
    assert_eq!(
        (&value["usage"]["completion_tokens"], &value["choices"][0]["finish_reason"]),
        (&json!(3), &json!("length"))
    );
    assert_ne!(draw(r#","max_tokens":40,"presence_penalty":2"#), whole);
}

#[test]
fn mistakes_are_told_as_openais_servers_tell_them() {
    let limits = Limits { body: 20_000, answer: 600, prompt: 3000, ..Limits::default() };
    let server = start(limits, None);
    let path = "/v1/chat/completions";
    let check = |answer: support::Answer, status: u16, kind: &str, code: Value| {
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!((answer.error("type"), answer.error("code")), (json!(kind), code), "{}", answer.body);
        assert!(!answer.error("message").as_str().unwrap().is_empty());
    };
    let invalid = "invalid_request_error";
    check(
        server.post(path, r#"{"model":"gpt","messages":[{"role":"user","content":"a"}]}"#),
        404,
        invalid,
        json!("model_not_found"),
    );
    check(server.post(path, "{"), 400, invalid, Value::Null);
    check(server.chat("a", r#","n":17"#), 400, invalid, json!("invalid_value"));
    check(server.chat("  ", ""), 400, invalid, Value::Null);
    check(server.chat(&"a b ".repeat(1000), ""), 400, invalid, json!("context_length_exceeded"));
    check(server.chat("a", r#","max_tokens":601"#), 400, invalid, json!("invalid_value"));
    check(
        server.chat(&"a b ".repeat(400), r#","max_tokens":500"#),
        400,
        invalid,
        json!("context_length_exceeded"),
    );
    check(server.chat(&"x y ".repeat(4000), r#","pot":64"#), 400, invalid, json!("context_length_exceeded"));
    check(server.chat(&"a b ".repeat(8000), ""), 413, invalid, Value::Null);
    check(server.chat("a", r#","pot":2"#), 400, invalid, Value::Null);
    check(server.get("/v2", "Host: localhost\r\n"), 404, invalid, json!("not_found"));
    check(server.get(path, "Host: localhost\r\n"), 405, invalid, json!("method_not_allowed"));
    check(
        server.get("/v1/models", "Host: evil.example\r\n"),
        403,
        "permission_error",
        json!("host_not_allowed"),
    );
    let form = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    );
    check(read(server.raw(&form)), 415, invalid, Value::Null);
    // After all that it still answers.
    assert_eq!(server.chat("Hello!", r#","max_tokens":4"#).status, 200);
}

#[test]
fn models_are_listed() {
    let server = start(Limits::default(), None);
    let list = server.get("/v1/models", "Host: 127.0.0.1\r\n").json();
    assert_eq!((&list["object"], &list["data"][0]["id"]), (&json!("list"), &json!("mini")));
    assert_eq!(server.get("/v1/models/mini", "Host: localhost\r\n").json()["id"], "mini");
    assert_eq!(server.get("/v1/models/other/name", "Host: localhost\r\n").status, 404);
}

#[test]
fn a_key_is_asked_for_when_there_is_one() {
    let path = std::env::temp_dir().join(format!("crayon-keys-{}", std::process::id()));
    std::fs::write(&path, "# mine\nsecret-one\n\nsecret-two\n").unwrap();
    let server = start(Limits::default(), Some(Keys::open(&path).unwrap()));
    std::fs::remove_file(&path).unwrap();
    let with = |header: &str| server.get("/v1/models", &format!("Host: localhost\r\n{header}"));
    let refused = with("");
    assert_eq!((refused.status, refused.error("code")), (401, json!("missing_api_key")));
    let wrong = with("Authorization: Bearer secret-on\r\n");
    assert_eq!((wrong.status, wrong.error("code")), (401, json!("invalid_api_key")));
    assert_eq!(server.get("/health", "Host: localhost\r\n").status, 200, "watching needs no key");
    assert_eq!(server.get("/metrics", "Host: localhost\r\n").status, 401);
    assert_eq!(with("Authorization: Basic secret-one\r\n").status, 401);
    assert_eq!(with("Authorization: Bearer secret-two\r\n").status, 200);
    assert_eq!(server.chat("Hello!", "").status, 401);
    assert!(!server.log().contains("secret"), "{}", server.log());
    let missing = Keys::open(std::path::Path::new("no-such-file"));
    assert!(matches!(missing, Err(ServeError::Keys { .. })));
}

#[test]
fn others_reach_it_only_with_a_key() {
    let options =
        crayon_serve::ServeOptions { host: "0.0.0.0".to_owned(), ..crayon_serve::ServeOptions::default() };
    let error = Server::bind(options.clone(), alone()).unwrap_err();
    assert!(matches!(error, ServeError::Open { .. }) && error.is_mistake() && error.hint().is_some());
    let server = start(Limits::default(), None);
    let taken =
        crayon_serve::ServeOptions { host: "127.0.0.1".to_owned(), port: server.address.port(), ..options };
    assert!(matches!(Server::bind(taken, alone()), Err(ServeError::Port { .. })));
}

/// Waits until the model is busy: a second request is then the only one that waits.
fn hold(server: &Running) -> std::net::TcpStream {
    let held = server.send("/v1/chat/completions", &long_request());
    until(server, "crayon_sessions 1");
    held
}

/// Waits until the numbers hold this line.
fn until(server: &Running, line: &str) {
    let began = Instant::now();
    while !server.ask("GET", "/metrics", "").body.lines().any(|found| found == line) {
        assert!(began.elapsed() < Duration::from_secs(60), "never {line}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_full_queue_says_when_to_come_back_and_a_client_that_leaves_frees_the_model() {
    let server = start(Limits { parallel: 1, queue: 1, ..Limits::default() }, None);
    let held = hold(&server);
    let waiting = server.send("/v1/chat/completions", &chat_body("Hello!", r#","max_tokens":4"#));
    until(&server, "crayon_queue 1");
    let refused = server.chat("Hello!", "");
    assert_eq!((refused.status, refused.error("type")), (429, json!("rate_limit_error")), "{}", refused.body);
    let head = refused.head.to_ascii_lowercase();
    let after = head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((1..=60).contains(&after.parse::<u64>().unwrap()));

    // Reading would go on for minutes; without its client it ends at once, and the next one has its turn.
    let began = Instant::now();
    drop(held);
    let answer = read(waiting);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_stream_that_nobody_reads_any_more_ends() {
    let server = start(Limits::default(), None);
    let body = long_request().replace(r#""pot""#, r#""stream":true,"pot""#);
    let mut held = server.send("/v1/chat/completions", &body);
    let mut beginning = [0; 64];
    held.read_exact(&mut beginning).unwrap();
    assert!(beginning.starts_with(b"HTTP/1.1 200"));
    drop(held);
    let began = Instant::now();
    assert_eq!(server.chat("Hello!", r#","max_tokens":4"#).status, 200);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn time_is_bounded_and_prompts_are_not_logged() {
    let server = start(Limits { time: Duration::from_secs(1), ..Limits::default() }, None);
    let late = server.post("/v1/chat/completions", &long_request());
    assert_eq!((late.status, late.error("code")), (400, json!("time_limit")), "{}", late.body);
    let log = server.log();
    assert!(log.contains("POST /chat/completions: 400 after"), "{log}");
    assert!(!log.contains("cat") && !log.contains("mat"), "{log}");
}

#[test]
fn a_pot_reads_any_length_and_changes_nothing_that_fits() {
    let server = start(Limits::default(), None);
    let plain = server.chat(QUESTION, r#","max_tokens":20"#).json();
    let potted = server.chat(QUESTION, r#","max_tokens":20,"pot":256"#).json();
    assert_eq!(text(&plain), text(&potted));
    assert_eq!(potted["crayon"]["evicted"], 0);
    let long = "The rain fell on the town. ".repeat(400);
    let value = server.chat(&format!("{long}\n\nWhat fell?"), r#","max_tokens":8,"pot":256"#).json();
    let (read, kept) =
        (value["usage"]["prompt_tokens"].as_u64().unwrap(), value["crayon"]["kept"].as_u64().unwrap());
    assert!(read > 1024 && kept <= 256, "{value}");
    assert_eq!(value["crayon"]["evicted"], read - kept);
}

#[test]
fn stopping_tells_those_who_wait_and_ends_soon() {
    let grace = Duration::from_millis(500);
    let mut server = start(Limits { grace, parallel: 1, ..Limits::default() }, None);
    let held = hold(&server);
    let waiting = server.send("/v1/chat/completions", &chat_body("Hello!", ""));
    // A request that never comes whole must not hold the server either.
    let mut half = server.raw("POST /v1/chat/completions HTTP/1.1\r\nHost: loc");
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let told = read(waiting);
    assert_eq!((told.status, told.error("code")), (503, json!("stopping")), "{}", told.body);
    drop(held);
    let _ = half.write_all(b"alhost\r\n\r\n");
    assert!(std::net::TcpStream::connect(server.address).is_err());
}

#[test]
fn a_body_declared_too_large_is_refused_before_it_comes() {
    let server = start(Limits { body: 1000, ..Limits::default() }, None);
    let declared = |path: &str, length: &str| {
        let began = Instant::now();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{{"
        );
        let answer = read(server.raw(&head));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        answer.status
    };
    for path in ["/v1/chat/completions", "/v1/completions"] {
        assert_eq!((declared(path, "1001"), declared(path, "99999999999")), (413, 413), "{path}");
    }
}

#[test]
fn settings_are_called_by_their_fields() {
    let server = start(Limits::default(), None);
    let message = |fields: &str| {
        let answer = server.chat("Hello!", fields);
        assert_eq!(answer.status, 400, "{}", answer.body);
        answer.error("message").as_str().unwrap().to_owned()
    };
    for (fields, name) in [
        (r#","pot":999999"#, "`pot` 1024 is the largest"),
        (r#","max_tokens":2000"#, "`max_tokens`"),
        (r#","pot":3"#, "the smallest pot"),
    ] {
        let told = message(fields);
        assert!(told.contains(name) && !told.contains("--"), "{told}");
    }
}

#[test]
fn texts_need_a_question_to_stand_in_front_of() {
    let server = start(Limits::default(), None);
    for messages in
        [r#"[{"role":"system","content":"Be short."}]"#, r#"[{"role":"assistant","content":"Hi."}]"#]
    {
        for texts in [r#""documents":["The secret is 42."]"#, r#""pinned":["The secret is 42."]"#] {
            let body = format!(r#"{{"model":"mini","messages":{messages},{texts}}}"#);
            let answer = server.post("/v1/chat/completions", &body);
            assert_eq!((answer.status, answer.error("param")), (400, json!("messages")), "{}", answer.body);
        }
    }
}

#[test]
fn usual_answers_carry_no_notes_and_a_prompt_that_stays_is_kept() {
    let server = start(Limits::default(), None);
    let value = server.chat(QUESTION, "").json();
    assert_eq!(value["crayon"]["notes"], json!([]), "{value}");
    let value = server.chat("Tell me a story.", r#","pot":64,"max_tokens":200"#).json();
    let read = value["usage"]["prompt_tokens"].clone();
    assert_eq!((&value["crayon"]["kept"], &value["crayon"]["evicted"]), (&read, &json!(0)), "{value}");
}
