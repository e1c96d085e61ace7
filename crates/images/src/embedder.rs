//! What this crate needs of a model of texts and pictures.

use std::ops::Range;

use crayon_errors::Explain;

use crate::{ImageError, Prompt};

/// An error of a model.
pub type ModelError = Box<dyn Explain + Send + Sync>;

/// A picture as the model takes it.
pub struct Pixels {
    /// Normalised values in the model's own order.
    pub values: Vec<f32>,
    /// Width and height of the picture itself, upright.
    pub size: [u32; 2],
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The tokenizer's number.
    pub id: u32,
    /// Bytes of the text it stands for.
    pub range: Range<usize>,
}

/// A token's number and the weight of its word.
pub type WeightedToken = (u32, f32);

/// A model that puts texts and pictures into one space.
pub trait Embedder: Sync {
    /// What the model is called.
    fn name(&self) -> String;

    /// Names the weights and the pre-processing: vectors of models with different fingerprints are not compared.
    fn fingerprint(&self) -> String;

    /// Numbers of a vector.
    fn dim(&self) -> usize;

    /// Tokens a text may have, start and end among them.
    fn context(&self) -> usize;

    /// What cosines are multiplied by before a softmax.
    fn logit_scale(&self) -> f32;

    /// A file's bytes, decoded, turned upright, resized and normalised. Called from many threads.
    ///
    /// # Errors
    /// In words, if the bytes are no picture, or one that is damaged or too large.
    fn prepare(&self, bytes: &[u8]) -> Result<Pixels, String>;

    /// `[pictures, dim]` of length 1.
    ///
    /// # Errors
    /// If the model fails.
    fn embed_pictures(&self, pictures: &[Pixels]) -> Result<Vec<f32>, ModelError>;

    /// The tokens of a text, without start and end.
    fn tokenize(&self, text: &str) -> Vec<Token>;

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
    let tokens = embedder.tokenize(&prompt.text);
    if tokens.len() + 2 > embedder.context() {
        return Err(ImageError::TooLong {
            text: prompt.text.clone(),
            tokens: tokens.len() + 2,
            most: embedder.context(),
        });
    }
    Ok(tokens.into_iter().map(|token| (token.id, prompt.weight(token.range))).collect())
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
