//! `crayon quantize`: a model that runs on integers, and what cannot become one.

mod support;

use std::ops::ControlFlow;

use crayon_engine::{Engine, ModelSource, Settings};
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
        (&["--calibration", "book.txt", "-o", "out", "--phases", "3"], "not a phase"),
        (&["--calibration", "book.txt", "-o", "out", "--alpha", "2"], "not a share"),
    ];
    for (arguments, expected) in cases {
        let run = place.crayon(&[&["quantize", "-m", "mini-gpt2"][..], arguments].concat()).output().unwrap();
        assert_eq!(run.status.code(), Some(2), "{arguments:?}: {}", stderr(&run));
        assert!(stderr(&run).contains(expected), "{arguments:?}: {}", stderr(&run));
        assert!(stderr(&run).contains("hint:"), "{arguments:?}: {}", stderr(&run));
        assert!(!place.path("out").exists());
    }
}

/// `crayon` with files that cannot outgrow `blocks` of 512 bytes (1024 where the shell counts so), like on a disk that fills.
#[cfg(unix)]
fn cramped(place: &Place, blocks: usize, arguments: &[&str]) -> std::process::Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).arg(support::binary()).args(arguments);
    command.current_dir(place.path("")).env("CRAYON_HOME", place.path("home")).env("CRAYON_OFFLINE", "1");
    command.output().unwrap()
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_half_model_and_the_same_command_goes_on() {
    let place = Place::new();
    place.write("book.txt", text());
    let command = quantize(&["-o", "out"]);
    let left = || {
        let entries = std::fs::read_dir(place.path("")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| name != "home");
        names.sort();
        names
    };

    // Not even the first block can be kept.
    let run = cramped(&place, 8, &command);
    assert_eq!(run.status.code(), Some(1), "{}", stderr(&run));
    assert_eq!(left(), ["book.txt"], "{}", stderr(&run));

    // Every block can be kept, and the model cannot be written.
    let run = cramped(&place, 2048, &command);
    assert_eq!(run.status.code(), Some(1), "{}", stderr(&run));
    assert!(stderr(&run).contains("the same command goes on"), "{}", stderr(&run));
    assert_eq!(left(), ["book.txt", "out.unfinished"]);

    let report = place.json(&command);
    assert_eq!(
        report["resumed"].as_u64(),
        Some(report["blocks"].as_array().unwrap().len() as u64),
        "{report}"
    );
    assert_eq!(left(), ["book.txt", "out"]);
}

#[test]
fn ways_are_compared_beside_an_adapter_and_in_a_pot() {
    let place = Place::new();
    place.write("book.txt", text());
    place.write("mine.jsonl", r#"{"prompt": "A dog ran to the park. Where did the dog run?"}"#);
    place.json(&["customize", "--examples", "mine.jsonl", "--force", "-o", "mine"]);
    let base = [
        "eval",
        "quantize",
        "--calibration",
        "book.txt",
        "--text",
        "book=book.txt",
        "--activations",
        "token",
        "--sequences",
        "2",
        "--windows",
        "1",
        "--window",
        "96",
    ];
    let compared = |more: &[&str]| {
        let rows = place.json(&[&base[..], &["--variants", "exact,smoothquant"], more].concat());
        let figure = |row: usize, key: &str| rows["rows"][row]["texts"][0][key].as_f64().unwrap();
        // The scales are folded into the adapter too: without that it would be another one. A pot may keep other entries.
        let most = if more.contains(&"--pot") { 0.1 } else { 0.05 };
        assert!(figure(1, "kl") > 0.0 && figure(1, "kl") < most, "{more:?}: {rows}");
        figure(0, "perplexity")
    };
    let (alone, adapted) = (compared(&[]), compared(&["-a", "mine"]));
    let pot = compared(&["-a", "mine", "--pot", "64", "--kv", "i8"]);
    assert!(alone != adapted && adapted != pot, "{alone} {adapted} {pot}");

    // Of rates of training the one that held-out text speaks for: one that moves nothing, or one that spoils everything.
    let tuned = [&base[..], &["--variants", "exact,finetune", "--final-steps", "2"]].concat();
    let rows = place.json(&[&tuned[..], &["--tune-rates", "10,1e-9"]].concat());
    assert_eq!(rows["rows"][1]["rate"], 1e-9, "{rows}");

    let rotated = [&base[..], &["--variants", "hadamard", "-a", "mine"]].concat();
    place.mistake(&rotated, "does not turn", "leave the one or the other out");
}

/// The logits after a text, through an adapter or not.
fn logits(model: &std::path::Path, adapter: Option<&std::path::Path>) -> Vec<f32> {
    let source = ModelSource::path(model).unwrap();
    let mut engine = Engine::open(&source, &Settings { exact: true, ..Settings::default() }).unwrap();
    if let Some(path) = adapter {
        let lora = engine.read_adapter(path).unwrap();
        engine.adapt_by(lora).unwrap();
    }
    let mut session = engine.session(64).unwrap();
    let prompt = engine.text_prompt("A dog ran to the park. Where did the dog").unwrap();
    session.feed(&prompt, &mut |_| ControlFlow::Continue(())).unwrap();
    session.logits().to_vec()
}

/// Root of the mean square of differences.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
    (squares.sum::<f32>() / a.len() as f32).sqrt()
}

#[test]
fn adapters_and_pools_of_a_model_serve_its_other_forms() {
    let place = Place::new();
    place.write("book.txt", text());
    place.write("mine.jsonl", r#"{"prompt": "A dog ran to the park. Where did the dog run?"}"#);
    place.text(&["convert", "mini", "-o", "first.gguf", "--type", "f16"]);
    // Rates that move the scales far from 1, so that an adapter which lacks them is another one.
    let quantise = [
        "quantize",
        "--calibration",
        "book.txt",
        "--alpha",
        "0.9",
        "--method",
        "smoothquant",
        "-o",
        "second",
    ];
    place.json(&[&quantise[..], &FEW, &["-m", "./first.gguf"]].concat());
    place.text(&["convert", "./second", "-o", "third.gguf", "--type", "q8_0"]);
    place.json(&["customize", "--examples", "mine.jsonl", "--force", "-o", "mine"]);
    let pool = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/mini-pool.safetensors");

    let adapter = place.path("mine");
    let of = |model: &str, adapter| logits(&place.path(model), adapter);
    let (exact, adapted) = (of("first.gguf", None), of("first.gguf", Some(&*adapter)));
    let meant = apart(&exact, &adapted);
    for model in ["second", "third.gguf"] {
        let (plain, adapted_too) = (of(model, None), of(model, Some(&*adapter)));
        // What the adapter changes is the same, but for rounding.
        let changes: Vec<f32> =
            adapted_too.iter().zip(&plain).map(|(with, without)| with - without).collect();
        let wanted: Vec<f32> = adapted.iter().zip(&exact).map(|(with, without)| with - without).collect();
        assert!(apart(&changes, &wanted) < 0.2 * meant, "{model}: {} of {meant}", apart(&changes, &wanted));
        let blended = [
            "ask",
            "-m",
            &format!("./{model}"),
            "--max-tokens",
            "4",
            "--examples",
            "mine.jsonl",
            "--pool",
            pool,
            "Say 3",
        ];
        assert!(!place.text(&blended).trim().is_empty(), "{model}");
    }

    // What was made beside a folded model knows its scales already, and must not take them again.
    place.json(&[
        "customize",
        "-m",
        "./second",
        "--examples",
        "mine.jsonl",
        "--pool",
        pool,
        "--force",
        "-o",
        "late",
    ]);
    assert!(
        !place.text(&["ask", "-m", "./second", "-a", "late", "--max-tokens", "4", "Say 3"]).trim().is_empty()
    );
    place.mistake(&["ask", "-m", "./third.gguf", "-a", "late", "Say 3"], "made for another model", "-m");
}

#[test]
fn a_rotation_folds_where_norms_let_it() {
    let place = Place::new();
    place.write("book.txt", text());
    let run = |more: &[&str]| {
        place.crayon(&quantize(&[&["--method", "hadamard"], more].concat())).output().unwrap()
    };
    let refused = run(&["-o", "whole"]);
    support::check_mistake(&refused, "does not fold in Gpt2", "--places o");
    assert!(!place.path("whole").exists());
    assert!(run(&["-o", "heads", "--places", "o"]).status.success());

    let mini =
        ["quantize", "-m", "mini", "--calibration", "book.txt", "--method", "hadamard", "-o", "mini-turned"];
    let report = place.json(&[&mini[..], &FEW].concat());
    let worse = report["perplexity_after"].as_f64().unwrap() / report["perplexity_before"].as_f64().unwrap();
    assert!((0.9..1.1).contains(&worse), "{report}");
}
