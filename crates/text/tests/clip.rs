//! CLIP's tokenizer on the texts other tokenizers are tested with (`scripts/fixtures/clip.py`).

mod common;

use crayon_text::{Special, Tokenizer};

#[test]
fn tokens_are_those_of_transformers() {
    let Some(merges) = common::data("clip_bpe/bpe_simple_vocab_16e6.txt.gz") else { return };
    let tokenizer = Tokenizer::from_clip_merges(&merges).unwrap();
    assert_eq!((tokenizer.len(), tokenizer.bos(), tokenizer.eos()), (49408, Some(49406), Some(49407)));
    let expected: Vec<(String, Vec<u32>)> = serde_json::from_str(include_str!("clip_tokens.json")).unwrap();
    assert!(expected.len() >= 46);
    for (text, ids) in expected {
        assert_eq!(tokenizer.encode(&text, Special::Plain).unwrap(), ids, "{text:?}");
        let ranges = tokenizer.encode_ranges(&text).unwrap();
        assert_eq!(ranges.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids, "{text:?}");
        assert!(ranges.iter().all(|(_, range)| text.get(range.clone()).is_some()), "{text:?}");
    }
}

#[test]
fn what_is_no_vocabulary_is_refused() {
    for bad in [&b"\x1f\x8bnot gzip"[..], b"\xff\xfe", b""] {
        assert!(Tokenizer::from_clip_merges(bad).is_err() || bad.is_empty());
    }
    assert!(Tokenizer::from_clip(b"{}", b"").is_err());
}
