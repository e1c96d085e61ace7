//! `push`: what a server of many adapters is told, by vLLM's requests and by SGLang's.

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::Place;

/// A server as vLLM or SGLang is, with the paths and answers of one of them.
struct Cluster {
    address: String,
    /// Path, `Authorization` and body of every request.
    asked: Arc<Mutex<Vec<(String, String, Value)>>>,
    adapters: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Vllm,
    Sglang,
    /// vLLM without leave to take adapters.
    Closed,
}

impl Cluster {
    /// Its thread ends with the test's process.
    fn start(kind: Kind) -> Cluster {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let adapters = Arc::new(Mutex::new(vec!["base".to_owned()]));
        let (log, have) = (asked.clone(), adapters.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (path, key, body) = read(&stream);
                let (status, answer) = answer(kind, &path, &body, &mut have.lock().unwrap());
                log.lock().unwrap().push((path, key, body));
                let head = format!(
                    "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    answer.len()
                );
                let _ = stream.write_all((head + &answer).as_bytes());
            }
        });
        Cluster { address, asked, adapters }
    }

    fn paths(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(path, ..)| path.clone()).collect()
    }
}

fn read(stream: &TcpStream) -> (String, String, Value) {
    let mut reader = BufReader::new(stream);
    let (mut first, mut key, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => key = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let path = first.split(' ').nth(1).unwrap().to_owned();
    (path, key, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn answer(kind: Kind, path: &str, body: &Value, adapters: &mut Vec<String>) -> (u16, String) {
    let name = body["lora_name"].as_str().unwrap_or_default().to_owned();
    let prefix = if kind == Kind::Sglang { "" } else { "/v1" };
    let known = adapters.contains(&name);
    if path == "/v1/models" {
        let data: Vec<Value> = adapters.iter().map(|id| json!({"id": id, "object": "model"})).collect();
        return (200, json!({"object": "list", "data": data}).to_string());
    }
    if kind == Kind::Closed {
        return (404, json!({"detail": "Not Found"}).to_string());
    }
    let done = |sentence: &str| match kind {
        Kind::Sglang => json!({"success": true, "loaded_adapters": {}}).to_string(),
        _ => sentence.to_owned(),
    };
    let refused = |why: &str| match kind {
        Kind::Sglang => (200, json!({"success": false, "error_message": why}).to_string()),
        _ => (400, json!({"error": {"message": why, "type": "InvalidUserInput", "code": 400}}).to_string()),
    };
    match path.strip_prefix(prefix) {
        Some("/load_lora_adapter") if known => refused("it has already been loaded"),
        Some("/load_lora_adapter")
            if body["lora_path"].as_str().is_some_and(|path| path.contains("wide")) =>
        {
            refused("LoRA rank 64 is greater than max_lora_rank 16")
        }
        Some("/load_lora_adapter") => {
            adapters.push(name);
            (200, done("Success: LoRA adapter added successfully."))
        }
        Some("/unload_lora_adapter") if known => {
            adapters.retain(|one| *one != name);
            (200, done("Success: LoRA adapter removed successfully."))
        }
        Some("/unload_lora_adapter") => refused("it cannot be found"),
        _ => (404, json!({"detail": "Not Found"}).to_string()),
    }
}

fn adapter(place: &Place, name: &str) {
    std::fs::create_dir(place.path(name)).unwrap();
    place.write(&format!("{name}/adapter_config.json"), r#"{"peft_type": "LORA", "r": 8}"#);
    place.write(&format!("{name}/adapter_model.safetensors"), "weights that the server reads itself");
}

#[test]
fn an_adapter_is_told_by_name_and_path_and_can_be_replaced_and_removed() {
    for kind in [Kind::Vllm, Kind::Sglang] {
        let (place, cluster) = (Place::online(), Cluster::start(kind));
        adapter(&place, "mine");
        let server = cluster.address.as_str();
        let done = place.json(&["push", "mine", "--server", server]);
        let here = std::fs::canonicalize(place.path("mine")).unwrap();
        assert_eq!((&done["name"], &done["path"]), (&json!("mine"), &json!(here)));
        assert_eq!(done["software"], if kind == Kind::Vllm { "vLLM" } else { "SGLang" });
        assert_eq!(*cluster.adapters.lock().unwrap(), ["base", "mine"]);
        let told: Vec<Value> = cluster
            .asked
            .lock()
            .unwrap()
            .iter()
            .map(|(_, _, body)| body.clone())
            .filter(|body| !body.is_null())
            .collect();
        let expected = json!({"lora_name": "mine", "lora_path": here});
        assert!(told.iter().all(|body| *body == expected), "nothing else is sent: {told:?}");

        place.mistake(&["push", "mine", "--server", server], "an adapter mine already", "--replace");
        let again =
            place.json(&["push", "mine", "--server", server, "--replace", "--path", "/adapters/mine"]);
        assert_eq!((&again["replaced"], &again["path"]), (&json!(true), &json!("/adapters/mine")));
        assert_eq!(*cluster.adapters.lock().unwrap(), ["base", "mine"]);
        let gone = place.json(&["push", "mine", "--server", server, "--remove"]);
        assert_eq!(gone["removed"], true);
        assert_eq!(*cluster.adapters.lock().unwrap(), ["base"]);
        place.mistake(&["push", "mine", "--server", server, "--remove"], "has no adapter mine", "--name");
    }
}

#[test]
fn what_the_server_does_not_take_is_said_in_its_words() {
    for kind in [Kind::Vllm, Kind::Sglang] {
        let (place, cluster) = (Place::online(), Cluster::start(kind));
        adapter(&place, "wide");
        let message = place.mistake(
            &["push", "wide", "--server", &cluster.address],
            "max_lora_rank 16",
            "--max-lora-rank",
        );
        assert!(!message.contains("--route"), "{message}");
    }
    let (place, cluster) = (Place::online(), Cluster::start(Kind::Closed));
    adapter(&place, "mine");
    place.mistake(
        &["push", "mine", "--server", &cluster.address],
        "takes no adapters while it runs",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
    );
    assert_eq!(cluster.paths(), ["/v1/models", "/v1/load_lora_adapter", "/load_lora_adapter"]);
}

#[test]
fn the_key_is_sent_and_nothing_is_asked_where_something_is_wrong() {
    let (place, cluster) = (Place::online(), Cluster::start(Kind::Vllm));
    adapter(&place, "mine");
    let server = cluster.address.as_str();
    std::fs::create_dir(place.path("empty")).unwrap();
    place.mistake(
        &["push", "empty", "--server", server],
        "not a folder with a LoRA adapter",
        "crayon customize",
    );
    place.mistake(
        &["push", "mine", "--server", "http://gpu.example/v1"],
        "reads the adapter's files itself",
        "--path",
    );
    place.mistake(&["push", "mine", "--server", server, "--name", " "], "no name", "--name");
    let offline = Place::new();
    adapter(&offline, "mine");
    offline.mistake(&["push", "mine", "--server", server], "CRAYON_OFFLINE", "--server");
    assert!(cluster.paths().is_empty(), "{:?}", cluster.paths());
    place.write("key.txt", "secret-1\n");
    place.json(&["push", "mine", "--server", server, "--server-key-file", "key.txt"]);
    assert!(cluster.asked.lock().unwrap().iter().all(|(_, key, _)| key == "Bearer secret-1"));
}
