//! A chat server on 127.0.0.1 that can misbehave: it cuts streams, drips, falls silent, refuses and lies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a client asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What the server answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Say how long the body is.
    pub(crate) length: bool,
    /// Bytes sent at once.
    pub(crate) packet: usize,
    /// Pause between them.
    pub(crate) between: Duration,
    /// Silence before the first byte.
    pub(crate) before: Duration,
    /// Close the connection after so many bytes of the body.
    pub(crate) cut: Option<usize>,
}

impl Reply {
    pub(crate) fn events(body: &str) -> Reply {
        Reply {
            status: 200,
            kind: "text/event-stream",
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
            length: false,
            packet: usize::MAX,
            between: Duration::ZERO,
            before: Duration::ZERO,
            cut: None,
        }
    }

    pub(crate) fn error(status: u16, message: &str) -> Reply {
        let body = serde_json::json!({"error": {"message": message}}).to_string();
        Reply { status, kind: "application/json", length: true, ..Reply::events(&body) }
    }
}

/// A piece of an answer.
pub(crate) fn chunk(text: &str) -> String {
    let value = serde_json::json!({"model": "big-2", "choices": [{"index": 0, "delta": {"content": text}}]});
    format!("data: {value}\n\n")
}

/// Its end.
pub(crate) fn end(finish: &str) -> String {
    let value = serde_json::json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]});
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#;
    format!("data: {value}\n\ndata: {usage}\n\ndata: [DONE]\n\n")
}

pub(crate) fn whole(text: &str) -> String {
    chunk(text) + &end("stop")
}

/// A running server; it stops when dropped.
pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// A server that answers its first request with `answer(0)`, and so on.
    pub(crate) fn start(answer: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (log, stopped, answer) = (requests.clone(), stop.clone(), Arc::new(answer));
        let count = Arc::new(AtomicUsize::new(0));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (log, answer, count) = (log.clone(), answer.clone(), count.clone());
                let stream = stream.unwrap();
                std::thread::spawn(move || {
                    if let Some(request) = read(&stream) {
                        log.lock().unwrap().push(request);
                        // The client may be gone at any point.
                        let _ = write(stream, &answer(count.fetch_add(1, Ordering::SeqCst)));
                    }
                });
            }
        });
        Server { address, requests, stop, thread: Some(thread) }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.trim().split_once(':')?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request { path, headers, body: String::new() };
    let length = request.header("content-length")?.parse().ok()?;
    reader.take(length).read_to_string(&mut request.body).ok()?;
    Some(request)
}

fn write(mut stream: TcpStream, reply: &Reply) -> std::io::Result<()> {
    std::thread::sleep(reply.before);
    stream.set_nodelay(true)?;
    let mut head =
        format!("HTTP/1.1 {} x\r\nConnection: close\r\nContent-Type: {}\r\n", reply.status, reply.kind);
    if reply.length {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len()).min(reply.body.len())];
    for packet in body.chunks(reply.packet.min(body.len().max(1))) {
        stream.write_all(packet)?;
        stream.flush()?;
        std::thread::sleep(reply.between);
    }
    Ok(())
}
