//! Pools made by hand, a server of ours that offers them, servers that lie, and a wire-tap between device and server.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use crayon_engine::adapters::{Keys, Lora, Member, Pool};
use crayon_engine::{Engine, ModelSource, Settings};
use crayon_model::{LowRankPair, Projection, Site};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::support::{Place, binary};

pub(crate) fn engine(model: &str) -> Engine {
    Engine::open(&ModelSource::embedded(model).unwrap(), &Settings::default()).unwrap()
}

/// A made-up adapter of q and v.
pub(crate) fn lora(engine: &Engine, seed: u64) -> Lora {
    let spec = engine.spec();
    let mut lora = Lora { base: Some(engine.checkpoint().fingerprint()), ..Lora::default() };
    for layer in 0..spec.layers {
        for projection in [Projection::Q, Projection::V] {
            let (input, output) = projection.size(spec);
            let own = seed * 1000 + (layer * 10) as u64 + projection as u64;
            let (a, b) = (numbers(2 * input, own), numbers(output * 2, own + 500));
            lora.pairs.insert(Site { layer, projection }, LowRankPair { a, b, rank: 2, scale: 0.7 });
        }
    }
    lora
}

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// A pool of three made-up adapters whose keys are the queries of three texts; everything fits it.
pub(crate) fn pool(engine: &Engine) -> Pool {
    let mean = engine.query("The day was long and the people were here.").unwrap();
    let mut keys = Keys { mean, floor: -1.0, ..Keys::default() };
    let mut members = Vec::new();
    let texts =
        ["cats like fish and milk", "seven plus nine is sixteen", "the train to the city leaves at noon"];
    for (seed, (text, name)) in texts.into_iter().zip(["animals", "sums", "travel"]).enumerate() {
        let key = keys.centre(&engine.query(text).unwrap().into());
        keys.keys.push(key.prompt);
        members.push(Member { name: name.to_owned(), examples: 3, lora: lora(engine, seed as u64 + 1) });
    }
    let (base, base_name) = (engine.checkpoint().fingerprint(), engine.name().to_owned());
    Pool { members, keys, temperature: 0.1, base, base_name }
}

/// Writes that pool into the folder `name` of a place.
pub(crate) fn write_pool(place: &Place, name: &str, engine: &Engine) {
    let folder = place.path(name);
    std::fs::create_dir_all(&folder).unwrap();
    pool(engine).save(&folder, engine.spec(), 0).unwrap();
}

/// `crayon serve` in a process of its own; it ends when dropped.
pub(crate) struct Serving {
    child: Child,
    /// `http://host:port`.
    pub(crate) address: String,
}

impl Serving {
    pub(crate) fn start(place: &Place, arguments: &[&str]) -> Serving {
        let mut child = std::process::Command::new(binary())
            .args(["serve", "--json", "--quiet", "--port", "0"])
            .args(arguments)
            .current_dir(place.path(""))
            .env("CRAYON_HOME", place.path("server-home"))
            .env("CRAYON_OFFLINE", "0")
            .env_remove("CRAYON_SERVER_KEY")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let address = said["url"].as_str().unwrap().trim_end_matches("/v1").to_owned();
        Serving { child, address }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes bytes on between a device and a server, and keeps those that leave the device, connection by connection.
pub(crate) struct Tap {
    pub(crate) address: String,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tap {
    /// Its threads end with the test's process.
    pub(crate) fn on(server: &str) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sent, server) =
            (Arc::new(Mutex::new(Vec::new())), server.trim_start_matches("http://").to_owned());
        let log = sent.clone();
        std::thread::spawn(move || {
            for device in listener.incoming() {
                let (device, server) = (device.unwrap(), TcpStream::connect(&server).unwrap());
                let number = {
                    let mut log = log.lock().unwrap();
                    log.push(Vec::new());
                    log.len() - 1
                };
                let (log, up) = (log.clone(), (device.try_clone().unwrap(), server.try_clone().unwrap()));
                std::thread::spawn(move || {
                    pass(up.0, up.1, &|bytes| log.lock().unwrap()[number].extend(bytes))
                });
                std::thread::spawn(move || pass(server, device, &|_| {}));
            }
        });
        Tap { address, sent }
    }

    /// What left the device since the last call: one request after the other.
    pub(crate) fn take(&self) -> Vec<Sent> {
        let connections = std::mem::take(&mut *self.sent.lock().unwrap());
        connections.iter().flat_map(|bytes| requests(bytes)).collect()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, seen: &dyn Fn(&[u8])) {
    let mut bytes = [0; 8192];
    while let Ok(read) = from.read(&mut bytes) {
        if read == 0 {
            break;
        }
        seen(&bytes[..read]);
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// A request, as it stood on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) head: String,
    pub(crate) body: String,
}

fn requests(mut bytes: &[u8]) -> Vec<Sent> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of a head");
        let head = std::str::from_utf8(&bytes[..end]).expect("a head in ASCII").to_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
        });
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
        bytes = &bytes[end + 4..];
        let (body, rest) = bytes.split_at(length.unwrap_or(0));
        bytes = rest;
        found.push(Sent { head, body: String::from_utf8(body.to_vec()).expect("a body in UTF-8") });
    }
    found
}

/// What a server that may lie sends.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub(crate) cut: Option<usize>,
}

impl Page {
    pub(crate) fn good(body: impl Into<Vec<u8>>) -> Page {
        Page { status: 200, body: body.into(), cut: None }
    }
}

/// A server that answers by path; its threads end with the test's process.
pub(crate) fn liar(answer: impl Fn(&str) -> Page + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            let _ = reader.read_line(&mut line);
            let path = line.split(' ').nth(1).unwrap_or("").to_owned();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) < 3 {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
            }
            let _ = reader.take(length).read_to_end(&mut Vec::new());
            let page = answer(&path);
            let head = format!(
                "HTTP/1.1 {} x\r\nLocation: http://127.0.0.1:9/\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                page.status,
                page.body.len()
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&page.body[..page.cut.unwrap_or(page.body.len())]);
        }
    });
    address
}

/// A pool as `/v1/pools/NAME` describes it.
pub(crate) fn description(name: &str, keys: &[u8]) -> String {
    let digest: String = Sha256::digest(keys).iter().map(|byte| format!("{byte:02x}")).collect();
    serde_json::json!({"id": name, "digest": digest}).to_string()
}
