//! Pictures, prompts and indexes that are not as they should be.

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::Place;

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vision/tests/fixtures").join(name)
}

fn model() -> String {
    fixtures("clip").display().to_string()
}

/// A place with a folder of pictures, each as `make` gives it.
fn folder(files: &[(&str, Vec<u8>)]) -> Place {
    let place = Place::new();
    fs::create_dir(place.path("pictures")).unwrap();
    for (name, bytes) in files {
        fs::write(place.path("pictures").join(name), bytes).unwrap();
    }
    place
}

fn indexed(place: &Place) -> Value {
    place.json(&["images", "index", "pictures", "-o", "index", "-m", &model()])
}

/// The reason why each file is none, by its name.
fn broken(report: &Value) -> Vec<(String, String)> {
    let listed = report["broken"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let name = |path: String| Path::new(&path).file_name().unwrap().to_string_lossy().into_owned();
    listed.iter().map(|one| (name(text(&one["path"])), text(&one["why"]))).collect()
}

/// CRC-32 of PNG's chunks.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

/// A PNG of a few bytes that says it has so many pixels.
fn png_that_says(width: u32, height: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    for (name, data) in
        [(b"IHDR", &header[..]), (b"IDAT", &[0x78, 0x9c, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01]), (b"IEND", &[])]
    {
        let chunk = [&name[..], data].concat();
        png.extend((data.len() as u32).to_be_bytes());
        png.extend_from_slice(&chunk);
        png.extend(crc(&chunk).to_be_bytes());
    }
    png
}

#[test]
fn files_that_are_no_pictures_are_named_and_the_rest_is_indexed() {
    let picture = |name: &str| fs::read(fixtures("pictures").join(name)).unwrap();
    let half = |name: &str| {
        let bytes = picture(name);
        bytes[..bytes.len() / 2].to_vec()
    };
    let mut gif = b"GIF89a".to_vec();
    gif.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
    let mut bmp = picture("rgb.bmp");
    bmp[18..26].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f]);
    let place = folder(&[
        ("empty.png", Vec::new()),
        ("cut.png", half("rgb.png")),
        ("cut.webp", half("alpha.webp")),
        ("cut.tiff", half("gray16.tiff")),
        ("cut.bmp", half("rgb.bmp")),
        ("head.jpg", picture("colour.jpg")[..40].to_vec()),
        ("bomb.png", png_that_says(60_000, 60_000)),
        ("widest.png", png_that_says(0x7fff_ffff, 0x7fff_ffff)),
        ("bomb.gif", gif),
        ("bomb.bmp", bmp),
        ("text.jpg", b"To whom it may concern".to_vec()),
        ("page.png", b"<html></html>".to_vec()),
        // These are pictures, whatever their names say.
        ("png.jpg", picture("rgb.png")),
        ("gif.bmp", picture("frames.gif")),
        ("good.jpg", picture("colour.jpg")),
    ]);
    let report = indexed(&place);
    let found = broken(&report);
    assert_eq!((&report["found"], &report["embedded"]), (&15.into(), &3.into()), "{found:?}");
    assert_eq!(found.len(), 12, "{found:?}");
    let why = |name: &str| &found.iter().find(|(file, _)| file == name).unwrap().1;
    assert_eq!(why("empty.png"), "the file is empty");
    assert!(why("bomb.png").contains("60000 × 60000 pixels"), "{}", why("bomb.png"));
    // What was told is told again, and not tried again.
    let again = indexed(&place);
    assert_eq!((&again["unchanged"], broken(&again)), (&3.into(), found));
}

#[test]
fn of_an_animation_the_first_frame_counts() {
    let animated = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/animated");
    let read = |name: &str| fs::read(animated.join(name)).unwrap();
    // Its frames are red, green and blue.
    let still = image_of([220, 30, 30]);
    let place = folder(&[
        ("a.gif", read("animated.gif")),
        ("a.apng", read("animated.apng")),
        ("a.webp", read("animated.webp")),
        ("still.bmp", still),
    ]);
    let report = indexed(&place);
    assert_eq!(report["embedded"], 4, "{report}");
    let found =
        place.json(&["images", "search", "index", "--like", "pictures/still.bmp", "--all", "--duplicates"]);
    let scores: Vec<f64> =
        found["results"].as_array().unwrap().iter().map(|result| result["score"].as_f64().unwrap()).collect();
    assert!(scores.len() == 4 && scores.iter().all(|score| *score > 0.9999), "{scores:?}");
}

/// A BMP of 24 x 16 pixels of one colour.
fn image_of([r, g, b]: [u8; 3]) -> Vec<u8> {
    let mut bmp = b"BM".to_vec();
    bmp.extend([54u32 + 24 * 16 * 3, 0, 54, 40, 24, 16].iter().flat_map(|number| number.to_le_bytes()));
    bmp.extend([1u16, 24].iter().flat_map(|number| number.to_le_bytes()));
    bmp.extend([0u8; 24]);
    bmp.extend([b, g, r].repeat(24 * 16));
    bmp
}

/// A file whose reading fails even for who may read all: a process's memory has nothing at its beginning.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_read_is_named_and_does_not_leave_the_index() {
    use std::os::unix::fs::symlink;
    let place = folder(&[("good.bmp", image_of([9, 9, 9])), ("then.bmp", image_of([1, 200, 1]))]);
    assert_eq!(indexed(&place)["embedded"], 2);
    let then = place.path("pictures/then.bmp");
    fs::remove_file(&then).unwrap();
    symlink("/proc/self/mem", &then).unwrap();
    let report = indexed(&place);
    let unreadable = report["unreadable"].as_array().unwrap();
    assert_eq!(unreadable.len(), 1, "{report}");
    assert!(unreadable[0]["path"].as_str().unwrap().ends_with("then.bmp"));
    assert_eq!((&report["pictures"], &report["gone"]), (&2.into(), &0.into()), "{report}");
}

/// Who may read all reads also what nobody may: the program runs as somebody else where the test runs as such.
#[cfg(unix)]
#[test]
fn files_and_folders_that_are_locked_are_named() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    let place = folder(&[("good.bmp", image_of([9, 9, 9])), ("locked.bmp", image_of([1, 200, 1]))]);
    let nobody = 65_534;
    let is_root = fs::metadata(place.path("pictures")).unwrap().uid() == 0;
    let shut = |name: &str| fs::set_permissions(place.path(name), fs::Permissions::from_mode(0o0)).unwrap();
    fs::create_dir(place.path("pictures/closed")).unwrap();
    fs::write(place.path("pictures/closed/in.bmp"), image_of([5, 5, 200])).unwrap();
    shut("pictures/locked.bmp");
    shut("pictures/closed");
    fs::set_permissions(place.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    if is_root {
        chown(place.path("."), Some(nobody), Some(nobody)).unwrap();
    }
    let copy = |name: &str| {
        fs::create_dir_all(place.path("model")).unwrap();
        fs::copy(fixtures("clip").join(name), place.path("model").join(name)).unwrap();
    };
    for entry in fs::read_dir(fixtures("clip")).unwrap() {
        copy(entry.unwrap().file_name().to_str().unwrap());
    }
    let binary = place.path("crayon");
    fs::copy(support::binary(), &binary).unwrap();
    let mut command = std::process::Command::new(&binary);
    command.args(["images", "index", "pictures", "-o", "index", "-m", "model", "--json"]);
    command.current_dir(place.path(".")).env("HOME", place.path("home")).env("CRAYON_OFFLINE", "1");
    if is_root {
        command.uid(nobody).gid(nobody);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: nothing can be run as somebody else here ({error})");
            return;
        }
    };
    assert!(output.status.success(), "{}", support::stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut names: Vec<&str> = report["unreadable"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["path"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!((names, &report["embedded"]), (vec!["closed", "locked.bmp"], &1.into()), "{report}");
    fs::set_permissions(place.path("pictures/closed"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[cfg(unix)]
#[test]
fn loops_of_links_end_and_links_to_nothing_are_nothing() {
    use std::os::unix::fs::symlink;
    let place = folder(&[("good.bmp", image_of([9, 9, 9]))]);
    let at = |name: &str| place.path("pictures").join(name);
    symlink(place.path("pictures"), at("up")).unwrap();
    symlink(at("b"), at("a")).unwrap();
    symlink(at("a"), at("b")).unwrap();
    symlink(at("self.jpg"), at("self.jpg")).unwrap();
    symlink(at("nothing"), at("dangling.jpg")).unwrap();
    let report = indexed(&place);
    assert_eq!((&report["found"], &report["embedded"]), (&1.into(), &1.into()), "{report}");
    assert!(report["unreadable"].as_array().unwrap().is_empty(), "{report}");
}

#[test]
fn weights_that_are_none_are_refused_at_their_place() {
    let place = folder(&[("good.bmp", image_of([9, 9, 9]))]);
    indexed(&place);
    let search = ["images", "search", "index"];
    for (prompt, message) in [
        ("a (red:nan) heart", "must be a number"),
        ("a (red:-0.5) heart", "below 0"),
        ("a (red:inf) heart", "too large"),
        ("a (red:1e39) heart", "too large"),
        ("a (red:1.5.2) heart", "not a number"),
        ("a [red:0.5] heart", "square brackets"),
        ("a ((red) heart", "never closed"),
        ("a (red] heart", "closes a `(`"),
        ("a red) heart", "closes nothing"),
        ("a () heart", "no words"),
    ] {
        let output = place.crayon(&[&search[..], &[prompt]].concat()).output().unwrap();
        support::check_mistake(&output, message, "weight");
        assert!(support::stderr(&output).lines().any(|line| line.trim() == "^"), "{prompt}: no place shown");
    }
    place.mistake(&[&search[..], &["((((((red:90):90))))))"]].concat(), "closes nothing", "");
    place.mistake(&[&search[..], &["((red:90):90) heart"]].concat(), "multiply to", "weight");
    for weight in ["red=nan", "red=-1", "red=1e9", "red=inf"] {
        place.mistake(
            &[&search[..], &["a red heart", "--weight", weight]].concat(),
            "from 0 to 100",
            "weight",
        );
    }
    place.mistake(
        &[&search[..], &["heart", "--min-score", "nan"]].concat(),
        "must be a number",
        "--min-score",
    );
    // Nothing is cut: the numbers are said.
    let long = "heart ".repeat(100);
    place.mistake(&[&search[..], &[&long]].concat(), "the model has room for 22", "shorten");
}

#[test]
fn a_damaged_index_is_refused_and_left_as_it_is() {
    let place = folder(&[("good.bmp", image_of([9, 9, 9]))]);
    indexed(&place);
    let whole = fs::read(place.path("index")).unwrap();
    let model = model();
    for damaged in [&whole[..whole.len() / 2], &whole[..100], b"", b"no index at all"] {
        fs::write(place.path("index"), damaged).unwrap();
        place.mistake(&["images", "search", "index", "heart", "-m", &model], "index", "");
        place.mistake(&["images", "index", "pictures", "-o", "index", "-m", &model], "index", "");
        assert_eq!(fs::read(place.path("index")).unwrap(), damaged);
    }
    fs::write(place.path("index"), &whole).unwrap();
    assert_eq!(indexed(&place)["unchanged"], 1);
}

/// What a build without a part says when it is asked for it.
#[test]
fn parts_that_are_left_out_are_said() {
    let place = folder(&[("good.bmp", image_of([9, 9, 9]))]);
    let model = model();
    indexed(&place);
    if cfg!(not(feature = "hnsw")) {
        place.mistake(
            &["images", "index", "pictures", "-o", "index", "--approximate"],
            "without approximate",
            "--features hnsw",
        );
        place.mistake(
            &["images", "search", "index", "heart", "--approximate"],
            "without approximate",
            "--features hnsw",
        );
        place.mistake(
            &["bench", "search", "--pictures", "10", "--approximate"],
            "without approximate",
            "hnsw",
        );
    }
    if cfg!(not(feature = "qdrant")) {
        let address = "qdrant://127.0.0.1:1/x";
        place.mistake(
            &["images", "search", "--index", address, "heart", "-m", &model],
            "Qdrant",
            "--features qdrant",
        );
        place.mistake(
            &["images", "index", "pictures", "-o", "index", "--index", address],
            "Qdrant",
            "--features qdrant",
        );
    }
    if cfg!(not(feature = "parquet")) {
        place.mistake(&["images", "import", ".", "-o", "index"], "Parquet", "--features parquet");
    }
}

/// With `CRAYON_OFFLINE=1` nobody is connected to, whether there is somebody or not.
#[cfg(feature = "qdrant")]
#[test]
fn offline_no_socket_is_opened_to_a_server_of_vectors() {
    let place = folder(&[("good.bmp", image_of([9, 9, 9]))]);
    let model = model();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("qdrant://{}/pictures", listener.local_addr().unwrap());
    let search = ["images", "search", "--index", &address, "heart", "-m", &model];
    place.mistake(&search, "CRAYON_OFFLINE forbids the network", "");
    let index = ["images", "index", "pictures", "-o", "index", "-m", &model, "--index", &address];
    place.mistake(&index, "CRAYON_OFFLINE forbids the network", "");
    assert!(!place.path("index").exists());
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
