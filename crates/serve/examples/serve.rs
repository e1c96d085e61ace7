//! A server inside another program: it starts on a free port, is asked one question over HTTP, and stops.
//!
//! ```text
//! cargo run --release -p crayon-serve --example serve
//! ```

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crayon_engine::{Engine, ModelSource, Settings};
use crayon_serve::{Model, Offers, ServeOptions, Server};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::open(&ModelSource::embedded("mini")?, &Settings::default())?;
    // Adapters, pools and a bigger model that requests may name; here none.
    let models = vec![Model::new("mini", engine, Offers::default())];

    // By default: any free port of 127.0.0.1. Other devices need a host, and then a key.
    let server = Server::bind(ServeOptions::default(), models)?;
    let address = server.address();
    println!("http://{address}/v1");

    let stop = Arc::new(AtomicBool::new(false));
    let asked_to_stop = stop.clone();
    let running = thread::spawn(move || server.run(move || asked_to_stop.load(Ordering::Relaxed), |_| {}));

    let question = json!({"model": "mini", "messages": [{"role": "user", "content": "What is a cat?"}]});
    let answer = post(address, "/v1/chat/completions", &question)?;
    println!("{}", answer["choices"][0]["message"]["content"].as_str().unwrap_or_default());

    stop.store(true, Ordering::Relaxed);
    running.join().map_err(|_| "the server's thread ended badly")??;
    println!("stopped");
    Ok(())
}

/// What the server answers to a POST; any client of OpenAI's interface does it better.
fn post(address: SocketAddr, path: &str, body: &Value) -> Result<Value, Box<dyn Error>> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n"
    )?;
    write!(stream, "Content-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no body")?;
    Ok(serde_json::from_str(body)?)
}
