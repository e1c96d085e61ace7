//! Texts longer than the model's window, through the program.

mod support;

use serde_json::Value;
use support::{Place, check_mistake, stderr};

/// A text of about `sentences` sentences that differ.
fn story(sentences: usize) -> String {
    let who = ["Anna", "Ben", "the old dog", "a small boy", "her mother", "the king"];
    let did = ["went to the river", "found a red ball", "sang a song", "looked at the moon", "ate an apple"];
    let sentence = |i: usize| format!("{} {}. ", who[i * 7 % who.len()], did[i * 3 % did.len()]);
    (0..sentences).map(sentence).collect()
}

fn path(place: &Place, name: &str) -> String {
    place.path(name).to_str().unwrap().to_owned()
}

#[test]
fn a_text_beyond_the_window_is_read_through_a_pot_and_the_numbers_are_told() {
    let place = Place::new();
    place.write("story.txt", story(600));
    let story = path(&place, "story.txt");
    let question = "Who found the ball?";
    let value = place.json(&["ask", "-c", &story, "--max-tokens", "8", question]);
    let tokens = |key: &str| value["tokens"][key].as_u64().unwrap();
    assert!(tokens("read") > 3000 && tokens("kept") <= 1024, "{value}");
    assert_eq!(tokens("read"), tokens("kept") + tokens("evicted"));

    let output =
        place.crayon(&["ask", "-c", &story, "--pot", "128", "--max-tokens", "8", question]).output().unwrap();
    let note = stderr(&output);
    assert!(note.contains("through a pot of 128 entries (infinipot"), "{note}");
    assert!(note.contains("distilled away in"), "{note}");
    // The same text, and the same again with other threads.
    let answer = |threads: &str| {
        place.text(&[
            "ask",
            "-c",
            &story,
            "--pot",
            "128",
            "--threads",
            threads,
            "--max-tokens",
            "8",
            question,
        ])
    };
    assert_eq!(answer("1"), answer("3"));
}

#[test]
fn a_document_is_read_as_often_as_asked_where_it_is_distilled() {
    let place = Place::new();
    place.write("story.txt", story(200));
    place.write("note.txt", "Anna gave the key to the old gardener.");
    let ask = |file: &str, more: &[&str]| {
        let file = path(&place, file);
        place.json(
            &[&["ask", "-c", &file, "--pot", "200", "--max-tokens", "8"], more, &["Who has the key?"]]
                .concat(),
        )
    };
    let read = |value: &Value| value["tokens"]["read"].as_u64().unwrap();
    let (once, twice) = (ask("story.txt", &[]), ask("story.txt", &["--passes", "2"]));
    let frame = read(&ask("note.txt", &[]));
    assert!(read(&twice) + frame > 2 * read(&once) && read(&twice) < 2 * read(&once) + 8, "{once} {twice}");
    assert_eq!(once["text"], ask("story.txt", &["--passes", "1"])["text"]);
    // What fits is in memory whole.
    assert_eq!(ask("note.txt", &["--passes", "3"])["tokens"], ask("note.txt", &[])["tokens"]);
    for wrong in ["0", "5", "two"] {
        place.mistake(&["ask", "-c", "note.txt", "--passes", wrong, "Who?"], "--passes", "--help");
    }
}

#[test]
fn a_conversation_is_read_anew_for_its_last_message() {
    let place = Place::new();
    let long = story(60);
    let lines = format!("{long}\n{long} What is it?\n/reread\n/save talk.json\n");
    let output =
        place.crayon(&["chat", "--pot", "256", "--max-tokens", "8"]).write_stdin(lines).output().unwrap();
    let told = stderr(&output);
    assert!(output.status.success() && told.matches("/reread reads all of it again").count() == 1, "{told}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3, "{output:?}");
    let saved: Value = serde_json::from_slice(&std::fs::read(place.path("talk.json")).unwrap()).unwrap();
    assert_eq!(saved["messages"].as_array().unwrap().len(), 4, "{saved}");
    for (lines, why) in
        [("/reread\n", "no message yet"), ("Hello!\n/reread\n", "whole conversation is in memory")]
    {
        let output = place.crayon(&["chat", "--max-tokens", "4"]).write_stdin(lines).output().unwrap();
        assert!(!output.status.success() && stderr(&output).contains(why), "{}", stderr(&output));
    }
}

#[test]
fn a_text_that_fits_the_pot_is_read_as_ever() {
    let place = Place::new();
    place.write("note.txt", "Anna gave the key to the old gardener.");
    let note = path(&place, "note.txt");
    let question = "Who has the key?";
    let plain = place.text(&["ask", "-c", &note, "--max-tokens", "16", question]);
    assert_eq!(plain, place.text(&["ask", "-c", &note, "--pot", "200", "--max-tokens", "16", question]));
}

#[test]
fn every_policy_reads_and_every_setting_counts() {
    let place = Place::new();
    place.write("story.txt", story(80));
    let story = path(&place, "story.txt");
    for policy in [
        "infinipot",
        "truncate",
        "streaming",
        "h2o",
        "tova",
        "snapkv",
        "keydiff",
        "sirllm",
        "kvzip",
        "episodic",
    ] {
        let value = place.json(&[
            "ask",
            "-c",
            &story,
            "--pot",
            "96",
            "--policy",
            policy,
            "--max-tokens",
            "4",
            "Who sang?",
        ]);
        assert!(value["tokens"]["evicted"].as_u64().unwrap() > 300, "{policy}: {value}");
    }
    let kept = |arguments: &[&str]| {
        let arguments =
            [&["ask", "-c", &story, "--pot", "96", "--max-tokens", "4", "Who sang?"], arguments].concat();
        place.json(&arguments)["tokens"]["kept"].as_u64().unwrap()
    };
    assert!(kept(&["--keep", "70"]) > kept(&["--keep", "30"]) || kept(&["--keep", "30"]) < 90);
    for arguments in [
        &["--catalyst", "question"][..],
        &["--catalyst", "general"],
        &["--catalyst", "What matters?"],
        &["--sinks", "0", "--recent", "8", "--novelty", "0.25"],
        &["--kv", "i8"],
        &["--kv", "f32"],
    ] {
        assert!(kept(arguments) <= 96, "{arguments:?}");
    }
}

#[test]
fn pots_that_cannot_work_are_refused_with_the_size_that_can() {
    let place = Place::new();
    place.write("story.txt", story(80));
    let story = path(&place, "story.txt");
    let with = |size: &str| {
        ["ask", "-c", &story, "--max-tokens", "4", "--catalyst", "general", "--pot", size, "Who sang?"]
            .map(str::to_owned)
    };
    let run = |size: &str| place.crayon(&with(size).each_ref().map(String::as_str)).output().unwrap();
    let refused = run("12");
    check_mistake(&refused, "too small", "the smallest pot that works here has");
    let error = stderr(&refused);
    let smallest: usize = error
        .split("works here has ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{error}"));
    assert!(run(&smallest.to_string()).status.success());
    assert!(!run(&(smallest - 1).to_string()).status.success());
    place.mistake(&["ask", "-c", &story, "--pot", "5000", "--keep", "4999", "Who sang?"], "", "");
    place.mistake(&["ask", "--pot", "many", "Hi"], "is not a size", "--help");
    let smooth = ["ask", "-c", &story, "--pot", "96", "--smooth", "0", "Who sang?"];
    place.mistake(&smooth, "over 0 entries", "--smooth is 1 for none");
    place.mistake(
        &["ask", "-c", &story, "--pot", "96", "--novelty", "2", "Who sang?"],
        "between 0 and 1",
        "",
    );
    place.mistake(&["ask", "-c", &story, "--pot", "96", "--policy", "magic", "Hi"], "magic", "--help");
}

#[test]
fn the_size_named_is_the_smallest_that_works_with_the_question_as_catalyst_too() {
    let place = Place::new();
    place.write("story.txt", story(80));
    let story = path(&place, "story.txt");
    for question in
        ["Who sang?", "Who of all the people in the story sang a song, and what was it about in the end?"]
    {
        let run = |size: usize| {
            let size = size.to_string();
            place
                .crayon(&["ask", "-c", &story, "--max-tokens", "4", "--pot", &size, question])
                .output()
                .unwrap()
        };
        let named = |size: usize| -> usize {
            let error = stderr(&run(size));
            let rest = error.split("works here has ").nth(1).unwrap_or_else(|| panic!("{size}: {error}"));
            rest.split(' ').next().unwrap().parse().unwrap()
        };
        let smallest = named(0);
        assert!([1, 12, 20, smallest - 1].into_iter().all(|size| named(size) == smallest), "{smallest}");
        assert!([0, 1, 7, 19].into_iter().all(|more| run(smallest + more).status.success()), "{smallest}");
    }
}

#[test]
fn pinned_text_is_part_of_the_prompt_and_stays() {
    let place = Place::new();
    place.write("story.txt", story(200));
    place.write("rule.txt", "The secret word is lantern.");
    let (story, rule) = (path(&place, "story.txt"), path(&place, "rule.txt"));
    let tokens = |arguments: &[&str]| {
        let arguments =
            [&["ask", "-c", &story, "--pot", "160", "--max-tokens", "4", "What is it?"], arguments].concat();
        place.json(&arguments)["tokens"]["read"].as_u64().unwrap()
    };
    assert!(tokens(&["--pin", &rule]) > tokens(&[]) + 4);
    place.write("rules.txt", super_long());
    let rules = path(&place, "rules.txt");
    let arguments = ["ask", "-c", &story, "--pin", &rules, "--pot", "160", "What is it?"];
    place.mistake(&arguments, "too small", "the smallest pot that works");
}

fn super_long() -> String {
    "Never forget this rule. ".repeat(60)
}

#[test]
fn a_cached_document_is_read_once() {
    let place = Place::new();
    place.write("story.txt", story(200));
    let story = path(&place, "story.txt");
    let ask = |question: &str| {
        let arguments = ["ask", "-v", "--cache", "-c", &story, "--pot", "128", "--max-tokens", "8", question];
        let output = place.crayon(&arguments).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        (String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output))
    };
    let (first, told) = ask("Who sang?");
    assert!(!told.contains("came from the cache"), "{told}");
    let (again, told) = ask("Who sang?");
    assert!(told.contains("came from the cache"), "{told}");
    assert_eq!(first, again);
    assert!(ask("What did the king eat?").1.contains("came from the cache"));
    // Without --cache nothing is kept.
    let place = Place::new();
    place.write("story.txt", self::story(20));
    place.text(&["ask", "-c", &path(&place, "story.txt"), "--max-tokens", "4", "Who sang?"]);
    assert!(!place.path("home/cache").exists());
}

#[test]
fn a_conversation_without_end_goes_on_in_a_pot() {
    let place = Place::new();
    let long = story(60);
    let lines = format!("{}\n/stats\n", format!("{long}\n").repeat(5));
    let output = place.crayon(&["chat", "--max-tokens", "8"]).write_stdin(lines).output().unwrap();
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("outgrows the model's window"), "{text}");
    assert!(text.contains("kept in a pot of 1,024"), "{text}");
    assert!(text.contains("10 messages"), "{text}");
}

#[test]
fn a_session_is_kept_with_its_memory() {
    let place = Place::new();
    let chat = |arguments: &[&str], lines: &str| {
        let arguments = [&["chat", "--max-tokens", "12"], arguments].concat();
        place.crayon(&arguments).write_stdin(lines).output().unwrap()
    };
    let file = path(&place, "talk.pot");
    let session = ["--session", &file, "--pot", "256"];
    assert!(chat(&session, "My name is Ada.\n").status.success());
    let output = chat(&session, "What is my name?\n");
    assert!(stderr(&output).contains("goes on with 2 messages"), "{}", stderr(&output));
    // As if it had never been closed.
    let straight = chat(&["--pot", "256"], "My name is Ada.\nWhat is my name?\n");
    let last = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().last().unwrap().to_owned();
    assert_eq!(last(&output.stdout), last(&straight.stdout));
    // The same by hand, inside a conversation.
    let other = path(&place, "other.pot");
    assert!(chat(&[], &format!("Hello!\n/save {other}\n/reset\n/load {other}\n/stats\n")).status.success());
    // Another model's memory is refused, and so is damage.
    let output =
        place.crayon(&["chat", "-m", "mini-gpt2", "--session", &file]).write_stdin("Hi\n").output().unwrap();
    check_mistake(&output, "another model", "saved with");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let output = place.crayon(&["chat", "--session", &file]).write_stdin("Hi\n").output().unwrap();
    check_mistake(&output, "checksum", "start anew");
    assert_eq!(std::fs::read(&file).unwrap(), bytes, "a damaged file is left to its owner");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_and_a_kill_leave_the_old_session() {
    let place = Place::new();
    let file = path(&place, "talk.pot");
    let first = place
        .crayon(&["chat", "--max-tokens", "4", "--session", &file])
        .write_stdin("Hello!\n")
        .output()
        .unwrap();
    assert!(first.status.success(), "{}", stderr(&first));
    let before = std::fs::read(&file).unwrap();
    // No file may grow beyond 8 blocks: with the signal ignored writing fails as on a full disk, else the kernel kills
    // the program in the middle of it.
    for signal in ["trap '' XFSZ;", ""] {
        let program = env!("CARGO_BIN_EXE_crayon");
        let script = format!(
            "{signal} ulimit -f 8; echo 'How are you?' | {program} chat --max-tokens 4 --session {file}"
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .env("HOME", place.path("."))
            .env("CRAYON_HOME", place.path("home"))
            .output()
            .unwrap();
        assert!(!output.status.success(), "{}", stderr(&output));
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
    let again = place
        .crayon(&["chat", "--max-tokens", "4", "--session", &file])
        .write_stdin("Hi\n")
        .output()
        .unwrap();
    assert!(
        again.status.success() && stderr(&again).contains("goes on with 2 messages"),
        "{}",
        stderr(&again)
    );
}

#[test]
fn long_texts_are_measured() {
    let place = Place::new();
    place.write("story.txt", story(100));
    let story = path(&place, "story.txt");
    let value = place.json(&["eval", "perplexity", "--text", &story, "--pot", "96", "--policy", "streaming"]);
    assert!(value["nll"].as_f64().unwrap() > 0.0 && value["tokens"].as_u64().unwrap() > 400, "{value}");
    let plot = path(&place, "grid.svg");
    let arguments = [
        "eval",
        "needle",
        "--pot",
        "96",
        "--lengths",
        "200,300",
        "--depths",
        "0,1",
        "--samples",
        "1",
        "--plot",
        &plot,
    ];
    let value = place.json(&arguments);
    let cells = value["grid"].as_array().unwrap();
    assert_eq!(cells.len(), 4);
    assert!(cells.iter().all(|cell| (0.0..=1.0).contains(&cell["accuracy"].as_f64().unwrap())));
    assert!(value["peak_kv_bytes"].as_u64().unwrap() > 0);
    for name in ["grid.svg", "grid.choices.svg"] {
        assert!(std::fs::read_to_string(place.path(name)).unwrap().starts_with("<svg"));
    }
    let arguments =
        ["eval", "policies", "--pots", "96", "--length", "200", "--questions", "1", "--seeds", "2"];
    let value =
        place.json(&[&arguments[..], &["--tasks", "needle,variables", "--only", "streaming,full"]].concat());
    // Two tasks and their mean, for the pot and for the full cache.
    assert_eq!(value["rows"].as_array().unwrap().len(), 6, "{value}");
    let value =
        place.json(&["bench", "pot", "--pot", "64", "--tokens", "1k", "--runs", "1", "--decode", "4"]);
    assert_eq!(value["tokens"], 1020);
    place.mistake(&["eval", "needle", "--depths", "2", "--pot", "96"], "outside the text", "0 to 1");
    place.mistake(&["eval", "needle", "--kinds", "gold"], "no kind of fact", "passkey");
    place.mistake(&["eval", "policies", "--tasks", "chess"], "no task", "needle");
    place.write("set.jsonl", "{\"input\": 3}\n");
    place.mistake(&["eval", "long", "--task", &path(&place, "set.jsonl"), "--pot", "96"], "line 1", "");
}
