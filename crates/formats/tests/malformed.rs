//! Damaged, hostile and foreign files: what is said about each.

mod common;

use std::path::Path;

use common::{fixture, tiny_gguf, tiny_metadata, tiny_tensors};
use crayon_errors::Explain as _;
use crayon_formats::gguf::{Gguf, Metadata, to_bytes};
use crayon_formats::huggingface::spec_from_config;
use crayon_formats::llama2c::{Llama2c, Tokenizer};
use crayon_formats::safetensors::{SafeTensors, open_index};
use crayon_formats::{Bytes, Checkpoint, Error, Format, Result, Tensor};

/// The error says what it should and names the file.
#[track_caller]
fn says<T>(result: Result<T>, file: &str, parts: &[&str]) -> Error {
    let Err(error) = result else { panic!("was accepted; expected {parts:?}") };
    let text = error.to_string();
    assert!(text.contains(file), "{text:?} does not name {file}");
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
    assert!(text.len() < 600, "too long to read: {text}");
    error
}

#[track_caller]
fn hints(error: &Error, part: &str) {
    assert!(error.hint().is_some_and(|hint| hint.contains(part)), "{error}: hint {:?}", error.hint());
}

fn gguf(bytes: Vec<u8>) -> Result<Gguf> {
    Gguf::from_bytes("x.gguf", bytes.into())
}

fn model(metadata: &Metadata) -> Result<Checkpoint> {
    let bytes = to_bytes("x.gguf", metadata, &tiny_tensors()).unwrap();
    Checkpoint::from_gguf("x.gguf", bytes.into())
}

/// The file with `change` applied to the bytes that follow the first occurrence of `name`.
fn after(name: &str, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = tiny_gguf();
    let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap() + name.len();
    change(&mut bytes[at..]);
    bytes
}

#[test]
fn the_tiny_file_itself_is_fine() {
    let checkpoint = Checkpoint::from_gguf("x.gguf", tiny_gguf().into()).unwrap();
    assert_eq!(checkpoint.spec.parameters() * 4, checkpoint.bytes());
}

#[test]
fn gguf_headers() {
    let error = says(gguf(Vec::new()), "x.gguf", &["does not start with `GGUF`"]);
    hints(&error, "config.json");
    says(gguf(b"GGML____".to_vec()), "x.gguf", &["does not start with `GGUF`"]);
    says(gguf(b"GGUF".to_vec()), "x.gguf", &["ends in the middle of the version"]);
    let version = |version: [u8; 4]| gguf([b"GGUF".as_slice(), &version, &[0; 16]].concat());
    says(version([1, 0, 0, 0]), "x.gguf", &["version 1", "no longer read"]);
    says(version([0, 0, 0, 3]), "x.gguf", &["big-endian"]);
    says(version([9, 0, 0, 0]), "x.gguf", &["version 9", "versions 2 and 3"]);
    let counts = |tensors: u64, pairs: u64| {
        gguf([b"GGUF\x03\0\0\0".as_slice(), &tensors.to_le_bytes(), &pairs.to_le_bytes(), &[0; 64]].concat())
    };
    says(counts(u64::MAX, 0), "x.gguf", &["the number of tensors is given as 18446744073709551615"]);
    says(counts(0, 1 << 40), "x.gguf", &["the number of metadata entries is given as 1099511627776"]);
}

#[test]
fn gguf_metadata() {
    let key = "llama.context_length";
    says(gguf(after(key, |rest| rest[0] = 77)), "x.gguf", &[key, "unknown value type 77"]);
    says(
        gguf(after("general.architecture", |rest| rest[4..12].fill(0xff))),
        "x.gguf",
        &["general.architecture", "the length of its value is given as", "can hold"],
    );
    says(
        gguf(after("general.architecture", |rest| rest[12] = 0xff)),
        "x.gguf",
        &["general.architecture", "not UTF-8"],
    );
    says(
        gguf(after("tokenizer.ggml.scores", |rest| rest[8..16].fill(0x7f))),
        "x.gguf",
        &["tokenizer.ggml.scores", "the length of its value is given as"],
    );
    says(
        gguf(after("tokenizer.ggml.tokens", |rest| rest[4] = 99)),
        "x.gguf",
        &["tokenizer.ggml.tokens", "array of unknown type 99"],
    );
    // A second key of the same name: rename one of equal length.
    let mut bytes = tiny_gguf();
    let name = b"llama.context_length";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    let twin = b"llama.embedding_length";
    let twin_at = bytes.windows(twin.len()).position(|window| window == twin).unwrap();
    bytes[twin_at - 8] = name.len() as u8;
    bytes.splice(twin_at..twin_at + twin.len(), name.iter().copied());
    assert!(at < twin_at);
    says(gguf(bytes), "x.gguf", &["llama.context_length", "appears twice"]);
    // Arrays inside arrays without end.
    let mut deep = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0k\x09\0\0\0".to_vec();
    for _ in 0..1000 {
        deep.extend_from_slice(b"\x09\0\0\0\x01\0\0\0\0\0\0\0");
    }
    says(gguf(deep), "x.gguf", &["`k`", "nests arrays deeper than"]);
    let mut metadata = tiny_metadata();
    metadata.insert("general.alignment", 3u32);
    // The writer leaves the alignment out, so put it into the bytes under another name of the same length.
    let mut renamed = tiny_metadata();
    renamed.insert("general.alignmenX", 3u32);
    let mut bytes = to_bytes("x.gguf", &renamed, &tiny_tensors()).unwrap();
    let at = bytes.windows(17).position(|window| window == b"general.alignmenX").unwrap();
    bytes[at + 16] = b't';
    says(gguf(bytes), "x.gguf", &["general.alignment", "3 is not a power of two"]);
}

#[test]
fn gguf_tensor_tables() {
    let name = "blk.0.attn_q.weight";
    // After the name: dims u32, sizes u64 each, type u32, offset u64.
    let error =
        says(gguf(after(name, |rest| rest[20] = 10)), "x.gguf", &[name, "type 10 (Q2_K)", "not supported"]);
    hints(&error, "q4_k");
    says(gguf(after(name, |rest| rest[20] = 200)), "x.gguf", &[name, "type 200 (unknown)"]);
    says(gguf(after(name, |rest| rest[0] = 9)), "x.gguf", &[name, "9 dimensions"]);
    says(gguf(after(name, |rest| rest[4..12].fill(0xff))), "x.gguf", &[name]);
    says(gguf(after(name, |rest| rest[4..12].fill(0))), "x.gguf", &[name, "a dimension of 0 values"]);
    says(gguf(after(name, |rest| rest[11] = 0x40)), "x.gguf", &[name, "too large"]);
    says(gguf(after(name, |rest| rest[20] = 8)), "x.gguf", &[name, "whole blocks of 32"]);
    says(gguf(after(name, |rest| rest[24] += 1)), "x.gguf", &[name, "not a multiple of the alignment 32"]);
    says(gguf(after(name, |rest| rest[30] = 0x7f)), "x.gguf", &[name, "but the file holds"]);
    says(gguf(after(name, |rest| rest[24..32].fill(0))), "x.gguf", &["overlaps tensor"]);
    let mut bytes = tiny_gguf();
    bytes.truncate(bytes.len() - 64);
    says(gguf(bytes), "x.gguf", &["blk.0.ffn_down.weight", "but the file holds"]);
    let twice = after("blk.0.attn_k", |_| ());
    let text = String::from_utf8_lossy(&twice).into_owned();
    assert!(text.contains("blk.0.attn_v"));
    let mut bytes = tiny_gguf();
    let at = bytes.windows(12).position(|window| window == b"blk.0.attn_v").unwrap();
    bytes[at + 11] = b'k';
    says(gguf(bytes), "x.gguf", &["blk.0.attn_k.weight", "appears twice"]);
}

#[test]
fn gguf_networks() {
    let with = |key: &str, value: u32| {
        let mut metadata = tiny_metadata();
        metadata.insert(key, value);
        model(&metadata)
    };
    let mut metadata = tiny_metadata();
    metadata.insert("general.architecture", "mamba");
    let error = says(model(&metadata), "x.gguf", &["general.architecture", "`mamba` is not supported"]);
    hints(&error, "qwen3");
    says(model(&Metadata::new("x.gguf")), "x.gguf", &["general.architecture", "is missing"]);
    says(with("llama.block_count", 0), "x.gguf", &["llama.block_count", "0 layers"]);
    says(with("llama.block_count", u32::MAX), "x.gguf", &["llama.block_count", "4294967295 layers"]);
    says(with("llama.attention.head_count", 0), "x.gguf", &["0 heads"]);
    says(with("llama.attention.head_count", 3), "x.gguf", &["3 heads do not divide"]);
    says(with("llama.attention.head_count_kv", 0), "x.gguf", &["the number of key and value heads is 0"]);
    says(with("llama.expert_count", 8), "x.gguf", &["llama.expert_count", "mixture-of-experts"]);
    says(with("llama.embedding_length", u32::MAX - 1), "x.gguf", &["4294967294"]);
    says(with("llama.rope.dimension_count", 5), "x.gguf", &["5 rotary dimensions"]);
    says(with("llama.attention.value_length", 2), "x.gguf", &["value_length", "differs from the key length"]);
    let error = says(with("llama.block_count", 2), "x.gguf", &["blk.1.attn_norm.weight", "is missing"]);
    hints(&error, "incomplete");
    let error = says(
        with("llama.feed_forward_length", 16),
        "x.gguf",
        &["blk.0.ffn_gate.weight", "[12, 8]", "asks for [16, 8]"],
    );
    hints(&error, "different models");
    let mut metadata = tiny_metadata();
    metadata.insert("llama.context_length", "long");
    says(model(&metadata), "x.gguf", &["llama.context_length", "should be an integer, is a string"]);
    let mut metadata = tiny_metadata();
    metadata.insert("llama.attention.layer_norm_rms_epsilon", f32::NAN);
    says(model(&metadata), "x.gguf", &["epsilon"]);
    let bytes = to_bytes("x.gguf", &tiny_metadata(), &[]).unwrap();
    let error =
        says(Checkpoint::from_gguf("x.gguf", bytes.into()), "x.gguf", &["vocabulary only, no weights"]);
    hints(&error, "full model file");
}

fn safe(header: &str, data: usize) -> Result<SafeTensors> {
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat();
    SafeTensors::from_bytes("x.safetensors", bytes.into())
}

#[test]
fn safetensors_tables() {
    let file = "x.safetensors";
    says(SafeTensors::from_bytes(file, Bytes::from_static(b"abc")), file, &["3 bytes, too few"]);
    let huge = [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat();
    says(SafeTensors::from_bytes(file, huge.into()), file, &["claims a table of 18446744073709551615 bytes"]);
    says(safe("{", 0), file, &["table of tensors is not valid"]);
    says(safe("[]", 0), file, &["table of tensors is not valid"]);
    says(safe("\u{0}", 0), file, &["not valid"]);
    says(
        safe(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 4),
        file,
        &["`a`", "bytes 0 to 8", "holds 4"],
    );
    says(
        safe(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
        file,
        &["`a`", "does not fit its 8 bytes"],
    );
    says(
        safe(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8),
        file,
        &["`a`", "bytes 8 to 0"],
    );
    says(
        safe(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#, 8),
        file,
        &["`a`", "too large"],
    );
    says(safe(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}}"#, 8), file, &["`a`", "not valid"]);
    says(safe(r#"{"a":{"dtype":"F32","shape":[1e30],"data_offsets":[0,8]}}"#, 8), file, &["`a`"]);
    says(safe(r#"{"a":{"shape":[2],"data_offsets":[0,8]}}"#, 8), file, &["`a`", "dtype"]);
    says(
        safe(r#"{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#, 4),
        file,
        &["9 dimensions"],
    );
    let two =
        |second: &str| format!(r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},{second}}}"#);
    says(
        safe(&two(r#""a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}"#), 16),
        file,
        &["`a` appears twice"],
    );
    says(
        safe(&two(r#""b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}"#), 12),
        file,
        &["`b`", "overlaps"],
    );
    says(safe(&two(r#""b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}"#), 16), file, &["`b`", "gap"]);
    says(
        safe(&two(r#""b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}"#), 20),
        file,
        &["8 bytes behind"],
    );
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    says(safe(&format!(r#"{{"a":{deep}}}"#), 0), file, &["not valid"]);
    let eight = safe(r#"{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#, 2).unwrap();
    let error = says(eight.tensor("a"), file, &["`a`", "F8_E4M3", "not supported"]);
    hints(&error, "bf16");
    assert!(eight.tensor("b").unwrap().is_none());
}

fn index(json: &str) -> Result<Vec<SafeTensors>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors.index.json");
    std::fs::write(&path, json).unwrap();
    std::fs::copy(fixture("llama/model.safetensors"), folder.path().join("one.safetensors")).unwrap();
    open_index(&path)
}

#[test]
fn safetensors_indices() {
    let file = "model.safetensors.index.json";
    says(index("{"), file, &["not a valid index"]);
    says(index("{}"), file, &["weight_map"]);
    says(index(r#"{"weight_map":{"a":"../x"}}"#), file, &["`a`", "not a file of this folder"]);
    says(index(r#"{"weight_map":{"a":"/etc/passwd"}}"#), file, &["`a`", "not a file of this folder"]);
    let error = says(
        index(r#"{"weight_map":{"a":"two.safetensors"}}"#),
        file,
        &["`a`", "two.safetensors", "not there"],
    );
    hints(&error, "incomplete");
    says(index(r#"{"weight_map":{"a":"one.safetensors"}}"#), file, &["`a`", "does not hold it"]);
    says(index(r#"{"weight_map":{"a":"x","a":"y"}}"#), file, &["`a` appears twice"]);
    assert_eq!(index(r#"{"weight_map":{"lm_head.weight":"one.safetensors"}}"#).unwrap().len(), 1);
}

/// The configuration of a fixture with one key replaced.
fn config(name: &str, key: &str, value: serde_json::Value) -> Result<crayon_formats::spec::Spec> {
    let text = std::fs::read(fixture(name).join("config.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    json[key] = value;
    spec_from_config("config.json", json.to_string().as_bytes())
}

#[test]
fn configurations() {
    use serde_json::json;
    let file = "config.json";
    says(spec_from_config(file, b""), file, &["not valid JSON"]);
    says(spec_from_config(file, b"[1]"), file, &["not valid JSON"]);
    says(spec_from_config(file, &[0xff, 0xfe]), file, &["not valid JSON"]);
    says(spec_from_config(file, b"{}"), file, &["model_type", "is missing"]);
    let error =
        says(config("llama", "model_type", json!("bert")), file, &["model_type", "`bert` is not supported"]);
    hints(&error, "phi3");
    says(config("llama", "hidden_size", json!(-4)), file, &["hidden_size", "whole number", "-4"]);
    says(config("llama", "hidden_size", json!("big")), file, &["hidden_size"]);
    says(
        config("llama", "num_hidden_layers", json!(1e12)),
        file,
        &["num_hidden_layers", "1000000000000 layers"],
    );
    says(config("llama", "num_attention_heads", json!(0)), file, &["0"]);
    says(config("llama", "num_key_value_heads", json!(3)), file, &["cannot share"]);
    says(config("llama", "vocab_size", json!(u64::MAX)), file, &["vocabulary size"]);
    says(config("llama", "rms_norm_eps", json!("x")), file, &["rms_norm_eps"]);
    says(config("llama", "hidden_act", json!("relu6")), file, &["hidden_act", "relu6"]);
    says(config("llama", "rope_scaling", json!({"rope_type": "magic"})), file, &["rope_type", "magic"]);
    says(config("llama", "rope_scaling", json!({"rope_type": "linear"})), file, &["factor", "is missing"]);
    says(config("llama", "rope_scaling", json!({"rope_type": "linear", "factor": 0})), file, &["factor 0"]);
    says(config("llama", "rope_scaling", json!([])), file, &["rope_scaling", "should be an object"]);
    says(
        config("llama", "rope_parameters", json!({"partial_rotary_factor": 0.5})),
        file,
        &["partial_rotary_factor"],
    );
    says(
        config("gemma3", "layer_types", json!(["full_attention"])),
        file,
        &["layer_types", "lists 1 layers"],
    );
    says(config("gemma2", "sliding_window", json!(0)), file, &["sliding window of 0"]);
    says(
        config("gpt2", "scale_attn_by_inverse_layer_idx", json!(true)),
        file,
        &["scale_attn_by_inverse_layer_idx"],
    );
    says(
        config(
            "phi3-longrope",
            "rope_parameters",
            json!({"rope_type": "longrope", "short_factor": [1], "long_factor": [1]}),
        ),
        file,
        &["1 short factors for"],
    );
    // Dynamic scaling changes nothing within the trained context.
    assert!(config("llama", "rope_scaling", json!({"rope_type": "dynamic", "factor": 4.0})).is_ok());
}

fn folder_of(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture(name).join(file), folder.path().join(file)).unwrap();
    }
    folder
}

#[test]
fn folders() {
    let error = says(Checkpoint::open(Path::new("no/such/model")), "no/such/model", &["cannot open"]);
    hints(&error, "spelling");
    let empty = tempfile::tempdir().unwrap();
    says(Checkpoint::open(empty.path()), "", &["no config.json and no .gguf"]);
    std::fs::write(empty.path().join("a.gguf"), tiny_gguf()).unwrap();
    assert_eq!(Checkpoint::open(empty.path()).unwrap().spec.vocab, 4);
    std::fs::write(empty.path().join("b.gguf"), tiny_gguf()).unwrap();
    let error = says(Checkpoint::open(empty.path()), "", &["several models: a.gguf, b.gguf"]);
    hints(&error, "one of these");

    let folder = folder_of("llama");
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let error = says(Checkpoint::open(folder.path()), "", &["no .safetensors file"]);
    hints(&error, "incomplete");
    std::fs::write(folder.path().join("pytorch_model.bin"), b"PK").unwrap();
    let error = says(Checkpoint::open(folder.path()), "", &["no .safetensors file"]);
    hints(&error, "can run code");

    let folder = folder_of("llama");
    std::fs::copy(fixture("qwen3/model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    says(Checkpoint::open(folder.path()), "model", &["tensor `"]);

    let folder = folder_of("llama");
    let path = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
    let error =
        says(Checkpoint::open(folder.path()), "model.safetensors", &["tensor `", "but the file holds"]);
    hints(&error, "damaged or was cut short");
    let error = says(Checkpoint::open(&path), "model.safetensors", &["tensors only"]);
    hints(&error, "folder");

    let folder = folder_of("llama");
    std::fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id":"two"}"#).unwrap();
    says(Checkpoint::open(folder.path()), "generation_config.json", &["eos_token_id", "\"two\""]);
    std::fs::write(folder.path().join("generation_config.json"), "{").unwrap();
    says(Checkpoint::open(folder.path()), "generation_config.json", &["not valid JSON"]);

    let text = empty.path().join("notes.txt");
    std::fs::write(&text, "hello").unwrap();
    says(Checkpoint::open(&text), "notes.txt", &["not a model file"]);
}

#[test]
fn a_missing_tensor_is_named() {
    let folder = folder_of("llama");
    let path = folder.path().join("model.safetensors");
    let file = SafeTensors::open(&path).unwrap();
    let gone = "model.layers.1.mlp.up_proj.weight";
    let kept: Vec<Tensor> =
        file.names().filter(|name| *name != gone).map(|name| file.tensor(name).unwrap().unwrap()).collect();
    crayon_formats::safetensors::write(&path, &kept, &Default::default()).unwrap();
    let error = says(Checkpoint::open(folder.path()), "", &[gone, "is missing"]);
    hints(&error, "incomplete");
}

#[test]
fn llama2c_files() {
    let file = "x.bin";
    let open = |words: [i32; 7], floats: usize| {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(bytes.len() + 4 * floats, 0);
        Llama2c::from_bytes(file, bytes.into())
    };
    says(Llama2c::from_bytes(file, Bytes::from_static(b"PK")), file, &["2 bytes, too few"]);
    let error = says(open([0x616b_3432, 1, 0, 0, 0, 0, 0], 0), file, &["version 1 or 2"]);
    hints(&error, "version 0");
    says(open([-8, 12, 1, 2, 1, 4, 16], 0), file, &["dim as -8"]);
    says(open([8, 12, i32::MAX, 2, 1, 4, 16], 0), file, &["2147483647 layers"]);
    says(open([8, 12, 1, 3, 1, 4, 16], 0), file, &["3 heads of 8"]);
    says(open([8, 12, 1, 2, 1, i32::MIN, 16], 0), file, &["vocabulary"]);
    says(open([8, 12, 1, 2, 1, 4, 16], 7), file, &["56 bytes, its header asks for"]);
    let values = 4 * 8 + 8 + 64 + 32 + 32 + 64 + 8 + 3 * 96 + 8 + 2 * 16 * 2;
    let good = open([8, 12, 1, 2, 1, 4, 16], values).unwrap();
    assert!(good.spec.tied);
    assert_eq!(good.tensor("blk.0.ffn_down.weight").map(|tensor| tensor.shape), Some(vec![8, 12]));
    assert!(!open([8, 12, 1, 2, 1, -4, 16], values + 32).unwrap().spec.tied);

    let file = "tok.bin";
    says(Tokenizer::read(file, b"ab"), file, &["it has 2 bytes"]);
    says(Tokenizer::read(file, &[4, 0, 0, 0]), file, &["no pieces"]);
    says(Tokenizer::read(file, &[4, 0, 0, 0, 0, 0]), file, &["ends within piece 0"]);
    says(Tokenizer::read(file, &[4, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0]), file, &["piece 0 has 9 bytes"]);
    let mut cut = vec![4, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0];
    cut.push(b'a');
    says(Tokenizer::read(file, &cut), file, &["ends within piece 0"]);
}

#[test]
fn weights_that_are_not_numbers_are_found() {
    let mut values = vec![1.0f32; 1000];
    assert_eq!(Tensor::from_f32("a", vec![1000], &values).first_non_finite(), None);
    for at in [0, 255, 256, 999] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            values[at] = bad;
            assert_eq!(Tensor::from_f32("a", vec![1000], &values).first_non_finite(), Some(at));
            values[at] = 1.0;
        }
    }
    for format in Format::ALL {
        let mut values = vec![0.5f32; 4 * 256];
        let stored = |values: &[f32]| {
            let mut bytes = Vec::new();
            crayon_kernels::quantize_rows(format, 256, values, &mut bytes);
            Tensor::new("x", "a", format, vec![4, 256], bytes.into()).unwrap().first_non_finite()
        };
        assert_eq!(stored(&values), None, "{format}");
        values[2 * 256 + 5] = f32::NAN;
        let unit = if format.is_per_channel() { 256 } else { format.block_len() };
        let expected = (2 * 256 + 5) / unit * unit;
        assert_eq!(stored(&values), Some(expected), "{format}");
    }
}

#[test]
fn tensors_of_the_wrong_size_are_refused() {
    let data = Bytes::from(vec![0u8; 10]);
    says(Tensor::new("f", "t", Format::F32, vec![3], data.clone()), "f", &["`t`", "12 bytes, found 10"]);
    says(Tensor::new("f", "t", Format::Q8_0, vec![33], data.clone()), "f", &["`t`", "blocks of 32"]);
    says(Tensor::new("f", "t", Format::F32, vec![usize::MAX, 2, 0], data), "f", &["`t`"]);
}
