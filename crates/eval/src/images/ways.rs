//! Ways to stress a word of a caption.

use std::fmt;

use crayon_images::{Prompt, weighted_tokens};
use crayon_vision::{Clip, WeightedTokens};

use super::Caption;
use crate::EvalError;

/// A way to make one word of a caption count more, or less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// SToRI: a weight inside the attention, in the layers from `first_layer` on.
    Weights {
        /// The first layer in which it counts.
        first_layer: usize,
    },
    /// The word is written several times.
    Repeated,
    /// The vector of the word alone is added.
    Mixed,
    /// The difference to the caption without the word is added.
    Difference,
}

impl Way {
    /// Strengths that are tried, weakest first.
    pub fn strengths(self) -> &'static [f64] {
        match self {
            Way::Weights { .. } => &[0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0],
            Way::Repeated => &[1.0, 2.0, 3.0, 4.0, 5.0],
            Way::Mixed => &[-0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0],
            Way::Difference => &[-1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0],
        }
    }

    /// The strength that changes nothing.
    pub fn neutral(self) -> f64 {
        match self {
            Way::Weights { .. } | Way::Repeated => 1.0,
            Way::Mixed | Way::Difference => 0.0,
        }
    }

    /// All ways for a tower of texts with so many layers: weights in all, in the later half and in the last quarter.
    pub fn all(layers: usize) -> Vec<Way> {
        let mut starts = vec![0, layers / 2, layers - layers.div_ceil(4)];
        starts.dedup();
        let weights = starts.into_iter().map(|first_layer| Way::Weights { first_layer });
        weights.chain([Way::Repeated, Way::Mixed, Way::Difference]).collect()
    }

    /// `[captions, dim]` of length 1.
    pub(super) fn vectors(
        self,
        clip: &Clip,
        captions: &[&Caption],
        strength: f64,
    ) -> Result<Vec<f32>, EvalError> {
        match self {
            Way::Weights { first_layer } => {
                let prompt = |caption: &&Caption| {
                    let mut prompt = Prompt::plain(&caption.text);
                    prompt.weigh(&caption.word, strength as f32)?;
                    Ok(prompt)
                };
                embedded(clip, captions.iter().map(prompt), first_layer)
            }
            Way::Repeated => {
                let again = |caption: &&Caption| {
                    let words = vec![caption.word.as_str(); strength as usize].join(" ");
                    Ok(Prompt::plain(&caption.with(&words)))
                };
                embedded(clip, captions.iter().map(again), 0)
            }
            Way::Mixed => {
                let plain = plain(clip, captions.iter().map(|caption| caption.text.clone()))?;
                let alone = self::plain(clip, captions.iter().map(|caption| caption.word.clone()))?;
                Ok(sums(&plain, &alone, strength as f32, clip.dim()))
            }
            Way::Difference => {
                let plain = plain(clip, captions.iter().map(|caption| caption.text.clone()))?;
                let without = self::plain(clip, captions.iter().map(|caption| caption.with("")))?;
                let difference: Vec<f32> = plain.iter().zip(&without).map(|(a, b)| a - b).collect();
                Ok(sums(&plain, &difference, strength as f32, clip.dim()))
            }
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Weights { first_layer: 0 } => f.write_str("word weights"),
            Way::Weights { first_layer } => write!(f, "word weights from layer {first_layer}"),
            Way::Repeated => f.write_str("word repeated"),
            Way::Mixed => f.write_str("word's vector added"),
            Way::Difference => f.write_str("difference added"),
        }
    }
}

fn plain(clip: &Clip, texts: impl Iterator<Item = String>) -> Result<Vec<f32>, EvalError> {
    embedded(clip, texts.map(|text| Ok(Prompt::plain(&text))), 0)
}

fn embedded(
    clip: &Clip,
    prompts: impl Iterator<Item = Result<Prompt, crayon_images::ImageError>>,
    first_layer: usize,
) -> Result<Vec<f32>, EvalError> {
    let mut texts = Vec::new();
    for prompt in prompts {
        let (tokens, weights) =
            weighted_tokens(clip, &prompt?)?.into_iter().map(|(token, weight)| (token.id, weight)).unzip();
        texts.push(WeightedTokens { tokens, weights, first_layer });
    }
    Ok(clip.embed_texts(&texts)?.concat())
}

/// `a + factor · b`, row by row brought to length 1.
fn sums(a: &[f32], b: &[f32], factor: f32, dim: usize) -> Vec<f32> {
    let mut out: Vec<f32> = a.iter().zip(b).map(|(a, b)| a + factor * b).collect();
    for row in out.chunks_exact_mut(dim) {
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        row.iter_mut().for_each(|value| *value /= length.max(f32::MIN_POSITIVE));
    }
    out
}
