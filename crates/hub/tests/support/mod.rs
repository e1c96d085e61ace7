//! A hub on 127.0.0.1 that can misbehave: it cuts streams, falls silent, ignores ranges, lies and redirects.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha1::{Digest, Sha1};
use sha2::Sha256;

/// Commit of [`Repository::new`].
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a client asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// First byte of the range asked for.
    pub(crate) fn start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What the server answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub(crate) cut: Option<usize>,
    /// Say nothing more for so long instead of closing.
    pub(crate) silence: Duration,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, headers: Vec::new(), body: body.into(), cut: None, silence: Duration::ZERO }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn cut(mut self, bytes: usize) -> Reply {
        self.cut = Some(bytes);
        self
    }
}

/// A running server; it stops when dropped.
pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (log, stopped, answer) = (requests.clone(), stop.clone(), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (log, answer, stream) = (log.clone(), answer.clone(), stream.unwrap());
                std::thread::spawn(move || serve(stream, &log, answer.as_ref()));
            }
        });
        Server { address, requests, stop, thread: Some(thread) }
    }

    /// All requests so far. A connection makes one, so their number is that of the connections.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Requests whose path ends so.
    pub(crate) fn requests_for(&self, end: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.path.ends_with(end)).collect()
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

/// Reads one request and answers it. The client may be gone at any point.
fn serve(mut stream: TcpStream, log: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Reply) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap_or(0);
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.trim().split_once(':') {
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    let request = Request { path, headers };
    log.lock().unwrap().push(request.clone());
    let reply = answer(&request);
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", reply.status);
    if !reply.headers.iter().any(|(name, _)| *name == "Content-Length") {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    // An empty value leaves the header out: a body without a length ends with the connection.
    for (name, value) in reply.headers.iter().filter(|(_, value)| !value.is_empty()) {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len()).min(reply.body.len())];
    let _ =
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).and_then(|()| stream.flush());
    std::thread::sleep(reply.silence);
}

/// A model on the hub. Large files are listed as LFS does, small ones by their git blob.
#[derive(Clone)]
pub(crate) struct Repository {
    pub(crate) commit: String,
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

impl Repository {
    /// A model with `bytes` bytes of weights, and files that are not to be downloaded.
    pub(crate) fn new(bytes: usize) -> Repository {
        let weights = (0..bytes).map(|i| (i * 7 + i / 251) as u8).collect();
        Repository {
            commit: COMMIT.to_owned(),
            files: vec![
                ("config.json".to_owned(), b"{\"model_type\":\"llama\"}".to_vec()),
                ("model.safetensors".to_owned(), weights),
                ("pytorch_model.bin".to_owned(), b"pickle".to_vec()),
                ("README.md".to_owned(), b"# A model".to_vec()),
                ("onnx/model.onnx".to_owned(), b"onnx".to_vec()),
            ],
        }
    }

    pub(crate) fn file(&self, name: &str) -> &[u8] {
        self.files.iter().find(|(file, _)| file == name).map(|(_, bytes)| bytes.as_slice()).unwrap()
    }

    pub(crate) fn listing(&self) -> Reply {
        let siblings: Vec<serde_json::Value> = self
            .files
            .iter()
            .map(|(name, bytes)| {
                let mut blob = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()).as_bytes());
                blob.update(bytes);
                let mut sibling = serde_json::json!({
                    "rfilename": name, "size": bytes.len(), "blobId": hex(&blob.finalize()),
                });
                if name.ends_with(".safetensors") || name.ends_with(".gguf") {
                    sibling["lfs"] =
                        serde_json::json!({"sha256": hex(&Sha256::digest(bytes)), "size": bytes.len(), "pointerSize": 134});
                }
                sibling
            })
            .collect();
        Reply::new(
            200,
            serde_json::json!({"id": "org/name", "sha": self.commit, "siblings": siblings}).to_string(),
        )
    }

    /// The answer of a hub that works.
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        if request.path.starts_with("/api/models/org/name/revision/") {
            return self.listing();
        }
        let wanted = request.path.strip_prefix(&format!("/org/name/resolve/{}/", self.commit));
        match self.files.iter().find(|(name, _)| Some(name.as_str()) == wanted) {
            Some((_, bytes)) => range(request, bytes),
            None => Reply::new(404, "").with("X-Error-Code", "EntryNotFound"),
        }
    }
}

/// The bytes, or the range of them that was asked for.
pub(crate) fn range(request: &Request, bytes: &[u8]) -> Reply {
    match request.start() {
        Some(start) if start >= bytes.len() => {
            Reply::new(416, "").with("Content-Range", format!("bytes */{}", bytes.len()))
        }
        Some(start) => Reply::new(206, &bytes[start..])
            .with("Content-Range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len())),
        None => Reply::new(200, bytes),
    }
    .with("ETag", "\"one\"")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
