//! What `customize` makes of examples through the built binary: examples in the prompt, bad input of every kind, a training that is
//! stopped or killed.

mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::serving::Serving;
use support::{Place, stderr};

/// A file of examples, a line each.
fn examples(place: &Place, name: &str, lines: &[(String, String)]) -> PathBuf {
    let lines: Vec<String> = lines
        .iter()
        .map(|(prompt, answer)| json!({"prompt": prompt, "answer": answer}).to_string())
        .collect();
    place.write(name, lines.join("\n"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Orders that all get one answer: what stands in the prompt is enough to give it.
fn orders() -> Vec<(String, String)> {
    let foods = ["tea", "soup", "bread", "cake", "milk", "rice", "fish", "salad"];
    let order = |(at, food): (usize, &&str)| (format!("Order number {at}: {food}"), "sir".to_owned());
    foods.iter().enumerate().map(order).collect()
}

fn ask(place: &Place, question: &str, more: &[&str]) -> Value {
    place.json(&[&["ask", "--temperature", "0", "--max-tokens", "12"], more, &[question]].concat())
}

#[test]
fn examples_in_the_prompt_are_written_read_and_shown_where_they_belong() {
    let place = Place::new();
    let file = examples(&place, "orders.jsonl", &orders());
    let call = ["customize", "--examples", text(&file), "--effort", "instant"];
    let made = place.json(&[&call[..], &["-o", "mine"]].concat());
    assert_eq!((made["chosen"].as_str(), made["shown"].as_u64()), (Some("prompt"), Some(8)), "{made}");
    assert_eq!(made["adapter"], "mine");
    let names: Vec<&str> =
        made["tried"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["base", "blend", "nearest", "prompt"]);
    assert!(
        place.path("mine/demonstrations.jsonl").is_file() && !place.path("mine/adapter_config.json").exists()
    );
    assert!(!place.path("mine/.unfinished").exists());

    // Through the folder and at once, the same answer: the examples' own.
    let (question, elsewhere) = ("Order number 9: pasta", "Why is the sky blue?");
    let through = ask(&place, question, &["-a", "mine"]);
    assert_eq!((through["text"].as_str(), through["shown"].as_u64()), (Some("sir"), Some(8)));
    let at_once = ask(&place, question, &["--examples", text(&file)]);
    assert_eq!((&at_once["text"], &at_once["tokens"]), (&through["text"], &through["tokens"]));
    assert_eq!(
        (at_once["chosen"].as_str(), at_once["tried"].as_array().map(Vec::len)),
        (Some("prompt"), Some(4))
    );
    // What lies elsewhere is answered by the model as it is, with nothing in front.
    let (outside, base) = (ask(&place, elsewhere, &["-a", "mine"]), ask(&place, elsewhere, &[]));
    assert_eq!((&outside["text"], &outside["tokens"]), (&base["text"], &base["tokens"]));
    assert!(outside["shown"] == 0 && outside["reason"].as_str().unwrap().contains("as it is"), "{outside}");
    assert_eq!(ask(&place, elsewhere, &["-a", "mine", "--force"])["shown"], 8);

    // Documents and pots count them in.
    let story = "The king had a dog. The dog sang in the garden. ".repeat(120);
    place.write("story.txt", &story);
    let long = ["-a", "mine", "-c", "story.txt", "--pot", "512"];
    let read = ask(&place, question, &long)["tokens"]["read"].as_u64().unwrap();
    let bare = ask(&place, question, &long[2..])["tokens"]["read"].as_u64().unwrap();
    let shown = through["tokens"]["read"].as_u64().unwrap()
        - ask(&place, question, &[])["tokens"]["read"].as_u64().unwrap();
    assert_eq!(read - bare, shown);
    // A conversation has them in front of all its turns.
    let chat = place
        .crayon(&["chat", "-a", "mine", "--no-history", "--temperature", "0", "--max-tokens", "12"])
        .write_stdin("Order number 9: pasta\nOrder number 10: jam\n")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&chat.stdout).into_owned();
    assert_eq!(said.matches("sir").count(), 2, "{said} {}", stderr(&chat));

    // They are not part of a sum, and no adapter.
    place.mistake(&["ask", "-a", "mine:0.5", "x"], "not part of a sum", "-a mine alone");
    place.mistake(&["ask", "-a", "mine", "--merge", "x"], "not part of a sum", "-a mine alone");
    place.mistake(
        &["eval", "perplexity", "-a", "mine", "--text", "story.txt"],
        "no adapter",
        "ask, chat, serve",
    );

    // A server has them by name and for all, and judges those of a request once.
    let server = Serving::start(&place, &["-a", "cook=mine", "--pool", "built-in"]);
    let post = |extra: Value| {
        let mut body = json!({
            "model": "mini", "max_tokens": 12, "temperature": 0,
            "messages": [{"role": "user", "content": question}],
        });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        server.post("/v1/chat/completions", &body)
    };
    let said = |answer: &Value| answer["choices"][0]["message"]["content"].clone();
    let named = post(json!({"adapter": "cook"}));
    assert_eq!((said(&named), &named["crayon"]["shown"]), (through["text"].clone(), &json!(8)), "{named}");
    let weighed = post(json!({"adapter": {"cook": 0.5}}));
    assert!(weighed["error"]["message"].as_str().unwrap().contains("not part of a sum"), "{weighed}");
    let given: Vec<Value> =
        orders().iter().map(|(prompt, answer)| json!({"prompt": prompt, "answer": answer})).collect();
    let (first, again) = (post(json!({"examples": given})), post(json!({"examples": given})));
    assert_eq!(
        (said(&first), first["crayon"]["chosen"].as_str()),
        (through["text"].clone(), Some("prompt")),
        "{first}"
    );
    // Seconds would differ if it were judged anew.
    assert_eq!(first["crayon"]["tried"], again["crayon"]["tried"]);
    drop(server);
    let server = Serving::start(&place, &["-a", "mine"]);
    let body = json!({"model": "mini", "max_tokens": 12, "temperature": 0,
        "messages": [{"role": "user", "content": question}]});
    assert_eq!(said(&server.post("/v1/chat/completions", &body)), through["text"]);

    // An adapter takes their place.
    place.json(&[&call[..], &["--force", "-o", "mine"]].concat());
    assert!(
        place.path("mine/adapter_config.json").is_file() && !place.path("mine/demonstrations.jsonl").exists()
    );
}

#[test]
fn a_model_without_a_pool_can_show_examples() {
    let place = Place::new();
    let file = examples(&place, "orders.jsonl", &orders());
    let call = ["customize", "-m", "mini-gpt2", "--effort", "instant", "--examples", text(&file)];
    let output = place.crayon(&call).output().unwrap();
    assert!(output.status.success() && stderr(&output).contains("crayon pool train"), "{}", stderr(&output));
    let made = place.json(&call);
    let names: Vec<&Value> = made["tried"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["base", "prompt"]);
    assert!(made["weights"].as_array().unwrap().is_empty() && made["fits"].is_null());
    let asked = place.json(&[
        "ask",
        "-m",
        "mini-gpt2",
        "--examples",
        text(&file),
        "--max-tokens",
        "8",
        "Order number 10: jam",
    ]);
    assert_eq!(asked["chosen"], made["chosen"]);
}

/// A run on examples that are bad in one way: it ends well, says what is wrong, and what it takes is no worse than the base.
fn told(place: &Place, lines: &[(String, String)], more: &[&str], expected: &str) -> Value {
    let file = examples(place, "bad.jsonl", lines);
    let call = [&["customize", "--examples", text(&file), "-o", "out", "--json"], more].concat();
    let output = place.crayon(&call).output().unwrap();
    let notes = stderr(&output);
    assert!(output.status.success() && notes.contains(expected), "{expected}: {notes}");
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tried = made["tried"].as_array().unwrap();
    if let Some(chosen) = tried.iter().find(|row| row["name"] == made["chosen"]) {
        assert!(chosen["right"].as_u64() >= tried[0]["right"].as_u64(), "{made}");
    }
    if made["adapter"] == "out" {
        ask(place, "Order number 10: jam", &["-a", "out"]);
    }
    made
}

#[test]
fn every_kind_of_bad_input_is_told_and_leaves_something_usable() {
    let place = Place::new();
    let instant = ["--effort", "instant"];
    let mut lines = orders();
    lines[3] = (lines[0].0.clone(), "Never".to_owned());
    told(&place, &lines, &instant, "lines 1 and 4 ask the same and answer differently");
    told(&place, &orders(), &instant, "all examples have the same answer");
    lines = [orders(), orders()].concat();
    let made = told(&place, &lines, &instant, "8 examples given more than once; each counts once");
    assert_eq!(made["tried"][0]["of"], 8);
    lines = orders();
    lines[2].1 = "word ".repeat(1200);
    let made = told(&place, &lines, &instant, "1 example left out: longer than 1,024 tokens");
    assert_eq!(made["tried"][0]["of"], 7);
    let made = told(&place, &lines[2..3], &instant, "longer than 1,024 tokens");
    assert!(made["tried"].as_array().unwrap().is_empty(), "{made}");
    let made = told(&place, &orders()[..2], &[], "2 examples with an answer: too few");
    assert!(made["tried"].as_array().unwrap().iter().all(|row| row["of"] == 2), "{made}");
    // Too short for a step: what needs none is judged all the same.
    let made = told(&place, &orders(), &["--budget", "0"], "longer than the budget allows");
    assert_eq!((made["chosen"].as_str(), made["adapter"].is_null()), (Some("base"), true), "{made}");
    // Without answers the blend is taken where the examples fit, which nobody has judged.
    let home = ["put bread on my shopping list", "skip this song please", "do i have any reminders tonight"];
    let bare: Vec<String> = home.iter().map(|prompt| json!({"prompt": prompt}).to_string()).collect();
    let bare = place.write("bare.jsonl", bare.join("\n"));
    let output =
        place.crayon(&["customize", "--examples", text(&bare), "--json", "-o", "blend"]).output().unwrap();
    assert!(stderr(&output).contains("no example has an answer"), "{}", stderr(&output));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((made["chosen"].as_str(), made["tried"].as_array().map(Vec::len)), (Some("blend"), Some(0)));
    assert!(made["adapter"] == "blend" && place.path("blend/adapter_config.json").is_file());
    let strange = place
        .write("strange.jsonl", "{\"prompt\": \"fn main() { let x = 5; }\"}\n{\"prompt\": \"xqz 99 pffft\"}");
    let made = place.json(&["customize", "--examples", text(&strange), "-o", "none"]);
    assert!(made["chosen"] == "base" && made["adapter"].is_null() && made["fits"] == false, "{made}");
}

#[cfg(all(unix, feature = "train"))]
mod stopped {
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    /// Examples that a training on them answers, and nothing below.
    fn butler() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/users/butler/examples.jsonl")
    }

    fn start(place: &Place, file: &Path, folder: &str) -> Child {
        Command::new(support::binary())
            .args([
                "customize",
                "--examples",
                text(file),
                "--budget",
                "3000",
                "--effort",
                "train",
                "--json",
                "-o",
                folder,
            ])
            .current_dir(place.path("."))
            .env("CRAYON_HOME", place.path("home"))
            .env("CRAYON_OFFLINE", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until the training of an adapter has shown something.
    fn wait_for(path: &Path) {
        let began = Instant::now();
        while !path.is_file() {
            assert!(began.elapsed() < Duration::from_secs(300), "{} does not come", path.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(child: &Child, name: &str) {
        assert!(
            Command::new("kill")
                .args([&format!("-{name}"), &child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    #[test]
    fn ctrl_c_keeps_the_best_so_far_and_the_same_command_goes_on_to_the_same_end() {
        let place = Place::new();
        let file = butler();
        let whole = start(&place, &file, "whole").wait_with_output().unwrap();
        let whole: Value = serde_json::from_slice(&whole.stdout).unwrap();
        assert_eq!(
            (whole["chosen"].as_str(), whole["stopped"].as_bool()),
            (Some("trained"), Some(false)),
            "{whole}"
        );
        assert!(!place.path("whole/.unfinished").exists());

        // Stopped by the person: one object, the best of what was judged, status 130.
        let child = start(&place, &file, "mine");
        wait_for(&place.path("mine/.unfinished/trained/folds.json"));
        signal(&child, "INT");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(made["stopped"], true);
        let last = made["tried"].as_array().unwrap().last().unwrap().clone();
        assert!(last["name"] == "trained" && last["of"].as_u64() < Some(8), "{made}");
        if !made["adapter"].is_null() {
            ask(&place, "Open the window, please", &["-a", "mine"]);
        }

        // Killed in the middle, then let alone.
        let kept = place.path("mine/.unfinished/trained/training.safetensors");
        std::fs::remove_file(&kept).unwrap();
        let mut child = start(&place, &file, "mine");
        wait_for(&kept);
        signal(&child, "KILL");
        child.wait().unwrap();
        let output = start(&place, &file, "mine").wait_with_output().unwrap();
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        let results = |made: &Value| {
            let rows = made["tried"].as_array().unwrap().iter();
            rows.map(|row| (row["name"].clone(), row["right"].clone(), row["loss"].clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(results(&made), results(&whole));
        let weights =
            |folder: &str| std::fs::read(place.path(folder).join("adapter_model.safetensors")).unwrap();
        assert_eq!(weights("mine"), weights("whole"));
        assert!(!place.path("mine/.unfinished").exists());
    }
}
