//! Forms of answers, functions, vectors, and OpenAI's later interface.

mod support;

use crayon_serve::Limits;
use serde_json::{Value, json};

use support::{Running, start};

const QUESTION: &str = "What do cats like to eat?";

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "animal": {"enum": ["cat", "dog"]},
            "legs": {"type": "integer", "minimum": 0, "maximum": 8},
        },
        "required": ["animal", "legs"],
        "additionalProperties": false,
    })
}

fn tool() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": {"animal": {"enum": ["cat", "dog"]}, "grams": {"type": "integer", "minimum": 1, "maximum": 99}},
        "required": ["animal", "grams"],
        "additionalProperties": false,
    });
    json!({"type": "function", "function": {"name": "feed", "description": "Feeds", "parameters": parameters}})
}

fn chat(server: &Running, fields: Value) -> support::Answer {
    let mut body =
        json!({"model": "mini", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 64});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    server.post("/v1/chat/completions", &body.to_string())
}

#[test]
fn answers_have_the_form_that_is_asked_for() {
    let server = start(Limits::default(), None);
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "pet", "schema": schema(), "strict": true}});
    for temperature in [0.0, 1.5] {
        let fields = json!({"response_format": format, "temperature": temperature, "seed": 1});
        let value = chat(&server, fields).json();
        let text = value["choices"][0]["message"]["content"].as_str().unwrap();
        let pet: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(
            ["cat", "dog"].contains(&pet["animal"].as_str().unwrap()) && pet["legs"].as_u64().unwrap() <= 8
        );
        assert_eq!(value["choices"][0]["finish_reason"], "stop");
    }
    let streamed = chat(&server, json!({"response_format": format, "stream": true})).events();
    let pieces: String =
        streamed.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert!(serde_json::from_str::<Value>(&pieces).is_ok(), "{pieces}");
    let body = json!({
        "model": "mini", "prompt": "A plate:", "max_tokens": 20, "grammar": {"regex": "[A-Z]{2}-[0-9]{3}"},
    });
    let value = server.post("/v1/completions", &body.to_string()).json();
    let text = value["choices"][0]["text"].as_str().unwrap();
    assert!(text.len() == 6 && text.as_bytes()[2] == b'-', "{text}");
    let object = chat(&server, json!({"response_format": {"type": "json_object"}})).json();
    assert!(object["choices"][0]["message"]["content"].as_str().unwrap().starts_with('{'), "{object}");

    for (fields, param) in [
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "elephant"}}}}),
            "response_format",
        ),
        (json!({"grammar": "start: nothing"}), "grammar"),
        (json!({"grammar": {"regex": "("}}), "grammar"),
        (json!({"grammar": {"regex": "a".repeat(70_000)}}), "grammar"),
        (json!({"response_format": format, "tools": [tool()]}), "response_format"),
    ] {
        let refused = chat(&server, fields);
        assert_eq!((refused.status, refused.error("param")), (400, json!(param)), "{}", refused.body);
    }
}

/// The invariant of the batch, for answers with a form as well.
#[test]
fn forms_do_not_depend_on_company() {
    let server = start(Limits::default(), None);
    let format = json!({"type": "json_schema", "json_schema": {"schema": schema()}});
    let ask = |number: usize| {
        let fields = match number % 2 {
            0 => json!({"response_format": format, "temperature": 1.0, "seed": number}),
            _ => json!({"max_tokens": 24, "temperature": 1.0, "seed": number}),
        };
        chat(&server, fields).json()["choices"].clone()
    };
    let alone: Vec<Value> = (0..6).map(ask).collect();
    let together: Vec<Value> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..6).map(|number| scope.spawn(move || ask(number))).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(together, alone);
}

#[test]
fn functions_are_called_and_their_results_are_read() {
    let server = start(Limits::default(), None);
    let fields = json!({"tools": [tool()], "tool_choice": "required"});
    let value = chat(&server, fields.clone()).json();
    let choice = &value["choices"][0];
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null),
        "{value}"
    );
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("feed")));
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!((1..=99).contains(&arguments["grams"].as_u64().unwrap()), "{arguments}");

    let mut streaming = fields.clone();
    streaming["stream"] = json!(true);
    let events = chat(&server, streaming).events();
    let deltas: Vec<&Value> =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["tool_calls"].get(0)).collect();
    assert_eq!(deltas.len(), 1, "{events:?}");
    assert_eq!((&deltas[0]["index"], &deltas[0]["function"]), (&json!(0), &call["function"]));
    assert!(
        events.iter().all(|event| event["choices"][0]["delta"]["content"].as_str().is_none_or(str::is_empty))
    );
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");

    let messages = json!([
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "The cat was fed."},
    ]);
    let after = chat(&server, json!({"messages": messages, "tools": [tool()], "max_tokens": 8}));
    assert_eq!(after.status, 200, "{}", after.body);
    let told = server.post("/tokenize", &json!({"messages": messages}).to_string()).json();
    assert!(
        after.json()["usage"]["prompt_tokens"].as_u64() > told["count"].as_u64(),
        "the functions are told, too"
    );
    let bare =
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null}]});
    assert_eq!(chat(&server, bare).error("param"), "messages.1.content");
    // Nothing may be called: an answer is an answer.
    let none = chat(&server, json!({"tools": [tool()], "tool_choice": "none", "max_tokens": 8})).json();
    assert!(none["choices"][0]["message"]["content"].is_string(), "{none}");
}

#[test]
fn texts_become_vectors() {
    let server = start(Limits::default(), None);
    let post = |body: Value| server.post("/v1/embeddings", &body.to_string());
    let texts = ["The cat sat on the mat.", "A cat lay on the mat.", "12 + 30 = 42"];
    let value = post(json!({"model": "mini", "input": texts})).json();
    let vectors: Vec<Vec<f64>> =
        (0..3).map(|at| serde_json::from_value(value["data"][at]["embedding"].clone()).unwrap()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    assert!(vectors.iter().all(|vector| (dot(vector, vector) - 1.0).abs() < 1e-4));
    assert!(dot(&vectors[0], &vectors[1]) > dot(&vectors[0], &vectors[2]));
    let ids = server.post("/tokenize", &json!({"content": texts[0], "add_special": true}).to_string()).json();
    let by_ids = post(json!({"model": "mini", "input": ids["tokens"]})).json();
    assert_eq!(by_ids["data"][0]["embedding"], value["data"][0]["embedding"]);
    let coded = post(json!({"model": "mini", "input": texts[0], "encoding_format": "base64"})).json();
    assert_eq!(coded["data"][0]["embedding"].as_str().unwrap().len(), (vectors[0].len() * 4).div_ceil(3) * 4);
    for (body, param) in [
        (json!({"model": "mini"}), "input"),
        (json!({"model": "mini", "input": []}), "input"),
        (json!({"model": "mini", "input": [""]}), "input"),
        (json!({"model": "mini", "input": "a", "dimensions": 7}), "dimensions"),
        (json!({"model": "mini", "input": "a", "encoding_format": "int8"}), "encoding_format"),
        (json!({"model": "other", "input": "a"}), "model"),
        (json!({"model": "mini", "input": "a ".repeat(5000)}), "input"),
    ] {
        assert_eq!(post(body.clone()).error("param"), param, "{body}");
    }
}

#[test]
fn responses_say_the_same_whole_and_in_events() {
    let server = start(Limits::default(), None);
    let post = |body: Value| server.post("/v1/responses", &body.to_string());
    let body = json!({"model": "mini", "input": QUESTION, "max_output_tokens": 20, "store": true});
    let answer = post(body.clone());
    assert!(answer.head.to_ascii_lowercase().contains("x-crayon-ignored: store"), "{}", answer.head);
    let whole = answer.json();
    let text = whole["output"][0]["content"][0]["text"].as_str().unwrap();
    let chat = server.chat(QUESTION, r#","max_tokens":20"#).json();
    assert_eq!(chat["choices"][0]["message"]["content"], text);
    assert_eq!(whole["usage"]["output_tokens"], chat["usage"]["completion_tokens"]);

    let mut streaming = body;
    streaming["stream"] = json!(true);
    let answer = post(streaming);
    let events: Vec<Value> = answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[..3], ["response.created", "response.in_progress", "response.output_item.added"]);
    let pieces: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(pieces, text);
    assert!(events.iter().enumerate().all(|(at, event)| event["sequence_number"] == at));
    let last = &events.last().unwrap()["response"];
    assert_eq!(
        (&last["output"][0]["content"], &last["usage"]),
        (&whole["output"][0]["content"], &whole["usage"])
    );
    let named = answer.body.lines().filter(|line| line.starts_with("event: ")).count();
    assert_eq!(named, events.len());

    let flat = json!({"type": "function", "name": "feed", "parameters": tool()["function"]["parameters"]});
    let called =
        post(json!({"model": "mini", "input": QUESTION, "tools": [flat], "tool_choice": "required"})).json();
    assert_eq!(
        (&called["output"][0]["type"], &called["output"][0]["name"]),
        (&json!("function_call"), &json!("feed")),
        "{called}"
    );
    let talk = json!([
        {"role": "user", "content": [{"type": "input_text", "text": QUESTION}]},
        {"type": "function_call", "call_id": "c", "name": "feed", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "fed"},
    ]);
    let form = json!({"format": {"type": "json_schema", "name": "pet", "schema": schema()}});
    let pet = post(json!({"model": "mini", "instructions": "Be short.", "input": talk, "text": form})).json();
    let pet = pet["output"][0]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{pet}")).to_owned();
    assert!(serde_json::from_str::<Value>(&pet).unwrap()["legs"].is_u64(), "{pet}");
    for (fields, param) in [
        (json!({"previous_response_id": "resp-1"}), "previous_response_id"),
        (json!({"input": [{"type": "image"}]}), "input.0.type"),
        (json!({"truncation": "auto"}), "truncation"),
    ] {
        let mut body = json!({"model": "mini", "input": "Hi."});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        assert_eq!(post(body).error("param"), param, "{fields}");
    }
}
