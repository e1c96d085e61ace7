//! Who answers: `ask` and `chat` with a server on 127.0.0.1 that may be good, bad or watched for silence.

mod support;

use std::path::Path;

use serde_json::Value;
use support::server::{GOOD, Server};
use support::{Place, stderr};

const QUESTION: &str = "What is a dog?";

/// `ask --json` with a server.
fn ask(place: &Place, server: &Server, more: &[&str]) -> Value {
    let mut arguments =
        vec!["ask", "--max-tokens", "12", "--server", &server.address, "--server-model", "big"];
    arguments.extend(more);
    arguments.push(QUESTION);
    place.json(&arguments)
}

/// Thresholds that send this share of the one question.
fn thresholds(place: &Place, share: &str, more: &[&str]) -> String {
    let (data, path) = (place.path("held-out.jsonl"), place.path(&format!("routing-{share}.json")));
    std::fs::write(&data, format!("{{\"prompt\": \"{QUESTION}\"}}\n")).unwrap();
    let (data, path) = (data.to_str().unwrap(), path.to_str().unwrap().to_owned());
    let mut arguments = vec!["route", "calibrate", "--data", data, "--share", share, "-o", &path];
    arguments.extend(more);
    let report = place.json(&arguments);
    assert_eq!((&report["queries"], report["share"].as_f64()), (&1.into(), share.parse().ok()));
    path
}

#[test]
fn the_device_alone_opens_no_socket() {
    let place = Place::online();
    let server = Server::start(200, GOOD);
    let alone = place.json(&["ask", "--max-tokens", "12", QUESTION]);
    assert_eq!(alone["reason"], "no server is set up");
    let device = ask(&place, &server, &["--route", "device"]);
    assert_eq!((&device["where"], &device["reason"]), (&"device".into(), &"the device was asked for".into()));
    assert_eq!(device["text"], alone["text"]);
    let private = ask(&place, &server, &["--private"]);
    assert_eq!((&private["where"], &private["reason"]), (&"device".into(), &"the request is private".into()));
    let always = thresholds(&place, "1", &[]);
    let sure = ask(&place, &server, &["--private", "--thresholds", &always]);
    assert_eq!(sure["where"], "device");
    let mut offline =
        place.crayon(&["ask", "--json", "--server", &server.address, "--server-model", "big", QUESTION]);
    let output = offline.env("CRAYON_OFFLINE", "1").output().unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["reason"], "CRAYON_OFFLINE forbids the network");
    assert_eq!(server.connections(), 0);
    // The server would have noticed.
    assert_eq!(ask(&place, &server, &["--route", "server"])["where"], "server");
    assert_eq!(server.connections(), 1);
}

#[test]
fn the_server_alone_answers_or_fails() {
    let place = Place::online();
    let server = Server::start(200, GOOD);
    let value = ask(&place, &server, &["--route", "server", "--temperature", "0.7"]);
    assert_eq!((&value["text"], &value["where"]), (&"The server's words.".into(), &"server".into()));
    assert_eq!((&value["model"], &value["finish"]), (&"big-2".into(), &"end".into()));
    assert_eq!((&value["tokens"]["read"], &value["tokens"]["generated"]), (&7.into(), &4.into()));
    assert!(value["confidence"].is_null() && value["scope"].is_null());
    assert_eq!(value["reason"], "the server was asked for");
    let body = server.bodies.lock().unwrap()[0].clone();
    assert!(body.contains("\"temperature\":0.7") && body.contains(QUESTION), "{body}");
    assert!(!body.to_ascii_lowercase().contains("authorization"), "{body}");

    let refusing = Server::start(404, "{\"error\":{\"message\":\"no such model\"}}");
    let arguments = |server: &Server| {
        ["ask", "--route", "server", "--server", &server.address, "--server-model", "big", QUESTION]
            .map(str::to_owned)
    };
    let arguments = arguments(&refusing);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    place.mistake(&arguments, "refuses with status 404: no such model", "--server-model");
    place.mistake(&["ask", "--route", "server", QUESTION], "none is set up", "--server URL");
    let private = [&arguments[..], &["--private"]].concat();
    place.mistake(&private, "the request is private", "--route device");
    assert_eq!(refusing.connections(), 1);
}

#[test]
fn an_unsure_device_hands_over_and_a_sure_one_does_not() {
    let place = Place::online();
    let server = Server::start(200, GOOD);
    let plain = place.json(&["ask", "--max-tokens", "12", QUESTION]);
    for more in [&[][..], &["--tokens", "3"]] {
        let (always, never) = (thresholds(&place, "1", more), thresholds(&place, "0", more));
        let before = server.connections();
        let sure = ask(&place, &server, &["--thresholds", &never]);
        assert_eq!((&sure["text"], &sure["confidence"]), (&plain["text"], &plain["confidence"]));
        assert_eq!((&sure["where"], server.connections()), (&"device".into(), before));
        assert!(sure["reason"].as_str().unwrap().starts_with("the device is sure"), "{sure}");
        let unsure = ask(&place, &server, &["--thresholds", &always, "--route", "auto"]);
        assert_eq!((&unsure["text"], &unsure["where"]), (&"The server's words.".into(), &"server".into()));
        assert!(unsure["reason"].as_str().unwrap().starts_with("the device is unsure"), "{unsure}");
        assert!(unsure["confidence"].as_f64().is_some_and(|c| c > 0.0 && c < 1.0), "{unsure}");
    }
}

#[test]
fn where_the_server_fails_the_device_answers_and_says_so() {
    let place = Place::online();
    let plain = place.json(&["ask", "--max-tokens", "12", QUESTION]);
    let cut = "data: {\"choices\":[{\"delta\":{\"content\":\"The server's\"}}]}\n\n";
    for (status, body) in [(200, cut), (503, ""), (200, "<html>")] {
        let server = Server::start(status, body);
        // Decided after the whole answer, and after its beginning, which is then written anew.
        for more in [&[][..], &["--tokens", "3"]] {
            let always = thresholds(&place, "1", more);
            let value = ask(&place, &server, &["--thresholds", &always, "--server-timeout", "3"]);
            assert_eq!((&value["text"], &value["where"]), (&plain["text"], &"device".into()), "{status}");
            assert!(value["reason"].as_str().unwrap().contains("but the server failed"), "{value}");
        }
        assert!(server.connections() > 0);
    }
    // Without --json not a word of the cut answer is mixed in, and a note tells.
    let server = Server::start(200, cut);
    let always = thresholds(&place, "1", &[]);
    let output = place
        .crayon(&[
            "ask",
            "--max-tokens",
            "12",
            "--server",
            &server.address,
            "--server-model",
            "big",
            "--thresholds",
            &always,
            "--server-timeout",
            "3",
            QUESTION,
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), plain["text"].as_str().unwrap().trim());
    assert!(stderr(&output).contains("the device answers"), "{}", stderr(&output));
}

#[test]
fn the_key_comes_from_the_environment_or_a_file_and_is_never_shown() {
    let place = Place::online();
    let server = Server::start(401, "{\"error\":{\"message\":\"wrong key sk-hidden\"}}");
    let arguments =
        ["ask", "-v", "--route", "server", "--server", &server.address, "--server-model", "big", QUESTION];
    let output = place.crayon(&arguments).env("CRAYON_SERVER_KEY", "sk-hidden").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!stderr(&output).contains("sk-hidden") && stderr(&output).contains("***"), "{}", stderr(&output));
    assert!(server.bodies.lock().unwrap()[0].contains("Bearer sk-hidden"));
    let file = place.path("key");
    std::fs::write(&file, "sk-filed\n").unwrap();
    let with_file = [&arguments[..], &["--server-key-file", file.to_str().unwrap()]].concat();
    assert_eq!(place.crayon(&with_file).output().unwrap().status.code(), Some(2));
    assert!(server.bodies.lock().unwrap()[1].contains("Bearer sk-filed"));
}

#[test]
fn a_conversation_is_handed_over_whole() {
    let place = Place::online();
    let server = Server::start(200, GOOD);
    let always = thresholds(&place, "1", &[]);
    let run = |route: &str| {
        place
            .crayon(&[
                "chat",
                "--max-tokens",
                "12",
                "--server",
                &server.address,
                "--server-model",
                "big",
                "--thresholds",
                &always,
                "--route",
                route,
            ])
            .write_stdin("Hello!\nWhat is a cat?\n")
            .output()
            .unwrap()
    };
    for route in ["auto", "server"] {
        let output = run(route);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "The server's words.\nThe server's words.\n");
        assert!(stderr(&output).contains("answered by big-2 on the server"), "{}", stderr(&output));
        let last = server.bodies.lock().unwrap().last().unwrap().clone();
        assert!(
            last.contains("Hello!") && last.contains("The server's words.") && last.contains("a cat"),
            "{last}"
        );
    }
    let before = server.connections();
    assert!(!String::from_utf8_lossy(&run("device").stdout).contains("server"));
    assert_eq!(server.connections(), before);
}

#[test]
fn mistakes_in_setting_up_are_told() {
    let place = Place::online();
    place.mistake(&["ask", "--server", "http://127.0.0.1:1", QUESTION], "--server-model", "--help");
    let with = |url: &'static str| ["ask", "--server", url, "--server-model", "big", QUESTION];
    place.mistake(&with("api.example"), "does not begin with http", "https://api.example/v1");
    place.mistake(&with("https://me:word@api.example"), "holds a name", "CRAYON_SERVER_KEY");
    let raw = ["ask", "--raw", "--server", "http://127.0.0.1:1", "--server-model", "big", "Once"];
    place.mistake(&raw, "--raw", "--route device");
    let data = place.path("data.jsonl");
    std::fs::write(&data, "{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"choices\": [\"c\"]}\n").unwrap();
    let data = data.to_str().unwrap();
    place.mistake(&["route", "calibrate", "--data", data, "--share", "0.5"], "line 2", "free text");
    place.mistake(&["route", "calibrate", "--data", data, "--share", "2"], "from 0 to 1", "3 of 10");
    let other = thresholds(&place, "0.0", &["-m", "mini-gpt2"]);
    assert!(Path::new(&other).exists());
    let mismatch =
        ["ask", "--server", "http://127.0.0.1:1", "--server-model", "big", "--thresholds", &other, QUESTION];
    place.mistake(&mismatch, "another model", "route calibrate");
}

#[test]
fn thresholds_are_found_where_they_are_written() {
    let place = Place::online();
    let server = Server::start(200, GOOD);
    let data = place.path("data.jsonl");
    std::fs::write(&data, format!("{{\"prompt\": \"{QUESTION}\"}}\n")).unwrap();
    let data = data.to_str().unwrap();
    place.json(&["route", "calibrate", "--data", data, "--share", "1", "--tokens", "4"]);
    assert_eq!(ask(&place, &server, &[])["where"], "server");
    place.json(&["route", "calibrate", "--data", data, "--share", "0"]);
    assert_eq!(ask(&place, &server, &[])["where"], "device");
}

#[test]
fn the_servers_share_is_measured_question_by_question() {
    let place = Place::online();
    let server = Server::start(200, GOOD);
    let right =
        r#"{"prompt": "Who speaks?\nAnswer:", "choices": ["the server's words", "nobody"], "answer": 0}"#;
    let wrong =
        r#"{"prompt": "Who is silent?\nAnswer:", "choices": ["the server's words", "nobody"], "answer": 1}"#;
    let task = place.write("task.jsonl", format!("{right}\n{right}\n{wrong}\n"));
    let outside = place.write("outside.jsonl", "{\"prompt\": \"What is 3 plus 4?\"}\n");
    let (task, outside) = (task.to_str().unwrap(), outside.to_str().unwrap());
    let arguments = [
        "eval",
        "routing",
        "--task",
        task,
        "--server",
        &server.address,
        "--server-model",
        "big",
        "--outside",
    ];
    let plot = place.path("curve.svg");
    let report = place.json(&[&arguments[..], &[outside, "--plot", plot.to_str().unwrap()]].concat());
    let row = &report["rows"][0];
    assert_eq!((&row["task"], &row["n"], &row["unmatched"]), (&"task".into(), &3.into(), &0.into()));
    assert!((row["server"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9);
    for order in row["orders"].as_array().unwrap() {
        let curve = order["curve"].as_array().unwrap();
        assert_eq!((&curve[0][1], &curve[20][1]), (&row["device"], &row["server"]), "{order}");
    }
    assert_eq!((&report["outside"]["inside"], &report["outside"]["outside"]), (&3.into(), &1.into()));
    assert!(std::fs::read_to_string(&plot).unwrap().contains("confidence"));

    // Nobody but the device is asked about what lies outside, and the same question is not asked twice.
    assert_eq!(server.connections(), 2);
    let offered = r"Who speaks?\nOptions:\n- the server's words\n- nobody\nAnswer:";
    assert!(server.bodies.lock().unwrap()[0].contains(offered));
    place.json(&[&arguments[..], &[outside, "--bare", "--limit", "1"]].concat());
    assert!(!server.bodies.lock().unwrap()[2].contains("nobody"));

    // What the server said is kept, and it is shown solved examples where there are some.
    std::fs::create_dir_all(place.path("solved")).unwrap();
    place.write("solved/task.jsonl", wrong);
    let kept = [&arguments[..8], &["--cells", "cells.jsonl", "--solved", "solved"]].concat();
    for _ in 0..2 {
        assert_eq!(place.json(&kept)["rows"][0]["n"], 3);
        assert_eq!(server.connections(), 5);
    }
    let body = server.bodies.lock().unwrap()[3].clone();
    assert!(body.contains("assistant") && body.contains("nobody"), "{body}");

    let offline = Place::new();
    offline.mistake(&[&arguments[..], &[outside]].concat(), "CRAYON_OFFLINE forbids", "--route device");
    assert_eq!(server.connections(), 5);
}

#[test]
fn written_answers_are_measured_with_a_server_and_without() {
    let place = Place::online();
    let server = Server::start(200, GOOD);
    let question = "What is a dog?";
    let text = place.json(&["ask", "--max-tokens", "6", question])["text"].as_str().unwrap().to_owned();
    let line =
        |prompt: &str, answer: &str| serde_json::json!({"prompt": prompt, "answer": answer}).to_string();
    let lines = [line(question, &text), line("What is a cat?", "the server's words")];
    place.write("known.jsonl", lines.join("\n"));
    let alone = ["eval", "routing", "--written", "--max-tokens", "6", "--task", "known.jsonl"];
    let report = place.json(&alone);
    let row = &report["rows"][0];
    assert_eq!((&row["n"], &row["device"], &row["server"]), (&2.into(), &0.5.into(), &Value::Null));
    assert!(row["orders"].as_array().unwrap().is_empty() && row["told"][0]["auroc"].is_number(), "{row}");
    let doubted = &row["doubted"];
    assert_eq!(doubted["doubted"].as_u64().unwrap() + doubted["believed"].as_u64().unwrap(), 2, "{row}");
    let both = [&alone[..], &["--server", &server.address, "--server-model", "big"]].concat();
    let row = &place.json(&both)["rows"][0];
    assert_eq!((&row["device"], &row["server"]), (&0.5.into(), &0.5.into()), "{row}");
    assert_eq!(server.connections(), 2);
}
