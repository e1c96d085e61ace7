//! A model for tests: pictures are their mean colour, texts the colours they name.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};

use crate::embedder::{Embedder, ModelError, Pixels, Token, WeightedToken};
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

    fn context(&self) -> usize {
        16
    }

    fn logit_scale(&self) -> f32 {
        50.0
    }

    fn prepare(&self, bytes: &[u8]) -> Result<Pixels, String> {
        let picture = image::load_from_memory(bytes).map_err(|error| error.to_string())?.to_rgb8();
        let count = (picture.width() * picture.height()) as f32;
        let mut values = vec![0.0; 3];
        for Rgb(pixel) in picture.pixels() {
            for (value, channel) in values.iter_mut().zip(pixel) {
                *value += f32::from(*channel) / 255.0 / count;
            }
        }
        Ok(Pixels { values, size: [picture.width(), picture.height()] })
    }

    fn embed_pictures(&self, pictures: &[Pixels]) -> Result<Vec<f32>, ModelError> {
        Ok(pictures
            .iter()
            .flat_map(|picture| {
                let [r, g, b] = [picture.values[0], picture.values[1], picture.values[2]];
                unit(vec![r, g, b, 0.5, 0.0])
            })
            .collect())
    }

    fn tokenize(&self, text: &str) -> Vec<Token> {
        let id = |word: &str| COLOURS.iter().position(|colour| *colour == word).unwrap_or(3) as u32;
        spans(text).map(|range| Token { id: id(&text[range.clone()]), range }).collect()
    }

    fn embed_tokens(&self, texts: &[Vec<WeightedToken>]) -> Result<Vec<f32>, ModelError> {
        Ok(texts
            .iter()
            .flat_map(|text| {
                let mut vector = vec![0.0, 0.0, 0.0, 0.3, 0.3];
                for (id, weight) in text.iter().filter(|(id, _)| *id < 3) {
                    vector[*id as usize] += weight;
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
