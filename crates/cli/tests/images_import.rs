//! Vectors that clip-retrieval's layout holds, as numpy and pyarrow write it (`scripts/fixtures/clip_retrieval.py`).

#![cfg(feature = "parquet")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::Place;

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vision/tests/fixtures").join(name)
}

/// A place with the pictures and the vectors.
fn with_vectors() -> Place {
    let place = Place::new();
    for folder in ["pictures", "made/img_emb", "made/metadata"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    for name in ["colour.jpg", "alpha.png", "rgb.bmp", "turned.jpg"] {
        fs::copy(fixtures("pictures").join(name), place.path("pictures").join(name)).unwrap();
    }
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clip_retrieval");
    for number in [0, 1] {
        for name in [format!("img_emb/img_emb_{number}.npy"), format!("metadata/metadata_{number}.parquet")] {
            fs::copy(made.join(&name), place.path("made").join(&name)).unwrap();
        }
    }
    place
}

const IMPORT: [&str; 7] = ["images", "import", "made", "-o", "index", "--pictures", "pictures"];

#[test]
fn vectors_paths_and_captions_are_taken_over() {
    let place = with_vectors();
    let model = fixtures("clip").display().to_string();
    let report = place.json(&[&IMPORT[..], &["-m", &model]].concat());
    let counts =
        ["rows", "here", "elsewhere", "left_out", "pictures"].map(|key| report[key].as_u64().unwrap());
    assert_eq!(counts, [7, 4, 2, 1, 6], "{report}");
    assert!(report["agreement"].as_f64().unwrap() > 0.999, "{report}");

    let found = place.json(&["images", "search", "index", "dog", "--all", "-k", "20"]);
    let results = found["results"].as_array().unwrap();
    assert_eq!(results.len(), 6);
    let of =
        |end: &str| results.iter().find(|result| result["path"].as_str().unwrap().ends_with(end)).unwrap();
    assert_eq!(of("dog.jpg")["path"], "https://pictures.example/dog.jpg");
    assert_eq!((&of("dog.jpg")["width"], &of("dog.jpg")["date"]), (&640.into(), &serde_json::Value::Null));
    assert_eq!(of("turned.jpg")["caption"], "an old house");
    assert!(Path::new(of("colour.jpg")["path"].as_str().unwrap()).is_absolute());
    assert!(of("alpha.png")["caption"].is_null());
    // A picture is found by itself: its vector was taken over.
    let like = place.json(&["images", "search", "index", "--like", "pictures/rgb.bmp", "--all", "-k", "1"]);
    assert!(like["results"][0]["path"].as_str().unwrap().ends_with("rgb.bmp"));
    // A word of a caption limits the search, and puts nothing first.
    let dogs = place.json(&["images", "search", "index", "house", "--all", "--keyword", "dog"]);
    let dogs = dogs["results"].as_array().unwrap();
    assert!(dogs.len() == 1 && dogs[0]["keyword"] == false, "{dogs:?}");
    // What has no date passes no limit of time.
    for limit in [["--before", "2100"], ["--after", "1800"]] {
        let dated = place.json(&[&["images", "search", "index", "house", "--all"][..], &limit].concat());
        assert_eq!(dated["considered"], 4);
    }
    // Indexing the folder goes on from there.
    let indexed = place.json(&["images", "index", "pictures", "-o", "index"]);
    assert_eq!(
        (&indexed["unchanged"], &indexed["embedded"], &indexed["pictures"]),
        (&4.into(), &0.into(), &6.into())
    );
    // And importing again changes nothing.
    assert_eq!(place.json(&IMPORT)["pictures"], 6);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let place = with_vectors();
    let model = fixtures("clip").display().to_string();
    let import = [&IMPORT[..], &["-m", &model]].concat();
    // Another model of the same width: what it makes of the pictures is something else.
    let vectors = place.path("made/img_emb/img_emb_0.npy");
    let whole = fs::read(&vectors).unwrap();
    let mut other = whole.clone();
    let begin = other.len() - 4 * 24 * 2;
    other[begin..].reverse();
    for at in (begin..other.len()).step_by(2) {
        other.swap(at, at + 1);
    }
    fs::write(&vectors, &other).unwrap();
    place.mistake(&import, "not those of", "made the vectors");
    fs::write(&vectors, &whole[..whole.len() - 10]).unwrap();
    place.mistake(&import, "do not fit", "clip-retrieval");
    fs::write(&vectors, &whole).unwrap();
    let table = place.path("made/metadata/metadata_0.parquet");
    let described = fs::read(&table).unwrap();
    for at in (0..described.len()).step_by(61) {
        let mut changed = described.clone();
        changed[at] ^= 0x41;
        fs::write(&table, &changed).unwrap();
        let output = place.crayon(&import).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 2)), "byte {at}: {}", support::stderr(&output));
    }
    fs::copy(place.path("made/metadata/metadata_1.parquet"), &table).unwrap();
    place.mistake(&import, "3 rows", "");
    fs::remove_file(&table).unwrap();
    place.mistake(&import, "metadata_0.parquet", "");
    let siglip = fixtures("siglip").display().to_string();
    place.mistake(&["images", "import", "made", "-o", "other", "-m", &siglip], "numbers", "");
    place.mistake(&["images", "import", "pictures", "-o", "other", "-m", &model], "img_emb", "");
}
