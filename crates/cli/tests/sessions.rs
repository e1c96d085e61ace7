//! Conversations kept by name: begun, listed, gone on with, deleted.

mod support;

use std::process::Output;

use support::{Place, check_mistake, keys, stderr};

fn chat(place: &Place, arguments: &[&str], lines: &str) -> Output {
    let arguments = [&["chat", "--max-tokens", "12"], arguments].concat();
    place.crayon(&arguments).write_stdin(lines).output().unwrap()
}

/// (stdout, stderr) of a run that succeeds.
fn said(output: &Output) -> (String, String) {
    assert!(output.status.success(), "{}", stderr(output));
    (String::from_utf8(output.stdout.clone()).unwrap(), stderr(output))
}

/// Names of the sessions in the order of the list.
fn names(place: &Place) -> Vec<String> {
    let value = place.json(&["chat", "--sessions"]);
    let sessions = value["sessions"].as_array().unwrap().clone();
    sessions.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_session_is_gone_on_with_by_its_name_from_any_folder() {
    let place = Place::new();
    let (_, told) = said(&chat(&place, &["--session", "ada"], "My name is Ada.\n"));
    assert!(told.contains("session ada is new"), "{told}");
    assert!(place.path("home/sessions/ada.pot").is_file() && !place.path("ada").exists());
    let other = place.path("elsewhere");
    std::fs::create_dir(&other).unwrap();
    let mut command = place.crayon(&["chat", "--max-tokens", "12", "--session", "ada"]);
    let output = command.current_dir(other).write_stdin("What is my name?\n").output().unwrap();
    let (answer, told) = said(&output);
    assert!(told.contains("goes on with 2 messages from session ada"), "{told}");
    let (straight, _) = said(&chat(&place, &[], "My name is Ada.\nWhat is my name?\n"));
    assert!(straight.ends_with(&answer) && !answer.trim().is_empty(), "{straight} / {answer}");
}

#[test]
fn sessions_are_listed_with_their_date_model_and_turns() {
    let place = Place::new();
    let empty = place.crayon(&["chat", "--sessions"]).output().unwrap();
    assert!(said(&empty).1.contains("there are no sessions"), "{}", stderr(&empty));
    assert!(names(&place).is_empty());
    said(&chat(&place, &["--session", "one"], "Hello!\nWhat is a cat?\n"));
    // An hour ago.
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let file = std::fs::File::options().write(true).open(place.path("home/sessions/one.pot")).unwrap();
    file.set_modified(old).unwrap();
    said(&chat(&place, &["-m", "mini-gpt2", "--session", "two"], "Hello!\n"));
    place.write("home/sessions/not a session.txt", "x");
    let value = place.json(&["chat", "--sessions"]);
    let rows = value["sessions"].as_array().unwrap();
    assert_eq!(keys(&rows[0]), ["name", "modified", "model", "turns", "bytes", "problem"]);
    let told: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {} {} {}", row["name"], row["model"], row["turns"], row["problem"]))
        .collect();
    assert_eq!(told, ["\"two\" \"mini-gpt2\" 1 null", "\"one\" \"mini\" 2 null"]);
    let table = place.text(&["chat", "--sessions"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].starts_with("SESSION") && lines[1].starts_with("two") && lines[2].starts_with("one"),
        "{table}"
    );
    assert!(lines[1].contains("  20") && lines[1].ends_with("mini-gpt2"), "{table}");
    // The same inside a conversation.
    let (_, told) = said(&chat(&place, &[], "/sessions\n"));
    assert!(told.contains(table.trim_end()), "{told}");
}

#[test]
fn a_session_goes_on_with_its_own_model() {
    let place = Place::new();
    said(&chat(&place, &["-m", "mini-gpt2", "--session", "talk"], "Hello!\n"));
    let (_, told) = said(&chat(&place, &["--session", "talk"], "And a dog?\n/stats\n"));
    assert!(told.contains("was held with mini-gpt2") && told.contains("mini-gpt2: 4 messages"), "{told}");
    said(&chat(&place, &["--session", "small"], "Hello!\n"));
    let output = chat(&place, &["-m", "mini-gpt2", "--session", "small"], "Hi\n");
    check_mistake(&output, "session small was saved with another model, mini", "-m mini ");
    // Inside a conversation, too, and that goes on.
    let output = chat(&place, &[], "Hello!\n/load talk\n/stats\n");
    assert!(stderr(&output).contains("another model, mini-gpt2"), "{}", stderr(&output));
    assert!(stderr(&output).contains("mini: 2 messages"), "{}", stderr(&output));
}

#[test]
fn inside_a_conversation_names_are_saved_loaded_and_deleted() {
    let place = Place::new();
    let (_, told) = said(&chat(&place, &[], "Hello!\n/save work\nWhat is a cat?\n"));
    assert!(told.contains("2 messages are kept as session work"), "{told}");
    // What followed is kept there, too.
    let (_, told) = said(&chat(&place, &[], "/load work\nAnd a dog?\n"));
    assert!(told.contains("goes on with 4 messages from session work"), "{told}");
    let (_, told) = said(&chat(&place, &["--load", "work"], "/stats\n"));
    assert!(told.contains("6 messages"), "{told}");
    let output = chat(&place, &[], "Hello!\n/save work\n");
    check_said(&output, &["there is a session called work already", "/delete work first"]);
    let output = chat(&place, &["--session", "work"], "/delete work\n");
    check_said(&output, &["this conversation is session work"]);
    let (_, told) = said(&chat(&place, &["--session", "other"], "Hello!\n/delete work\n"));
    assert!(told.contains("session work is deleted"), "{told}");
    assert_eq!(names(&place), ["other"]);
}

/// A conversation with errors tells them and ends with 2.
fn check_said(output: &Output, parts: &[&str]) {
    let told = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    for part in parts {
        assert!(told.contains(part), "{part} is missing: {told}");
    }
}

#[test]
fn a_session_is_deleted_and_an_unknown_one_is_told() {
    let place = Place::new();
    said(&chat(&place, &["--session", "holiday"], "Hello!\n"));
    let near = ["chat", "--delete-session", "holidya"];
    place.mistake(&near, "there is no session called holidya", "`holiday` may be meant");
    place.mistake(&["chat", "--delete-session", "xyz"], "no session called xyz", "--sessions");
    place.mistake(&["chat", "--delete-session", "../models"], "is not the name of a session", "--sessions");
    check_said(
        &chat(&place, &[], "/load holidya\n"),
        &["no session called holidya", "`holiday` may be meant"],
    );
    let value = place.json(&["chat", "--delete-session", "holiday"]);
    assert_eq!(value["deleted"], "holiday");
    assert!(value["bytes"].as_u64().unwrap() > 1000, "{value}");
    assert!(names(&place).is_empty());
    place.mistake(&["chat", "--delete-session", "holiday"], "no session called holiday", "--sessions");
}

#[test]
fn a_damaged_session_is_listed_refused_and_left_as_it_is() {
    let place = Place::new();
    said(&chat(&place, &["--session", "good"], "Hello!\n"));
    let mut bytes = std::fs::read(place.path("home/sessions/good.pot")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let bad = place.write("home/sessions/bad.pot", &bytes);
    let cut = place.write("home/sessions/cut.pot", &bytes[..100]);
    place.write("home/sessions/other.pot", "my diary");
    let value = place.json(&["chat", "--sessions"]);
    for row in value["sessions"].as_array().unwrap() {
        assert_eq!(row["problem"].is_null(), row["name"] == "good", "{row}");
        assert_eq!(row["model"].is_null(), row["name"] != "good", "{row}");
    }
    assert_eq!(place.text(&["chat", "--sessions"]).matches("damaged").count(), 3);
    for name in ["bad", "cut", "other"] {
        let output = chat(&place, &["--session", name], "Hi\n");
        check_mistake(&output, &format!("{name}.pot"), "");
    }
    assert_eq!((std::fs::read(bad).unwrap(), std::fs::read(cut).unwrap().len()), (bytes, 100));
    place.text(&["chat", "--delete-session", "bad"]);
    assert!(!names(&place).contains(&"bad".to_owned()));
}
