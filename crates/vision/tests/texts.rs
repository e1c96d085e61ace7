//! Pieces of a text, and texts that are too long.

mod common;

use common::open;
use crayon_vision::{VisionError, WeightedTokens};

#[test]
fn pieces_know_their_place_and_their_word() {
    let text = "Two  small BLUE-green cats, isn't";
    for model in ["clip", "siglip"] {
        let clip = open(model);
        let pieces = clip.tokenize(text).unwrap();
        let words = ["Two", "small", "BLUE", "-", "green", "cats", ",", "isn't"];
        let mut joined = vec![String::new(); words.len()];
        for piece in &pieces {
            joined[piece.word].push_str(text[piece.range.clone()].trim_start());
        }
        for (joined, word) in joined.iter().zip(words) {
            // SigLIP drops signs.
            let seen = joined == word
                || model == "siglip" && joined.replace('\'', "") == word.replace(['-', ',', '\''], "");
            assert!(seen, "{model}: {joined:?} of {word:?} in {pieces:?}");
        }
        assert!(pieces.is_sorted_by_key(|piece| piece.range.start), "{model}");
    }
    assert!(open("clip").tokenize("").unwrap().is_empty());
}

#[test]
fn characters_of_several_bytes_have_whole_ranges() {
    let text = "naïve İstanbul 日本の猫 🐈 e\u{301}";
    for model in ["clip", "siglip"] {
        for piece in open(model).tokenize(text).unwrap() {
            assert!(text.get(piece.range.clone()).is_some(), "{model}: {piece:?}");
        }
    }
}

#[test]
fn long_texts_are_refused_with_the_numbers_and_never_cut() {
    for model in ["clip", "siglip"] {
        let clip = open(model);
        let token = clip.plain("red").unwrap().tokens[0];
        let full = WeightedTokens::plain(vec![token; clip.room()]);
        assert_eq!(clip.embed_texts(&[full]).unwrap().len(), 1);
        let long = WeightedTokens::plain(vec![token; clip.room() + 1]);
        match clip.embed_texts(&[long]) {
            Err(VisionError::TooLong { tokens, room }) => {
                assert_eq!((tokens, room), (clip.room() + 1, clip.room()))
            }
            other => panic!("{model}: {other:?}"),
        }
        let text = "red ".repeat(clip.context());
        assert!(
            clip.tokenize(&text).unwrap().len() > clip.room(),
            "{model}: it is not cut while it is cut up"
        );
    }
    let unknown = WeightedTokens::plain(vec![1 << 20]);
    assert!(open("clip").embed_texts(&[unknown]).is_err());
}

#[test]
fn an_empty_text_has_an_embedding() {
    for model in ["clip", "siglip"] {
        let embedding = open(model).embed_texts(&[WeightedTokens::default()]).unwrap().remove(0);
        let length: f32 = embedding.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5);
    }
}
