//! A server with the built-in model on a free port of 127.0.0.1, and a client that speaks plain HTTP to it.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod made_up;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crayon_engine::{Engine, ModelSource, Settings};
use crayon_serve::{Keys, Limits, Model, Offers, ServeOptions, Server};
use serde_json::Value;

/// A running server; it stops when dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<String>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// An answer, with the chunks of its body put together.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The error object's field.
    pub(crate) fn error(&self, field: &str) -> Value {
        self.json()["error"][field].clone()
    }

    /// Objects of a stream, without its end, which must be there.
    pub(crate) fn events(&self) -> Vec<Value> {
        let lines: Vec<&str> = self.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let (end, events) = lines.split_last().expect("events");
        assert_eq!(*end, "[DONE]", "{}", self.body);
        events.iter().map(|event| serde_json::from_str(event).expect("JSON")).collect()
    }
}

pub(crate) fn engine() -> Engine {
    let source = ModelSource::embedded("mini").unwrap();
    Engine::open(&source, &Settings { threads: Some(2), ..Settings::default() }).unwrap()
}

/// A server with this model.
pub(crate) fn answering(engine: Engine) -> Running {
    run(Limits::default(), None, Offers::default(), engine)
}

pub(crate) fn start(limits: Limits, keys: Option<Keys>) -> Running {
    offering(limits, keys, Offers::default())
}

/// A server with more than the model.
pub(crate) fn offering(limits: Limits, keys: Option<Keys>, offers: Offers) -> Running {
    run(limits, keys, offers, engine())
}

fn run(limits: Limits, keys: Option<Keys>, offers: Offers, engine: Engine) -> Running {
    serving(
        ServeOptions { limits, keys, ..ServeOptions::default() },
        vec![Model::new("mini", engine, offers)],
    )
}

/// The model `mini` with nothing beside it.
pub(crate) fn alone() -> Vec<Model> {
    vec![Model::new("mini", engine(), Offers::default())]
}

/// A server by these options with these models.
pub(crate) fn serving(options: ServeOptions, models: Vec<Model>) -> Running {
    let server = Server::bind(options, models).unwrap();
    let (address, log, stop) =
        (server.address(), Arc::new(Mutex::new(String::new())), Arc::new(AtomicBool::new(false)));
    let (lines, stopped) = (log.clone(), stop.clone());
    let thread = std::thread::spawn(move || {
        let log = move |line: &str| lines.lock().unwrap().push_str(&format!("{line}\n"));
        server.run(move || stopped.load(Ordering::SeqCst), log).unwrap();
    });
    Running { address, log, stop, thread: Some(thread) }
}

impl Running {
    /// Sends `body` to `path` and leaves the connection open.
    pub(crate) fn send(&self, path: &str, body: &str) -> TcpStream {
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        ))
    }

    /// A request without a body.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let host = self.address;
        read(
            self.raw(&format!(
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n"
            )),
        )
    }

    pub(crate) fn raw(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// The body of an answer that is bytes.
    pub(crate) fn bytes(&self, request: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.raw(request).read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("octet-stream"), "{head}");
        bytes.split_off(end + 4)
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        read(self.send(path, body))
    }

    pub(crate) fn get(&self, path: &str, headers: &str) -> Answer {
        read(self.raw(&format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")))
    }

    /// A chat of one message, with more fields.
    pub(crate) fn chat(&self, text: &str, fields: &str) -> Answer {
        self.post("/v1/chat/completions", &chat_body(text, fields))
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().map(JoinHandle::join).unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

pub(crate) fn chat_body(text: &str, fields: &str) -> String {
    let text = Value::from(text);
    format!(r#"{{"model":"mini","messages":[{{"role":"user","content":{text}}}]{fields}}}"#)
}

pub(crate) fn read(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { join(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), body }
}

fn join(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
