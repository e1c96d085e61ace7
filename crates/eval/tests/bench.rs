//! The speed measurement on a shape small enough for a test.

mod common;

use crayon_engine::Settings;
use crayon_errors::Explain as _;
use crayon_eval::bench::{GenerateOptions, MadeUp, SCHEMES, Scheme, Shape, Subject, generate};
use crayon_formats::{Checkpoint, Format};

const TINY: Shape = Shape {
    name: "tiny-test",
    arch: "qwen2",
    vocab: 600,
    hidden: 256,
    layers: 2,
    heads: 4,
    kv_heads: 2,
    intermediate: 512,
    context: 128,
    rope_theta: 1e4,
};

fn options() -> GenerateOptions {
    let settings = Settings { threads: Some(2), ..Settings::default() };
    GenerateOptions { prompt: 20, tokens: 8, context: Some(40), runs: 2, settings }
}

/// Held while there are files that [`left_over`] finds: tests of one process run beside each other.
static FILES: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn left_over() -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|entry| entry.path());
    let own = format!("-{}.gguf", std::process::id());
    entries
        .filter(|path| path.to_string_lossy().contains("tiny-test") && path.to_string_lossy().ends_with(&own))
        .collect()
}

#[test]
fn a_made_up_shape_is_timed_and_leaves_no_file() {
    let _held = FILES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut calls = Vec::new();
    let mut watch = |done, total| {
        calls.push((done, total));
        std::ops::ControlFlow::Continue(())
    };
    let subject = Subject::Shape(TINY, Scheme::new(Format::Q8_0));
    let bench = generate(&subject, &options(), &mut watch).unwrap();
    assert_eq!(calls, [(1, 3), (2, 3), (3, 3)]);
    assert_eq!((bench.model.as_str(), bench.scheme, bench.threads), ("tiny-test", "q8_0", 2));
    let [slow, fast] = bench.spread.prefill_tok_s;
    assert!(slow > 0.0 && slow <= bench.prefill_tok_s && bench.prefill_tok_s <= fast);
    assert!(bench.decode_tok_s > 0.0 && bench.ttft_ms > 0.0 && bench.load_ms > 0.0);
    // Two layers, two heads of 64, keys and values, f16, 40 slots.
    assert_eq!(bench.kv_bytes, 2 * 2 * 64 * 2 * 2 * 40);
    let json = serde_json::to_value(&bench).unwrap();
    for key in ["prefill_tok_s", "decode_tok_s", "ttft_ms", "load_ms", "weight_bytes"] {
        assert!(json[key].is_number(), "{key}: {json}");
    }
    for key in ["bandwidth_gb_s", "decode_share", "int8_gops", "prefill_share"] {
        assert!(json["limit"][key].as_f64().is_some_and(|value| value > 0.0), "{key}: {json}");
    }
    assert!(left_over().is_empty(), "{:?}", left_over());
}

#[test]
fn every_scheme_of_every_architecture_opens_and_computes_numbers() {
    let folder = tempfile::tempdir().unwrap();
    for arch in ["qwen2", "llama", "gpt2"] {
        for scheme in SCHEMES {
            let shape = Shape { arch, kv_heads: if arch == "gpt2" { 4 } else { 2 }, ..TINY };
            let file = MadeUp::write(folder.path(), &shape, scheme).unwrap();
            let checkpoint = Checkpoint::open(file.path()).unwrap();
            assert_eq!(checkpoint.tensor("blk.1.ffn_down.weight").unwrap().format.name(), scheme.name());
            let name = format!("{arch} {}", scheme.name());
            let engine =
                crayon_engine::Engine::from_checkpoint(name.clone(), checkpoint, &Settings::default())
                    .unwrap();
            let logits = crayon_eval::logits(&engine, &[1, 5, 9], true).unwrap().logits;
            let largest = logits.iter().flatten().fold(0f32, |largest, value| largest.max(value.abs()));
            assert!((0.01..100.0).contains(&largest), "{name}: {largest}");
        }
    }
}

#[test]
fn made_up_files_are_the_same_each_time_and_go_when_dropped() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let scheme = Scheme::new(Format::Q4K);
    let first = MadeUp::write(one.path(), &TINY, scheme).unwrap();
    let second = MadeUp::write(two.path(), &TINY, scheme).unwrap();
    assert_eq!(std::fs::read(first.path()).unwrap(), std::fs::read(second.path()).unwrap());
    let path = first.path().to_owned();
    drop(first);
    assert!(!path.exists());
    let kept = second.keep();
    assert!(kept.exists());
}

#[test]
fn a_prompt_beyond_the_context_is_refused() {
    let _held = FILES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let options = GenerateOptions { prompt: 500, context: None, ..options() };
    let subject = Subject::Shape(TINY, Scheme::new(Format::F16));
    let error = generate(&subject, &options, &mut common::go_on).unwrap_err();
    assert!(error.is_mistake() && error.to_string().contains("508"), "{error}");
    assert!(left_over().is_empty());
}
