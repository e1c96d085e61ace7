//! The pool inside the program, and the comparison of ways to use examples, through the built binary.

mod support;

use std::path::{Path, PathBuf};

use support::{Place, keys};

/// The examples that the documents use.
fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/home.jsonl")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn examples_need_no_pool_beside_mini_and_change_its_answers() {
    let place = Place::new();
    let home = home();
    let questions = [
        "turn off the lamp in the living room",
        "strike milk off my shopping list",
        "any reminders for today",
    ];
    let made = place.json(&["customize", "--examples", text(&home), "--effort", "instant", "-o", "mine"]);
    let weights = made["weights"].as_array().unwrap();
    assert!(weights.len() >= 8 && made["fits"] == true, "{made}");

    let answers = |more: &[&str]| {
        questions.map(|question| {
            let ask = ["ask", "--temperature", "0", "--max-tokens", "24", question];
            place.json(&[&ask[..], more].concat())["text"].as_str().unwrap().trim().to_owned()
        })
    };
    let (base, custom) = (answers(&[]), answers(&["-a", "mine"]));
    let lines = std::fs::read_to_string(&home).unwrap();
    let ways: Vec<String> = lines
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["answer"].as_str().unwrap().to_owned()
        })
        .collect();
    // The adapter brings the ways of the examples, if not always the right one.
    let like_examples = |answers: &[String]| answers.iter().filter(|answer| ways.contains(answer)).count();
    assert_eq!(like_examples(&base), 0, "the base model answers like that already: {base:?}");
    assert!(like_examples(&custom) >= 2, "{custom:?}");
    assert_eq!(custom, answers(&["--examples", text(&home)]));
    assert_eq!(custom, answers(&["--examples", text(&home), "--pool", "built-in"]));

    let shown = place.json(&["pool", "show"]);
    assert_eq!(shown["adapters"].as_array().unwrap().len(), weights.len());
    // The other built-in model has none.
    let custom = ["customize", "-m", "mini-gpt2", "--pool", "built-in", "--examples", text(&home)];
    place.mistake(&custom, "holds no pool for mini-gpt2", "--pool");
}

#[cfg(feature = "train")]
#[test]
fn examples_decide_what_is_taken() {
    let place = Place::new();
    let butler = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/users/butler");
    let made = place.json(&[
        "customize",
        "--examples",
        text(&butler.join("examples.jsonl")),
        "--budget",
        "600",
        "-o",
        "mine",
    ]);
    assert_eq!(
        (made["chosen"].as_str(), made["adapter"].as_str()),
        (Some("trained"), Some("mine")),
        "{made}"
    );
    let tried = made["tried"].as_array().unwrap();
    let names: Vec<&str> = tried.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["base", "blend", "nearest", "fitted", "prompt", "trained"]);
    // What is no better than the best so far is left after a part of the examples.
    let judged = |row: &serde_json::Value| row["of"] == 8 || row["name"] == "fitted";
    assert!(tried.iter().all(|row| judged(row) && row["seconds"].as_f64() > Some(0.0)), "{made}");
    assert!(tried[5]["loss"].as_f64() < tried[0]["loss"].as_f64(), "{made}");
    // Questions that the examples do not hold.
    let questions = std::fs::read_to_string(butler.join("questions.jsonl")).unwrap();
    let questions: Vec<serde_json::Value> =
        questions.lines().step_by(3).map(|line| serde_json::from_str(line).unwrap()).collect();
    let right = |more: &[&str]| {
        let own = |question: &&serde_json::Value| {
            let ask =
                ["ask", "--temperature", "0", "--max-tokens", "24", question["prompt"].as_str().unwrap()];
            place.json(&[&ask[..], more].concat())["text"].as_str().unwrap().trim() == question["answer"]
        };
        questions.iter().filter(own).count()
    };
    assert!(right(&["-a", "mine"]) > right(&[]));

    // What nobody can know leaves the model alone; so does a budget for nothing.
    let words =
        ["vrtl okj pwee", "xxq lmnop sdf", "wer tyu zxc", "poi mnb qaz", "ghj klz rty", "edc rfv ujm"];
    let lines = |from: usize| {
        let line = |(at, word): (usize, &&str)| {
            format!(r#"{{"prompt": "{}", "answer": "{word}"}}"#, words[(at + from) % words.len()])
        };
        words.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
    };
    let noise = place.write("noise.jsonl", lines(2));
    let made = place.json(&["customize", "--examples", text(&noise), "--budget", "600", "-o", "none"]);
    assert!(made["chosen"] == "base" && made["adapter"].is_null() && !place.path("none").exists(), "{made}");
    let short = place.json(&["customize", "--examples", text(&noise), "--budget", "0"]);
    assert_eq!((short["chosen"].as_str(), short["tried"].as_array().unwrap().len()), (Some("base"), 1));
    // Without answers nothing is judged, and without a pool there is no blend.
    let bare = place.write("bare.jsonl", r#"{"prompt": "skip this song please"}"#);
    let made = place.json(&["customize", "--examples", text(&bare)]);
    assert_eq!((made["tried"].as_array().map(Vec::len), made["chosen"].as_str()), (Some(0), Some("blend")));
    let lone = place.json(&["customize", "-m", "mini-gpt2", "--effort", "fit", "--examples", text(&noise)]);
    assert_eq!(
        (lone["tried"].as_array().map(Vec::len), lone["weights"].as_array().map(Vec::len)),
        (Some(2), Some(0))
    );
}

#[test]
fn a_packed_pool_serves_like_its_folder() {
    let place = Place::new();
    let lines: Vec<String> =
        (0..12).map(|i| format!(r#"{{"prompt": "Count on: {i}", "answer": "{}"}}"#, i + 1)).collect();
    let data = place.write("numbers.jsonl", lines.join("\n"));
    let train =
        ["pool", "train", "--data", text(&data), "-n", "2", "--rank", "2", "--epochs", "1", "-o", "pool"];
    place.text(&train);
    let packed = place.json(&["pool", "pack", "pool", "-o", "pool.safetensors"]);
    assert_eq!(packed["keys"], place.json(&["pool", "show", "pool"])["keys"]);
    let custom = |pool: &str| {
        place.json(&["customize", "--examples", text(&data), "--pool", pool, "--effort", "instant"])["weights"].clone()
    };
    assert_eq!(custom("pool"), custom("pool.safetensors"));
}

#[test]
fn ways_to_use_examples_are_compared_and_finished_cells_kept() {
    let place = Place::new();
    for (user, word) in [("birds", "bird"), ("trees", "tree")] {
        std::fs::create_dir_all(place.path("users").join(user)).unwrap();
        let lines = |from: usize, count: usize| {
            let line = |i: usize| {
                format!(
                    r#"{{"prompt": "What is a {word} of {i}?", "choices": ["a {word}", "a stone"], "answer": 0}}"#
                )
            };
            (from..from + count).map(line).collect::<Vec<_>>().join("\n")
        };
        place.write(&format!("users/{user}/train.jsonl"), lines(0, 4));
        place.write(&format!("users/{user}/test.jsonl"), lines(10, 5));
    }
    let call = [
        &["eval", "customize", "--users", "users", "--pool", "built-in", "--sizes", "2", "--seeds", "2"][..],
        &["--questions", "3", "--oracle-epochs", "1", "--cells", "cells.jsonl"],
    ]
    .concat();
    let found = place.json(&call);
    let rows = found["rows"].as_array().unwrap();
    // Two users: base, uniform, arrow and oracle once, eight others with two draws each; there is no joint adapter.
    assert_eq!(rows.len(), 2 * (4 + 8 * 2), "{found}");
    for row in rows {
        assert!(keys(row).contains(&"bytes_down") && row["questions"] == 3 && row["chance"] == 0.5, "{row}");
        for share in ["accuracy", "written"] {
            assert!((0.0..=1.0).contains(&row[share].as_f64().unwrap()), "{row}");
        }
        assert_eq!(row["marks"].as_str().map(str::len), Some(3), "{row}");
        let method = row["method"].as_str().unwrap();
        assert_eq!(row["shown"], if method == "prompt" { 2 } else { 0 }, "{row}");
        let told = ["nearest", "blend", "instant", "fitted", "trained", "auto"].contains(&method);
        assert_eq!(row["bytes_up"], if told { 4 * found["adapters"].as_u64().unwrap() } else { 0 }, "{row}");
        assert_eq!(row["chosen"].is_string(), told && method != "nearest" && method != "blend", "{row}");
        assert_eq!(row["group"], "users", "{row}");
    }
    // What the base is taken for is answered as the base answers.
    let of = |user: &str, method: &str| {
        rows.iter().find(|row| row["user"] == user && row["method"] == method).unwrap()
    };
    for row in rows.iter().filter(|row| row["chosen"] == "base") {
        let base = of(row["user"].as_str().unwrap(), "base");
        assert_eq!(row["marks"], base["marks"], "{row}");
    }
    let kept = std::fs::read_to_string(place.path("cells.jsonl")).unwrap();
    assert_eq!(kept.lines().count(), rows.len());
    // Times would differ if anything were done again.
    assert_eq!(place.json(&call)["rows"], found["rows"]);
    assert_eq!(std::fs::read_to_string(place.path("cells.jsonl")).unwrap(), kept);

    let few = [&call[..6], &["--sizes", "9"]].concat();
    place.mistake(&few, "9 are more than the 4 examples of birds", "fewer");
    let task =
        ["eval", "choice", "--task", "users/birds/test.jsonl", "--examples", "users/birds/train.jsonl"];
    // Answered through what `customize` takes.
    let more = ["--pool", "built-in", "--effort", "instant"];
    let through = place.json(&[&task[..], &more].concat());
    let made = place.json(&[&["customize", "--examples", "users/birds/train.jsonl"][..], &more].concat());
    assert_eq!((through["n"].as_u64(), &through["through"]), (Some(5), &made["chosen"]));
    assert_eq!(through["examples"], made["shown"]);
    assert!(place.json(&task)["through"].is_null());
    assert_eq!(place.json(&task)["examples"], 4);
}
