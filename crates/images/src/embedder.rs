//! What this crate needs of a model of texts and pictures.

use std::ops::Range;

use crayon_errors::Explain;
use crayon_vision::{Clip, Pixels, VisionError, WeightedTokens};

use crate::{ImageError, Prompt};

/// An error of a model.
pub type ModelError = Box<dyn Explain + Send + Sync>;

/// A piece of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The tokenizer's number.
    pub id: u32,
    /// Bytes of the text it stands for.
    pub range: Range<usize>,
}

/// A token and the weight of its word.
pub type WeightedToken = (Token, f32);

/// A model that puts texts and pictures into one space.
pub trait Embedder: Sync {
    /// What the model is called.
    fn name(&self) -> String;

    /// Names the weights and the pre-processing: vectors of models with different fingerprints are not compared.
    fn fingerprint(&self) -> String;

    /// Numbers of a vector.
    fn dim(&self) -> usize;

    /// Tokens a text may have, without start and end.
    fn room(&self) -> usize;

    /// What cosines are multiplied by before a softmax.
    fn logit_scale(&self) -> f32;

    /// A file's bytes, decoded, turned upright and resized. Called from many threads.
    ///
    /// # Errors
    /// In words, if the bytes are not picture, or one that is damaged or too large.
    fn prepare(&self, bytes: &[u8]) -> Result<Pixels, String>;

    /// `[pictures, dim]` of length 1.
    ///
    /// # Errors
    /// If the model fails.
    fn embed_pictures(&self, pictures: &[Pixels]) -> Result<Vec<f32>, ModelError>;

    /// The tokens of a text, without start and end.
    ///
    /// # Errors
    /// If the vocabulary cannot express the text.
    fn tokenize(&self, text: &str) -> Result<Vec<Token>, ModelError>;

    /// `[texts, dim]` of length 1; texts come without start and end.
    ///
    /// # Errors
    /// If the model fails.
    fn embed_tokens(&self, texts: &[Vec<WeightedToken>]) -> Result<Vec<f32>, ModelError>;
}

/// The tokens of a prompt, each with the weight of its word.
///
/// # Errors
/// If they are more than the model reads.
pub fn weighted_tokens(embedder: &dyn Embedder, prompt: &Prompt) -> Result<Vec<WeightedToken>, ImageError> {
    let tokens = embedder.tokenize(&prompt.text).map_err(ImageError::Model)?;
    if tokens.len() > embedder.room() {
        return Err(ImageError::TooLong {
            text: prompt.text.clone(),
            tokens: tokens.len(),
            most: embedder.room(),
        });
    }
    Ok(tokens
        .into_iter()
        .map(|token| {
            let weight = prompt.weight(token.range.clone());
            (token, weight)
        })
        .collect())
}

/// `[prompts, dim]` of length 1.
///
/// # Errors
/// If a prompt is too long or the model fails.
pub fn embed_prompts(embedder: &dyn Embedder, prompts: &[Prompt]) -> Result<Vec<f32>, ImageError> {
    let texts =
        prompts.iter().map(|prompt| weighted_tokens(embedder, prompt)).collect::<Result<Vec<_>, _>>()?;
    embedder.embed_tokens(&texts).map_err(ImageError::Model)
}

impl Embedder for Clip {
    fn name(&self) -> String {
        Clip::name(self).to_owned()
    }

    fn fingerprint(&self) -> String {
        Clip::fingerprint(self).to_owned()
    }

    fn dim(&self) -> usize {
        Clip::dim(self)
    }

    fn room(&self) -> usize {
        Clip::room(self)
    }

    fn logit_scale(&self) -> f32 {
        Clip::logit_scale(self)
    }

    fn prepare(&self, bytes: &[u8]) -> Result<Pixels, String> {
        self.preprocess(bytes).map_err(|error| error.to_string())
    }

    fn embed_pictures(&self, pictures: &[Pixels]) -> Result<Vec<f32>, ModelError> {
        Ok(self.embed_images(pictures).map_err(boxed)?.concat())
    }

    fn tokenize(&self, text: &str) -> Result<Vec<Token>, ModelError> {
        let pieces = Clip::tokenize(self, text).map_err(boxed)?;
        Ok(pieces.into_iter().map(|piece| Token { id: piece.id, range: piece.range }).collect())
    }

    fn embed_tokens(&self, texts: &[Vec<WeightedToken>]) -> Result<Vec<f32>, ModelError> {
        let texts: Vec<WeightedTokens> = texts
            .iter()
            .map(|text| {
                let (tokens, weights) = text.iter().map(|(token, weight)| (token.id, *weight)).unzip();
                WeightedTokens { tokens, weights, first_layer: 0 }
            })
            .collect();
        Ok(self.embed_texts(&texts).map_err(boxed)?.concat())
    }
}

fn boxed(error: VisionError) -> ModelError {
    Box::new(error)
}
