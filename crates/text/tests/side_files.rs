//! What stands in tokenizer_config.json beside a tokenizer's own file: added and named tokens.

use crayon_formats::TokenizerSource;
use crayon_formats::gguf::{self, Array, Metadata};
use crayon_text::{ChatTemplate, Kind, Message, Role, Special, Tokenizer};
use serde_json::{Map, Value, json};

/// GPT-2's alphabet: one printable character a byte, in order of the bytes.
fn alphabet() -> Vec<char> {
    let printable = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut others = 256u32..;
    (0..256u32)
        .map(|byte| if printable(&byte) { byte } else { others.next().unwrap() })
        .map(|code| char::from_u32(code).unwrap())
        .collect()
}

fn vocab(more: &[&str]) -> Map<String, Value> {
    let letters = alphabet().into_iter().map(String::from);
    letters
        .chain(more.iter().map(|text| (*text).to_owned()))
        .zip(0..)
        .map(|(text, id)| (text, json!(id)))
        .collect()
}

/// A byte-level tokenizer.json, read by this crate itself, or by the library if `foreign`.
fn json_source(added: Value, foreign: bool) -> TokenizerSource {
    let normalizer = if foreign { json!({"type": "Lowercase"}) } else { Value::Null };
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab(&["<|old|>", "<|end|>"]), "merges": []},
    });
    TokenizerSource::Json(file.to_string().into_bytes().into())
}

fn gpt2_source() -> TokenizerSource {
    TokenizerSource::Gpt2 {
        vocab: Value::Object(vocab(&["<|old|>", "<|end|>"])).to_string().into_bytes().into(),
        merges: b"#version: 0.2\n".to_vec().into(),
    }
}

/// A SentencePiece model of single letters, of type BPE.
fn sentencepiece_source() -> TokenizerSource {
    let mut file = Vec::new();
    let pieces =
        [("<unk>", 2u8), ("<s>", 3), ("</s>", 3), ("\u{2581}", 1), ("a", 1), ("b", 1), ("<0x41>", 6)];
    for (piece, kind) in pieces {
        let mut message = vec![0x0a, piece.len() as u8];
        message.extend(piece.bytes());
        message.extend([0x18, kind]);
        file.extend([0x0a, message.len() as u8]);
        file.extend(message);
    }
    // Type BPE; no space in front, spaces stay.
    file.extend([0x12, 2, 0x18, 2, 0x1a, 4, 0x18, 0, 0x20, 0]);
    TokenizerSource::SentencePiece(file.into())
}

fn open(source: &TokenizerSource, config: Value) -> Tokenizer {
    Tokenizer::from_source(source, Some(&config)).unwrap()
}

#[test]
fn tokens_added_beside_any_file_are_cut_out_whole() {
    let token =
        |content: &str, special: bool| json!({"content": content, "special": special, "normalized": false});
    for (source, first) in [
        (json_source(json!([]), false), 258),
        (json_source(json!([]), true), 258),
        (gpt2_source(), 258),
        (sentencepiece_source(), 7),
    ] {
        let decoder = json!({
            (first.to_string()): token("<|turn|>", true), (first + 1).to_string(): token("[tool]", false),
        });
        let tokenizer = open(&source, json!({"added_tokens_decoder": decoder}));
        let (turn, tool) = (first as u32, first as u32 + 1);
        assert_eq!((tokenizer.id("<|turn|>"), tokenizer.id("[tool]")), (Some(turn), Some(tool)));
        assert_eq!(
            (tokenizer.kind(turn), tokenizer.kind(tool)),
            (Some(Kind::Control), Some(Kind::UserDefined))
        );
        let ids = tokenizer.encode("a<|turn|>b[tool]", Special::Parse).unwrap();
        assert_eq!((ids.len(), ids[1], ids[3]), (4, turn, tool));
        assert_eq!(tokenizer.decode(&ids), "ab[tool]");
        // A control token is none in what a user writes; a token that stands for text is.
        if !matches!(source, TokenizerSource::SentencePiece(_)) {
            let ids = tokenizer.encode("<|turn|>[tool]", Special::Plain).unwrap();
            assert!(!ids.contains(&turn) && ids.contains(&tool));
        }
    }
}

#[test]
fn a_token_described_twice_is_as_the_configuration_says() {
    let own = json!([{"id": 256, "content": "<|old|>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true}]);
    for foreign in [false, true] {
        let source = json_source(own.clone(), foreign);
        let plain = open(&source, json!({}));
        assert_eq!(plain.encode("a <|old|> b", Special::Parse).unwrap().len(), 5);
        let decoder = json!({"256": {"content": "<|old|>", "lstrip": true, "rstrip": true, "special": true}});
        let strips = open(&source, json!({"added_tokens_decoder": decoder}));
        assert_eq!(strips.encode("a <|old|> b", Special::Parse).unwrap().len(), 3, "{foreign}");
    }
}

#[test]
fn a_named_token_is_a_control_token() {
    for source in [json_source(json!([]), false), json_source(json!([]), true)] {
        let unnamed = open(&source, json!({}));
        assert_eq!(unnamed.kind(257), Some(Kind::Normal));
        let tokenizer = open(&source, json!({"eos_token": {"content": "<|end|>"}, "pad_token": "!"}));
        assert_eq!((tokenizer.kind(257), tokenizer.eos()), (Some(Kind::Control), Some(257)));
        assert_eq!(tokenizer.encode("<|end|>", Special::Parse).unwrap(), [257]);
        // A sign that texts have, too, stays text.
        assert_eq!(tokenizer.decode(&tokenizer.encode("a!", Special::Parse).unwrap()), "a!");
    }
}

#[test]
fn a_named_token_is_a_control_token_even_where_its_file_lists_it_as_text() {
    let own = json!([{"id": 256, "content": "<|old|>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": false}]);
    for source in [json_source(own.clone(), false), json_source(own, true)] {
        assert_eq!(open(&source, json!({})).decode(&[256]), "<|old|>");
        let named = open(&source, json!({"extra_special_tokens": {"boi_token": "<|old|>"}}));
        assert_eq!((named.kind(256), named.decode(&[256])), (Some(Kind::Control), String::new()));
    }
}

#[test]
fn marks_of_pictures_in_a_gguf_file_are_no_text() {
    let marks = ["<start_of_image>", "<end_of_image>"];
    let mut tokens: Vec<String> = alphabet().into_iter().map(String::from).collect();
    tokens.extend(marks.iter().chain(&["<table>"]).map(|mark| (*mark).to_owned()));
    let types = (0..tokens.len()).map(|id| if id < 256 { 1 } else { 4 }).collect();
    let mut metadata = Metadata::new("x.gguf");
    metadata.insert("tokenizer.ggml.model", "gpt2");
    metadata.insert("tokenizer.ggml.tokens", tokens);
    metadata.insert("tokenizer.ggml.token_type", gguf::Value::Array(Array::I32(types)));
    metadata.insert("tokenizer.ggml.merges", Vec::<String>::new());
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
    assert_eq!(tokenizer.decode(&[256, 258, 257]), "<table>");
    // Nobody spells one out by writing its name, but in a raw prompt.
    for (mark, id) in marks.iter().zip(256..) {
        assert_eq!(tokenizer.encode(mark, Special::Plain).unwrap().len(), mark.len());
        assert_eq!(tokenizer.encode(mark, Special::Parse).unwrap(), [id]);
    }
    assert_eq!(tokenizer.encode("<table>", Special::Plain).unwrap(), [258]);
}

#[test]
fn bad_lists_of_added_tokens_are_refused_by_key() {
    let source = gpt2_source();
    for (decoder, part) in [
        (json!([1]), "should be an object"),
        (json!({"x": {"content": "a"}}), "\"x\" is not a token id"),
        (json!({"300": {"special": true}}), "content"),
        (json!({"300": {"content": ""}}), "is empty"),
        (json!({"4000000000": {"content": "<far>"}}), "ids up to 4000000000"),
    ] {
        let config = json!({"added_tokens_decoder": decoder});
        let error = Tokenizer::from_source(&source, Some(&config)).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let config = json!({"added_tokens_decoder": {"4000000000": {"content": "<far>"}}});
    assert!(Tokenizer::from_source(&sentencepiece_source(), Some(&config)).is_err());
}

#[test]
fn templates_know_every_named_token() {
    let config = json!({
        "bos_token": "<|old|>", "eos_token": "<|end|>", "unk_token": {"content": "<unk>"}, "pad_token": null,
        "image_token": "<image>", "extra_special_tokens": {"boi_token": "<boi>"}, "add_bos_token": true,
    });
    let tokenizer = open(&gpt2_source(), config);
    let source =
        "{{ bos_token }}{{ unk_token }}{{ pad_token }}{{ image_token }}{{ boi_token }}{{ eos_token }}";
    let template = ChatTemplate::for_tokenizer(source, &tokenizer).unwrap();
    assert_eq!(template.render(&[], false).unwrap(), "<|old|><unk><image><boi><|end|>");
}

#[test]
fn a_template_alone_decides_about_the_start_token() {
    let config = json!({"bos_token": "<|old|>", "add_bos_token": true});
    let tokenizer = open(&gpt2_source(), config);
    assert!(tokenizer.add_bos());
    let talk = [Message::new(Role::User, "a")];
    let first = |source: &str| {
        let template = ChatTemplate::for_tokenizer(source, &tokenizer).unwrap();
        template.encode(&tokenizer, &talk, true).unwrap()
    };
    let letter = tokenizer.id("a").unwrap();
    assert_eq!(first("{{ messages[0].content }}"), [letter]);
    assert_eq!(first("{{ bos_token }}{{ messages[0].content }}"), [256, letter]);
}

/// A GGUF file that keeps a whole tokenizer.json reads texts as that file does.
#[test]
fn a_whole_tokenizer_json_in_a_gguf_file_comes_first() {
    let own = json!([{"id": 256, "content": "<|old|>", "single_word": false, "lstrip": true, "rstrip": true,
        "normalized": false, "special": true}]);
    let source = json_source(own, true);
    let TokenizerSource::Json(json) = &source else { panic!("no file") };
    let mut metadata = Metadata::new("x.gguf");
    metadata.insert("tokenizer.ggml.model", "gpt2");
    metadata.insert("tokenizer.ggml.bos_token_id", 256u32);
    metadata.insert("tokenizer.ggml.eos_token_id", 257u32);
    metadata.insert("tokenizer.ggml.padding_token_id", 256u32);
    metadata.insert("tokenizer.ggml.add_bos_token", true);
    metadata.insert("tokenizer.huggingface.json", std::str::from_utf8(json).unwrap());
    let inside = Tokenizer::from_gguf(&metadata).unwrap();
    let beside = open(&source, json!({}));
    for text in ["Hello <|old|> WORLD", "", "a"] {
        for special in [Special::Parse, Special::Plain] {
            assert_eq!(inside.encode(text, special).unwrap(), beside.encode(text, special).unwrap());
        }
    }
    assert_eq!((inside.bos(), inside.eos(), inside.add_bos()), (Some(256), Some(257), true));
    assert_eq!(inside.named_tokens(), [("pad_token".to_owned(), "<|old|>".to_owned())]);
    metadata.insert("tokenizer.huggingface.json", "{");
    assert!(Tokenizer::from_gguf(&metadata).is_err());
}
