//! Real files, where they are at hand.

use crayon_errors::Explain as _;
use crayon_formats::gguf::Gguf;
use crayon_formats::{Checkpoint, SourceKind, TokenizerSource, llama2c};

mod common;

use common::data;

#[test]
fn vocabulary_files_open_but_are_no_models() {
    for (name, tokens) in [("gpt-2", 50257), ("llama-spm", 32000), ("phi-3", 32064)] {
        let Some(path) = data(&format!("gguf_vocab/ggml-vocab-{name}.gguf")) else { return };
        let gguf = Gguf::open(&path).unwrap();
        assert_eq!(
            gguf.metadata.strings("tokenizer.ggml.tokens").unwrap().map(<[String]>::len),
            Some(tokens)
        );
        let error = Checkpoint::open(&path).unwrap_err();
        assert!(error.to_string().contains("holds a vocabulary only, no weights"), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_hugging_face_folder_with_a_tied_embedding_under_the_output_name() {
    let Some(path) = data("tinystories656k") else { return };
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.source.kind, SourceKind::HuggingFace);
    assert_eq!(checkpoint.spec.parameters(), 656_000);
    assert_eq!(checkpoint.bytes(), 656_000 * 4);
    assert!(checkpoint.spec.tied);
    assert_eq!(checkpoint.tensor("token_embd.weight").unwrap().shape, [2048, 128]);
    assert!(checkpoint.tensor("output.weight").unwrap_err().to_string().contains("not part of this network"));
    assert!(matches!(checkpoint.tokenizer, TokenizerSource::Json(_)));
    assert_eq!(checkpoint.generation.eos, [2]);
    assert_eq!(checkpoint.generation.bos, Some(1));
    assert_eq!(checkpoint.generation.add_bos, Some(true));
}

#[test]
fn a_llama2c_checkpoint_with_its_tokenizer() {
    let Some(path) = data("stories260K/stories260K.bin") else { return };
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.source.kind, SourceKind::Llama2c);
    let spec = &checkpoint.spec;
    assert_eq!((spec.hidden, spec.layers, spec.heads, spec.kv_heads, spec.vocab), (64, 5, 8, 4, 512));
    assert!(spec.tied);
    let norm = checkpoint.tensor("output_norm.weight").unwrap().to_f32();
    assert!(norm.iter().all(|value| value.is_finite() && value.abs() < 100.0));
    let TokenizerSource::Llama2c(bytes) = &checkpoint.tokenizer else { panic!("no tokenizer found") };
    let tokenizer = llama2c::Tokenizer::read("tok512.bin", bytes).unwrap();
    assert_eq!(tokenizer.pieces.len(), 512);
    assert!(tokenizer.pieces.iter().any(|piece| piece == b" the"));
}
