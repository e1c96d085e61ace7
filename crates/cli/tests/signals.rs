//! Signals that end programs.

#![cfg(unix)]

mod support;

use std::io::Read;
use std::process::Command;

use serde_json::json;
use support::Place;
use support::serving::Serving;

/// SIGTERM is how systems end services: the answer in progress is finished, and the exit code is that of a normal end.
#[test]
fn a_server_ends_gracefully_on_sigterm_and_sigint() {
    for signal in ["TERM", "INT"] {
        let place = Place::new();
        let mut server = Serving::start(&place, &[]);
        let body = json!({
            "model": "mini", "max_tokens": 200, "temperature": 1.0, "stream": true,
            "messages": [{"role": "user", "content": "Tell me a long story."}],
        });
        let mut stream = server.send("/v1/chat/completions", &body);
        // The answer has begun.
        let mut beginning = [0; 64];
        stream.read_exact(&mut beginning).unwrap();
        let id = server.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("data: [DONE]"), "{signal}: {rest}");
        assert_eq!(server.child.wait().unwrap().code(), Some(0), "{signal}");
    }
}
