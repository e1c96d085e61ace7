//! `crayon quantize`: a model that runs on integers, and what cannot become one.

mod support;

use support::{Place, stderr};

fn text() -> String {
    let lines = [
        "The cat sat on the mat and looked at the rain. ",
        "A dog ran to the park. ",
        "Why do birds fly south? ",
    ];
    (0..200).map(|i| format!("{}{i} ", lines[i % 3])).collect()
}

const FEW: [&str; 6] = ["--sequences", "2", "--window", "32", "--steps", "2"];

fn quantize<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["quantize", "-m", "mini-gpt2", "--calibration", "book.txt"][..], &FEW, more].concat()
}

#[test]
fn the_result_is_a_model() {
    let place = Place::new();
    place.write("book.txt", text());
    for (out, more) in [
        ("token", &["--scheme", "w8a8"][..]),
        ("static", &["--scheme", "w8a6", "--activations", "static", "--places", "paper"]),
        ("both.gguf", &["--scheme", "w4", "--method", "smoothquant"]),
    ] {
        let report = place.json(&[&quantize(&["-o", out])[..], more].concat());
        for key in ["perplexity_before", "perplexity_after", "bytes_before", "bytes_after", "seconds"] {
            assert!(report[key].as_f64().is_some_and(|value| value > 0.0), "{key} of {report}");
        }
        let worse =
            report["perplexity_after"].as_f64().unwrap() / report["perplexity_before"].as_f64().unwrap();
        assert!(worse < 1.3, "{out}: {worse}");
        assert!(!place.path(&format!("{out}.unfinished")).exists());
        let answer = place.text(&["ask", "-m", &format!("./{out}"), "--max-tokens", "5", "What is a dog?"]);
        assert!(!answer.trim().is_empty());
    }
    let shown = place.text(&["models", "show", "./token"]);
    assert!(shown.contains("w8a8"), "{shown}");

    let run = place
        .crayon(&["quantize", "-m", "./token", "--calibration", "book.txt", "-o", "twice"])
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(2));
    assert!(stderr(&run).contains("quantised already"), "{}", stderr(&run));
}

#[test]
fn what_cannot_be_done_is_said_and_leaves_nothing() {
    let place = Place::new();
    place.write("book.txt", text());
    place.write("short.txt", "Too short.");
    place.write("empty.txt", "");
    place.write("bytes.txt", b"one\ntw\xFFo");
    let cases: [(&[&str], &str); 7] = [
        (&["--calibration", "short.txt", "-o", "out"], "are needed"),
        (&["--calibration", "empty.txt", "-o", "out"], "has 0 tokens"),
        (&["--calibration", "bytes.txt", "-o", "out"], "UTF-8"),
        (&["--calibration", "none.txt", "-o", "out"], "none.txt"),
        (&["--calibration", "book.txt", "-o", "out", "--scheme", "w3a3"], "known are"),
        (&["--calibration", "book.txt", "-o", "out", "--phases", "3"], "no phase"),
        (&["--calibration", "book.txt", "-o", "out", "--alpha", "2"], "no share"),
    ];
    for (arguments, expected) in cases {
        let run = place.crayon(&[&["quantize", "-m", "mini-gpt2"][..], arguments].concat()).output().unwrap();
        assert_eq!(run.status.code(), Some(2), "{arguments:?}: {}", stderr(&run));
        assert!(stderr(&run).contains(expected), "{arguments:?}: {}", stderr(&run));
        assert!(stderr(&run).contains("hint:"), "{arguments:?}: {}", stderr(&run));
        assert!(!place.path("out").exists());
    }
}
