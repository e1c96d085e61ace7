//! Whatever the bytes are, reading gives a result: never a panic, never a huge allocation.

mod common;

use std::sync::OnceLock;

use common::{fixture, tiny_gguf};
use crayon_formats::Checkpoint;
use crayon_formats::gguf::{Gguf, Metadata, Value, to_bytes};
use crayon_formats::huggingface::spec_from_config;
use crayon_formats::llama2c::{Llama2c, Tokenizer};
use crayon_formats::safetensors::SafeTensors;
use proptest::prelude::*;

/// A change to a valid file.
#[derive(Clone, Debug)]
enum Change {
    Flip(usize, u8),
    Word(usize, u64),
    Truncate(usize),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let word = prop_oneof![any::<u64>(), Just(u64::MAX), Just(0), Just(1 << 31), Just(1 << 62), 0..300u64];
    let change = prop_oneof![
        4 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        4 => (any::<usize>(), word).prop_map(|(at, word)| Change::Word(at, word)),
        1 => any::<usize>().prop_map(Change::Truncate),
        1 => (any::<usize>(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (any::<usize>(), 1..40usize).prop_map(|(at, count)| Change::Remove(at, count)),
    ];
    prop::collection::vec(change, 1..5)
}

fn apply(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let length = bytes.len().max(1);
        match change {
            Change::Flip(at, byte) => {
                if let Some(slot) = bytes.get_mut(at % length) {
                    *slot ^= byte;
                }
            }
            Change::Word(at, word) => {
                for (slot, byte) in bytes.iter_mut().skip(at % length).zip(word.to_le_bytes()) {
                    *slot = byte;
                }
            }
            Change::Truncate(at) => bytes.truncate(at % length),
            Change::Insert(at, extra) => {
                let at = at % length;
                let at = at.min(bytes.len());
                bytes.splice(at..at, extra.iter().copied());
            }
            Change::Remove(at, count) => {
                let start = (at % length).min(bytes.len());
                let end = (start + count).min(bytes.len());
                bytes.drain(start..end);
            }
        }
    }
    bytes
}

/// Everything a program would do with a model that opened.
fn use_checkpoint(checkpoint: &Checkpoint) {
    for (name, shape) in checkpoint.spec.tensors() {
        let tensor = checkpoint.tensor(&name).expect("every tensor was found when the file was opened");
        assert_eq!(tensor.shape, shape);
        assert_eq!(tensor.to_f32().len(), tensor.elements());
        tensor.first_non_finite();
    }
    assert_eq!(checkpoint.fingerprint().len(), 64);
}

fn llama_safetensors() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| std::fs::read(fixture("llama/model.safetensors")).unwrap())
}

/// Where the interesting part of a safetensors file ends.
fn header_length(bytes: &[u8]) -> usize {
    8 + bytes.first_chunk::<8>().map_or(0, |length| u64::from_le_bytes(*length) as usize)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gguf_of_any_bytes(tail in prop::collection::vec(any::<u8>(), 0..400), version in 2..4u32) {
        let _ = Gguf::from_bytes("random", tail.clone().into());
        let bytes = [b"GGUF".as_slice(), &version.to_le_bytes(), &tail].concat();
        let _ = Gguf::from_bytes("random", bytes.into());
    }

    #[test]
    fn gguf_with_changes(changes in changes()) {
        let bytes = apply(tiny_gguf(), &changes);
        if let Ok(gguf) = Gguf::from_bytes("changed", bytes.clone().into()) {
            for name in gguf.names() {
                let tensor = gguf.tensor(name).unwrap();
                prop_assert_eq!(tensor.to_f32().len(), tensor.elements());
            }
        }
        if let Ok(checkpoint) = Checkpoint::from_gguf("changed", bytes.into()) {
            use_checkpoint(&checkpoint);
        }
    }

    #[test]
    fn gguf_cut_anywhere(at in any::<prop::sample::Index>()) {
        let mut bytes = tiny_gguf();
        bytes.truncate(at.index(bytes.len()));
        prop_assert!(Checkpoint::from_gguf("cut", bytes.into()).is_err());
    }

    #[test]
    fn safetensors_of_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = SafeTensors::from_bytes("random", bytes.clone().into());
        let framed = [&(bytes.len() as u64).to_le_bytes(), bytes.as_slice(), &[0; 32]].concat();
        let _ = SafeTensors::from_bytes("random", framed.into());
    }

    #[test]
    fn safetensors_with_changes(changes in changes(), in_header in any::<bool>()) {
        let bytes = llama_safetensors();
        let split = if in_header { header_length(bytes) } else { bytes.len() };
        let (head, tail) = bytes.split_at(split);
        let changed = [apply(head.to_vec(), &changes).as_slice(), tail].concat();
        if let Ok(file) = SafeTensors::from_bytes("changed", changed.into()) {
            for name in file.names() {
                if let Ok(Some(tensor)) = file.tensor(name) {
                    prop_assert_eq!(tensor.to_f32().len(), tensor.elements());
                }
            }
        }
    }

    #[test]
    fn configurations_with_changes(changes in changes(), which in 0..common::FIXTURES.len()) {
        let text = std::fs::read(fixture(common::FIXTURES[which]).join("config.json")).unwrap();
        let _ = spec_from_config("config.json", &apply(text, &changes));
    }

    #[test]
    fn configurations_with_other_numbers(
        key in 0..40usize,
        value in prop_oneof![any::<i64>().prop_map(serde_json::Value::from), any::<f64>().prop_map(serde_json::Value::from),
            (0..4000u64).prop_map(serde_json::Value::from), Just(serde_json::Value::Null), Just(serde_json::json!([]))],
        which in 0..common::FIXTURES.len(),
    ) {
        let text = std::fs::read(fixture(common::FIXTURES[which]).join("config.json")).unwrap();
        let mut map: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&text).unwrap();
        let count = map.len();
        if let Some((_, slot)) = map.iter_mut().nth(key % count) {
            *slot = value;
        }
        let json = serde_json::to_vec(&map).unwrap();
        if let Ok(spec) = spec_from_config("config.json", &json) {
            prop_assert!(spec.check().is_ok());
            spec.parameters();
        }
    }

    #[test]
    fn llama2c_of_any_header(words in prop::array::uniform7(prop_oneof![any::<i32>(), -40..40i32]), floats in 0..3000usize) {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(bytes.len() + 4 * floats, 0);
        if let Ok(file) = Llama2c::from_bytes("random", bytes.into()) {
            for (name, shape) in file.spec.tensors() {
                prop_assert_eq!(file.tensor(&name).map(|tensor| tensor.shape), Some(shape));
            }
        }
    }

    #[test]
    fn llama2c_tokenizers_of_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), longest in 0..50u32) {
        let _ = Tokenizer::read("random", &bytes);
        let framed = [&longest.to_le_bytes(), bytes.as_slice()].concat();
        if let Ok(tokenizer) = Tokenizer::read("random", &framed) {
            prop_assert_eq!(tokenizer.pieces.len(), tokenizer.scores.len());
        }
    }

    #[test]
    fn metadata_survives_writing_and_reading(
        numbers in prop::collection::vec(any::<i32>(), 0..20),
        texts in prop::collection::vec(".{0,20}", 0..20),
        flag in any::<bool>(),
        large in any::<u64>(),
    ) {
        let mut metadata = Metadata::new("a");
        metadata.insert("numbers", numbers);
        metadata.insert("texts", texts);
        metadata.insert("flag", flag);
        metadata.insert("large", Value::U64(large));
        metadata.insert("float", 0.1f32);
        let bytes = to_bytes("a", &metadata, &[]).unwrap();
        let read = Gguf::from_bytes("a", bytes.into()).unwrap();
        prop_assert_eq!(read.version, 3);
        prop_assert_eq!(read.metadata, metadata);
    }
}
