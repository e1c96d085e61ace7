//! `crayon ask` and a server answer alike: one table of requests through both, and answers, counts, reasons and errors compared.

mod support;

use serde_json::{Value, json};
use support::server::{GOOD, Server};
use support::serving::Serving;
use support::{Place, stderr};

/// One request as it is asked at the terminal and over HTTP.
struct Row {
    name: &'static str,
    arguments: Vec<String>,
    body: Value,
}

/// A row: the question, what stands before it on the command line, and the fields that say the same.
fn row(name: &'static str, question: &str, arguments: &[&str], fields: Value) -> Row {
    let mut body = json!({"model": "mini", "messages": [{"role": "user", "content": question}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let arguments = [&["ask", "--json"], arguments, &[question]].concat();
    Row { name, arguments: arguments.into_iter().map(str::to_owned).collect(), body }
}

fn finish(word: &Value) -> &'static str {
    match word.as_str().unwrap() {
        "length" | "full" => "length",
        _ => "stop",
    }
}

/// The words of an error, whatever settings are called.
fn plain(text: &str) -> String {
    let flags = [("--pot", "`pot`"), ("--max-tokens", "`max_tokens`"), ("--policy", "`policy`")];
    let flags = flags.iter().chain(&[("--keep", "`keep`"), ("--catalyst", "`catalyst`")]);
    flags.fold(text.to_owned(), |text, (flag, field)| text.replace(flag, field))
}

fn check(place: &Place, serving: &Serving, rows: &[Row]) {
    for Row { name, arguments, body } in rows {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let asked = place.crayon(&arguments).output().unwrap();
        let path = if body.get("prompt").is_some() { "/v1/completions" } else { "/v1/chat/completions" };
        let served = serving.post(path, body);
        if !asked.status.success() {
            let told = stderr(&asked);
            let line =
                |label: &str| told.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_default();
            let error = format!("{}; {}", line("error: "), line("hint: "));
            assert_eq!(served["error"]["message"].as_str(), Some(plain(&error).as_str()), "{name}: {served}");
            continue;
        }
        let asked: Value = serde_json::from_slice(&asked.stdout).unwrap();
        let choice = &served["choices"][0];
        let text = if choice["text"].is_string() { &choice["text"] } else { &choice["message"]["content"] };
        assert_eq!(asked["text"], *text, "{name}: {served}");
        assert!(!text.as_str().unwrap().trim().is_empty(), "{name}");
        assert_eq!(finish(&asked["finish"]), choice["finish_reason"], "{name}");
        let (usage, extra) = (&served["usage"], &served["crayon"]);
        let counts = json!({
            "read": usage["prompt_tokens"],
            "kept": extra["kept"],
            "evicted": extra["evicted"],
            "generated": usage["completion_tokens"],
        });
        assert_eq!(asked["tokens"], counts, "{name}");
        for key in ["where", "reason", "sure"] {
            assert_eq!(asked[key], extra[key], "{name}: {key}");
        }
        for key in ["confidence", "scope"] {
            let number = |value: &Value| value.as_f64().map(|number| number as f32);
            assert_eq!(number(&asked[key]), number(&extra[key]), "{name}: {key}");
        }
        let names = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
        assert_eq!(names(&asked["adapter"]), names(&extra["adapter"]), "{name}");
        for key in ["shown", "chosen"] {
            assert_eq!(asked[key], extra[key], "{name}: {key}");
        }
        let tried = |value: &Value| {
            let rows = value["tried"].as_array().unwrap().iter();
            rows.map(|row| ["name", "right", "of", "loss"].map(|key| row[key].clone())).collect::<Vec<_>>()
        };
        assert_eq!(tried(&asked), tried(extra), "{name}");
    }
}

#[test]
fn a_request_is_answered_alike_at_the_terminal_and_over_http() {
    let place = Place::new();
    let note = "The lamp in the kitchen is green. The lamp in the attic is red.";
    let story = "The king had a dog. The dog sang in the garden. ".repeat(120);
    let rule = "Answer in one word.";
    let long_rule = "Never forget this rule of ours. ".repeat(20);
    let home = ["put bread on my shopping list", "skip this song please", "do i have any reminders tonight"];
    place.write("note.txt", note);
    place.write("story.txt", &story);
    place.write("rule.txt", rule);
    place.write("long-rule.txt", &long_rule);
    let lines: Vec<String> = home.iter().map(|prompt| json!({"prompt": prompt}).to_string()).collect();
    place.write("home.jsonl", lines.join("\n"));
    // Answers that the prompt is enough for, and answers that nothing tried at once can give.
    let foods = ["tea", "soup", "bread", "cake", "milk", "rice"];
    let order = |(at, food)| json!({"prompt": format!("Order number {at}: {food}"), "answer": "sir"});
    let orders: Vec<Value> = foods.iter().enumerate().map(order).collect();
    let noise = |(at, food)| json!({"prompt": food, "answer": format!("xq{at} vrtl")});
    let noise: Vec<Value> = foods.iter().enumerate().map(noise).collect();
    for (name, examples) in [("orders.jsonl", &orders), ("noise.jsonl", &noise)] {
        place.write(name, examples.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"));
    }
    let serving = Serving::start(&place, &["--cache", "--pool", "built-in"]);
    let mut system = row(
        "instructions",
        "Tell me a story.",
        &["--system", "Be short.", "--max-tokens", "12"],
        json!({"max_tokens": 12}),
    );
    system.body["messages"] = json!([
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Tell me a story."},
    ]);
    let mut raw = row("a text to go on with", "Once upon a time", &["--raw", "--max-tokens", "9"], json!({}));
    raw.body = json!({"model": "mini", "prompt": "Once upon a time", "max_tokens": 9});
    let rows = [
        row("plain", "What do cats eat?", &["--max-tokens", "16"], json!({"max_tokens": 16})),
        system,
        row(
            "drawn by chance",
            "Tell me a story about a fox.",
            &["--max-tokens", "20", "--temperature", "0.9", "--seed", "5", "--top-k", "40", "--top-p", "0.9"],
            json!({"max_tokens": 20, "temperature": 0.9, "seed": 5, "top_k": 40, "top_p": 0.9}),
        ),
        row(
            "penalties and a stop string",
            "Tell me a story.",
            &[
                "--max-tokens",
                "40",
                "--presence-penalty",
                "0.5",
                "--repetition-penalty",
                "1.2",
                "--stop",
                ".",
            ],
            json!({"max_tokens": 40, "presence_penalty": 0.5, "repetition_penalty": 1.2, "stop": "."}),
        ),
        row(
            "a document",
            "What colour is the lamp in the attic?",
            &["-c", "note.txt", "--max-tokens", "6"],
            json!({"documents": [note], "max_tokens": 6}),
        ),
        row(
            "a document through a pot",
            "Who sang in the garden?",
            &["-c", "story.txt", "--pot", "192", "--max-tokens", "8"],
            json!({"documents": [story.trim()], "pot": 192, "max_tokens": 8}),
        ),
        row(
            "another policy",
            "Who sang in the garden?",
            &["-c", "story.txt", "--pot", "192", "--policy", "snapkv", "--keep", "100", "--max-tokens", "8"],
            json!({"documents": [story.trim()], "pot": 192, "policy": "snapkv", "keep": 100, "max_tokens": 8}),
        ),
        row(
            "every knob of the pot",
            "Who sang in the garden?",
            &[
                "-c",
                "story.txt",
                "--pot",
                "256",
                "--novelty",
                "0.25",
                "--novelty-exact",
                "--smooth",
                "3",
                "--sinks",
                "2",
                "--recent",
                "6",
                "--catalyst",
                "general",
                "--max-tokens",
                "8",
            ],
            json!({
                "documents": [story.trim()], "pot": 256, "novelty": 0.25, "novelty_exact": true, "smooth": 3, "sinks": 2, "recent": 6,
                "catalyst": "general", "max_tokens": 8,
            }),
        ),
        row(
            "pinned and kept for later",
            "Who sang in the garden?",
            &["-c", "story.txt", "--pin", "rule.txt", "--pot", "192", "--cache", "--max-tokens", "8"],
            json!({"documents": [story.trim()], "pinned": [rule], "pot": 192, "cache": true, "max_tokens": 8}),
        ),
        row(
            "a window outgrown, with no size named",
            "Who sang in the garden?",
            &["-c", "story.txt", "--max-tokens", "8"],
            json!({"documents": [story.trim()], "policy": "infinipot", "max_tokens": 8}),
        ),
        raw,
        row(
            "customized",
            "i want to fly to rome",
            &["--examples", "home.jsonl", "--max-tokens", "8"],
            json!({"examples": home, "max_tokens": 8}),
        ),
        row(
            "customized by answers: the examples in the prompt",
            "Order number 9: pasta",
            &["--examples", "orders.jsonl", "--max-tokens", "8"],
            json!({"examples": orders, "max_tokens": 8}),
        ),
        row(
            "customized by answers, elsewhere",
            "Why is the sky blue?",
            &["--examples", "orders.jsonl", "--max-tokens", "8"],
            json!({"examples": orders, "max_tokens": 8}),
        ),
        row(
            "customized by answers: the model as it is",
            "pasta",
            &["--examples", "noise.jsonl", "--max-tokens", "8"],
            json!({"examples": noise, "max_tokens": 8}),
        ),
        row(
            "customized by answers, through a pot",
            "Order number 9: pasta",
            &["--examples", "orders.jsonl", "-c", "story.txt", "--pot", "384", "--max-tokens", "8"],
            json!({"examples": orders, "documents": [story.trim()], "pot": 384, "max_tokens": 8}),
        ),
        row("nothing asked", " ", &[], json!({})),
        row("a tiny pot", "What do cats eat?", &["--pot", "3"], json!({"pot": 3})),
        row("a huge pot", "What do cats eat?", &["--pot", "999999"], json!({"pot": 999_999})),
        row(
            "more kept than a pot holds",
            "Who sang?",
            &["-c", "story.txt", "--pot", "192", "--keep", "190"],
            json!({"documents": [story.trim()], "pot": 192, "keep": 190}),
        ),
        row(
            "pinned and nothing else: what may not go does not fit",
            "Who sang?",
            &["--pin", "long-rule.txt", "--pot", "64"],
            json!({"pinned": [long_rule.trim()], "pot": 64}),
        ),
        row(
            "pinned and nothing else",
            "Who sang?",
            &["--pin", "long-rule.txt", "--pot", "256", "--max-tokens", "8"],
            json!({"pinned": [long_rule.trim()], "pot": 256, "max_tokens": 8}),
        ),
        row(
            "a setting that cannot be",
            "Hi",
            &["--keep", "63", "--pot", "64"],
            json!({"pot": 64, "keep": 63}),
        ),
        row(
            "memory in bytes",
            "Hi",
            &["--pot", "1MiB", "--max-tokens", "5"],
            json!({"pot": "1MiB", "max_tokens": 5}),
        ),
        row(
            "an answer that outgrows its pot",
            "Tell me a story.",
            &["--pot", "64", "--max-tokens", "120"],
            json!({"pot": 64, "max_tokens": 120}),
        ),
        row(
            "no forgetting",
            "Who sang?",
            &["-c", "story.txt", "--policy", "full", "--pot", "512", "--max-tokens", "9"],
            json!({"documents": [story.trim()], "policy": "full", "pot": 512, "max_tokens": 9}),
        ),
    ];
    check(&place, &serving, &rows);
}

#[test]
fn a_bigger_model_is_asked_alike() {
    let place = Place::online();
    let bigger = Server::start(200, GOOD);
    let server = format!("{}/v1", bigger.address);
    place.write("queries.jsonl", "{\"prompt\":\"What is a dog?\"}\n{\"prompt\":\"What is a qubit?\"}\n");
    // Decided early, after three tokens.
    place.text(&["route", "calibrate", "--data", "queries.jsonl", "--share", "0.5", "--tokens", "3"]);
    let serving = Serving::start(&place, &["--server", &server, "--server-model", "big"]);
    let ask = |name: &'static str, question: &str, route: &str| {
        let arguments =
            ["--server", &server, "--server-model", "big", "--route", route, "--max-tokens", "12"];
        row(name, question, &arguments, json!({"route": route, "max_tokens": 12}))
    };
    let rows = [
        ask("sure or not", "What is a dog?", "auto"),
        ask("not sure or sure", "What is a qubit?", "auto"),
        ask("the device alone", "What is a dog?", "device"),
        ask("the server alone", "What is a dog?", "server"),
    ];
    check(&place, &serving, &rows);
    assert!(bigger.connections() >= 4, "{}", bigger.connections());
}

#[test]
fn a_frame_is_the_same_at_the_terminal_and_over_http() {
    let place = Place::new();
    let note = "The lamp in the kitchen is green. The lamp in the attic is red.";
    place.write("note.txt", note);
    let serving = Serving::start(&place, &["--frame", "dialogue"]);
    let framed = |name, question, arguments: &[&str], fields| {
        row(name, question, &[&["--frame", "dialogue", "--max-tokens", "24"], arguments].concat(), fields)
    };
    let mut raw = framed("a text to go on with", "User: one?\nAssistant:", &["--raw"], json!({}));
    raw.body = json!({"model": "mini", "prompt": "User: one?\nAssistant:", "max_tokens": 24});
    let rows = [
        framed("a question", "Tell me a story about a dog.", &[], json!({"max_tokens": 24})),
        framed(
            "a document and a stop string",
            "What colour is the lamp in the attic?",
            &["-c", "note.txt", "--stop", "."],
            json!({"documents": [note], "max_tokens": 24, "stop": "."}),
        ),
        raw,
    ];
    check(&place, &serving, &rows);
    let asked = place.crayon(&["ask", "--frame", "qa", "What do cats eat?"]).output().unwrap();
    assert!(stderr(&asked).contains("the frame qa"), "{}", stderr(&asked));
    let unknown = place.mistake(&["ask", "--frame", "other", "x"], "[possible values: qa", "--help");
    assert!(unknown.contains("'other'"), "{unknown}");
}
