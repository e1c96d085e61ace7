//! Adapters, pools and customization through the built binary.

mod support;

use std::path::{Path, PathBuf};

use support::{Place, keys, stderr};

/// Two kinds of data: colours of things, and numbers.
fn data(place: &Place) -> [PathBuf; 2] {
    let things = ["ball", "hat", "car", "boat", "door", "cup"];
    let lines = |make: &dyn Fn(usize) -> String| (0..18).map(make).collect::<Vec<_>>().join("\n");
    let colours = lines(&|i| {
        let (thing, other) = (things[i % 6], things[i / 6 % 6]);
        format!(
            r#"{{"prompt": "The {thing} is red and the {other} is old. What colour is the {thing}?", "answer": "red"}}"#
        )
    });
    let numbers =
        lines(&|i| format!(r#"{{"prompt": "Count on: {i} {} {}", "answer": "{}"}}"#, i + 1, i + 2, i + 3));
    [place.write("colours.jsonl", colours), place.write("numbers.jsonl", numbers)]
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A pool of two adapters in `pool`.
fn pool(place: &Place) -> serde_json::Value {
    let [colours, numbers] = data(place);
    place.json(&[
        "pool",
        "train",
        "--data",
        text(&colours),
        "--data",
        text(&numbers),
        "-n",
        "2",
        "--rank",
        "2",
        "--epochs",
        "2",
        "--rate",
        "0.003",
        "-o",
        "pool",
    ])
}

#[test]
fn a_pool_is_trained_shown_and_blended_for_examples() {
    let place = Place::new();
    let trained = pool(&place);
    assert_eq!(trained["adapters"].as_array().unwrap().len(), 2);
    assert_eq!(trained["rank"], 2);
    assert!(trained["loss"].as_f64().unwrap() < trained["loss_before"].as_f64().unwrap(), "{trained}");
    assert!(!place.path("pool/training.safetensors").exists());

    let shown = place.json(&["pool", "show", "pool", "--plot", "keys.svg"]);
    assert_eq!(shown["keys"].as_array().unwrap().len(), 2);
    let names: Vec<&str> =
        shown["adapters"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"colours") && names.contains(&"numbers"), "{names:?}");
    let plot = std::fs::read_to_string(place.path("keys.svg")).unwrap();
    assert!(plot.starts_with("<svg") && names.iter().all(|name| plot.contains(name)));

    // Labels are not needed.
    place.write(
        "mine.jsonl",
        r#"{"prompt": "The lamp is red and the shoe is new. What colour is the lamp?"}"#,
    );
    let custom = ["customize", "--examples", "mine.jsonl", "--pool", "pool"];
    let made = place.json(&[&custom[..], &["-o", "mine"]].concat());
    for key in ["weights", "scores", "adapter", "millis", "bytes_sent", "bytes_received"] {
        assert!(keys(&made).contains(&key), "{made}");
    }
    let weights: Vec<f64> = made["weights"].as_array().unwrap().iter().map(|w| w.as_f64().unwrap()).collect();
    // The rest of 1 belongs to the model alone.
    let sum: f64 = weights.iter().sum();
    assert!(weights.iter().all(|weight| *weight >= 0.0) && sum <= 1.0 + 1e-6, "{weights:?}");
    let colours = names.iter().position(|name| *name == "colours").unwrap();
    assert!(weights[colours] > 0.9 && made["fits"] == true, "{made}");
    assert_eq!((made["rank"].as_u64(), made["bytes_sent"].as_u64()), (Some(4), Some(0)));
    assert_eq!(place.json(&[&custom[..], &["--form", "svd"]].concat())["rank"], 2);

    let shown = place.crayon(&custom).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("colours") && shown.contains('█') && !shown.contains('\x1b'), "{shown}");

    // The adapter in a file and the blend at once are the same; merged into the weights it is too, but for rounding.
    let question = ["--max-tokens", "8", "The cat is red and the dog is old. What colour is the cat?"];
    let ask = |options: &[&str]| place.text(&[&["ask", "--exact"], options, &question].concat());
    let beside = ask(&["-a", "mine"]);
    assert_eq!(beside, ask(&["--examples", "mine.jsonl", "--pool", "pool"]));
    assert_eq!(beside, ask(&["-a", "mine", "--merge"]));
    let ids = place.write("ids.json", "[1, 5, 9, 200]");
    let logits = |options: &[&str]| {
        let value =
            place.json(&[&["eval", "logits", "--exact", "--token-ids", text(&ids)], options].concat());
        value["logits"][0].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>()
    };
    let (plain, whole) = (logits(&[]), logits(&["-a", "mine"]));
    let halves = logits(&["-a", "mine:0.5", "-a", "mine:0.5"]);
    assert!(support::difference(&plain, &whole) > 1e-3);
    assert!(support::difference(&halves, &whole) < 1e-4);
    assert!(support::difference(&logits(&["-a", "mine", "--merge"]), &whole) < 1e-4);

    // Any number of examples is read, one after another.
    let line = "{\"question\": \"The lamp is red. What colour is the lamp?\", \"answer\": \"red\"}\n";
    place.write("many.jsonl", line.repeat(10_000));
    let many = place.json(&["customize", "--examples", "many.jsonl", "--pool", "pool"]);
    assert_eq!(many["examples"], 10_000);
    let chat = ["chat", "--no-history", "--max-tokens", "4", "--examples", "mine.jsonl", "--pool", "pool"];
    let output = place.crayon(&chat).write_stdin("Hello!\n").output().unwrap();
    assert!(output.status.success() && !output.stdout.is_empty(), "{}", stderr(&output));

    // What was read through an adapter is not used without it.
    let session = ["chat", "--no-history", "--max-tokens", "4", "--session", "talk.pot"];
    let with = place
        .crayon(&[&session[..], &["-a", "mine", "--force"]].concat())
        .write_stdin("Hello!\n")
        .output()
        .unwrap();
    assert!(with.status.success(), "{}", stderr(&with));
    let again = place
        .crayon(&[&session[..], &["-a", "mine", "--force"]].concat())
        .write_stdin("And?\n")
        .output()
        .unwrap();
    assert!(again.status.success(), "{}", stderr(&again));
    let without = place.crayon(&session).write_stdin("And?\n").output().unwrap();
    assert_eq!(without.status.code(), Some(2), "{}", stderr(&without));
    assert!(stderr(&without).contains("adapter"), "{}", stderr(&without));

    // An adapter of this model joins, and cannot join twice.
    let mine = text(&place.path("mine")).to_owned();
    let add = ["pool", "add", "pool", &mine, "--data", "mine.jsonl"];
    let added = place.json(&add);
    assert_eq!(added["adapters"][2]["name"], "mine");
    assert_eq!(added["adapters"][2]["rank"], 4);
    place.mistake(&add, "has an adapter called \"mine\"", "--name");
    assert_eq!(place.json(&custom)["weights"].as_array().unwrap().len(), 3);

    // Another model takes neither the pool nor the adapter.
    place.mistake(&["ask", "-m", "mini-gpt2", "-a", "mine", "hi"], "mine", "-m");
    place.mistake(&[&custom[..], &["-m", "mini-gpt2"]].concat(), "another model", "-m");
    // A pool without one of its files is not used.
    std::fs::remove_file(place.path("pool/adapters/001/adapter_model.safetensors")).unwrap();
    place.mistake(&custom, "adapter_model.safetensors", "adapter");
}

#[test]
fn examples_that_fit_nothing_leave_the_base_model_alone() {
    let place = Place::new();
    pool(&place);
    place.write("other.jsonl", r#"{"prompt": "zzzz qqqq xxxx vvvv kkkk"}"#);
    let custom = ["customize", "--examples", "other.jsonl", "--pool", "pool", "-o", "out"];
    let output = place.crayon(&[&custom[..], &["--json"]].concat()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let floor = place.json(&["pool", "show", "pool"])["floor"].as_f64().unwrap();
    let best =
        made["scores"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).fold(f64::MIN, f64::max);
    assert_eq!(made["fits"], best >= floor, "{made}, floor {floor}");
    assert!(best < floor, "the example is too near: {made}, floor {floor}");
    assert!(made["adapter"].is_null() && !place.path("out").exists());
    let noted = place.crayon(&custom).output().unwrap();
    assert!(stderr(&noted).contains("fit nothing that this pool learned"), "{}", stderr(&noted));
    let forced = place.json(&[&custom[..], &["--force"]].concat());
    assert!(forced["adapter"].is_string() && place.path("out/adapter_config.json").is_file());
}

#[test]
fn files_that_cannot_be_used() {
    let place = Place::new();
    place.mistake(&["ask", "-a", "missing", "hi"], "missing", "path");
    std::fs::create_dir(place.path("empty")).unwrap();
    place.mistake(&["ask", "-a", "empty", "hi"], "adapter_model.safetensors", "folder");
    place.mistake(&["ask", "--examples", "e.jsonl", "hi"], "e.jsonl", "path");
    place.mistake(&["pool", "show", "empty"], "holds no pool", "pool train");
    place.write("broken.jsonl", "{\"prompt\": \"a\", \"answer\": \"b\"}\n{\"prompt\": \n");
    let train = |file: &'static str| ["pool", "train", "--data", file, "-n", "2", "-o", "new"];
    for device in ["gpu", "cuda:x", "cpu:1"] {
        let arguments = [&train("data.jsonl")[..], &["--device", device]].concat();
        place.mistake(&arguments, "is none of cpu, cuda", "leave --device out");
    }
    place.mistake(&train("broken.jsonl"), "broken.jsonl, line 2", "prompt");
    place.write("questions.jsonl", "{\"prompt\": \"a\"}\n");
    place.mistake(&train("questions.jsonl"), "no answer to learn from", "answer");
    place.write("few.jsonl", "{\"prompt\": \"a\", \"answer\": \"b\"}\n");
    place.mistake(&train("few.jsonl"), "too few", "--data");
    place.mistake(&train("none.jsonl"), "none.jsonl", "path");
    assert!(!place.path("new/pool.safetensors").exists());
}

#[test]
fn blending_is_measured() {
    let place = Place::new();
    let bench = place.json(&["bench", "blend", "--adapters", "2", "--rank", "2", "--runs", "1"]);
    let forms: Vec<&str> =
        bench["forms"].as_array().unwrap().iter().map(|f| f["form"].as_str().unwrap()).collect();
    assert_eq!(forms, ["shared", "exact", "svd", "factor"]);
    assert_eq!(bench["forms"][0]["rank"], 4);
    assert!(bench["forms"][0]["millis"].as_f64().unwrap() > 0.0);
    place.mistake(&["bench", "blend", "--shape", "none"], "not known", "qwen");
}
