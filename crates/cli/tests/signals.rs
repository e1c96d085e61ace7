//! Signals that end programs.

#![cfg(unix)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Place, binary};

/// SIGTERM is how systems end services: the answer in progress is finished, and the exit code is that of a normal end.
#[test]
fn a_server_ends_gracefully_on_sigterm_and_sigint() {
    for signal in ["TERM", "INT"] {
        let place = Place::new();
        let mut server = Command::new(binary())
            .args(["serve", "--port", "0", "--json"])
            .env("CRAYON_HOME", place.path("home"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let address = told["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        let address = address.strip_suffix("/v1").unwrap();
        let body = json!({
            "model": "mini", "max_tokens": 200, "temperature": 1.0, "stream": true,
            "messages": [{"role": "user", "content": "Tell me a long story."}],
        })
        .to_string();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        // The answer has begun.
        let mut beginning = [0; 64];
        stream.read_exact(&mut beginning).unwrap();
        let killed = Command::new("kill").args([&format!("-{signal}"), &server.id().to_string()]).status();
        assert!(killed.unwrap().success());
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("data: [DONE]"), "{signal}: {rest}");
        assert_eq!(server.wait().unwrap().code(), Some(0), "{signal}");
    }
}
