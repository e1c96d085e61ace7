//! What holds for every text, every list of ids, and every file.

mod common;

use common::{append, byte_level};
use crayon_formats::gguf::Metadata;
use crayon_text::{ChatTemplate, Special, Stream, Tokenizer};
use proptest::prelude::*;
use std::sync::LazyLock;

fn fixture(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(path).unwrap()
}

fn bytes_gguf() -> Metadata {
    let mut metadata = byte_level(&["h e", "l l", "he ll", "hell o", "Ġ a", "Ġ Ġ", "ĠĠ ĠĠ", "1 2", "Ã ©"]);
    append(&mut metadata, &[("<tool>", 4), ("🦙", 4), ("<|im_end|>", 3)]);
    metadata
}

/// A vocabulary of pieces with scores: some words, all bytes.
fn pieces_gguf() -> Metadata {
    let pieces =
        ["▁", "a", "b", "e", "h", "l", "o", "▁a", "he", "ll", "hell", "▁hello", "hello", "ab", "é", "▁▁"];
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    let mut types = vec![2, 3, 3];
    let mut scores = vec![0.0; 3];
    for byte in 0..=255u8 {
        tokens.push(format!("<0x{byte:02X}>"));
        types.push(6);
        scores.push(0.0);
    }
    for (rank, piece) in pieces.iter().enumerate() {
        tokens.push((*piece).to_owned());
        types.push(1);
        scores.push(-(rank as f32));
    }
    let mut metadata = Metadata::new("test.gguf");
    metadata.insert("tokenizer.ggml.model", "llama");
    metadata.insert("tokenizer.ggml.tokens", tokens);
    metadata.insert("tokenizer.ggml.token_type", types);
    metadata.insert("tokenizer.ggml.scores", scores);
    metadata.insert("tokenizer.ggml.bos_token_id", 1u32);
    metadata.insert("tokenizer.ggml.eos_token_id", 2u32);
    metadata
}

/// llama2.c's format, with a few words.
fn llama2c_file() -> Vec<u8> {
    let mut tokens: Vec<(f32, String)> = ["<unk>", "\n<s>\n", "\n</s>\n"].map(|t| (0.0, t.to_owned())).into();
    tokens.extend((0..=255u8).map(|byte| (0.0, format!("<0x{byte:02X}>"))));
    tokens
        .extend([" ", "h", "i", "hi", " hi"].iter().enumerate().map(|(n, t)| (-(n as f32), (*t).to_owned())));
    let mut file = 9i32.to_le_bytes().to_vec();
    for (score, token) in tokens {
        file.extend(score.to_le_bytes());
        file.extend((token.len() as i32).to_le_bytes());
        file.extend(token.as_bytes());
    }
    file
}

static TOKENIZERS: LazyLock<Vec<(&str, Tokenizer)>> = LazyLock::new(|| {
    vec![
        ("bytes", Tokenizer::from_gguf(&bytes_gguf()).unwrap()),
        ("split", Tokenizer::from_json(&fixture("split_bytelevel.json")).unwrap()),
        ("plain", Tokenizer::from_json(&fixture("plain_bytelevel.json")).unwrap()),
        ("pieces", Tokenizer::from_gguf(&pieces_gguf()).unwrap()),
        ("sentencepiece", Tokenizer::from_sentencepiece(&fixture("bytes_bpe.model")).unwrap()),
        ("unigram", Tokenizer::from_sentencepiece(&fixture("rules_unigram.model")).unwrap()),
        ("llama2c", Tokenizer::from_llama2c(&llama2c_file()).unwrap()),
        ("spaces", Tokenizer::from_json(&fixture("spaces_bpe.json")).unwrap()),
    ]
});

fn tokenizer(name: &str) -> &'static Tokenizer {
    &TOKENIZERS.iter().find(|(other, _)| *other == name).unwrap().1
}

/// Any text, often with what tokenizers trip over.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        any::<String>(),
        "[a-hé ]{0,12}",
        Just("hello".to_owned()),
        Just("  \n\n \t".to_owned()),
        Just("<|im_end|><s><tool>🦙".to_owned()),
        Just("1234567".to_owned()),
        Just("'LL's".to_owned()),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn byte_level_text_comes_back(text in text()) {
        let bytes = tokenizer("bytes");
        let ids = bytes.encode(&text, Special::Plain).unwrap();
        prop_assert!(ids.iter().all(|&id| !bytes.is_special(id)));
        prop_assert_eq!(bytes.decode(&ids), &text[..]);
        let ids = tokenizer("plain").encode(&text, Special::Plain).unwrap();
        prop_assert_eq!(tokenizer("plain").decode(&ids), &text[..]);
    }

    #[test]
    fn pieces_with_bytes_come_back(text in text()) {
        // `▁` is the one character these vocabularies cannot tell from a space.
        let text = text.replace('▁', "_");
        for name in ["pieces", "llama2c", "sentencepiece"] {
            let ids = tokenizer(name).encode(&text, Special::Plain).unwrap();
            prop_assert!(ids.iter().all(|&id| !tokenizer(name).is_special(id)));
            prop_assert_eq!(tokenizer(name).decode(&ids), &text[..], "{}", name);
        }
    }

    #[test]
    fn plain_text_never_makes_control_tokens(text in text()) {
        for (name, tokenizer) in TOKENIZERS.iter() {
            let ids = tokenizer.encode(&text, Special::Plain).unwrap();
            let ends = ids.iter().filter(|&&id| tokenizer.end_tokens().contains(&id) || Some(id) == tokenizer.bos());
            prop_assert_eq!(ends.count(), 0, "{}", name);
            prop_assert!(tokenizer.encode(&text, Special::Parse).is_ok());
        }
    }

    #[test]
    fn streams_say_what_decode_says(ids in prop::collection::vec(0u32..720, 0..40)) {
        for (name, tokenizer) in TOKENIZERS.iter() {
            let mut stream = Stream::new(tokenizer);
            let mut streamed = String::new();
            for &id in &ids {
                if let Some(text) = stream.push(id) {
                    prop_assert!(!text.is_empty());
                    streamed += &text;
                }
            }
            prop_assert_eq!(streamed + &stream.finish(), tokenizer.decode(&ids), "{}", name);
        }
    }

    #[test]
    fn any_bytes_are_a_tokenizer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Tokenizer::from_json(&bytes);
        let _ = Tokenizer::from_sentencepiece(&bytes);
        let _ = Tokenizer::from_llama2c(&bytes);
        let _ = Tokenizer::from_gpt2(&bytes, &bytes);
        let _ = Tokenizer::from_gpt2(br#"{"a": 0}"#, &bytes);
    }

    #[test]
    fn damaged_files_never_panic(seed in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let damage = |mut file: Vec<u8>| {
            let at = seed.index(file.len());
            if cut { file.truncate(at) } else { file[at] = byte };
            file
        };
        let check = |tokenizer: Result<Tokenizer, _>| {
            if let Ok(tokenizer) = tokenizer {
                let _ = tokenizer.encode("hello <tool> <|stop|>\n  été 🦙 птиц 12345", Special::Parse);
                tokenizer.decode(&(0..700).collect::<Vec<_>>());
                for id in 0..700 {
                    let _ = tokenizer.text(id);
                }
            }
        };
        for name in ["bytes_bpe.model", "rules_unigram.model"] {
            check(Tokenizer::from_sentencepiece(&damage(fixture(name))));
        }
        for name in ["plain_bytelevel.json", "split_bytelevel.json", "spaces_bpe.json"] {
            check(Tokenizer::from_json(&damage(fixture(name))));
        }
        check(Tokenizer::from_llama2c(&damage(llama2c_file())));
    }

    #[test]
    fn any_template_renders_or_fails(source in "(\\{\\{|\\}\\}|\\{%|%\\}|messages|\\[|\\]|generation|[a-z |.'-]){0,20}") {
        if let Ok(template) = ChatTemplate::new(&source, None, None) {
            let _ = template.render(&[], true);
        }
    }
}

#[test]
fn entries_and_ids_agree() {
    for (name, tokenizer) in TOKENIZERS.iter() {
        for id in 0..tokenizer.len() as u32 {
            let entry = tokenizer.text(id).unwrap();
            if tokenizer.kind(id) == Some(crayon_text::Kind::Unused) {
                continue;
            }
            let same = tokenizer.id(&entry).and_then(|other| tokenizer.text(other));
            assert_eq!(same.as_ref(), Some(&entry), "{name}: {id}");
            assert_eq!(tokenizer.bytes(id).unwrap().is_empty(), tokenizer.is_special(id), "{name}: {entry}");
        }
        assert_eq!(tokenizer.text(tokenizer.len() as u32), None);
        assert_eq!(tokenizer.bytes(u32::MAX), None);
    }
}

#[test]
fn characters_come_out_whole() {
    let bytes = tokenizer("bytes");
    let mut stream = Stream::new(bytes);
    let ids: Vec<u32> = "é🌍".bytes().map(|byte| bytes.id(&common::printed_byte(byte)).unwrap()).collect();
    let pushed: Vec<Option<String>> = ids[1..].iter().map(|&id| stream.push(id)).collect();
    // The first byte of é is missing: what follows cannot be a character.
    let expected = [Some("\u{fffd}".to_owned()), None, None, None, Some("🌍".to_owned())];
    assert_eq!(pushed, expected);
    assert_eq!(stream.push(ids[0]), None);
    assert_eq!(stream.finish(), "\u{fffd}");
}

#[test]
fn streams_after_a_prompt_keep_the_space() {
    let pieces = tokenizer("pieces");
    let ids = pieces.encode("a a", Special::Plain).unwrap();
    let (first, rest) = ids.split_at(1);
    assert_eq!(Stream::after(pieces, first).push(rest[0]).as_deref(), Some(" a"));
    assert_eq!(Stream::after(pieces, &[1]).push(first[0]).as_deref(), Some("a"));
    assert_eq!(Stream::new(pieces).push(first[0]).as_deref(), Some("a"));
}

/// A megabyte of each: work that grows with the square of the length would not end in a test's time.
#[test]
fn long_texts_without_borders_are_encoded_whole() {
    let texts = [
        "a".repeat(1 << 20),
        " ".repeat(1 << 20),
        "\n".repeat(1 << 20),
        "ab hello, ".repeat(100_000),
        "1".repeat(1 << 20),
        "é🦙".repeat(150_000),
        "<|im_end".repeat(120_000),
    ];
    for (name, tokenizer) in TOKENIZERS.iter() {
        for text in &texts {
            let ids = tokenizer.encode(text, Special::Parse).unwrap();
            if ["bytes", "split", "plain"].contains(name) {
                assert_eq!(tokenizer.decode(&ids), *text, "{name}");
            }
            // The unigram fixture removes extra spaces.
            assert!(!ids.is_empty() || *name == "unigram", "{name}");
        }
    }
}
