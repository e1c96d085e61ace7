//! A `crayon serve` on a free port of 127.0.0.1, and a client that speaks plain HTTP to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{Place, binary};

/// A `crayon serve` of its own.
pub(crate) struct Serving {
    pub(crate) child: Child,
    /// Host and port.
    pub(crate) address: String,
}

impl Serving {
    pub(crate) fn start(place: &Place, arguments: &[&str]) -> Serving {
        Serving::run(place, Command::new(binary()), arguments)
    }

    /// One that can write no file beyond `blocks` of 512 bytes, as on a full disk.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_full(place: &Place, blocks: u64, arguments: &[&str]) -> Serving {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]).arg(binary());
        Serving::run(place, shell, arguments)
    }

    fn run(place: &Place, mut command: Command, arguments: &[&str]) -> Serving {
        let mut child = command
            .args([&["serve", "--port", "0", "--json"], arguments].concat())
            .current_dir(place.path("."))
            .env("CRAYON_HOME", place.path("home"))
            .env("CRAYON_OFFLINE", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let address = told["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        Serving { child, address: address.strip_suffix("/v1").unwrap().to_owned() }
    }

    /// Sends `body` to `path` and leaves the connection open.
    pub(crate) fn send(&self, path: &str, body: &Value) -> TcpStream {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        stream
    }

    /// The object at `path`.
    pub(crate) fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(head.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (_, json) = text.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The object that answers `body`.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let mut text = String::new();
        self.send(path, body).read_to_string(&mut text).unwrap();
        let (_, json) = text.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
