//! `crayon ask` with the embedded default.

mod support;

use std::io::Read;
use std::process::{Command, Stdio};

use support::{Place, binary, keys, stderr};

#[test]
fn the_built_in_model_answers_and_the_same_seed_answers_the_same() {
    let place = Place::new();
    let question = "What do cats like to eat?";
    let answer = place.text(&["ask", "--max-tokens", "24", question]);
    assert!(answer.trim().chars().any(char::is_alphabetic), "{answer:?}");
    assert_eq!(answer, place.text(&["ask", "--max-tokens", "24", question]));

    let drawn = |seed: &str| {
        place.text(&["ask", "--max-tokens", "24", "--temperature", "1.5", "--seed", seed, question])
    };
    assert_eq!(drawn("7"), drawn("7"));
    let others: Vec<String> = ["8", "9", "10"].map(drawn).into();
    assert!(others.iter().any(|other| *other != drawn("7")), "{others:?}");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let place = Place::new();
    let with = |threads: &str| {
        place.text(&["ask", "--threads", threads, "--max-tokens", "32", "Tell me a story about a red ball."])
    };
    let one = with("1");
    assert_eq!(one, with("2"));
    assert_eq!(one, with("3"));
}

#[test]
fn json_is_one_object_with_the_keys_of_the_contract() {
    let place = Place::new();
    let value = place.json(&["ask", "--max-tokens", "8", "--seed", "3", "What is a dog?"]);
    for key in [
        "text",
        "where",
        "reason",
        "confidence",
        "scope",
        "tokens",
        "timing",
        "peak_rss_mb",
        "finish",
        "model",
        "seed",
    ] {
        assert!(keys(&value).contains(&key), "{key} is missing: {value}");
    }
    assert_eq!(keys(&value["tokens"]), ["read", "kept", "evicted", "generated"]);
    assert_eq!(keys(&value["timing"]), ["load_ms", "ttft_ms", "prefill_tok_s", "decode_tok_s"]);
    assert_eq!(
        (&value["where"], &value["model"], &value["seed"]),
        (&"device".into(), &"mini".into(), &3.into())
    );
    assert!(value["scope"].is_null());
    assert_eq!(value["tokens"]["evicted"], 0);
    assert_eq!(value["tokens"]["read"], value["tokens"]["kept"]);
    let (read, written) =
        (value["tokens"]["read"].as_u64().unwrap(), value["tokens"]["generated"].as_u64().unwrap());
    assert!(read > 3 && (1..=8).contains(&written), "{value}");
    let confidence = value["confidence"].as_f64().unwrap();
    assert!(confidence > 0.0 && confidence <= 1.0, "{value}");
    assert!(value["timing"]["ttft_ms"].as_f64().unwrap() > 0.0);
    // What is printed as text is what the object holds.
    let text = place.text(&["ask", "--max-tokens", "8", "--seed", "3", "What is a dog?"]);
    assert_eq!(text.strip_suffix('\n'), value["text"].as_str());
}

#[test]
fn questions_and_documents_come_from_files_and_pipes() {
    let place = Place::new();
    let tokens = |arguments: &[&str], stdin: &str| {
        let arguments = [arguments, &["--json", "--max-tokens", "4"]].concat();
        let output = place.crayon(&arguments).write_stdin(stdin).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (value["tokens"]["read"].as_u64().unwrap(), value["text"].as_str().unwrap().to_owned())
    };
    let question = "Who has the key?";
    let alone = tokens(&["ask", question], "");
    assert_eq!(alone, tokens(&["ask"], "Who has the key?\n"));
    assert_eq!(alone, tokens(&["ask", "Who", "has", "the", "key?"], ""));

    let document = "Anna gave the key to the old gardener.";
    let path = place.write("note.txt", format!("{document}\n"));
    let path = path.to_str().unwrap();
    let about = tokens(&["ask", "-c", path, question], "");
    assert!(about.0 > alone.0 + 5, "the document was not read: {about:?}");
    assert_eq!(about, tokens(&["ask", "--context", "-", question], document));
    assert_eq!(about, tokens(&["ask", &format!("{document}\n\n{question}")], ""));
    let twice = tokens(&["ask", "-c", path, "-c", "-", question], "Ben has nothing.");
    assert!(twice.0 > about.0, "{twice:?}");
}

#[test]
fn text_beside_a_question_is_the_document_and_a_question_needs_no_command() {
    let place = Place::new();
    let lamps = "The lamp in the kitchen is green. The lamp in the attic is red.";
    let question = "What colour is the lamp in the attic?";
    let ask = |arguments: &[&str], stdin: &str| {
        let output = place.crayon(arguments).write_stdin(stdin).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let told = stderr(&output).contains("the text on stdin is the document: 63 characters");
        (String::from_utf8(output.stdout).unwrap(), told)
    };
    let document = ask(&["ask", "--temperature", "0", "-c", "-", question], lamps);
    assert!(document.0.contains("red") && !document.1, "{document:?}");
    assert_eq!(ask(&["ask", "--temperature", "0", question], lamps), (document.0.clone(), true));
    assert_eq!(ask(&["-v", question, "--temperature", "0"], lamps), (document.0, true));
    // Blanks are nothing, and a file named beside them is enough.
    let alone = ask(&["ask", "--temperature", "0", question], "");
    assert_eq!(ask(&["ask", "--temperature", "0", question], " \n"), alone);
    let file = place.write("note.txt", "The lamp in the attic is blue.");
    let from_file = ask(&["ask", "--temperature", "0", "-c", file.to_str().unwrap(), question], lamps);
    assert!(from_file.0.contains("blue") && !from_file.1, "{from_file:?}");
    place.mistake(&["aks", "hello"], "aks", "`ask` may be meant");
}

#[test]
fn stop_strings_and_limits_end_an_answer() {
    let place = Place::new();
    let start = "Once upon a time there was a";
    let whole = place.json(&["ask", "--raw", "--max-tokens", "40", start]);
    let text = whole["text"].as_str().unwrap();
    let stop: String = text.chars().skip(8).take(3).collect();
    let cut = place.json(&["ask", "--raw", "--max-tokens", "40", "--stop", &stop, start]);
    assert_eq!(cut["finish"], "stop");
    assert_eq!(cut["text"].as_str().unwrap(), &text[..text.find(&stop).unwrap()]);
    let short = place.json(&["ask", "--raw", "--max-tokens", "3", start]);
    assert_eq!((&short["finish"], &short["tokens"]["generated"]), (&"length".into(), &3.into()));
    let output = place.crayon(&["ask", "--raw", "--max-tokens", "3", start]).output().unwrap();
    assert!(stderr(&output).contains("note: stopped after 3 tokens"), "{}", stderr(&output));
    let output = place.crayon(&["ask", "-q", "--raw", "--max-tokens", "3", start]).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
}

#[test]
fn verbose_says_how_it_ran_and_colours_stay_out_of_pipes() {
    let place = Place::new();
    let output = place
        .crayon(&["ask", "-v", "--threads", "2", "--kv", "f32", "--max-tokens", "4", "Hi"])
        .output()
        .unwrap();
    let text = stderr(&output);
    for part in ["kernels", "2 threads", "keys and values in f32", "read ", "peak memory"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    let forced = [("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")];
    let failing = place.crayon(&["ask", "-m", "nonsense", "hi"]).envs(forced).output().unwrap();
    for output in [output, failing] {
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{}", stderr(&output));
    }
}

#[test]
fn a_closed_stdout_is_no_fault() {
    let place = Place::new();
    for arguments in [
        &["ask", "--max-tokens", "64", "Tell me a story."][..],
        &["models"],
        &["--help"],
        &["ask", "--json", "Hi"],
    ] {
        let mut child = Command::new(binary())
            .args(arguments)
            .env("CRAYON_HOME", place.path("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_an_answer_and_keeps_what_was_written() {
    let place = Place::new();
    // As slow and long as it gets: the signal comes in the middle.
    let context = place.json(&["models", "show", "mini"])["context"].as_u64().unwrap();
    let tokens = (context - 20).to_string();
    let arguments =
        ["ask", "--raw", "--exact", "--threads", "1", "--temperature", "4", "--max-tokens", &tokens, "Once"];
    let mut child = Command::new(binary())
        .args(arguments)
        .env("CRAYON_HOME", place.path("home"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0u8; 8];
    stdout.read_exact(&mut first).unwrap();
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(rest.ends_with(b"\n"));
}
