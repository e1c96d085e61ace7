//! What is written in another format reads back as the same network.

mod common;

use common::{FIXTURES, data, fixture, open};
use crayon_formats::export::{ExportOptions, Notice, embedding_format, write_gguf, write_huggingface};
use crayon_formats::gguf::Gguf;
use crayon_formats::spec::{Family, Positions, RopeLayout, RopeScaling, Spec};
use crayon_formats::{Checkpoint, Format, TokenizerSource};
use serde_json::{Value, json};

fn exported(checkpoint: &Checkpoint, options: ExportOptions) -> (tempfile::TempDir, Checkpoint, Vec<Notice>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let mut notices = Vec::new();
    write_gguf(checkpoint, &path, options, &mut |notice| notices.push(notice))
        .unwrap_or_else(|error| panic!("{}: {error}", checkpoint.source.name));
    let read = Checkpoint::open(&path).unwrap_or_else(|error| panic!("{}: {error}", checkpoint.source.name));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file remains");
    (folder, read, notices)
}

fn same_tensors(a: &Checkpoint, b: &Checkpoint, tolerance: f32) {
    for (name, _) in a.spec.tensors() {
        let (left, right) = (a.tensor(&name).unwrap(), b.tensor(&name).unwrap());
        assert_eq!(left.shape, right.shape);
        for (x, y) in left.to_f32().iter().zip(right.to_f32()) {
            assert!((x - y).abs() <= tolerance, "{} {name}: {x} and {y}", a.source.name);
        }
    }
}

/// The description without what a GGUF file says in another way.
fn comparable(mut spec: Spec) -> Spec {
    if let Positions::Rope(rope) = &mut spec.positions {
        rope.layout = RopeLayout::Half;
        if matches!(rope.global.scaling, RopeScaling::Llama3 { .. } | RopeScaling::Factors { .. }) {
            rope.global.scaling = RopeScaling::None;
        }
        if let RopeScaling::Yarn { attention_factor, .. } = &mut rope.global.scaling {
            *attention_factor = (*attention_factor * 1e5).round() / 1e5;
        }
    }
    spec
}

#[test]
fn gguf_in_f32_and_back_to_a_folder_is_the_same_network() {
    let f32 = ExportOptions { weights: Some(Format::F32), embeddings: None };
    for name in FIXTURES {
        let original = open(name);
        let (_folder, gguf, _) = exported(&original, f32);
        assert_eq!(comparable(gguf.spec.clone()), comparable(original.spec.clone()), "{name}");
        let is_llama = matches!(original.spec.family, Family::Llama | Family::Mistral);
        if let Positions::Rope(rope) = &gguf.spec.positions {
            assert_eq!(rope.layout == RopeLayout::Interleaved, is_llama, "{name}");
        }
        let back = tempfile::tempdir().unwrap();
        write_huggingface(&gguf, back.path(), Format::F32, None, &mut |_| ())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let back = Checkpoint::open(back.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(comparable(back.spec.clone()), comparable(original.spec.clone()), "{name}");
        same_tensors(&original, &back, 1e-6);
    }
}

#[test]
fn rows_of_rotated_heads_are_reordered_for_llama_cpp() {
    let original = open("llama");
    let (_folder, gguf, _) = exported(&original, ExportOptions::default());
    let (half, dim) = (original.spec.head_dim / 2, original.spec.head_dim);
    let from = original.tensor("blk.1.attn_q.weight").unwrap();
    let to = gguf.tensor("blk.1.attn_q.weight").unwrap();
    for head in 0..original.spec.heads {
        for pair in 0..half {
            for (interleaved, halves) in [(2 * pair, pair), (2 * pair + 1, half + pair)] {
                let (to_row, from_row) = (head * dim + interleaved, head * dim + halves);
                assert_eq!(to.rows(to_row..to_row + 1).to_f32(), from.rows(from_row..from_row + 1).to_f32());
            }
        }
    }
    let v = "blk.1.attn_v.weight";
    assert_eq!(original.tensor(v).unwrap().to_f32(), gguf.tensor(v).unwrap().to_f32());
}

#[test]
fn llama3_scaling_becomes_divisors() {
    let (_folder, gguf, _) = exported(&open("llama-llama3"), ExportOptions::default());
    let Positions::Rope(rope) = &gguf.spec.positions else { panic!("a Llama rotates") };
    let RopeScaling::Factors { short, long, .. } = &rope.global.scaling else { panic!("{:?}", rope.global) };
    assert_eq!(short, long);
    assert_eq!(short.first(), Some(&1.0));
    assert!(short.windows(2).all(|pair| pair[0] <= pair[1]), "{short:?}");
    assert!(short.last().is_some_and(|last| *last > 1.0));
}

#[test]
fn gpt2_and_phi3_are_written_fused_as_llama_cpp_expects() {
    for (name, fused) in
        [("gpt2", vec!["attn_qkv.weight", "attn_qkv.bias"]), ("phi3", vec!["attn_qkv.weight"])]
    {
        let (folder, _, _) = exported(&open(name), ExportOptions::default());
        let gguf = Gguf::open(&folder.path().join("model.gguf")).unwrap();
        for part in fused {
            assert!(gguf.entry(&format!("blk.0.{part}")).is_some(), "{name} {part}");
        }
        assert!(gguf.entry("blk.0.attn_q.weight").is_none());
        assert!(gguf.entry("blk.0.ffn_gate.weight").is_none());
    }
}

#[test]
fn quantised_exports_stay_close_and_say_where_they_could_not() {
    // Wide enough for blocks of 32, so only K-quants fall back.
    let original = open("llama");
    let hidden = original.spec.hidden;
    for format in Format::ALL {
        let (_folder, gguf, notices) =
            exported(&original, ExportOptions { weights: Some(format), embeddings: None });
        let embedding = gguf.tensor("token_embd.weight").unwrap();
        let fits = format.row_bytes(hidden).is_some();
        assert_eq!(embedding.format == embedding_format(format), fits, "{format}");
        let told = notices.iter().any(|notice| {
            matches!(notice, Notice::Fallback { tensor, wanted, .. } if tensor == "token_embd.weight" && *wanted == format)
        });
        assert_eq!(told, !fits, "{format}");
        assert_eq!(gguf.tensor("output_norm.weight").unwrap().format, Format::F32);
        let (a, b) = (original.tensor("token_embd.weight").unwrap().to_f32(), embedding.to_f32());
        let error: f32 = a.iter().zip(&b).map(|(x, y)| (x - y).powi(2)).sum();
        let size: f32 = a.iter().map(|x| x * x).sum();
        assert!(error / size < 0.02, "{format}: relative squared error {}", error / size);
        assert_eq!(embedding.first_non_finite(), None);
    }
}

#[test]
fn a_second_export_keeps_quantised_weights_as_they_are() {
    let (_a, once, _) =
        exported(&open("qwen2"), ExportOptions { weights: Some(Format::Q8_0), embeddings: None });
    let (_b, twice, _) = exported(&once, ExportOptions::default());
    for (name, _) in once.spec.tensors() {
        let (left, right) = (once.tensor(&name).unwrap(), twice.tensor(&name).unwrap());
        assert_eq!(left.format, right.format, "{name}");
        assert_eq!(&left.data[..], &right.data[..], "{name}");
    }
}

#[test]
fn half_precision_folders() {
    let original = open("phi3");
    for format in [Format::F16, Format::BF16] {
        let folder = tempfile::tempdir().unwrap();
        write_huggingface(&original, folder.path(), format, None, &mut |_| ()).unwrap();
        let read = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(read.spec, original.spec);
        assert_eq!(read.bytes() * 2, original.bytes());
        same_tensors(&original, &read, 0.02);
    }
    let folder = tempfile::tempdir().unwrap();
    let error = write_huggingface(&original, folder.path(), Format::Q8_0, None, &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("q8_0"), "{error}");
}

#[test]
fn written_safetensors_satisfy_the_reference_reader() {
    let folder = tempfile::tempdir().unwrap();
    write_huggingface(&open("gpt2"), folder.path(), Format::F32, None, &mut |_| ()).unwrap();
    let bytes = std::fs::read(folder.path().join("model.safetensors")).unwrap();
    let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let original = std::fs::read(fixture("gpt2/model.safetensors")).unwrap();
    let original = safetensors::SafeTensors::deserialize(&original).unwrap();
    let name = "transformer.h.0.attn.c_attn.weight";
    assert_eq!(reference.tensor(name).unwrap().shape(), original.tensor(name).unwrap().shape());
    assert_eq!(reference.tensor(name).unwrap().data(), original.tensor(name).unwrap().data());
}

#[test]
fn a_llama_tokenizer_json_becomes_scores() {
    let Some(path) = data("tinystories656k") else { return };
    let original = Checkpoint::open(&path).unwrap();
    let (_folder, gguf, _) =
        exported(&original, ExportOptions { weights: Some(Format::Q8_0), embeddings: None });
    let TokenizerSource::Gguf(metadata) = &gguf.tokenizer else { panic!("no tokenizer") };
    assert_eq!(metadata.str("tokenizer.ggml.model").unwrap(), Some("llama"));
    assert_eq!(metadata.strings("tokenizer.ggml.tokens").unwrap().map(<[String]>::len), Some(2048));
    assert_eq!(metadata.f32s("tokenizer.ggml.scores").unwrap().map(<[f32]>::len), Some(2048));
    let kinds = metadata.i32s("tokenizer.ggml.token_type").unwrap().unwrap();
    assert_eq!(&kinds[..3], &[2, 3, 3]);
    assert_eq!(gguf.generation.eos, original.generation.eos);
    assert_eq!(gguf.generation.add_bos, Some(true));
}

#[test]
fn a_llama2c_checkpoint_becomes_gguf_and_a_folder() {
    let Some(path) = data("stories260K/stories260K.bin") else { return };
    let original = Checkpoint::open(&path).unwrap();
    let (_folder, gguf, _) = exported(&original, ExportOptions::default());
    assert_eq!(gguf.spec, original.spec);
    same_tensors(&original, &gguf, 0.0);
    let TokenizerSource::Gguf(metadata) = &gguf.tokenizer else { panic!("no tokenizer") };
    let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap();
    assert_eq!(tokens.len(), 512);
    assert!(tokens.contains(&"\u{2581}the".to_owned()));
    assert_eq!(metadata.i32s("tokenizer.ggml.token_type").unwrap().unwrap()[..4], [2, 3, 3, 6]);
    assert_eq!(gguf.generation, original.generation);
    let folder = tempfile::tempdir().unwrap();
    let mut warnings = 0;
    write_huggingface(&original, folder.path(), Format::F32, None, &mut |notice| {
        warnings += usize::from(matches!(notice, Notice::Warning(_)));
    })
    .unwrap();
    assert_eq!(warnings, 1);
    let back = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(comparable(back.spec), comparable(original.spec));
}

#[test]
fn gpt2_vocabulary_files_become_byte_level_bpe() {
    let Some(tokenizer) = data("tok_gpt2") else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture("gpt2").join(name), folder.path().join(name)).unwrap();
    }
    for name in ["vocab.json", "merges.txt"] {
        std::fs::copy(tokenizer.join(name), folder.path().join(name)).unwrap();
    }
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let (_out, gguf, notices) = exported(&checkpoint, ExportOptions::default());
    let TokenizerSource::Gguf(metadata) = &gguf.tokenizer else { panic!("no tokenizer") };
    assert_eq!(metadata.str("tokenizer.ggml.pre").unwrap(), Some("gpt-2"));
    assert_eq!(metadata.strings("tokenizer.ggml.merges").unwrap().map(<[String]>::len), Some(50000));
    // The small network has fewer rows than GPT-2 has tokens.
    assert!(
        notices
            .iter()
            .any(|notice| matches!(notice, Notice::Warning(what) if what.contains("beyond the rows")))
    );
}

/// The fixture `llama` with a tokenizer file beside it.
fn with_tokenizer(name: &str, bytes: &[u8]) -> (tempfile::TempDir, Checkpoint) {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture("llama").join(file), folder.path().join(file)).unwrap();
    }
    std::fs::write(folder.path().join(name), bytes).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    (folder, checkpoint)
}

fn byte_level(regex: &str) -> String {
    serde_json::json!({
        "added_tokens": [
            {"id": 0, "content": "<end>", "special": true},
            {"id": 5, "content": "<tool>", "special": false},
        ],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated"},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        ]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<end>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<end>": {"id": "<end>", "ids": [0], "tokens": ["<end>"]}},
        },
        "model": {"type": "BPE", "vocab": {"<end>": 0, "a": 1, "b": 2, "\u{120}": 3, "ab": 4}, "merges": [["a", "b"]]},
    })
    .to_string()
}

#[test]
fn a_byte_level_tokenizer_json_keeps_tokens_kinds_merges_and_split() {
    const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let (_source, checkpoint) = with_tokenizer("tokenizer.json", byte_level(QWEN2).as_bytes());
    let (_folder, gguf, _) = exported(&checkpoint, ExportOptions::default());
    let TokenizerSource::Gguf(metadata) = &gguf.tokenizer else { panic!("no tokenizer") };
    assert_eq!(metadata.str("tokenizer.ggml.model").unwrap(), Some("gpt2"));
    assert_eq!(metadata.str("tokenizer.ggml.pre").unwrap(), Some("qwen2"));
    assert_eq!(metadata.strings("tokenizer.ggml.merges").unwrap(), Some(["a b".to_owned()].as_slice()));
    let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap();
    assert_eq!(tokens.len(), gguf.spec.vocab, "padded to the rows of the embedding");
    assert_eq!(tokens[..7], ["<end>", "a", "b", "\u{120}", "ab", "<tool>", "[PAD6]"]);
    assert_eq!(metadata.i32s("tokenizer.ggml.token_type").unwrap().unwrap()[..7], [3, 1, 1, 1, 1, 4, 5]);
    assert_eq!(gguf.generation.add_bos, Some(true));

    let (_source, checkpoint) = with_tokenizer("tokenizer.json", byte_level(r"\w+|\W+").as_bytes());
    let (_folder, gguf, notices) = exported(&checkpoint, ExportOptions::default());
    let TokenizerSource::Gguf(metadata) = &gguf.tokenizer else { panic!("no tokenizer") };
    assert_eq!(metadata.str("tokenizer.ggml.pre").unwrap(), Some("default"));
    assert!(metadata.str("tokenizer.huggingface.json").unwrap().is_some());
    assert!(
        notices
            .iter()
            .any(|notice| matches!(notice, Notice::Warning(what) if what.contains("words are cut")))
    );
}

#[test]
fn a_sentencepiece_model_keeps_pieces_scores_and_kinds() {
    let piece = |text: &str, score: f32, kind: u8| {
        let mut inner = vec![0x0a, text.len() as u8];
        inner.extend_from_slice(text.as_bytes());
        inner.push(0x15);
        inner.extend_from_slice(&score.to_le_bytes());
        inner.extend_from_slice(&[0x18, kind]);
        [[0x0a, inner.len() as u8].as_slice(), &inner].concat()
    };
    // Pieces, then a trainer of type BPE, then a normalizer without a space in front.
    let mut model = [piece("<unk>", 0.0, 2), piece("<0x41>", 0.0, 6), piece("\u{2581}a", -1.5, 1)].concat();
    model.extend_from_slice(&[0x12, 2, 0x18, 2, 0x1a, 2, 0x18, 0]);
    let (_source, checkpoint) = with_tokenizer("tokenizer.model", &model);
    let (_folder, gguf, _) = exported(&checkpoint, ExportOptions::default());
    let TokenizerSource::Gguf(metadata) = &gguf.tokenizer else { panic!("no tokenizer") };
    assert_eq!(metadata.str("tokenizer.ggml.model").unwrap(), Some("llama"));
    assert_eq!(
        metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap()[..3],
        ["<unk>", "<0x41>", "\u{2581}a"]
    );
    assert_eq!(metadata.f32s("tokenizer.ggml.scores").unwrap().unwrap()[..3], [0.0, 0.0, -1.5]);
    assert_eq!(metadata.i32s("tokenizer.ggml.token_type").unwrap().unwrap()[..3], [2, 6, 1]);
    assert_eq!(metadata.bool("tokenizer.ggml.add_space_prefix").unwrap(), Some(false));
    assert_eq!(metadata.u32("tokenizer.ggml.unknown_token_id").unwrap(), Some(0));

    let (_source, checkpoint) = with_tokenizer("tokenizer.model", b"not one");
    let path = tempfile::tempdir().unwrap();
    let path = path.path().join("model.gguf");
    let error = write_gguf(&checkpoint, &path, ExportOptions::default(), &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("not a SentencePiece model"), "{error}");
    assert!(!path.exists());
}

/// Rules that GGUF has no keys for keep the whole file, and are told; others need no such thing.
#[test]
fn tokenizer_rules_are_kept_or_told() {
    const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let bytes = || {
        let mut json: Value = serde_json::from_str(&byte_level(QWEN2)).unwrap();
        json["normalizer"] = Value::Null;
        json["model"]["ignore_merges"] = json!(false);
        json
    };
    // Letters with the tokens of bytes, every pair merged; blanks are `\u{2581}` after normalising.
    let characters = || {
        json!({
            "added_tokens": [], "post_processor": null,
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "\u{2581}"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
            ]},
            "pre_tokenizer": null,
            "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>",
                "vocab": {"<unk>": 0, "<0x41>": 1, "\u{2581}": 2, "a": 3, "b": 4, "ab": 5}, "merges": [["a", "b"]]},
        })
    };
    let check = |mut json: Value, path: &str, value: Value, told: Option<&str>| {
        *json.pointer_mut(path).unwrap() = value;
        let (_source, checkpoint) = with_tokenizer("tokenizer.json", json.to_string().as_bytes());
        let (_folder, gguf, notices) = exported(&checkpoint, ExportOptions::default());
        let TokenizerSource::Gguf(metadata) = &gguf.tokenizer else { panic!("no tokenizer") };
        let kept = metadata.str("tokenizer.huggingface.json").unwrap();
        assert_eq!(kept.is_some(), told.is_some(), "{path} {notices:?}");
        let warnings: Vec<&String> = notices
            .iter()
            .filter_map(|notice| if let Notice::Warning(what) = notice { Some(what) } else { None })
            .collect();
        assert_eq!(warnings.len(), usize::from(told.is_some()), "{path} {warnings:?}");
        if let (Some(told), Some(kept)) = (told, kept) {
            assert!(
                warnings[0].contains(told) && warnings[0].contains("GGUF has no keys"),
                "{}",
                warnings[0]
            );
            // A folder made of it has the file again.
            assert_eq!(serde_json::from_str::<Value>(kept).unwrap(), json);
            let back = tempfile::tempdir().unwrap();
            write_huggingface(&gguf, back.path(), Format::F32, None, &mut |_| {}).unwrap();
            let again = std::fs::read(back.path().join("tokenizer.json")).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&again).unwrap(), json);
        }
    };
    let token = |key: &str| json!([{"id": 0, "content": "<end>", "special": true, key: true}]);
    let nfc = json!({"type": "NFC"});
    check(bytes(), "/added_tokens", token("special"), None);
    check(bytes(), "/normalizer", nfc.clone(), Some("normalised"));
    check(bytes(), "/added_tokens", token("lstrip"), Some("swallow blanks"));
    check(bytes(), "/added_tokens", token("single_word"), Some("whole words"));
    check(bytes(), "/model/ignore_merges", json!(true), Some("whole words"));
    check(characters(), "/added_tokens", json!([]), None);
    check(characters(), "/normalizer", nfc, Some("normalised"));
    check(characters(), "/added_tokens", token("rstrip"), Some("swallow blanks"));
    check(characters(), "/model/byte_fallback", json!(false), Some("single bytes"));
    check(characters(), "/model/merges", json!([]), Some("pairs"));
    let metaspace = |scheme: &str, split: bool| json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": split});
    check(characters(), "/pre_tokenizer", metaspace("never", false), None);
    check(characters(), "/pre_tokenizer", metaspace("never", true), Some("blanks in front"));
    check(characters(), "/pre_tokenizer", metaspace("first", false), Some("blanks in front"));
    check(characters(), "/pre_tokenizer", json!({"type": "Whitespace"}), Some("words are cut"));
}

/// Tokens that only tokenizer_config.json knows of go along, and settings without keys are told.
#[test]
fn what_stands_beside_a_tokenizer_goes_along() {
    let (source, _) = with_tokenizer("tokenizer.json", byte_level(r"\w+|\W+").as_bytes());
    let beside = json!({
        "added_tokens_decoder": {"6": {"content": "<turn>", "special": true}, "7": {"content": "[x]"}},
        "pad_token": "ab", "eos_token": "\u{120}",
    });
    std::fs::write(source.path().join("tokenizer_config.json"), beside.to_string()).unwrap();
    let path = source.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["eos_token_id"] = Value::Null;
    std::fs::write(&path, config.to_string()).unwrap();
    let settings = json!({"temperature": 0.7, "suppress_tokens": [3], "no_repeat_ngram_size": 2});
    std::fs::write(source.path().join("generation_config.json"), settings.to_string()).unwrap();
    let checkpoint = Checkpoint::open(source.path()).unwrap();
    let (_folder, gguf, notices) = exported(&checkpoint, ExportOptions::default());
    let TokenizerSource::Gguf(metadata) = &gguf.tokenizer else { panic!("no tokenizer") };
    let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap();
    assert_eq!(tokens[6..8], ["<turn>", "[x]"]);
    assert_eq!(metadata.i32s("tokenizer.ggml.token_type").unwrap().unwrap()[..8], [3, 1, 1, 1, 1, 4, 3, 4]);
    let whole: Value =
        serde_json::from_str(metadata.str("tokenizer.huggingface.json").unwrap().unwrap()).unwrap();
    let contents: Vec<&str> = whole["added_tokens"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|token| token["content"].as_str())
        .collect();
    assert!(contents.contains(&"<turn>") && contents.contains(&"[x]"), "{contents:?}");
    assert_eq!(metadata.u32("tokenizer.ggml.eos_token_id").unwrap(), Some(3));
    let told = |part: &str| {
        notices.iter().any(|notice| matches!(notice, Notice::Warning(what) if what.contains(part)))
    };
    assert!(told("sampling settings, suppress_tokens, no_repeat_ngram_size"), "{notices:?}");
}
