//! Small tokenizers trained by `fixtures/make.py`, against what their reference libraries make of random text.

use crayon_text::{Special, Stream, Tokenizer};

fn read(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(path).unwrap()
}

/// Checks every vector; `decodes` also checks the decoded text.
#[track_caller]
fn check(tokenizer: &Tokenizer, name: &str, decodes: impl Fn(&str) -> bool) {
    let vectors: Vec<(String, Vec<u32>, String)> =
        serde_json::from_slice(&read(&format!("{name}.vectors.json"))).unwrap();
    assert!(vectors.len() > 200);
    for (text, ids, decoded) in vectors {
        assert_eq!(tokenizer.encode(&text, Special::Plain).unwrap(), ids, "{name}: {text:?}");
        if decodes(&decoded) {
            assert_eq!(tokenizer.decode(&ids), decoded, "{name}: {text:?}");
        }
        let mut stream = Stream::new(tokenizer);
        let streamed: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
        assert_eq!(streamed + &stream.finish(), tokenizer.decode(&ids), "{name}: {text:?}");
    }
}

#[test]
fn sentencepiece_byte_pairs() {
    let tokenizer = Tokenizer::from_sentencepiece(&read("bytes_bpe.model")).unwrap();
    check(&tokenizer, "bytes_bpe", |_| true);
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.add_bos()), (Some(1), Some(2), true));
    assert_eq!(tokenizer.encode("<s>a", Special::Parse).unwrap()[0], 1);
    assert_ne!(tokenizer.encode("<s>a", Special::Plain).unwrap()[0], 1);
    assert!(tokenizer.encode("a<tool>", Special::Plain).unwrap().contains(&tokenizer.id("<tool>").unwrap()));
}

#[test]
fn sentencepiece_unigram_with_rules() {
    let tokenizer = Tokenizer::from_sentencepiece(&read("rules_unigram.model")).unwrap();
    // SentencePiece shows an unknown token as ⁇; here, as any special token, it adds nothing.
    check(&tokenizer, "rules_unigram", |decoded| !decoded.contains('⁇'));
}

#[test]
fn tokenizer_json_like_gpt2() {
    let tokenizer = Tokenizer::from_json(&read("plain_bytelevel.json")).unwrap();
    check(&tokenizer, "plain_bytelevel", |_| true);
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.add_bos()), (None, Some(0), false));
}

#[test]
fn tokenizer_json_like_llama3() {
    let tokenizer = Tokenizer::from_json(&read("split_bytelevel.json")).unwrap();
    check(&tokenizer, "split_bytelevel", |_| true);
    let start = tokenizer.id("<|start|>");
    assert_eq!((tokenizer.bos(), tokenizer.add_bos()), (start, true));
    let ids = tokenizer.encode("<|start|>a<|stop|> <tool>", Special::Parse).unwrap();
    assert_eq!(tokenizer.decode(&ids), "a <tool>");
    assert_eq!(ids.len(), 5);
}

#[test]
fn tokenizer_json_like_llama2() {
    let tokenizer = Tokenizer::from_json(&read("spaces_bpe.json")).unwrap();
    // Bytes that are not character: the library writes one U+FFFD for each, here one for each broken sequence.
    check(&tokenizer, "spaces_bpe", |decoded| !decoded.contains('\u{fffd}'));
}
