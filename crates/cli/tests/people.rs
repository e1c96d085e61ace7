//! People whose models a server keeps.

mod support;

use serde_json::{Value, json};
use support::Place;
use support::serving::Serving;

fn ask(server: &Serving, model: &str) -> Value {
    let body = json!({
        "model": model, "max_tokens": 16, "messages": [{"role": "user", "content": "Tell me a story."}],
    });
    server.post("/v1/chat/completions", &body)
}

/// Who was told to be kept is kept, however the program ends.
#[test]
fn people_survive_a_server_that_is_killed() {
    let place = Place::new();
    let file = place.path("people.redb");
    let arguments = ["--people", file.to_str().unwrap()];
    let mut server = Serving::start(&place, &arguments);
    let pool = server.get("/v1/pools/built-in");
    let names = pool["names"].as_array().unwrap().len();
    let weights: Vec<f32> = (0..names).map(|at| if at == 1 { 1.0 } else { 0.0 }).collect();
    let anna = server.post("/v1/customizations", &json!({"name": "anna", "weights": weights}));
    assert_eq!(anna["model"], "mini:anna", "{anna}");
    let before = ask(&server, "mini:anna");
    // SIGKILL: nothing is put in order.
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let server = Serving::start(&place, &arguments);
    assert_eq!(server.get("/v1/customizations/anna"), anna);
    assert_eq!(ask(&server, "mini:anna")["choices"], before["choices"]);
    assert_eq!(before["model"], "mini:anna", "{before}");
}

/// A full disk costs who was to be kept then, and nobody else; with room again everything goes on.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_costs_only_who_was_to_be_kept() {
    let place = Place::new();
    let file = place.path("people.redb");
    let arguments = ["--people", file.to_str().unwrap()];
    let server = Serving::start(&place, &arguments);
    let names = server.get("/v1/pools/built-in")["names"].as_array().unwrap().len();
    let weights: Vec<f32> = (0..names).map(|at| if at == 1 { 1.0 } else { 0.0 }).collect();
    let keep = |server: &Serving, name: &str| {
        server.post("/v1/customizations", &json!({"name": name, "weights": weights}))
    };
    assert_eq!(keep(&server, "anna")["model"], "mini:anna");
    let before = ask(&server, "mini:anna");
    drop(server);
    let blocks = std::fs::metadata(&file).unwrap().len().div_ceil(512);
    let server = Serving::start_full(&place, blocks, &arguments);
    let mut kept = vec!["anna".to_owned()];
    let refused = (0..20_000).find_map(|number| {
        let name = format!("p{number}");
        let answer = keep(&server, &name);
        match answer["error"]["code"].as_str() {
            Some(code) => Some((code.to_owned(), answer["error"]["message"].as_str().unwrap().to_owned())),
            None => {
                kept.push(name);
                None
            }
        }
    });
    let (code, message) = refused.expect("the disk is full at last");
    assert_eq!(code, "store_failed");
    assert!(message.contains("the store of people failed"), "{message}");
    // Everybody else is answered as before, and more than once.
    for name in [&kept[0], kept.last().unwrap(), &kept[0]] {
        assert_eq!(server.get(&format!("/v1/customizations/{name}"))["model"], json!(format!("mini:{name}")));
    }
    assert_eq!(ask(&server, "mini:anna")["choices"], before["choices"]);
    drop(server);
    let server = Serving::start(&place, &arguments);
    for name in &kept {
        assert_eq!(server.get(&format!("/v1/customizations/{name}"))["model"], json!(format!("mini:{name}")));
    }
    assert_eq!(keep(&server, "zoe")["model"], "mini:zoe");
}

/// A disk of a few megabytes, for as long as a test runs; only root may have one.
#[cfg(target_os = "linux")]
struct Disk(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl Disk {
    fn new(path: std::path::PathBuf) -> Option<Disk> {
        std::fs::create_dir(&path).unwrap();
        Disk::mount(&["-t", "tmpfs", "-o", "size=1536k", "none"], &path).then(|| Disk(path))
    }

    fn mount(arguments: &[&str], path: &std::path::Path) -> bool {
        let run = std::process::Command::new("mount").args(arguments).arg(path).output();
        run.is_ok_and(|output| output.status.success())
    }
}

#[cfg(target_os = "linux")]
impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// The server that met a full disk keeps people again once there is room, without being started anew.
#[test]
#[cfg(target_os = "linux")]
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn room_on_a_full_disk_is_used_again() {
    let place = Place::new();
    let Some(disk) = Disk::new(place.path("disk")) else {
        eprintln!("SKIPPED: a disk of its own needs root");
        return;
    };
    let file = disk.0.join("people.redb");
    let server = Serving::start(&place, &["--people", file.to_str().unwrap()]);
    let names = server.get("/v1/pools/built-in")["names"].as_array().unwrap().len();
    let weights = vec![0.1; names];
    let keep = |name: &str| server.post("/v1/customizations", &json!({"name": name, "weights": weights}));
    let refused =
        (0..20_000).map(|number| keep(&format!("p{number}"))).find(|answer| answer["error"].is_object());
    let refused = refused.expect("the disk is full at last");
    assert_eq!(refused["error"]["message"], "the store of people failed: No space left on device");
    assert_eq!(server.get("/v1/customizations/p0")["model"], "mini:p0");
    assert!(Disk::mount(&["-o", "remount,size=8m"], &disk.0));
    assert_eq!(keep("late")["model"], "mini:late");
    assert_eq!(server.get("/v1/customizations/late")["model"], "mini:late");
    drop(server);
}
