//! Clients that misbehave, and servers behind this one that do.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crayon_hybrid::{Endpoint, Remote, RetryPolicy, Route, Thresholds};
use crayon_serve::{Bigger, Limits, Offers};
use serde_json::json;

use support::{Running, chat_body, offering, read, start};

#[test]
fn idle_connections_cost_nobody_an_answer() {
    let server =
        start(Limits { connections: 256, sending: Duration::from_secs(60), ..Limits::default() }, None);
    let idle: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(server.chat("Hello!", r#","max_tokens":4"#).status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(idle);
    // And none keeps its place once it has gone.
    std::thread::sleep(Duration::from_millis(300));
    let again: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    assert_eq!(server.chat("Hello!", r#","max_tokens":4"#).status, 200);
    drop(again);
}

#[test]
fn one_connection_too_many_is_closed_and_the_others_go_on() {
    let server = start(Limits { connections: 4, ..Limits::default() }, None);
    let held: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(200));
    let mut fifth = TcpStream::connect(server.address).unwrap();
    fifth.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = fifth.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // Closed without an answer, in whichever way the system says so.
    assert!(matches!(fifth.read(&mut [0; 16]), Ok(0) | Err(_)));
    drop(held);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(server.ask("GET", "/health", "").status, 200);
}

#[test]
fn a_request_that_never_comes_whole_is_given_up() {
    let server = start(Limits { sending: Duration::from_millis(400), ..Limits::default() }, None);
    let began = Instant::now();
    let half = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    let answer = read(server.raw(&half.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")));
    assert_eq!(answer.status, 408, "{}", answer.body);
    let mut head = server.raw("POST /v1/chat/comp");
    let mut rest = Vec::new();
    let _ = head.read_to_end(&mut rest);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Those who do not read their answers hold neither the model nor others.
#[test]
fn slow_readers_hold_nobody() {
    let server = start(Limits { parallel: 8, ..Limits::default() }, None);
    let fields = r#","stream":true,"max_tokens":600,"temperature":1.2,"logprobs":true,"top_logprobs":20"#;
    let slow: Vec<TcpStream> = (0..6)
        .map(|number| {
            let body = chat_body("Tell me a long story.", &format!(r#"{fields},"seed":{number}"#));
            server.send("/v1/chat/completions", &body)
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    assert_eq!(server.chat("Hello!", r#","max_tokens":8"#).status, 200);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // Read in the end, they are whole.
    for stream in slow {
        let answer = read(stream);
        assert!(answer.events().last().unwrap()["choices"][0]["finish_reason"].is_string());
    }
}

#[test]
fn clients_that_leave_are_not_written_for() {
    let server = start(Limits { parallel: 2, queue: 8, ..Limits::default() }, None);
    for round in 0..10 {
        let body = chat_body("Tell me a long story.", r#","stream":true,"max_tokens":900,"temperature":1.3"#);
        let mut stream = server.send("/v1/chat/completions", &body);
        if round % 2 == 0 {
            let mut beginning = [0; 32];
            let _ = stream.read(&mut beginning);
        }
    }
    let began = Instant::now();
    assert_eq!(server.chat("Hello!", r#","max_tokens":4"#).status, 200);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    std::thread::sleep(Duration::from_millis(500));
    let metrics = server.ask("GET", "/metrics", "").body;
    assert!(metrics.lines().any(|line| line == "crayon_sessions 0"), "{metrics}");
}

/// What a server does with a connection.
type Wrong = fn(&mut TcpStream);

/// A server that does one wrong thing with every connection.
fn failing(wrong: Wrong) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
            let _ = stream.read(&mut [0; 4096]);
            wrong(&mut stream);
        }
    });
    format!("http://{address}")
}

fn say(stream: &mut TcpStream, text: &str) {
    let _ = stream.write_all(text.as_bytes());
}

fn passing_on(url: &str) -> Running {
    let retry = RetryPolicy::within(Duration::from_secs(2));
    let remote = Remote::new(Endpoint::parse(&format!("{url}/v1")).unwrap(), "big", None, retry);
    let thresholds = Thresholds { confidence: 2.0, scope: None };
    let bigger = Bigger { remote, route: Route::Auto, thresholds, after: None };
    offering(Limits::default(), None, Offers { bigger: Some(bigger), ..Offers::default() })
}

#[test]
fn however_the_bigger_model_fails_the_device_answers_whole() {
    let device = start(Limits::default(), None).chat("Hello!", r#","max_tokens":8"#).json();
    let device = device["choices"][0]["message"]["content"].clone();
    let kinds: [(&str, Wrong); 6] = [
        ("closes", |_| {}),
        ("says 500", |stream| {
            say(stream, "HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }),
        ("says nothing in JSON", |stream| {
            say(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\nConnection: close\r\n\r\n<ok>",
            );
        }),
        ("cuts a stream", |stream| {
            let event = r#"data: {"choices":[{"index":0,"delta":{"content":"half an ans"}}]}"#;
            say(
                stream,
                &format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n{event}\n\n"
                ),
            );
        }),
        ("refuses the key", |stream| {
            let body = r#"{"error":{"message":"no","type":"authentication_error","code":"invalid_api_key"}}"#;
            say(
                stream,
                &format!(
                    "HTTP/1.1 401 No\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                ),
            );
        }),
        ("hangs", |_| std::thread::sleep(Duration::from_secs(8))),
    ];
    for (name, wrong) in kinds {
        let server = passing_on(&failing(wrong));
        let began = Instant::now();
        let value = server.chat("Hello!", r#","max_tokens":8"#).json();
        assert_eq!(value["crayon"]["where"], "device", "{name}: {value}");
        assert_eq!(value["choices"][0]["message"]["content"], device, "{name}");
        assert!(!value.to_string().contains("half an ans"), "{name}: an answer is never mixed from two");
        assert!(began.elapsed() < Duration::from_secs(30), "{name}: {:?}", began.elapsed());
        let refused = server.chat("Hello!", r#","max_tokens":8,"route":"server""#);
        assert_eq!(
            (refused.status, refused.error("code")),
            (502, json!("server_failed")),
            "{name}: {}",
            refused.body
        );
    }
}

/// Bodies of all sorts get an answer each, none of them a fault, and the server goes on.
#[test]
fn no_body_breaks_the_server() {
    let server = Arc::new(start(Limits { answer: 4, ..Limits::default() }, None));
    let whole = r#"{"model":"mini","messages":[{"role":"user","content":"Hi \u00e9 \ud83d\ude00"}],"max_tokens":2,"stop":["x"],"logprobs":true}"#;
    let mut state = 0x2545_F491u32;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize % below
    };
    let strange = [
        "null",
        "[]",
        "{}",
        "-1",
        "1e400",
        "\"\\ud800\"",
        "\u{0}",
        "true",
        "99999999999999999999",
        "\"\"",
        "[[[[",
        ",",
    ];
    for round in 0..150 {
        let mut body = whole.to_owned();
        for _ in 0..=next(3) {
            let at = (0..)
                .map(|step| (next(body.len()) + step) % body.len())
                .find(|at| body.is_char_boundary(*at))
                .unwrap();
            match next(3) {
                0 => body.truncate(at.max(1)),
                1 => body.insert_str(at, strange[next(strange.len())]),
                _ => drop(body.remove(at)),
            }
        }
        let path = [
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/responses",
            "/v1/embeddings",
            "/tokenize",
            "/v1/customizations",
        ][round % 6];
        let answer = server.post(path, &body);
        assert!(
            [200, 400, 404].contains(&answer.status),
            "{path} {}: {body:?} {}",
            answer.status,
            answer.body
        );
        answer.json();
    }
    assert_eq!(server.chat("Hello!", r#","max_tokens":2"#).status, 200);
}
