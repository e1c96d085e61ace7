//! Tiny random models against what transformers computes with them (`scripts/fixtures/clip.py`).

mod common;

use common::{MODELS, distance, fixture, floats, json, open, open_with, picture};
use crayon_kernels::{Format, Mode};
use crayon_vision::{Options, WeightedTokens};

const TOLERANCE: f32 = 1e-4;

fn ids(row: &serde_json::Value) -> Vec<u32> {
    row.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// The tokens of a recorded row without those around a text, and where they lie.
fn inner(model: &str, row: &[u32]) -> std::ops::Range<usize> {
    match model {
        "siglip" => 0..row.iter().position(|&id| id == 1).unwrap(),
        _ => 1..row.len() - 1,
    }
}

#[test]
fn embeddings_are_those_of_transformers() {
    for model in MODELS {
        let (clip, expected) = (open(model), json(&format!("{model}/expected.json")));
        let texts = expected["texts"].as_array().unwrap();
        let mut batch = Vec::new();
        for text in texts {
            let row = ids(&text["ids"]);
            let own = &row[inner(model, &row)];
            let plain = clip.plain(text["text"].as_str().unwrap()).unwrap();
            assert_eq!(plain.tokens, own, "{model}: tokens of {}", text["text"]);
            batch.push(plain);
        }
        let embeddings = clip.embed_texts(&batch).unwrap();
        for (text, embedding) in texts.iter().zip(&embeddings) {
            let off = distance(embedding, &floats(&text["embedding"]));
            assert!(off <= TOLERANCE, "{model}: {} off by {off}", text["text"]);
        }

        let pictures: Vec<_> = (0..3).map(|i| picture(i, clip.image_size())).collect();
        let images = clip.embed_images(&pictures).unwrap();
        for (image, expected) in images.iter().zip(expected["images"].as_array().unwrap()) {
            let off = distance(image, &floats(expected));
            assert!(off <= TOLERANCE, "{model}: picture off by {off}");
        }

        for (text, expected) in embeddings.iter().zip(expected["logits"].as_array().unwrap()) {
            let logit = |image: &Vec<f32>| {
                let cos: f32 = text.iter().zip(image).map(|(a, b)| a * b).sum();
                clip.logit_scale() * cos + clip.logit_bias()
            };
            let off = distance(&images.iter().map(logit).collect::<Vec<_>>(), &floats(expected));
            assert!(off <= TOLERANCE * clip.logit_scale(), "{model}: logits off by {off}");
        }
    }
}

#[test]
fn weighted_texts_are_those_of_a_reference_with_a_bias_on_the_keys() {
    for model in MODELS {
        let (clip, expected) = (open(model), json(&format!("{model}/expected.json")));
        for case in expected["weighted"].as_array().unwrap() {
            let row = ids(&expected["texts"][case["text"].as_u64().unwrap() as usize]["ids"]);
            let inner = inner(model, &row);
            let text = WeightedTokens {
                tokens: row[inner.clone()].to_vec(),
                weights: floats(&case["weights"])[inner].to_vec(),
                first_layer: case["first_layer"].as_u64().unwrap() as usize,
            };
            let off = distance(&clip.embed_texts(&[text]).unwrap()[0], &floats(&case["embedding"]));
            assert!(off <= TOLERANCE, "{model}: {} off by {off}", case["word"]);
        }
    }
}

#[test]
fn a_result_depends_on_neither_threads_nor_batch() {
    for model in MODELS {
        let clips = [1, 2, 3]
            .map(|threads| open_with(model, Options { threads: Some(threads), ..Options::default() }));
        let texts: Vec<_> =
            ["a red heart", "star", "two small blue cats"].map(|text| clips[0].plain(text).unwrap()).into();
        let pictures: Vec<_> = (0..9).map(|i| picture(i, clips[0].image_size())).collect();
        let whole = (clips[0].embed_texts(&texts).unwrap(), clips[0].embed_images(&pictures).unwrap());
        for clip in &clips {
            assert_eq!(clip.embed_texts(&texts).unwrap(), whole.0, "{model}");
            assert_eq!(clip.embed_images(&pictures).unwrap(), whole.1, "{model}");
            for (text, expected) in texts.iter().zip(&whole.0) {
                assert_eq!(clip.embed_texts(std::slice::from_ref(text)).unwrap()[0], *expected, "{model}");
            }
            assert_eq!(clip.embed_images(&pictures[4..5]).unwrap()[0], whole.1[4], "{model}");
        }
        assert!(
            clips[0].embed_texts(&[]).unwrap().is_empty() && clips[0].embed_images(&[]).unwrap().is_empty()
        );
    }
}

#[test]
fn every_number_type_stays_near_the_floats() {
    let (exact, text) = (open("siglip"), "a photo of a yellow dog");
    let pictures = [picture(0, 28)];
    let reference =
        [exact.embed_texts(&[exact.plain(text).unwrap()]).unwrap(), exact.embed_images(&pictures).unwrap()];
    let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    for format in Format::ALL {
        for mode in [Mode::Exact, Mode::Fast] {
            let clip = open_with(
                "siglip",
                Options { threads: Some(1), mode, weights: Some(format), ..Options::default() },
            );
            let found = [
                clip.embed_texts(&[clip.plain(text).unwrap()]).unwrap(),
                clip.embed_images(&pictures).unwrap(),
            ];
            // Blocks of 256 do not fit these rows, whose layers then stay as they are.
            let least = match format {
                Format::F32 | Format::F16 | Format::BF16 | Format::Q8_0 | Format::W8A8 => 0.995,
                _ => 0.7,
            };
            for (found, reference) in found.iter().zip(&reference) {
                let near = cosine(&found[0], &reference[0]);
                assert!(near >= least, "{format} {mode:?}: cosine {near}");
            }
        }
    }
}

#[test]
fn fingerprints_tell_models_apart() {
    let prints: Vec<String> = MODELS.map(|model| open(model).fingerprint().to_owned()).into();
    assert!(prints.iter().all(|print| prints.iter().filter(|other| *other == print).count() == 1));
    let quantised = open_with("clip", Options { weights: Some(Format::Q8_0), ..Options::default() });
    assert_ne!(quantised.fingerprint(), prints[0]);
    assert_eq!(open("clip").fingerprint(), prints[0]);
    assert!(fixture("clip").is_dir());
}
