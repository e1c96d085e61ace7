//! Damaged and hostile tokenizer files: errors that say what and where, and hints.

mod common;

use common::{append, byte_level};
use crayon_errors::Explain as _;
use crayon_formats::TokenizerSource;
use crayon_formats::gguf::Metadata;
use crayon_text::{Special, TextError, Tokenizer};

#[track_caller]
fn refused(result: Result<Tokenizer, TextError>, words: &[&str]) {
    let error = result.map(|_| ()).unwrap_err();
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{text}: no hint");
}

#[test]
fn gguf() {
    let with = |change: &dyn Fn(&mut Metadata)| {
        let mut metadata = byte_level(&["h e"]);
        change(&mut metadata);
        Tokenizer::from_gguf(&metadata)
    };
    refused(Tokenizer::from_gguf(&Metadata::new("x")), &["no tokenizer"]);
    refused(with(&|m| drop(m.insert("tokenizer.ggml.model", "bert"))), &["tokenizer.ggml.model", "bert"]);
    refused(with(&|m| drop(m.insert("tokenizer.ggml.model", 7u32))), &["tokenizer.ggml.model"]);
    refused(with(&|m| drop(m.insert("tokenizer.ggml.pre", "martian"))), &["tokenizer.ggml.pre", "martian"]);
    refused(with(&|m| drop(m.insert("tokenizer.ggml.tokens", 1u32))), &["tokenizer.ggml.tokens"]);
    refused(
        with(&|m| drop(m.insert("tokenizer.ggml.token_type", vec![1i32; 3]))),
        &["258 tokens", "3 token types"],
    );
    refused(with(&|m| drop(m.insert("tokenizer.ggml.token_type", vec![9i32; 258]))), &["token 0", "type 9"]);
    refused(
        with(&|m| drop(m.insert("tokenizer.ggml.eos_token_id", 258u32))),
        &["eos_token_id = 258", "258 tokens"],
    );
    let merges = |merge: &str| vec!["h e".to_owned(), merge.to_owned()];
    refused(with(&|m| drop(m.insert("tokenizer.ggml.merges", merges("he x")))), &["merge 2", "hex"]);
    refused(with(&|m| drop(m.insert("tokenizer.ggml.merges", merges("hex")))), &["merge 2", "hex"]);
    refused(with(&|m| drop(m.insert("tokenizer.ggml.merges", merges("")))), &["merge 2"]);
    // The same tokens without scores, with too few, with one that is not finite.
    let pieces = |m: &mut Metadata| drop(m.insert("tokenizer.ggml.model", "llama"));
    refused(with(&|m| pieces(m)), &["tokenizer.ggml.scores is missing"]);
    refused(
        with(&|m| {
            pieces(m);
            m.insert("tokenizer.ggml.scores", vec![0f32; 5]);
        }),
        &["258 tokens", "5 scores"],
    );
    refused(
        with(&|m| {
            pieces(m);
            let mut scores = vec![0f32; 258];
            scores[77] = f32::NAN;
            m.insert("tokenizer.ggml.scores", scores);
        }),
        &["score of token 77"],
    );
    refused(
        with(&|m| {
            pieces(m);
            m.insert("tokenizer.ggml.token_type", vec![6i32; 258]);
        }),
        &["token 0", "byte"],
    );
}

#[test]
fn gguf_without_types_and_with_tokens_twice() {
    let mut metadata = byte_level(&["h e"]);
    append(&mut metadata, &[("he", 1), ("", 1)]);
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
    let ids = tokenizer.encode("he", Special::Plain).unwrap();
    assert_eq!(tokenizer.decode(&ids), "he");
    let mut bare = Metadata::new("test.gguf");
    for (key, value) in metadata.iter().filter(|(key, _)| !key.ends_with("token_type")) {
        bare.insert(key, value.clone());
    }
    let tokenizer = Tokenizer::from_gguf(&bare).unwrap();
    assert!(tokenizer.is_special(tokenizer.eos().unwrap()));
    assert_eq!(tokenizer.decode(&tokenizer.encode("hé", Special::Plain).unwrap()), "hé");
}

#[test]
fn gpt2() {
    let vocab = br#"{"a": 0, "b": 1, "ab": 2}"#;
    assert!(Tokenizer::from_gpt2(vocab, b"#version: 0.2\na b\n").is_ok());
    refused(Tokenizer::from_gpt2(b"[]", b""), &["vocab.json"]);
    refused(Tokenizer::from_gpt2(b"{}", b""), &["vocab.json", "empty"]);
    refused(Tokenizer::from_gpt2(br#"{"a": -1}"#, b""), &["vocab.json"]);
    refused(Tokenizer::from_gpt2(br#"{"a": 4000000000}"#, b""), &["ids up to 4000000000"]);
    refused(Tokenizer::from_gpt2(br#"{"a": 0, "b": 0}"#, b""), &["\"a\"", "\"b\"", "same id"]);
    refused(Tokenizer::from_gpt2(b"{\"\xff\": 0}", b""), &["vocab.json"]);
    refused(Tokenizer::from_gpt2(vocab, b"a b\na \xff\n"), &["merges.txt", "byte 6"]);
    refused(Tokenizer::from_gpt2(vocab, b"a b\nab\n"), &["merges.txt", "line 2"]);
    refused(Tokenizer::from_gpt2(vocab, b"a c\n"), &["merges.txt", "merge 1", "\"c\""]);
    // A vocabulary without all bytes: text it lacks is an error, never dropped.
    let tokenizer = Tokenizer::from_gpt2(vocab, b"a b\n").unwrap();
    assert_eq!(tokenizer.encode("aba", Special::Plain).unwrap(), [2, 0]);
    let error = tokenizer.encode("abc", Special::Plain).unwrap_err();
    assert!(error.to_string().contains("\"c\""), "{error}");
    assert_eq!(tokenizer.encode("", Special::Plain).unwrap(), [0u32; 0]);
}

#[test]
fn sentencepiece() {
    // Fields: piece (1), with text (1), score (2) and type (3).
    let piece = |text: &[u8], score: f32, kind: u8| {
        let mut inner = vec![0x0a, text.len() as u8];
        inner.extend(text);
        inner.push(0x15);
        inner.extend(score.to_le_bytes());
        inner.extend([0x18, kind]);
        let mut outer = vec![0x0a, inner.len() as u8];
        outer.extend(inner);
        outer
    };
    let file = |pieces: &[Vec<u8>], rest: &[u8]| [pieces.concat(), rest.to_vec()].concat();
    let unknown = piece(b"<unk>", 0.0, 2);
    let good = file(&[unknown.clone(), piece(b"a", -1.0, 1)], &[]);
    assert_eq!(
        Tokenizer::from_sentencepiece(&good).unwrap().encode("a?", Special::Plain).unwrap(),
        [0, 1, 0]
    );
    let refuse = |bytes: &[u8], words: &[&str]| refused(Tokenizer::from_sentencepiece(bytes), words);
    refuse(b"", &["no pieces"]);
    refuse(&good[..good.len() - 1], &["tokenizer.model"]);
    refuse(&file(&[unknown.clone(), unknown.clone()], &[]), &["piece 1", "twice"]);
    refuse(&file(&[piece(b"a", f32::NAN, 1)], &[]), &["score of piece 0"]);
    refuse(&file(&[piece(b"\xff", 0.0, 1)], &[]), &["piece 0", "UTF-8"]);
    refuse(&file(&[piece(b"", 0.0, 1)], &[]), &["piece 0 is empty"]);
    refuse(&file(&[piece(b"a", 0.0, 9)], &[]), &["piece 0", "type 9"]);
    refuse(&file(&[piece(b"xx", 0.0, 6)], &[]), &["not a byte token"]);
    // trainer_spec (2) with model_type (3) = WORD; normalizer_spec (3) with rules (2) shorter than they state.
    refuse(&file(std::slice::from_ref(&unknown), &[0x12, 2, 0x18, 3]), &["model_type 3"]);
    refuse(&file(&[unknown], &[0x1a, 6, 0x12, 4, 255, 255, 0, 0]), &["normalisation rules", "shorter"]);
}

#[test]
fn llama2c() {
    let token = |score: f32, len: i32, text: &[u8]| {
        [score.to_le_bytes().as_slice(), &len.to_le_bytes(), text].concat()
    };
    let refuse = |bytes: &[u8], words: &[&str]| refused(Tokenizer::from_llama2c(bytes), words);
    let header = 8i32.to_le_bytes();
    refuse(b"", &["header"]);
    refuse(&header, &["no tokens"]);
    refuse(&[&header[..], &token(0.0, 1, b"a"), &[0; 5]].concat(), &["token 1 is cut short"]);
    refuse(&[&header[..], &token(0.0, 7, b"a")].concat(), &["token 0 is cut short"]);
    refuse(&[&header[..], &token(0.0, 9, b"123456789")].concat(), &["token 0", "longest (8)"]);
    refuse(&[&header[..], &token(0.0, -1, b"")].concat(), &["token 0", "-1"]);
    refuse(&[&header[..], &token(0.0, 1, b"\xff")].concat(), &["token 0", "UTF-8"]);
    refuse(&[&header[..], &token(f32::NAN, 1, b"a")].concat(), &["token 0", "score"]);
}

#[test]
fn tokenizer_json() {
    let refuse = |text: &str, words: &[&str]| refused(Tokenizer::from_json(text.as_bytes()), words);
    refuse("", &["tokenizer.json"]);
    refuse("{}", &["tokenizer.json"]);
    refuse(r#"{"version": "1.0", "added_tokens": [], "model": {"type": "Telepathy"}}"#, &["tokenizer.json"]);
    let bpe = |vocab: &str, merges: &str| {
        format!(
            r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": {{"type": "BPE", "vocab": {vocab}, "merges": {merges}}}}}"#
        )
    };
    assert!(Tokenizer::from_json(bpe(r#"{"a": 0, "b": 1, "ab": 2}"#, r#"["a b"]"#).as_bytes()).is_ok());
    refuse(&bpe(r#"{"a": 0, "b": 1}"#, r#"["a b"]"#), &["tokenizer.json", "merge 1", "\"ab\""]);
    refuse(&bpe(r#"{"a": 0, "b": 4000000000}"#, "[]"), &["ids up to 4000000000"]);
    refuse(&bpe("{}", "[]"), &["empty"]);
    let mut tokenizer = Tokenizer::from_json(bpe(r#"{"a": 0, "</s>": 1}"#, "[]").as_bytes()).unwrap();
    let wrong = serde_json::json!({"eos_token": 7});
    assert!(tokenizer.configure(&wrong).unwrap_err().to_string().contains("tokenizer_config.json"));
    tokenizer.configure(&serde_json::json!({"eos_token": {"content": "</s>"}, "bos_token": null})).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.add_bos()), (None, Some(1), false));
    tokenizer.add_end_tokens(&[0, 99]);
    assert_eq!(tokenizer.end_tokens(), [0, 1]);
}

#[test]
fn no_tokenizer() {
    refused(Tokenizer::from_source(&TokenizerSource::None, None), &["no tokenizer"]);
}
