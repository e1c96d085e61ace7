//! Helpers shared by the tests: fixtures, data beside the workspace, and small files made in memory.
#![allow(dead_code)] // each test file uses a part

use std::path::{Path, PathBuf};

use crayon_formats::gguf::{Metadata, TensorInfo, to_bytes};
use crayon_formats::{Checkpoint, Format};

/// Every fixture folder.
pub(crate) const FIXTURES: [&str; 17] = [
    "gpt2",
    "gpt2-f16",
    "llama",
    "llama-sharded",
    "llama-bf16",
    "llama-llama3",
    "llama-linear",
    "llama-yarn",
    "llama-bias",
    "mistral",
    "qwen2",
    "qwen2-window",
    "qwen3",
    "gemma2",
    "gemma3",
    "phi3",
    "phi3-longrope",
];

/// The small networks of every family that the network tests also use.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures").join(name)
}

pub(crate) fn open(name: &str) -> Checkpoint {
    match Checkpoint::open(&fixture(name)) {
        Ok(checkpoint) => checkpoint,
        Err(error) => panic!("{name}: {error}"),
    }
}

/// A path in the folder of test data beside the workspace, or `None` after saying that the test is skipped.
pub(crate) fn data(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CRAYON_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    #[allow(clippy::print_stderr)] // a test that is skipped has to say so
    {
        eprintln!("skipped: {} is not there", path.display());
    }
    None
}

/// Metadata of a one-layer Llama: 8 wide, 2 heads, vocabulary 4.
pub(crate) fn tiny_metadata() -> Metadata {
    let mut metadata = Metadata::new("tiny.gguf");
    metadata.insert("general.architecture", "llama");
    for (key, value) in [
        ("context_length", 16u32),
        ("embedding_length", 8),
        ("block_count", 1),
        ("feed_forward_length", 12),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
    ] {
        metadata.insert(&format!("llama.{key}"), value);
    }
    metadata.insert("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
    metadata.insert("tokenizer.ggml.model", "llama");
    metadata.insert("tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "a"].map(str::to_owned).to_vec());
    metadata.insert("tokenizer.ggml.scores", vec![0.0f32; 4]);
    metadata
}

/// Tensors that go with [`tiny_metadata`].
pub(crate) fn tiny_tensors() -> Vec<(TensorInfo, Vec<u8>)> {
    [
        ("token_embd.weight", vec![4, 8]),
        ("output_norm.weight", vec![8]),
        ("blk.0.attn_norm.weight", vec![8]),
        ("blk.0.attn_q.weight", vec![8, 8]),
        ("blk.0.attn_k.weight", vec![4, 8]),
        ("blk.0.attn_v.weight", vec![4, 8]),
        ("blk.0.attn_output.weight", vec![8, 8]),
        ("blk.0.ffn_norm.weight", vec![8]),
        ("blk.0.ffn_gate.weight", vec![12, 8]),
        ("blk.0.ffn_up.weight", vec![12, 8]),
        ("blk.0.ffn_down.weight", vec![8, 12]),
    ]
    .into_iter()
    .map(|(name, shape)| {
        let values: usize = shape.iter().product();
        let data = (0..values).flat_map(|value| (value as f32 * 0.01).to_le_bytes()).collect();
        (TensorInfo { name: name.to_owned(), format: Format::F32, shape }, data)
    })
    .collect()
}

/// A whole small GGUF file.
pub(crate) fn tiny_gguf() -> Vec<u8> {
    to_bytes("tiny.gguf", &tiny_metadata(), &tiny_tensors()).expect("the tiny file is valid")
}
