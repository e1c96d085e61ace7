//! A model for tests: pictures are their mean colour, texts the colours they name.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};

use crayon_vision::Pixels;

use crate::embedder::{Embedder, ModelError, Token, WeightedToken};
use crate::prompt::spans;

/// Red, green, blue, and one direction that all pictures, and one that all texts have in common.
#[derive(Debug, Default)]
pub(crate) struct MadeUp;

const COLOURS: [&str; 3] = ["red", "green", "blue"];
const DIM: usize = 5;

impl Embedder for MadeUp {
    fn name(&self) -> String {
        "made up".to_owned()
    }

    fn fingerprint(&self) -> String {
        "0123456789abcdef".to_owned()
    }

    fn dim(&self) -> usize {
        DIM
    }

    fn room(&self) -> usize {
        14
    }

    fn logit_scale(&self) -> f32 {
        50.0
    }

    fn prepare(&self, bytes: &[u8]) -> Result<Pixels, String> {
        let picture = image::load_from_memory(bytes).map_err(|error| error.to_string())?.to_rgb8();
        let picture = image::imageops::thumbnail(&picture, 12, 12);
        Ok(Pixels { size: 12, rgb: picture.into_raw() })
    }

    fn embed_pictures(&self, pictures: &[Pixels]) -> Result<Vec<f32>, ModelError> {
        Ok(pictures
            .iter()
            .flat_map(|picture| {
                let [r, g, b] = [0, 1, 2].map(|channel| {
                    let values = picture.rgb.iter().skip(channel).step_by(3);
                    values.map(|value| f32::from(*value)).sum::<f32>() / 255.0 / 144.0
                });
                unit(vec![r, g, b, 0.5, 0.0])
            })
            .collect())
    }

    fn tokenize(&self, text: &str) -> Result<Vec<Token>, ModelError> {
        let id = |word: &str| COLOURS.iter().position(|colour| *colour == word).unwrap_or(3) as u32;
        Ok(spans(text).map(|range| Token { id: id(&text[range.clone()]), range }).collect())
    }

    fn embed_tokens(&self, texts: &[Vec<WeightedToken>]) -> Result<Vec<f32>, ModelError> {
        Ok(texts
            .iter()
            .flat_map(|text| {
                let mut vector = vec![0.0, 0.0, 0.0, 0.3, 0.3];
                for (token, weight) in text.iter().filter(|(token, _)| token.id < 3) {
                    vector[token.id as usize] += weight;
                }
                unit(vector)
            })
            .collect())
    }
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|value| *value /= length);
    vector
}

/// A small picture of one colour, in the format of `name`'s ending.
pub(crate) fn picture(name: &str, colour: [u8; 3]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let picture = RgbImage::from_pixel(8, 6, Rgb(colour));
    picture.write_to(&mut bytes, ImageFormat::from_path(name).unwrap()).unwrap();
    bytes.into_inner()
}
