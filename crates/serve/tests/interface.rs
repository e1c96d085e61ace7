//! What programs written for OpenAI's interface, and those who watch over servers, expect beside plain answers.

mod support;

use crayon_serve::{Limits, Model, Offers, ServeOptions};
use serde_json::{Value, json};

use support::{Running, alone, engine, serving, start};

fn texts(value: &Value) -> Vec<String> {
    let choices = value["choices"].as_array().unwrap_or_else(|| panic!("{value}"));
    let text =
        |choice: &Value| choice["message"]["content"].as_str().or(choice["text"].as_str()).map(str::to_owned);
    choices.iter().map(|choice| text(choice).unwrap()).collect()
}

fn completion(server: &Running, fields: &str) -> Value {
    let answer = server.post("/v1/completions", &format!(r#"{{"model":"mini",{fields}}}"#));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[test]
fn paths_answer_without_their_version_and_the_model_under_short_names() {
    let models = vec![Model::new("mini.gguf", engine(), Offers::default())];
    let server = serving(ServeOptions::default(), models);
    let body = r#"{"model":"mini","messages":[{"role":"user","content":"Hi."}],"max_tokens":4}"#;
    let (with, without) = (server.post("/v1/chat/completions", body), server.post("/chat/completions", body));
    assert_eq!((with.status, without.status), (200, 200), "{}", without.body);
    assert_eq!(texts(&with.json()), texts(&without.json()));
    assert_eq!(with.json()["model"], "mini.gguf");
    assert_eq!(server.ask("GET", "/models/mini", "").json()["id"], "mini.gguf");
    assert_eq!(server.ask("GET", "/models/min", "").status, 404);
    assert_eq!(server.ask("GET", "/health", "").json(), json!({"status": "ok"}));
}

#[test]
fn numbers_are_told_in_prometheus_format() {
    let server = start(Limits::default(), None);
    let answer = server.chat("What is a cat?", r#","max_tokens":6"#).json();
    let text = server.ask("GET", "/metrics", "").body;
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name}\n{text}")).parse().unwrap()
    };
    assert_eq!(value("crayon_tokens_read_total"), answer["usage"]["prompt_tokens"].as_f64().unwrap());
    assert_eq!(value("crayon_tokens_written_total"), 6.0);
    assert_eq!(value("crayon_time_to_first_token_seconds_count"), 1.0);
    assert_eq!(value("crayon_time_between_tokens_seconds_count"), 5.0);
    assert_eq!(value(r#"crayon_requests_total{path="/chat/completions",status="200"}"#), 1.0);
    assert_eq!((value("crayon_sessions"), value("crayon_queue")), (0.0, 0.0));
    let held = |holder: &str| value(&format!(r#"crayon_memory_bytes{{holder="{holder}"}}"#));
    assert!(held("weights") > 1e6 && held("scratch") > 1e3 && held("adapters") == 0.0, "{text}");
}

#[test]
fn what_prompts_begin_with_is_read_once() {
    let system = "You are a kind helper in a small shop for books. ".repeat(12);
    let body = |question: &str, fields: Value| {
        let mut body = json!({"model": "mini", "max_tokens": 16, "messages": [
            {"role": "system", "content": system}, {"role": "user", "content": question},
        ]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body.to_string()
    };
    let ask = |server: &Running, question: &str, fields: Value| {
        let answer = server.post("/v1/chat/completions", &body(question, fields));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let value = answer.json();
        let usage = &value["usage"];
        let count = |value: &Value| value.as_u64().unwrap();
        let (read, cached) =
            (count(&usage["prompt_tokens"]), count(&usage["prompt_tokens_details"]["cached_tokens"]));
        (texts(&value), value["crayon"]["confidence"].clone(), read, cached)
    };
    let (first, second) = (start(Limits::default(), None), start(Limits::default(), None));
    let none = json!({});
    let alone = ask(&second, "Have you a book about foxes?", none.clone());
    assert_eq!(ask(&first, "Where is the door?", none.clone()).3, 0);
    let shared = ask(&first, "Have you a book about foxes?", none.clone());
    // The same answer, to the last digit of its confidence.
    assert_eq!((&shared.0, &shared.1, shared.2), (&alone.0, &alone.1, alone.2));
    assert!(shared.3 >= 96 && shared.3 < shared.2 && alone.3 == 0, "{} of {}", shared.3, shared.2);
    // What begins with other words is read anew.
    assert_eq!(
        first.chat("Have you a book about foxes?", r#","max_tokens":4"#).json()["usage"]["prompt_tokens_details"],
        json!({"cached_tokens": 0})
    );
    let told = json!({"model": "mini", "instructions": system, "input": "Where is the door?", "max_output_tokens": 4});
    let told = first.post("/v1/responses", &told.to_string()).json();
    assert!(told["usage"]["input_tokens_details"]["cached_tokens"].as_u64().unwrap() >= 96, "{told}");

    let text = first.ask("GET", "/metrics", "").body;
    let value = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name}\n{text}")).parse().unwrap()
    };
    assert_eq!(value("crayon_prefix_hits_total"), 2);
    assert!(value("crayon_prefix_tokens_total") >= 2 * 96, "{text}");
    assert!(value(r#"crayon_memory_bytes{holder="prefixes"}"#) > 0, "{text}");
}

#[test]
fn texts_become_tokens_and_texts_again() {
    let server = start(Limits::default(), None);
    let post = |path: &str, body: Value| server.post(path, &body.to_string());
    let text = "The cat sat on the mat.";
    let found = post("/tokenize", json!({"content": text})).json();
    let ids = found["tokens"].as_array().unwrap();
    assert!(ids.len() > 3 && found["count"] == ids.len(), "{found}");
    assert_eq!(post("/v1/detokenize", json!({"tokens": ids})).json()["content"], text);
    let pieces = post("/tokenize", json!({"prompt": text, "with_pieces": true})).json();
    let joined: String =
        pieces["tokens"].as_array().unwrap().iter().map(|one| one["piece"].as_str().unwrap()).collect();
    assert_eq!(joined.trim(), text);
    let chat = post("/tokenize", json!({"messages": [{"role": "user", "content": text}]})).json();
    let usage = server.chat(text, r#","max_tokens":1"#).json()["usage"]["prompt_tokens"].clone();
    assert_eq!(chat["count"], usage);
    assert_eq!(post("/detokenize", json!({"tokens": [99_999_999]})).error("param"), "tokens");
    assert_eq!(post("/tokenize", json!({})).status, 400);
}

#[test]
fn several_answers_and_prompts_come_in_one_object() {
    let server = start(Limits::default(), None);
    let fields = r#""max_tokens":10,"temperature":1.2,"seed":3"#;
    let one = |prompt: &str, seed: u32| {
        let fields = fields.replace(":3", &format!(":{seed}"));
        texts(&completion(&server, &format!(r#""prompt":"{prompt}",{fields}"#))).remove(0)
    };
    let expected = [one("Once", 3), one("Once", 4), one("The sun", 3), one("The sun", 4)];
    let many = completion(&server, &format!(r#""prompt":["Once","The sun"],"n":2,{fields}"#));
    assert_eq!(texts(&many), expected);
    assert_eq!(many["usage"]["completion_tokens"], 40);
    let prompts = |fields: &str| completion(&server, fields)["usage"]["prompt_tokens"].as_u64().unwrap();
    let (once, sun) =
        (prompts(r#""prompt":"Once","max_tokens":1"#), prompts(r#""prompt":"The sun","max_tokens":1"#));
    assert_eq!(many["usage"]["prompt_tokens"].as_u64(), Some(once + sun), "a prompt counts once");
    assert!(many["choices"][3]["crayon"]["confidence"].is_f64() && many.get("crayon").is_none(), "{many}");

    let echoed = completion(&server, &format!(r#""prompt":"Once","echo":true,{fields}"#));
    assert_eq!(texts(&echoed), [format!("Once{}", expected[0])]);

    let body =
        format!(r#"{{"model":"mini","prompt":["Once","The sun"],"n":2,"stream":true,"echo":true,{fields}}}"#);
    let events = server.post("/v1/completions", &body).events();
    let mut streamed = vec![String::new(); 4];
    for event in &events {
        for choice in event["choices"].as_array().unwrap() {
            streamed[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
        }
    }
    let begun = ["Once", "Once", "The sun", "The sun"].iter().zip(&expected);
    assert_eq!(streamed, begun.map(|(prompt, text)| format!("{prompt}{text}")).collect::<Vec<_>>());
    let chats = server.chat("Tell me a story.", r#","n":3,"max_tokens":8,"temperature":1.5,"seed":1"#).json();
    let chats = texts(&chats);
    assert!(chats.len() == 3 && (chats[0] != chats[1] || chats[1] != chats[2]), "{chats:?}");
}

#[test]
fn tokens_are_told_with_their_probabilities() {
    let server = start(Limits::default(), None);
    let fields = r#","max_tokens":12,"logprobs":true,"top_logprobs":3"#;
    let value = server.chat("What do cats like to eat?", fields).json();
    let content = value["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
    assert_eq!(value["usage"]["completion_tokens"], content.len());
    let joined: Vec<u8> = content
        .iter()
        .flat_map(|told| told["bytes"].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8))
        .collect();
    assert_eq!(String::from_utf8(joined).unwrap().trim(), texts(&value)[0].trim());
    for told in &content {
        let top = told["top_logprobs"].as_array().unwrap();
        let likely: Vec<f64> = top.iter().map(|one| one["logprob"].as_f64().unwrap()).collect();
        assert!(top.len() == 3 && likely.is_sorted_by(|a, b| a >= b), "{told}");
        assert!(told["logprob"].as_f64().unwrap() <= likely[0] + 1e-5, "{told}");
    }
    let confidence = value["crayon"]["confidence"].as_f64().unwrap();
    let mean =
        content.iter().map(|told| told["logprob"].as_f64().unwrap()).sum::<f64>() / content.len() as f64;
    assert!((mean.exp() - confidence).abs() < 1e-4, "{} {confidence}", mean.exp());

    let streamed = server.chat("What do cats like to eat?", &format!(r#"{fields},"stream":true"#)).events();
    let told: Vec<Value> = streamed
        .iter()
        .filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array())
        .flatten()
        .cloned()
        .collect();
    assert_eq!(told, content);

    let whole = completion(&server, r#""prompt":"Once upon","max_tokens":5,"logprobs":2"#);
    let logprobs = &whole["choices"][0]["logprobs"];
    let tokens: Vec<&str> =
        logprobs["tokens"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(tokens.concat(), texts(&whole)[0]);
    assert_eq!(logprobs["text_offset"][1], tokens[0].len());
    assert_eq!(logprobs["top_logprobs"][0].as_object().unwrap().len(), 2);
    assert_eq!(server.chat("Hi.", r#","max_tokens":2"#).json()["choices"][0]["logprobs"], Value::Null);
}

#[test]
fn an_answers_beginning_is_gone_on_with() {
    let server = start(Limits::default(), None);
    let whole =
        texts(&server.chat("What do cats like to eat?", r#","max_tokens":16,"repetition_penalty":1"#).json())
            .remove(0);
    let cut = whole.find(' ').unwrap();
    let (beginning, rest) = whole.split_at(cut);
    let body = json!({
        "model": "mini", "max_tokens": 8, "repetition_penalty": 1,
        "messages": [
            {"role": "user", "content": "What do cats like to eat?"},
            {"role": "assistant", "content": beginning},
        ],
    });
    let value = server.post("/v1/chat/completions", &body.to_string()).json();
    let text = texts(&value).remove(0);
    assert!(rest.starts_with(&text) && text.len() > 4, "{text:?} is not part of {rest:?}");
}

#[test]
fn lengths_and_ignored_fields_are_taken_as_they_are_meant() {
    let server = start(Limits { answer: 30, ..Limits::default() }, None);
    let value = completion(&server, r#""prompt":"Once upon a time","max_tokens":-1,"ignore_eos":false"#);
    let written = value["usage"]["completion_tokens"].as_u64().unwrap();
    assert!((17..=30).contains(&written), "{written}");
    let answer = server.chat("Hi.", r#","max_tokens":2,"store":true,"metadata":{"a":"b"},"user":"u""#);
    assert!(
        answer.head.to_ascii_lowercase().contains("x-crayon-ignored: metadata, store"),
        "{}",
        answer.head
    );
    let answer = server.chat("Hi.", r#","max_tokens":2"#);
    assert!(!answer.head.to_ascii_lowercase().contains("x-crayon-ignored"), "{}", answer.head);
    let penalised = |penalty: &str| {
        let fields = format!(r#""prompt":"a a a a a a","max_tokens":24,"repetition_penalty":1{penalty}"#);
        texts(&completion(&server, &fields)).remove(0)
    };
    assert_ne!(penalised(""), penalised(r#","frequency_penalty":2"#));
    assert_eq!(server.chat("Hi.", r#","surprise":1"#).error("code"), "unknown_parameter");
}

#[test]
fn pages_and_names_are_let_in_by_the_operator() {
    let foreign = "Origin: https://page.example\r\n";
    let server = start(Limits::default(), None);
    let refused = server.ask("GET", "/v1/models", foreign);
    assert_eq!(
        (refused.status, refused.error("code")),
        (403, json!("origin_not_allowed")),
        "{}",
        refused.body
    );
    assert!(
        refused.error("message").as_str().unwrap().contains("the pages that may ask"),
        "{}",
        refused.body
    );
    let asked = format!("{foreign}Access-Control-Request-Method: POST\r\n");
    let before = server.ask("OPTIONS", "/v1/chat/completions", &asked);
    assert_eq!((before.status, before.error("code")), (403, json!("origin_not_allowed")), "{}", before.body);
    let own = format!("Origin: http://{}\r\n", server.address);
    assert_eq!(server.ask("GET", "/v1/models", &own).status, 200);
    assert_eq!(server.ask("GET", "/v1/models", "Origin: app://editor\r\n").status, 200);

    let options = ServeOptions {
        origins: vec!["https://page.example".to_owned()],
        hosts: vec!["box.local".to_owned()],
        spell: |phrase| phrase.spell(&|_| "--an-option".to_owned()),
        ..ServeOptions::default()
    };
    let server = serving(options, alone());
    let allowed = server.ask("GET", "/v1/models", foreign);
    let head = allowed.head.to_ascii_lowercase();
    assert!(
        allowed.status == 200 && head.contains("access-control-allow-origin: https://page.example"),
        "{head}"
    );
    let asked = format!(
        "{foreign}Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n"
    );
    let before = server.ask("OPTIONS", "/v1/chat/completions", &asked);
    let head = before.head.to_ascii_lowercase();
    assert!(
        before.status == 200 && head.contains("access-control-allow-headers: authorization,content-type"),
        "{head}"
    );
    assert_eq!(server.ask("GET", "/v1/models", "Origin: https://other.example\r\n").status, 403);
    assert_eq!(server.get("/v1/models", "Host: box.local:8080\r\n").status, 200);
    let refused = server.get("/v1/models", "Host: evil.example\r\n");
    assert!(refused.error("message").as_str().unwrap().contains("--an-option"), "{}", refused.body);
}
