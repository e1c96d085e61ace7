//! `crayon chat` with its input in a pipe: one message a line.

mod support;

use serde_json::Value;
use support::{Place, stderr};

/// Lines in, (stdout, stderr) of a run that succeeds.
fn chat(place: &Place, arguments: &[&str], lines: &str) -> (String, String) {
    let arguments = [&["chat", "--max-tokens", "12"], arguments].concat();
    let output = place.crayon(&arguments).write_stdin(lines).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    (String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output))
}

fn saved(place: &Place, name: &str) -> Vec<(String, String)> {
    let file: Value = serde_json::from_slice(&std::fs::read(place.path(name)).unwrap()).unwrap();
    assert_eq!((&file["format"], &file["version"]), (&"crayon-conversation".into(), &1.into()));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    file["messages"].as_array().unwrap().iter().map(|m| (text(&m["role"]), text(&m["content"]))).collect()
}

#[test]
fn only_answers_are_printed_and_the_conversation_is_kept() {
    let place = Place::new();
    let (answers, asides) = chat(
        &place,
        &[],
        "/system Be kind.\nHello, q7z!\n\nWhat is a cat?\n/stats\n/save talk.json\n/quit\nnever read\n",
    );
    let messages = saved(&place, "talk.json");
    let roles: Vec<&str> = messages.iter().map(|(role, _)| role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    assert_eq!((messages[0].1.as_str(), messages[1].1.as_str()), ("Be kind.", "Hello, q7z!"));
    for (role, content) in &messages {
        assert_eq!(answers.contains(content.as_str()), role == "assistant", "{role}: {content} in {answers}");
    }
    assert!(asides.contains("5 messages") && asides.contains("last answer"), "{asides}");
    assert!(!answers.contains("> "), "a prompt in a pipe: {answers}");
}

#[test]
fn a_loaded_conversation_goes_on_where_it_was() {
    let place = Place::new();
    let (whole, _) = chat(&place, &[], "Hello!\n/save half.json\nWhat is a cat?\n");
    let (half, asides) = chat(&place, &[], "/load half.json\nWhat is a cat?\n");
    assert!(asides.contains("loaded 2 messages"), "{asides}");
    assert!(whole.ends_with(&half), "{whole:?} does not end with {half:?}");
    let (flag, _) = chat(&place, &["--load", "half.json"], "What is a cat?\n");
    assert_eq!(half, flag);
}

#[test]
fn reset_forgets_the_turns_and_keeps_the_system_text() {
    let place = Place::new();
    let (fresh, _) = chat(&place, &["--system", "Be kind."], "What is a cat?\n");
    let (reset, _) = chat(
        &place,
        &["--system", "Be kind."],
        "My name is Tom.\n/reset\nWhat is a cat?\n/save after.json\n",
    );
    assert!(reset.ends_with(&fresh), "{reset:?} does not end with {fresh:?}");
    assert_eq!(saved(&place, "after.json").len(), 3);
}

#[test]
fn a_backslash_joins_lines() {
    let place = Place::new();
    let _ = chat(&place, &[], "One\\\ntwo\\\nthree\n/save joined.json\n");
    assert_eq!(saved(&place, "joined.json")[0].1, "One\ntwo\nthree");
}

#[test]
fn lines_that_cannot_be_used_are_told_and_the_rest_is_answered() {
    let place = Place::new();
    place.write("diary.txt", "dear diary");
    let lines = "/dance\n/load missing.json\n/load diary.txt\n/save diary.txt\n/temperature -2\n/save\nHello!\n/save ok.json\n";
    let output = place.crayon(&["chat", "--max-tokens", "8"]).write_stdin(lines).output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for part in [
        "there is no command /dance",
        "missing.json",
        "diary.txt is not a saved conversation",
        "diary.txt exists",
        "temperature must be 0 or more",
        "/save needs a name",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    assert_eq!(saved(&place, "ok.json").len(), 2);
    assert_eq!(std::fs::read_to_string(place.path("diary.txt")).unwrap(), "dear diary");
}

#[test]
fn with_the_full_policy_a_conversation_that_no_longer_fits_is_told_and_nothing_is_dropped() {
    let place = Place::new();
    let context = place.json(&["models", "show", "mini"])["context"].as_u64().unwrap() as usize;
    let long = "The dog sat on the mat. ".repeat(context / 12);
    let lines = format!("Hello!\n{long}\n{long}\n/save full.json\n/reset\nHello!\n");
    let arguments = ["chat", "--policy", "full", "--max-tokens", "8"];
    let output = place.crayon(&arguments).write_stdin(lines).output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("the conversation no longer fits") && text.contains("/reset"), "{text}");
    assert!(text.contains("the conversation starts anew"), "{text}");
    // What fitted is whole; the message that did not fit is not part of it.
    let messages = saved(&place, "full.json");
    assert!(messages.len().is_multiple_of(2) && messages.len() >= 2, "{}", messages.len());
}

#[test]
fn there_is_no_object_of_a_conversation() {
    Place::new().mistake(&["chat", "--json"], "chat has no --json", "crayon ask --json");
}

#[test]
fn a_turn_is_answered_again_changed_and_taken_back() {
    let place = Place::new();
    let lines = "Tell me a story.\n/save one.json\n/retry\n/save two.json\n/edit What is a dog?\n/tokens\n/save three.json\n\
                 /undo\n/save none.json\n";
    let (answers, asides) = chat(&place, &["--temperature", "1.5", "--seed", "5"], lines);
    let [one, two, three] = ["one.json", "two.json", "three.json"].map(|name| saved(&place, name));
    for messages in [&one, &two, &three] {
        assert_eq!(messages.len(), 2);
        assert!(answers.contains(&messages[1].1), "{messages:?} in {answers}");
    }
    assert_eq!((&one[0], three[0].1.as_str()), (&two[0], "What is a dog?"));
    assert_ne!(one[1], two[1], "another draw");
    assert!(saved(&place, "none.json").is_empty());
    assert!(asides.contains("taken back: What is a dog?") && asides.contains(" tokens of "), "{asides}");
}

#[test]
fn without_a_message_there_is_nothing_to_go_back_to() {
    let place = Place::new();
    for line in ["/retry", "/undo", "/edit Hello"] {
        let output = place.crayon(&["chat"]).write_stdin(format!("{line}\n")).output().unwrap();
        assert!(!output.status.success());
        assert!(stderr(&output).contains("there is no message yet"), "{}", stderr(&output));
    }
    let output = place.crayon(&["chat", "--max-tokens", "4"]).write_stdin("Hello\n/edit\n").output().unwrap();
    assert!(stderr(&output).contains("/edit needs the new message"), "{}", stderr(&output));
}

#[test]
fn a_block_is_one_message() {
    let place = Place::new();
    chat(&place, &[], "\"\"\"\nTwo lines:\nthe second\n\"\"\"\n/save talk.json\n");
    assert_eq!(saved(&place, "talk.json")[0].1, "Two lines:\nthe second");
}

#[test]
fn a_conversation_goes_on_with_another_model() {
    let place = Place::new();
    let (_, asides) = chat(
        &place,
        &["--system", "Be kind."],
        "Hello!\n/model mini\nWhat is a cat?\n/stats\n/save talk.json\n",
    );
    assert!(asides.contains("5 messages"), "{asides}");
    let roles: Vec<String> = saved(&place, "talk.json").into_iter().map(|(role, _)| role).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    // Neither a name that is unknown nor a file that is not a model ends it.
    std::fs::write(place.path("broken.gguf"), "GGUF").unwrap();
    let output = place
        .crayon(&["chat", "--max-tokens", "4"])
        .write_stdin("Hello!\n/model nowhere/at-all\n/model broken.gguf\nAnd a dog?\n/save kept.json\n")
        .output()
        .unwrap();
    assert!(!output.status.success(), "errors are told at the end");
    assert!(stderr(&output).contains("nowhere/at-all is not on this device"), "{}", stderr(&output));
    assert_eq!(saved(&place, "kept.json").len(), 4);
    // What belongs to one model does not go along.
    let output = place.crayon(&["chat", "--session", "s.pot"]).write_stdin("/model mini\n").output().unwrap();
    assert!(stderr(&output).contains("belongs to this model"), "{}", stderr(&output));
}
