//! A server with OpenAI's chat interface on 127.0.0.1 that answers everything the same way.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A stream of OpenAI's kind.
pub(crate) const GOOD: &str = "data: {\"model\":\"big-2\",\"choices\":[{\"delta\":{\"content\":\"The server's \"}}]}\n\n\
                    data: {\"choices\":[{\"delta\":{\"content\":\"words.\"},\"finish_reason\":\"stop\"}],\
                    \"usage\":{\"prompt_tokens\":7,\"completion_tokens\":4}}\n\ndata: [DONE]\n\n";

/// A server that answers everything the same way, and counts.
pub(crate) struct Server {
    pub(crate) address: String,
    connections: Arc<AtomicUsize>,
    pub(crate) bodies: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Its thread ends with the test's process.
    pub(crate) fn start(status: u16, body: &'static str) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (connections, bodies) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (count, log) = (connections.clone(), bodies.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                let mut bytes = [0; 4096];
                // A body of ours is one object without line ends, and ends the request.
                while !request.ends_with(b"}") {
                    match stream.read(&mut bytes) {
                        Ok(read) if read > 0 => request.extend_from_slice(&bytes[..read]),
                        _ => break,
                    }
                }
                log.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                let head = format!(
                    "HTTP/1.1 {status} x\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
                );
                let _ = stream.write_all((head + body).as_bytes());
            }
        });
        Server { address, connections, bodies }
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
