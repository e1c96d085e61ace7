//! What is said of answers that the model is not sure of: `route calibrate` with known answers, then `ask`, `chat` and `serve`.

mod support;

use serde_json::{Value, json};
use support::serving::Serving;
use support::{Place, stderr};

const QUESTION: &str = "What is a dog?";
const NOT_SURE: &str = "note: the model is not sure of this answer: its confidence is 0.";

/// Calibrates on twelve questions whose known answers are those of the model (`right`) or not.
fn calibrate(place: &Place, right: bool, more: &[&str]) -> Value {
    let topics =
        ["dog", "cat", "cow", "fox", "duck", "bird", "fish", "lion", "mouse", "frog", "bear", "goose"];
    let line = |topic: &&str| {
        let prompt = format!("What is a {topic}?");
        let answer = match right {
            true => place.json(&["ask", "--max-tokens", "6", &prompt])["text"].clone(),
            false => "no such thing".into(),
        };
        json!({"prompt": prompt, "answer": answer}).to_string()
    };
    place.write("known.jsonl", topics.iter().map(line).collect::<Vec<_>>().join("\n"));
    let arguments = ["route", "calibrate", "--data", "known.jsonl", "--max-tokens", "6"];
    place.json(&[&arguments[..], more].concat())
}

#[test]
fn an_answer_below_the_threshold_carries_a_note_and_is_the_same() {
    let place = Place::new();
    let report = calibrate(&place, false, &[]);
    // Nothing was right, so nothing is believed.
    assert_eq!(
        (&report["doubt"]["doubted"], &report["doubt"]["wrong"]),
        (&12.into(), &12.into()),
        "{report}"
    );
    assert_eq!((&report["share"], &report["wanted"]), (&json!(1.0), &Value::Null));
    let ask = |more: &[&str]| {
        let shortest =
            if more.contains(&"--max-tokens") { &["ask"][..] } else { &["ask", "--max-tokens", "6"] };
        let arguments = [shortest, more, &[QUESTION]].concat();
        let output = place.crayon(&arguments).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        (String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output))
    };
    let (text, told) = ask(&[]);
    assert!(told.contains(NOT_SURE) && told.contains("below 2.00"), "{told}");
    // Longer answers than were measured are nothing that is known of.
    let long = &["--max-tokens", "9"][..];
    for silent in [&["--no-doubt"][..], &["-q"], &["--temperature", "0.5", "--seed", "1"], &["--raw"], long] {
        let (other, told) = ask(silent);
        assert!(!told.contains("not sure"), "{silent:?}: {told}");
        if silent.len() == 1 && silent != ["--raw"] {
            assert_eq!(other, text, "{silent:?}");
        }
    }
    let value = |more: &[&str]| place.json(&[&["ask", "--max-tokens", "6"], more, &[QUESTION]].concat());
    let doubted = value(&[]);
    assert_eq!(doubted["sure"], false, "{doubted}");
    assert_eq!(doubted["text"].as_str().unwrap().trim(), text.trim());
    for unknown in [&["--no-doubt"][..], &["--raw"], &["--temperature", "0.5"], &["-m", "mini-gpt2"]] {
        assert_eq!(value(unknown)["sure"], Value::Null, "{unknown:?}");
    }
    let chat = |more: &[&str]| {
        let mut chat = place.crayon(&[&["chat", "--max-tokens", "6"], more].concat());
        let output = chat.write_stdin("What is a dog?\nWhat is a cat?\n").output().unwrap();
        (String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output).matches(NOT_SURE).count())
    };
    let (talk, notes) = chat(&[]);
    assert!(talk.starts_with(text.trim()) && notes == 2, "{talk}");
    assert_eq!(chat(&["--no-doubt"]), (talk, 0));
}

#[test]
fn where_the_model_is_right_nothing_is_doubted() {
    let place = Place::new();
    let report = calibrate(&place, true, &["--share", "0.5"]);
    assert_eq!((&report["doubt"]["doubted"], &report["doubt"]["right"]), (&0.into(), &12.into()), "{report}");
    // The threshold of the server is that of the share all the same.
    assert_eq!((&report["share"], &report["wanted"]), (&json!(0.5), &json!(0.5)));
    let value = place.json(&["ask", "--max-tokens", "6", QUESTION]);
    assert_eq!(value["sure"], true, "{value}");
    // Thresholds may be given by name, and others that know no answers say nothing.
    place.write("queries.jsonl", format!("{}\n", json!({"prompt": QUESTION})));
    place.json(&["route", "calibrate", "--data", "queries.jsonl", "--share", "1", "-o", "other.json"]);
    let value = place.json(&["ask", "--max-tokens", "6", "--thresholds", "other.json", QUESTION]);
    assert_eq!(value["sure"], Value::Null, "{value}");
}

#[test]
fn what_was_measured_of_the_model_alone_says_nothing_of_it_customized() {
    let place = Place::new();
    calibrate(&place, false, &[]);
    let home = ["put bread on my shopping list", "skip this song please", "do i have any reminders tonight"];
    let lines = home.map(|prompt| json!({"prompt": prompt}).to_string());
    place.write("home.jsonl", lines.join("\n"));
    let ask = |more: &[&str], question: &str| {
        let arguments = ["ask", "--max-tokens", "6", "--examples", "home.jsonl"];
        place.json(&[&arguments[..], more, &[question]].concat())
    };
    let inside = ask(&["--force"], "book me a flight to rome");
    assert!(!inside["adapter"].is_null() && inside["sure"].is_null(), "{inside}");
    // Outside, the model alone answers.
    let outside = ask(&[], QUESTION);
    if outside["adapter"].is_null() {
        assert_eq!(outside["sure"], false, "{outside}");
    }
}

#[test]
fn examples_in_the_prompt_are_measured_for_themselves() {
    let place = Place::new();
    calibrate(&place, false, &[]);
    let orders = |file: &str, from: usize, foods: &[&str]| {
        let order = |(at, food): (usize, &&str)| {
            let prompt = format!("Order number {}: {food}", from + at);
            json!({"prompt": prompt, "answer": "sir"}).to_string()
        };
        place.write(file, foods.iter().enumerate().map(order).collect::<Vec<_>>().join("\n"));
    };
    orders("orders.jsonl", 0, &["tea", "soup", "bread", "cake", "milk", "rice", "fish", "salad"]);
    let made = place.json(&["customize", "--examples", "orders.jsonl", "--effort", "instant", "-o", "mine"]);
    assert_eq!(made["chosen"], "prompt", "{made}");
    let (inside, outside) = ("Order number 9: pasta", "Why is the sky blue?");
    let ask = |more: &[&str], question: &str| {
        place.json(&[&["ask", "--max-tokens", "6"], more, &[question]].concat())
    };
    let (through, at_once) = (&["-a", "mine"][..], &["--examples", "orders.jsonl"][..]);
    for custom in [through, at_once] {
        let (shown, base) = (ask(custom, inside), ask(custom, outside));
        assert!(shown["shown"] == 8 && shown["sure"].is_null(), "{shown}");
        assert!(base["shown"] == 0 && base["sure"] == false, "{base}");
    }
    let more =
        ["eggs", "tea", "beans", "soup", "plums", "rice", "bread", "nuts", "cake", "milk", "fish", "pears"];
    orders("more.jsonl", 10, &more);
    let known = ["--max-tokens", "6", "-a", "mine"];
    let report = place.json(&[&["route", "calibrate", "--data", "more.jsonl"], &known[..]].concat());
    assert_eq!(
        (&report["doubt"]["answers"], &report["doubt"]["doubted"]),
        (&12.into(), &0.into()),
        "{report}"
    );
    for custom in [through, at_once] {
        let (shown, base) = (ask(custom, inside), ask(custom, outside));
        assert!(shown["sure"] == true && base["sure"] == false, "{shown} {base}");
    }
    // What was measured with them says nothing of a blend for the same examples.
    let blend = ask(&["--examples", "orders.jsonl", "--force"], inside);
    assert!(blend["shown"] == 0 && !blend["adapter"].is_null() && blend["sure"].is_null(), "{blend}");
    // The measurement shows them, too.
    let measured =
        place.json(&[&["eval", "routing", "--written", "--task", "more.jsonl"], &known[..]].concat());
    let row = &measured["rows"][0];
    let right = row["device"].as_f64().unwrap() * 12.0;
    assert_eq!(Some(right.round() as u64), report["doubt"]["right"].as_u64(), "{measured}");
    assert_eq!((&row["doubted"]["believed"], &row["doubted"]["doubted"]), (&12.into(), &0.into()), "{row}");
}

#[test]
fn a_server_tells_it_beside_the_answer() {
    let place = Place::new();
    calibrate(&place, false, &[]);
    let body = json!({"model": "mini", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 6});
    let asked = place.json(&["ask", "--max-tokens", "6", QUESTION]);
    for (arguments, sure) in [(&[][..], json!(false)), (&["--no-doubt"][..], Value::Null)] {
        let served = Serving::start(&place, arguments).post("/v1/chat/completions", &body);
        assert_eq!(served["choices"][0]["message"]["content"], asked["text"]);
        let notes = served["crayon"]["notes"].as_array().unwrap();
        let told =
            notes.iter().filter(|note| note.as_str().unwrap().contains("not sure of this answer")).count();
        assert_eq!((&served["crayon"]["sure"], told), (&sure, usize::from(!sure.is_null())), "{served}");
    }
}

#[test]
fn what_is_inside_the_program_was_measured_of_the_mini_inside_the_program() {
    let place = Place::new();
    let value = place.json(&["ask", "--max-tokens", "6", QUESTION]);
    assert!(value["sure"].is_boolean(), "models/mini-thresholds.json belongs to another model: {value}");
}

#[test]
fn answers_that_are_not_known_need_a_share() {
    let place = Place::new();
    place.write("queries.jsonl", format!("{}\n", json!({"prompt": QUESTION})));
    let calibrate = ["route", "calibrate", "--data", "queries.jsonl"];
    place.mistake(&calibrate, "0 with a known answer are too few", "--share");
}
