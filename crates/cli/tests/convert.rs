//! `crayon convert`: the same network in every format.

mod support;

use support::{Place, data, difference, logits, stderr};

const IDS: &str = "[5, 17, 3, 90, 41, 7, 222, 64, 12, 300]";

#[test]
fn there_and_back_again_the_logits_are_the_same() {
    let place = Place::new();
    let ids = place.write("ids.json", IDS);
    let original = logits(&place, "mini", &ids);
    // Exact once everything is f32.
    place.text(&["convert", "mini", "-o", "one.gguf", "--type", "f32"]);
    place.text(&["convert", "one.gguf", "-o", "two", "--type", "f32"]);
    place.text(&["convert", "./two", "-o", "three.gguf"]);
    for model in ["one.gguf", "./two", "three.gguf"] {
        let found = difference(&original, &logits(&place, model, &ids));
        assert!(found < 1e-5, "{model}: {found}");
    }
}

#[test]
fn coarser_types_differ_within_their_bounds() {
    let place = Place::new();
    let ids = place.write("ids.json", IDS);
    let original = logits(&place, "mini", &ids);
    let mut sizes = Vec::new();
    for (kind, bound) in
        [("f16", 2e-3), ("bf16", 2e-2), ("q8_0", 2e-2), ("q4_0", 0.5), ("w8a8", 0.1), ("w4a8", 1.0)]
    {
        let file = format!("{kind}.gguf");
        let report = place.json(&["convert", "mini", "-o", &file, "--type", kind]);
        assert_eq!(report["bytes"].as_u64(), Some(place.path(&file).metadata().unwrap().len()));
        let found = difference(&original, &logits(&place, &file, &ids));
        assert!(found < bound, "{kind}: {found}");
        sizes.push(report["bytes"].as_u64().unwrap());
    }
    assert!(sizes[0] > sizes[2] && sizes[2] > sizes[3], "{sizes:?}");
    assert!(sizes[2] > sizes[4] && sizes[4] > sizes[5], "{sizes:?}");
}

#[test]
fn scales_of_output_channels_are_the_same_in_a_file_and_in_a_folder() {
    let place = Place::new();
    let ids = place.write("ids.json", IDS);
    for kind in ["w8a8", "w4a8"] {
        let (file, folder) = (format!("{kind}.gguf"), format!("./{kind}"));
        place.text(&["convert", "mini", "-o", &file, "--type", kind]);
        place.text(&["convert", "mini", "-o", &folder, "--type", kind]);
        // Without a type, codes stay as they are.
        place.text(&["convert", &folder, "-o", "again.gguf", "--force"]);
        let first = logits(&place, &file, &ids);
        for model in [&folder, "again.gguf"] {
            let found = difference(&first, &logits(&place, model, &ids));
            assert!(found < 1e-5, "{kind} {model}: {found}");
        }
    }
    let shown = place.text(&["models", "show", "w4a8.gguf"]);
    assert!(shown.contains("w4a8") && shown.contains("q8_0"), "{shown}");
    let asked = place.crayon(&["ask", "-v", "-m", "w4a8.gguf", "--max-tokens", "4", "Hi"]).output().unwrap();
    assert!(stderr(&asked).contains("w4a8 weights: "), "{}", stderr(&asked));
}

#[test]
fn the_embedding_may_have_a_type_of_its_own() {
    let place = Place::new();
    let mut sizes = Vec::new();
    for (number, embeddings) in ["f32", "q8_0", "q5_0", "q4_0"].into_iter().enumerate() {
        let (file, folder) = (format!("{number}.gguf"), format!("./{number}"));
        place.text(&["convert", "mini", "-o", &file, "--type", "w4a8", "--embeddings", embeddings]);
        place.text(&["convert", "mini", "-o", &folder, "--type", "w4a8", "--embeddings", embeddings]);
        for model in [&file, &folder] {
            let shown = place.text(&["models", "show", model]);
            assert!(shown.contains("w4a8") && shown.contains(embeddings), "{shown}");
        }
        sizes.push(std::fs::metadata(place.path(&file)).unwrap().len());
    }
    assert!(sizes.is_sorted_by(|a, b| a > b), "{sizes:?}");
    // Beside floats, too: a folder keeps its matrices as floats.
    place.text(&["convert", "mini", "-o", "floats", "--type", "f16", "--embeddings", "q8_0"]);
    let shown = place.text(&["models", "show", "./floats"]);
    assert!(shown.contains("f16") && shown.contains("q8_0"), "{shown}");
    place.text(&["ask", "-m", "./floats", "--max-tokens", "4", "Hi"]);
    place.mistake(&["convert", "mini", "-o", "x", "--embeddings", "q9"], "\"q9\"", "q8_0");
    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/mini-clip");
    place.mistake(&["convert", clip, "-o", "x", "--embeddings", "q8_0"], "language models", "--type");
}

#[test]
fn tensors_that_stay_at_another_type_are_named() {
    let place = Place::new();
    let report = place.json(&["convert", "mini-gpt2", "-o", "k.gguf", "--type", "q4_k"]);
    let spec = place.json(&["models", "show", "mini-gpt2"]);
    let fallbacks = report["fallbacks"].as_array().unwrap();
    let whole_blocks =
        ["hidden", "intermediate"].iter().all(|key| spec[key].as_u64().unwrap().is_multiple_of(256));
    assert_eq!(fallbacks.is_empty(), whole_blocks, "{report}");
    for fallback in fallbacks {
        assert!(
            !fallback["cols"].as_u64().unwrap().is_multiple_of(256) && fallback["wanted"] == "q4_k",
            "{fallback}"
        );
    }
    // What was written opens and answers.
    assert!(!place.text(&["ask", "-m", "k.gguf", "--max-tokens", "4", "Hi"]).is_empty());
}

#[test]
fn the_converted_model_answers_like_the_first() {
    let place = Place::new();
    place.text(&["convert", "mini", "-o", "copy.gguf"]);
    let ask = |model: &str| place.text(&["ask", "-m", model, "--max-tokens", "24", "What is a dog?"]);
    assert_eq!(ask("mini"), ask("copy.gguf"));
}

#[test]
fn a_folder_made_from_a_gguf_file_reads_and_writes_text() {
    let place = Place::new();
    place.text(&["convert", "mini", "-o", "folder", "--type", "f32"]);
    let ask =
        |model: &str| place.text(&["ask", "-m", model, "--exact", "--max-tokens", "24", "What is a dog?"]);
    assert_eq!(ask("mini"), ask("./folder"));
    let story = place
        .write("story.txt", "Anna's 2 dogs ran 1,024 steps.\n\n  \"Oh no!\" <|end|> caf\u{e9} \u{1f600}\n");
    let story = story.to_str().unwrap();
    let scored = |model: &str| {
        place.json(&["eval", "perplexity", "--exact", "-m", model, "--text", story])["tokens"].clone()
    };
    assert_eq!(scored("mini"), scored("./folder"));
}

#[test]
fn nothing_is_overwritten_or_left_behind() {
    let place = Place::new();
    place.write("there.gguf", b"precious");
    place.mistake(&["convert", "mini", "-o", "there.gguf"], "there.gguf exists", "--force");
    place.mistake(&["convert", "mini", "-o", "x.gguf", "--type", "q9"], "\"q9\"", "q8_0");
    place.mistake(&["convert", "mini", "-o", "folder", "--type", "q8_0"], "q8_0", "GGUF");
    place.mistake(&["convert", "mini", "-o", "no/such/place.gguf"], "no/such/place.gguf", "");
    place.mistake(&["convert", "there.gguf", "-o", "y.gguf"], "there.gguf", "");
    assert_eq!(std::fs::read(place.path("there.gguf")).unwrap(), b"precious");
    let names: Vec<_> =
        std::fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["there.gguf"], "something was left behind");
    place.text(&["convert", "mini", "-o", "there.gguf", "--force"]);
    assert!(std::fs::metadata(place.path("there.gguf")).unwrap().len() > 1000);
}

#[cfg(unix)]
#[test]
fn an_output_that_is_no_file_is_written_through_or_refused() {
    use std::os::unix::fs::{FileTypeExt, symlink};

    let place = Place::new();
    place.write("target.gguf", b"old");
    symlink("target.gguf", place.path("link.gguf")).unwrap();
    symlink("later", place.path("folder")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(place.path("pipe")).status().unwrap();
    assert!(made.success());
    place.mistake(&["convert", "mini", "-o", "link.gguf"], "link.gguf exists", "--force");
    place.text(&["convert", "mini", "-o", "link.gguf", "--force"]);
    place.text(&["convert", "mini", "-o", "folder"]);
    place.text(&["convert", "mini", "-o", "/dev/null", "--format", "gguf"]);
    place.mistake(
        &["convert", "mini", "-o", "pipe", "--format", "gguf"],
        "no program reads from it",
        "another path",
    );
    place.mistake(&["convert", "mini", "-o", "pipe", "--force"], "pipe is a file", ".gguf");
    let kind = |name: &str| place.path(name).symlink_metadata().unwrap().file_type();
    assert!(kind("link.gguf").is_symlink() && kind("folder").is_symlink() && kind("pipe").is_fifo());
    assert!(kind("/dev/null").is_char_device());
    let ask = |model: &str| place.text(&["ask", "-m", model, "--max-tokens", "8", "What is a dog?"]);
    assert_eq!(ask("target.gguf"), ask("mini"));
    assert!(place.path("later/model.safetensors").is_file());
    assert_eq!(std::fs::read_dir(place.path(".")).unwrap().count(), 5, "something was left behind");
}

#[test]
fn stories260k_reproduces_its_recorded_text_word_for_word() {
    let Some(folder) = data("stories260K") else { return };
    let vector = std::fs::read_to_string(folder.join("GREEDY_VECTOR.txt")).unwrap();
    let field = |name: &str| vector.lines().find_map(|line| line.strip_prefix(name)).expect(name).trim();
    let prompt = field("prompt:").split("->").next().unwrap().trim();
    let expected = field("output:");
    let place = Place::new();
    let source = folder.join("stories260K.bin");
    for (target, kind) in [("stories.gguf", "f32"), ("stories", "f32")] {
        let output = place
            .crayon(&["convert", source.to_str().unwrap(), "-o", target, "--type", kind])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let source = source.to_str().unwrap();
    for model in [source, "stories.gguf"] {
        for exact in [&["--exact"][..], &[]] {
            let greedy = ["--temperature", "0", "--repetition-penalty", "1", "--max-tokens", "57"];
            let arguments = [&["ask", "--raw", "-m", model][..], &greedy, exact, &[prompt]].concat();
            let text = format!("{prompt}{}", place.text(&arguments));
            assert_eq!(text.trim_end(), expected, "{model} {exact:?}");
        }
    }
}
