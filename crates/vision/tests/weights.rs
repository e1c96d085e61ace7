//! Identities of word weights.

mod common;

use common::{MODELS, distance, open};
use crayon_vision::WeightedTokens;

const TEXT: &str = "two small blue cats on the green table";

fn weighted(tokens: &WeightedTokens, at: usize, weight: f32) -> WeightedTokens {
    let mut out = tokens.clone();
    out.weights[at] = weight;
    out
}

#[test]
fn a_weight_of_one_changes_no_bit() {
    for model in MODELS {
        let clip = open(model);
        let plain = clip.plain(TEXT).unwrap();
        let reference = clip.embed_texts(std::slice::from_ref(&plain)).unwrap();
        // So close to 1 that its logarithm is lost beside the logits: the way with a bias, and the result without.
        let nearly = weighted(&plain, 2, 1.0 + f32::EPSILON / 2.0);
        let last = WeightedTokens { first_layer: clip.text_layers(), ..weighted(&plain, 2, 3.0) };
        for same in [weighted(&plain, 2, 1.0), nearly, last] {
            assert_eq!(clip.embed_texts(&[same]).unwrap(), reference, "{model}");
        }
        // Nor does a weighted neighbour in the batch.
        let batch = clip.embed_texts(&[weighted(&plain, 2, 4.0), plain]).unwrap();
        assert_eq!(batch[1], reference[0], "{model}");
        assert_ne!(batch[0], reference[0], "{model}");
    }
}

#[test]
fn a_weight_of_zero_hides_a_word_and_a_small_one_nearly() {
    for model in MODELS {
        let clip = open(model);
        let plain = clip.plain(TEXT).unwrap();
        let embed = |weight: f32| clip.embed_texts(&[weighted(&plain, 2, weight)]).unwrap().remove(0);
        let (hidden, nearly, half) = (embed(0.0), embed(1e-12), embed(0.5));
        assert!(hidden.iter().all(|x| x.is_finite()));
        assert!(distance(&hidden, &nearly) < 1e-5, "{model}: {}", distance(&hidden, &nearly));
        assert!(distance(&hidden, &half) > 1e-4, "{model}");
        // What the hidden token is does not matter: nobody looks at it.
        let mut other = weighted(&plain, 2, 0.0);
        other.tokens[2] = plain.tokens[0];
        assert_eq!(clip.embed_texts(&[other]).unwrap()[0], hidden, "{model}");
    }
}

#[test]
fn equal_tokens_weigh_as_much_as_one_that_counts_for_both() {
    // Without positions, w copies of a key are one key of weight w. With them the nearest check is that a weight of every
    // token, start and end apart, moves attention away from these two.
    for model in ["clip", "siglip"] {
        let clip = open(model);
        let plain = clip.plain(TEXT).unwrap();
        let all = |weight: f32| {
            let text = WeightedTokens { weights: vec![weight; plain.tokens.len()], ..plain.clone() };
            clip.embed_texts(&[text]).unwrap().remove(0)
        };
        assert!(distance(&all(1e6), &all(1e9)) < 1e-3, "{model}: the words have all the attention there is");
        assert!(distance(&all(1.0), &all(1e6)) > 1e-3, "{model}");
    }
}

#[test]
fn weights_that_are_none_are_refused() {
    let clip = open("clip");
    let plain = clip.plain(TEXT).unwrap();
    for weight in [f32::NAN, -0.5, f32::INFINITY] {
        let error = clip.embed_texts(&[weighted(&plain, 0, weight)]).unwrap_err();
        assert!(error.to_string().contains("cannot be"), "{error}");
    }
    let mut short = plain.clone();
    short.weights.pop();
    assert!(clip.embed_texts(&[short]).unwrap_err().to_string().contains("weights for"));
    // The largest number there is stays a number.
    let huge = clip.embed_texts(&[weighted(&plain, 1, f32::MAX)]).unwrap();
    assert!(huge[0].iter().all(|x| x.is_finite()));
    let none = WeightedTokens { weights: vec![0.0; plain.tokens.len()], ..plain };
    assert!(clip.embed_texts(&[none]).unwrap()[0].iter().all(|x| x.is_finite()));
}
