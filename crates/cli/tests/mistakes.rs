//! What the program says and how it exits when something asked for cannot be done.

mod support;

use support::{Place, check_mistake, stderr};

#[test]
fn models_that_are_not_here() {
    let place = Place::new();
    place.mistake(&["ask", "-m", "nonsense", "hi"], "no model called \"nonsense\"", "mini");
    place.mistake(&["ask", "-m", "none.gguf", "hi"], "no model at none.gguf", "folder");
    place.mistake(&["ask", "-m", "./none", "hi"], "no model at ./none", "folder");
    place.mistake(&["ask", "-m", "org/name", "hi"], "org/name is not on this device", "crayon pull org/name");
    let junk = place.write("junk.gguf", b"not a model at all");
    place.mistake(&["ask", "-m", junk.to_str().unwrap(), "hi"], "junk.gguf", "");
    std::fs::create_dir(place.path("empty")).unwrap();
    place.mistake(&["ask", "-m", "./empty", "hi"], "empty", "");
}

#[test]
fn nothing_to_answer() {
    let place = Place::new();
    place.mistake(&["ask", ""], "the prompt is empty", "question");
    place.mistake(&["ask", "  \n "], "the prompt is empty", "question");
    // No words and an empty stdin.
    place.mistake(&["ask"], "the prompt is empty", "question");
    place.mistake(&["ask", "-c", "-"], "no question", "crayon ask --context -");
    place.mistake(&["ask", "-c", "-", "-c", "-", "why?"], "more than once", "one document");
    place.mistake(&["ask", "-c", "missing.txt", "why?"], "missing.txt", "");
}

#[test]
fn texts_that_are_not_utf8() {
    let place = Place::new();
    let path = place.write("latin.txt", b"caf\xE9 noir");
    place.mistake(&["ask", "-c", path.to_str().unwrap(), "why?"], "not UTF-8 text: byte 3", "iconv");
    for arguments in [&["ask"][..], &["ask", "-c", "-", "why?"]] {
        let output = place.crayon(arguments).write_stdin(&b"ab\xFF"[..]).output().unwrap();
        check_mistake(&output, "standard input is not UTF-8 text: byte 2", "iconv");
    }
}

#[test]
fn sampling_out_of_range() {
    let place = Place::new();
    for (flag, value, message) in [
        ("--temperature", "-1", "temperature must be 0 or more, not -1"),
        ("--temperature", "NaN", "temperature must be 0 or more"),
        ("--top-p", "0", "top-p must be above 0"),
        ("--top-p", "1.5", "top-p must be above 0 and at most 1, not 1.5"),
        ("--min-p", "-0.1", "min-p must be between 0 and 1"),
        ("--repetition-penalty", "0", "repetition-penalty must be above 0"),
        ("--presence-penalty", "inf", "presence-penalty must be a finite number"),
    ] {
        place.mistake(&["ask", flag, value, "hi"], message, "");
    }
}

#[test]
fn arguments_that_do_not_exist_or_do_not_parse() {
    let place = Place::new();
    for (arguments, message) in [
        (&["ask", "--colour", "hi"][..], "'--colour'"),
        (&["sing"][..], "'sing'"),
        (&["ask", "--max-tokens", "0", "hi"][..], "0 is not in 1.."),
        (&["ask", "--threads", "many", "hi"][..], "invalid value 'many'"),
        (&["ask", "--kv", "int1", "hi"][..], "invalid value 'int1'"),
        (&["ask", "-q", "-v", "hi"][..], "cannot be used with"),
        (&["eval", "perplexity"][..], "--text"),
    ] {
        let error = place.mistake(arguments, message, "--help");
        assert!(!error.is_empty());
    }
}

#[test]
fn with_the_full_policy_a_context_that_does_not_fit_is_refused_with_every_number() {
    let place = Place::new();
    let context = place.json(&["models", "show", "mini"])["context"].as_u64().unwrap();
    let path = place.write("long.txt", "A dog ran over the hill. ".repeat(context as usize));
    let output = place
        .crayon(&["ask", "--policy", "full", "-c", path.to_str().unwrap(), "Who ran?"])
        .output()
        .unwrap();
    let error = check_mistake(&output, "tokens", "fit beside this question");
    let numbers: Vec<u64> = error
        .split(|c: char| !c.is_ascii_digit() && c != ',')
        .filter_map(|word| word.replace(',', "").parse().ok())
        .collect();
    let [prompt, documents, answer, all, holds] = numbers[..] else { panic!("{error}: {numbers:?}") };
    assert_eq!(holds, context);
    assert_eq!(all, prompt + answer);
    assert!(documents < prompt && documents > context, "{error}");
    // The prompt fits, but not with the answer that was asked for.
    let tokens = (context - 5).to_string();
    place.mistake(
        &["ask", "--policy", "full", "--max-tokens", &tokens, "What is a dog?"],
        "kept free",
        "--max-tokens",
    );
    // Learned positions cannot be moved, so nothing can be distilled.
    let path = path.to_str().unwrap();
    place.mistake(&["ask", "-m", "mini-gpt2", "-c", path, "Who ran?"], "kept free", "rotary positions");
    place.mistake(&["ask", "-m", "mini-gpt2", "--pot", "64", "-c", path, "Who ran?"], "kept free", "rotary");
}

#[test]
fn help_and_version_are_results() {
    let place = Place::new();
    assert!(place.text(&["--version"]).starts_with("crayon "));
    let help = place.text(&["--help"]);
    for command in ["ask", "chat", "pull", "models", "convert", "eval", "bench"] {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(command)),
            "{command} is not in --help"
        );
        let text = place.text(&[command, "--help"]);
        let lists_commands = text.contains("Commands:");
        assert!(text.contains("Example") || lists_commands, "{command} --help has no example");
    }
    let output = place.crayon(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage: crayon"), "{}", stderr(&output));
}
