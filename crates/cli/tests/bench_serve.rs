//! `crayon bench serve` on the built-in model, in sizes that take seconds.

mod support;

use serde_json::Value;
use support::{Place, binary, check_mistake, keys, stderr};

const TINY: [&str; 6] = ["bench", "serve", "--rounds", "1", "--tokens", "6"];
const SHORT: [&str; 2] = ["--behind", "40"];

fn positive(value: &Value, names: &[&str]) {
    for name in names {
        assert!(value[name].as_f64().unwrap_or(0.0) > 0.0, "{name}: {value}");
    }
}

/// What takes time. Pieces of an answer may come together, with none between them.
const LOAD: [&str; 5] = ["tok_s", "first_ms", "first_worst_ms", "last_s", "written"];

#[test]
fn requests_at_once_people_and_a_long_prompt_are_timed() {
    let place = Place::online();
    let bench = place.json(&[&TINY[..], &SHORT, &["--at-once", "1,3", "--people", "3"]].concat());
    let wanted =
        ["model", "rival", "tokens", "rounds", "rows", "people", "behind", "left_out", "same", "rival_same"];
    assert_eq!(keys(&bench), wanted);
    assert_eq!(
        (&bench["same"], &bench["rival"], &bench["rival_same"]),
        (&true.into(), &Value::Null, &Value::Null)
    );
    let rows = bench["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["at_once"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 3]);
    for row in rows {
        positive(row, &LOAD);
        assert!(row["first_worst_ms"].as_f64() >= row["first_ms"].as_f64(), "{row}");
        assert!(row["between_p99_ms"].as_f64() >= row["between_ms"].as_f64(), "{row}");
        assert!(row["written"].as_f64().unwrap() <= 6.0, "{row}");
        assert!(row["rival"].is_null() && row["ratio"].is_null(), "{row}");
    }
    let people = &bench["people"];
    positive(&people["plain"], &LOAD);
    positive(&people["own"], &LOAD);
    positive(people, &["people", "adapters", "share", "changed"]);
    let behind = bench["behind"].as_array().unwrap();
    assert_eq!(behind.len(), 1);
    positive(&behind[0], &["long_ms", "alone_ms", "behind_ms"]);
    let read = behind[0]["prompt_tokens"].as_u64().unwrap();
    assert!((25..=55).contains(&read), "{read} tokens are not about 40");
}

#[test]
fn another_server_gets_the_same_load() {
    let place = Place::online();
    let rival = format!("'{}' serve -m {{model}} --port {{port}} --parallel 1", binary().display());
    let more = ["--at-once", "2", "--rival", &rival, "--json", "--", "--threads", "1"];
    let bench: Value =
        serde_json::from_str(&place.text(&[&TINY[..], &SHORT, &more].concat())).expect("one object");
    assert_eq!((&bench["rival"], &bench["rival_same"]), (&rival.into(), &true.into()));
    let row = &bench["rows"][0];
    positive(&row["rival"], &LOAD);
    positive(row, &["ratio"]);
    positive(&bench["behind"][0]["rival"], &["long_ms", "alone_ms", "behind_ms"]);
    // The other server reads the same texts, and both count them.
    assert_eq!(row["written"], row["rival"]["written"]);
}

#[test]
fn what_is_printed_without_json_has_all_rows() {
    let place = Place::online();
    let text = place.text(&[&TINY[..], &["--at-once", "2", "--behind", "1000000"]].concat());
    assert!(text.contains("AT ONCE") && text.contains("\n2 ") && !text.contains("BEHIND"), "{text}");
    assert!(text.ends_with("The same question got the same answer each time.\n"), "{text}");
}

#[test]
fn mistakes_are_told_with_what_the_other_server_said() {
    let place = Place::online();
    let run = |rival: &str, message: &str, hint: &str| {
        place.mistake(&[&TINY[..], &["--at-once", "1", "--rival", rival]].concat(), message, hint)
    };
    run("server -m {model}", "does not say {port}", "{port}");
    run("server 'a {port}", "a quote that does not end", "{port}");
    run("no-such-server {port}", "No such file", "by itself");
    let broken = format!("'{}' serve --nonsense {{port}}", binary().display());
    run(&broken, "unexpected argument '--nonsense'", "by itself");
    let ours = [&TINY[..], &["--at-once", "1", "--", "--nonsense"]].concat();
    place.mistake(&ours, "crayon serve: it ended before it answered", "by itself");
    place.mistake(&["bench", "serve", "-m", "no-such.gguf"], "no-such.gguf", "");
    let none = [&TINY[..], &["--at-once", "1", "-m", "mini-gpt2", "--people", "2"]].concat();
    place.mistake(&none, "has no pool", "--pool");
    let offline = Place::new().crayon(&TINY).output().unwrap();
    check_mistake(&offline, "CRAYON_OFFLINE forbids the network", "unset it");
}

/// Ctrl-C ends the servers, too: the file of people of the one that was started is free again.
#[cfg(unix)]
#[test]
fn it_can_be_stopped_and_leaves_no_server_behind() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use support::serving::Serving;

    let place = Place::online();
    let file = place.path("people.redb");
    let people = ["--people", file.to_str().unwrap()];
    let child = Command::new(binary())
        .args(["bench", "serve", "--rounds", "100", "--at-once", "8", "--behind", "0", "--"])
        .args(people)
        .current_dir(place.path("."))
        .env("CRAYON_OFFLINE", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while !file.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Its requests are under way, or will be soon.
    std::thread::sleep(Duration::from_millis(300));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(output.stdout.is_empty() && !stderr(&output).contains("error"), "{}", stderr(&output));
    let server = Serving::start(&place, &people);
    assert!(server.get("/health")["status"] == "ok");
}
