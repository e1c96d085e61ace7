//! Pictures indexed, found, classified and learned from, with a tiny model whose weights are made up: what is found means nothing.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::Place;

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vision/tests/fixtures").join(name)
}

fn model() -> String {
    fixtures("clip").display().to_string()
}

/// A place with pictures of many kinds in it.
fn with_pictures() -> Place {
    let place = Place::new();
    let folder = place.path("pictures");
    fs::create_dir_all(folder.join("sub")).unwrap();
    for name in
        ["colour.jpg", "alpha.png", "rgb.bmp", "frames.gif", "turned.jpg", "gray16.tiff", "alpha.webp"]
    {
        fs::copy(fixtures("pictures").join(name), folder.join(name)).unwrap();
    }
    fs::copy(folder.join("colour.jpg"), folder.join("sub/copy.jpg")).unwrap();
    fs::write(folder.join("empty.png"), b"").unwrap();
    fs::write(folder.join("text.jpg"), b"no picture").unwrap();
    place
}

#[test]
fn a_folder_is_indexed_and_searched() {
    let place = with_pictures();
    let first = place.json(&["images", "index", "pictures", "-o", "index", "-m", &model()]);
    assert_eq!((&first["embedded"], &first["known"], &first["pictures"]), (&7.into(), &1.into(), &7.into()));
    assert_eq!(first["broken"].as_array().unwrap().len(), 2);
    // The index remembers its model.
    let again = place.json(&["images", "index", "pictures", "-o", "index"]);
    assert_eq!((&again["embedded"], &again["unchanged"]), (&0.into(), &8.into()));

    let found = place.json(&["images", "search", "index", "a (red:2) heart", "--all", "-k", "20"]);
    let results = found["results"].as_array().unwrap();
    assert!(!results.is_empty() && Path::new(results[0]["path"].as_str().unwrap()).is_absolute());
    let scores: Vec<f64> = results.iter().map(|result| result["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let tokens = found["tokens"].as_array().unwrap();
    let weighted =
        tokens.iter().filter(|token| token["weight"] == 2.0).map(|token| token["text"].as_str().unwrap());
    assert_eq!(weighted.map(str::trim).collect::<String>(), "red", "{tokens:?}");

    // A weight of 1 is none, by brackets or by name; another changes scores.
    let search = |prompt: &str, more: &[&str]| {
        place.json(&[&["images", "search", "index", prompt, "--all"][..], more].concat())["results"].clone()
    };
    assert_eq!(search("a (red:1) heart", &[]), search("a red heart", &[]));
    assert_eq!(search("a red heart", &["--weight", "red=3"]), search("a (red:3) heart", &[]));
    assert_ne!(search("a red heart", &[]), search("a (red:3) heart", &[]));
    // A picture is most like itself.
    let like = search("", &["--like", "pictures/frames.gif"]);
    assert!(
        like[0]["path"].as_str().unwrap().ends_with("frames.gif")
            && like[0]["score"].as_f64().unwrap() > 0.99
    );
    let none = place.json(&["images", "search", "index", "heart", "--min-score", "0.999"]);
    assert!(none["results"].as_array().unwrap().is_empty());
    let sub = search("heart", &["--folder", "pictures/sub"]);
    assert_eq!(sub.as_array().unwrap().len(), 1);
    let page = place.path("page.html");
    place.json(&["images", "search", "index", "heart", "--all", "--html", page.to_str().unwrap()]);
    assert!(fs::read_to_string(page).unwrap().contains("data:image/jpeg;base64"));
}

#[test]
fn the_built_in_model_needs_no_name() {
    let place = with_pictures();
    assert_eq!(place.json(&["images", "index", "pictures", "-o", "index"])["pictures"], 7);
    // The index remembers it; another model's vectors are refused.
    assert_eq!(place.json(&["images", "search", "index", "heart", "--all"])["considered"], 7);
    place.mistake(&["images", "search", "index", "heart", "-m", &model()], "made with", "");
    let [named, unnamed] = [&["embed", "text", "heart", "-m", "mini-clip"][..], &["embed", "text", "heart"]]
        .map(|words| place.json(words));
    assert_eq!(named, unnamed);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mini-clip").display().to_string();
    let from_folder = place.json(&["embed", "text", "heart", "-m", &folder]);
    assert_eq!(from_folder["embedding"], unnamed["embedding"]);
    assert_eq!(unnamed["embedding"].as_array().unwrap().len(), unnamed["dim"].as_u64().unwrap() as usize);
    // What it is can be shown, by name and from its folder.
    let shown = |name: &str| place.json(&["models", "show", name]);
    for (key, value) in
        [("family", "clip".into()), ("dim", unnamed["dim"].clone()), ("image_size", 64.into())]
    {
        assert_eq!((&shown("mini-clip")[key], &shown(&folder)[key]), (&value, &value), "{key}");
    }
    assert_eq!(shown("mini-clip")["fingerprint"], unnamed["fingerprint"]);
    assert!(place.text(&["models", "show", "mini-clip"]).contains("64 × 64 pixels in patches of 8 × 8"));
}

#[test]
fn weights_move_the_built_in_model() {
    let place = Place::new();
    let vector = |arguments: &[&str]| -> Vec<f64> {
        let found = place.json(&[&["embed", "text"][..], arguments].concat());
        found["embedding"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (plain, heart, red) = (vector(&["a red heart"]), vector(&["a heart"]), vector(&["something red"]));
    // Attention that is as good as hard would leave all of them where the plain text is.
    let stressed =
        |word: &str, weight: f64| vector(&["a red heart", "--weight", &format!("{word}={weight}")]);
    assert!(near(&stressed("red", 5.0), &red) > near(&plain, &red) + 0.1);
    assert!(near(&stressed("heart", 5.0), &heart) > near(&plain, &heart) + 0.1);
    assert!(near(&stressed("red", 0.1), &heart) > near(&plain, &heart) + 0.1);
    assert!(near(&stressed("heart", 0.1), &red) > near(&plain, &red) + 0.1);
}

#[test]
fn what_cannot_be_done_is_said() {
    let place = with_pictures();
    place.mistake(&["ask", "-m", "mini-clip", "hello"], "writes nothing", "crayon images");
    place.mistake(&["images", "index", "none", "-o", "index", "-m", &model()], "none", "");
    place.mistake(&["images", "search", "none", "heart"], "none", "");
    place.json(&["images", "index", "pictures", "-o", "index", "-m", &model()]);
    for (prompt, message) in [
        ("a (red heart", "never closed"),
        ("a red) heart", "closes nothing"),
        ("a (red:nan) heart", "must be a number"),
        ("a (red:-1) heart", "below 0"),
        ("a (red:1e9) heart", "too large"),
    ] {
        place.mistake(&["images", "search", "index", prompt], message, "weight");
    }
    place.mistake(&["images", "search", "index", "heart", "--weight", "blue=2"], "no word `blue`", "");
    place.mistake(&["images", "search", "index", ""], "nothing to search for", "--like");
    place.mistake(&["images", "search", "index", &"heart ".repeat(100)], "tokens", "shorten");
    let other = fixtures("clip-gelu").display().to_string();
    place.mistake(&["images", "search", "index", "heart", "-m", &other], "was made with", "-m");
    place.mistake(&["images", "index", "pictures", "-o", "index", "-m", &other], "was made with", "-m");
    place.write("junk", b"no index");
    place.mistake(&["images", "search", "junk", "heart"], "not an index of pictures", "");
    fs::remove_dir_all(place.path("pictures")).unwrap();
    fs::create_dir(place.path("pictures")).unwrap();
    place.mistake(&["images", "index", "pictures", "-o", "index"], "holds no picture", "disk");
}

/// Many pictures that differ in a byte behind their end.
fn many(place: &Place, count: usize) {
    let folder = place.path("many");
    fs::create_dir(&folder).unwrap();
    let jpeg = fs::read(fixtures("pictures").join("colour.jpg")).unwrap();
    for i in 0..count {
        fs::write(folder.join(format!("{i}.jpg")), [&jpeg[..], &i.to_le_bytes()].concat()).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_kill_loses_nothing_that_was_committed() {
    let place = Place::new();
    many(&place, 6000);
    let model = model();
    let arguments = ["images", "index", "many", "-o", "index", "-m", &model, "--threads", "1", "-q"];
    let mut killed = 0;
    for _ in 0..3 {
        let mut command = std::process::Command::new(support::binary());
        let mut child = command.args(arguments).current_dir(place.path(".")).spawn().unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1500) && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Another process may look, and may not write.
        if child.try_wait().unwrap().is_none() {
            killed += 1;
            let output = place.crayon(&arguments).output().unwrap();
            support::check_mistake(&output, "in use by another process", "wait");
        }
        let _ = child.kill();
        child.wait().unwrap();
    }
    let rest = place.json(&arguments[..9]);
    assert_eq!(rest["pictures"], 6000);
    let kept = rest["unchanged"].as_u64().unwrap();
    assert!(killed == 0 || kept > 0, "{rest}");
}

#[test]
fn pictures_are_sorted_into_classes() {
    let place = Place::new();
    for class in ["cat", "dog"] {
        fs::create_dir_all(place.path("pets").join(class)).unwrap();
    }
    for (class, name) in
        [("cat", "colour.jpg"), ("cat", "gray.jpg"), ("dog", "frames.gif"), ("dog", "rgb.bmp")]
    {
        fs::copy(fixtures("pictures").join(name), place.path("pets").join(class).join(name)).unwrap();
    }
    let model = model();
    let sorted =
        place.json(&["images", "classify", "pets/cat", "--class", "cat", "--class", "dog", "-m", &model]);
    let results = sorted["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|result| result["score"].as_f64().unwrap() >= 0.5));
    let labelled = place.json(&["images", "classify", "pets", "--labelled", "-m", &model]);
    assert_eq!((&labelled["of"], labelled["classes"].as_array().unwrap().len()), (&4.into(), 2));
    place.mistake(&["images", "classify", "pets", "-m", &model], "no classes are named", "--class");
    place.mistake(&["images", "classify", "pets", "--class", "cat", "-m", &model], "two classes", "");
    let template = ["images", "classify", "pets", "--labelled", "--template", "a cat", "-m", &model];
    place.mistake(&template, "no place for a class's name", "{}");
}

#[cfg(feature = "train")]
#[test]
fn weights_are_learned_and_used_again() {
    let place = Place::new();
    for (class, name) in
        [("cat", "colour.jpg"), ("cat", "gray.jpg"), ("dog", "frames.gif"), ("dog", "rgb.bmp")]
    {
        fs::create_dir_all(place.path("pets").join(class)).unwrap();
        fs::copy(fixtures("pictures").join(name), place.path("pets").join(class).join(name)).unwrap();
    }
    let model = model();
    let learned = place.json(&[
        "images",
        "learn",
        "pets",
        "--shots",
        "2",
        "--steps",
        "30",
        "--rate",
        "0.05",
        "--test",
        "pets",
        "--compare",
        "-o",
        "pets.json",
        "--html",
        "pets.html",
        "-m",
        &model,
    ]);
    let loss: Vec<f64> =
        learned["loss"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect();
    assert!(loss[1] < loss[0], "{loss:?}");
    assert_eq!(learned["rows"].as_array().unwrap().len(), 8);
    // The file has the weights to the power that pictures left out of learning speak for.
    let weight = |file: &str| {
        let classes: serde_json::Value =
            serde_json::from_slice(&fs::read(place.path(file)).unwrap()).unwrap();
        classes["classes"][0]["weights"]["cat"].as_f64().unwrap()
    };
    assert_eq!(
        (&learned["judged"]["pictures"], learned["judged"]["strengths"].as_array().unwrap().len()),
        (&4.into(), 4)
    );
    let words = learned["weights"][0]["words"].as_array().unwrap();
    let cat = words.iter().find(|word| word["word"] == "cat").unwrap()["weight"].as_f64().unwrap();
    let strength = learned["strength"].as_f64().unwrap();
    assert!((weight("pets.json") - cat.powf(strength)).abs() < 1e-4, "{cat} {strength}");
    let one = ["images", "learn", "pets", "--shots", "1", "--steps", "30", "-o", "one.json", "-m", &model];
    let one = place.json(&one);
    assert_eq!(
        (&one["judged"]["pictures"], one["strength"].as_f64(), weight("one.json")),
        (&0.into(), Some(0.0), 1.0)
    );
    let forced = [
        "images",
        "learn",
        "pets",
        "--steps",
        "30",
        "--rate",
        "0.05",
        "--force",
        "-o",
        "forced.json",
        "-m",
        &model,
    ];
    let forced = place.json(&forced);
    assert_eq!((forced["strength"].as_f64(), &forced["judged"]), (Some(1.0), &serde_json::Value::Null));
    assert_ne!(weight("forced.json"), 1.0);
    assert!(learned["weights"][0]["words"].as_array().unwrap().iter().any(|word| word["weight"] != 1.0));
    let sorted =
        place.json(&["images", "classify", "pets", "--labelled", "--weights", "pets.json", "-m", &model]);
    assert_eq!(sorted["accuracy"], learned["accuracy"]);
    let other = fixtures("clip-gelu").display().to_string();
    let other = ["images", "classify", "pets", "--weights", "pets.json", "-m", &other];
    place.mistake(&other, "was made with", "-m");
}
