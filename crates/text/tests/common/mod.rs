//! What several tests share.
#![allow(dead_code)] // each test program uses a part
#![allow(clippy::print_stderr)] // a skipped test says so

use std::path::{Path, PathBuf};

use crayon_formats::gguf::{Gguf, Metadata};

/// A file of the data folder (`CRAYON_DATA`, else `../shared/data` beside the workspace), if it is there.
pub(crate) fn data(name: &str) -> Option<Vec<u8>> {
    let path = data_path(name);
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        eprintln!("skipped: {} is not there", path.display());
    }
    bytes
}

fn data_path(name: &str) -> PathBuf {
    let root = match std::env::var_os("CRAYON_DATA") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
    };
    root.join(name)
}

/// The metadata of a GGUF file of the data folder, if it is there.
pub(crate) fn gguf(name: &str) -> Option<Metadata> {
    data(name)?;
    Some(Gguf::open(&data_path(name)).unwrap().metadata)
}

/// The printable character that stands for a byte in GPT-2's alphabet.
fn printable(byte: u8) -> char {
    let plain = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if plain(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !plain(b)).count() as u32;
    char::from_u32(0x100 + before).unwrap()
}

/// The vocabulary entry of a byte.
pub(crate) fn printed_byte(byte: u8) -> String {
    printable(byte).to_string()
}

/// A GGUF byte-level vocabulary: the 256 bytes, what the merges make, and the end of a text (control).
pub(crate) fn byte_level(merges: &[&str]) -> Metadata {
    let mut tokens: Vec<String> = (0..=255).map(|byte| printable(byte).to_string()).collect();
    // A merge may name tokens that a later line of the list makes, so the order is the caller's.
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let types = vec![1i32; tokens.len()];
    let mut metadata = Metadata::new("test.gguf");
    metadata.insert("tokenizer.ggml.model", "gpt2");
    metadata.insert("tokenizer.ggml.pre", "gpt-2");
    metadata.insert("tokenizer.ggml.tokens", tokens);
    metadata.insert("tokenizer.ggml.token_type", types);
    metadata.insert("tokenizer.ggml.merges", merges.iter().map(|m| (*m).to_owned()).collect::<Vec<String>>());
    append(&mut metadata, &[("<|endoftext|>", 3)]);
    let end = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap().len() as u32 - 1;
    metadata.insert("tokenizer.ggml.bos_token_id", end);
    metadata.insert("tokenizer.ggml.eos_token_id", end);
    metadata
}

/// Adds tokens with their types, and scores of 0 if there are scores.
pub(crate) fn append(metadata: &mut Metadata, added: &[(&str, i32)]) {
    let mut tokens = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap().to_vec();
    let mut types = metadata.i32s("tokenizer.ggml.token_type").unwrap().unwrap();
    for (token, kind) in added {
        tokens.push((*token).to_owned());
        types.push(*kind);
    }
    if let Some(scores) = metadata.f32s("tokenizer.ggml.scores").unwrap() {
        let mut scores = scores.to_vec();
        scores.resize(tokens.len(), 0.0);
        metadata.insert("tokenizer.ggml.scores", scores);
    }
    metadata.insert("tokenizer.ggml.tokens", tokens);
    metadata.insert("tokenizer.ggml.token_type", types);
}
