//! A program built without models and without training: `cargo test --release -p crayon --no-default-features --test lean`.
#![cfg(not(any(feature = "embedded", feature = "train")))]

mod support;

use std::path::Path;

use support::Place;

/// A file of the repository's `models` folder.
fn model(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(name).to_str().unwrap().to_owned()
}

#[test]
fn without_models_it_says_how_to_name_one() {
    let place = Place::new();
    for asked in [&["ask", "hi"][..], &["ask", "-m", "mini", "hi"], &["pool", "show"]] {
        place.mistake(asked, "no model called \"mini\" is built in", "-m names one");
    }
    assert_eq!(place.json(&["models"])["models"], serde_json::json!([]));
}

#[test]
fn with_a_model_it_answers_and_blends() {
    let (place, mini) = (Place::new(), model("mini.gguf"));
    assert!(!place.text(&["ask", "-m", &mini, "What is a tree?"]).trim().is_empty());
    let examples = place.write("mine.jsonl", r#"{"prompt": "Where is my parcel?"}"#);
    let (examples, pool) = (examples.to_str().unwrap(), model("mini-pool.safetensors"));
    let customize =
        ["customize", "-m", &mini, "--examples", examples, "--pool", &pool, "--force", "-o", "mine"];
    place.text(&customize);
    assert!(!place.text(&["ask", "-m", &mini, "-a", "mine", "What is a tree?"]).trim().is_empty());
}

#[test]
fn what_trains_is_refused_with_the_way_to_it() {
    let (place, mini) = (Place::new(), model("mini.gguf"));
    let data = place.write("data.jsonl", r#"{"prompt": "a", "answer": "b"}"#);
    let train = ["pool", "train", "-m", &mini, "--data", data.to_str().unwrap(), "-o", "pool"];
    place.mistake(&train, "built without training", "--features train");
    let pool = model("mini-pool.safetensors");
    let eval =
        ["eval", "customize", "-m", &mini, "--users", ".", "--pool", &pool, "--methods", "base,oracle"];
    place.mistake(&eval, "oracle trains, and this program was built without training", "feature train");
}
