//! The tower of texts.

use crayon_formats::Tensor;
use crayon_formats::clip::TextSpec;
use crayon_kernels::{dequantize_rows, ops};
use crayon_model::{Linear, ModelError, RowNorm, Sight};

use crate::VisionError;
use crate::encoder::{Batch, Buffers, Encoder, Run};
use crate::weights::Weights;

/// Tokens of a text with how much each counts, without the tokens that start and end a text.
///
/// A weight `w` multiplies a token's share of every attention, as if there were `w` of it: `log w` is added to the logits of
/// its key. 1 changes nothing, 0 hides the token from all others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightedTokens {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// A weight of 0 or more for each.
    pub weights: Vec<f32>,
    /// The first layer in which they count; 0 for all.
    pub first_layer: usize,
}

impl WeightedTokens {
    /// Tokens that all count the same.
    pub fn plain(tokens: Vec<u32>) -> WeightedTokens {
        WeightedTokens { weights: vec![1.0; tokens.len()], tokens, first_layer: 0 }
    }
}

/// Tokens that stand around those of a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) start: Option<u32>,
    pub(crate) end: u32,
    /// Fills a text up to the context.
    pub(crate) pad: Option<u32>,
}

impl Ends {
    /// Positions they take at least.
    pub(crate) fn len(&self) -> usize {
        1 + usize::from(self.start.is_some())
    }
}

/// The layers, in the order they run.
pub(crate) struct TextTower {
    spec: TextSpec,
    ends: Ends,
    embedding: Tensor,
    /// `[context, hidden]`.
    positions: Vec<f32>,
    encoder: Encoder,
    norm: RowNorm,
    projection: Linear,
}

impl TextTower {
    pub(crate) fn open(weights: &Weights<'_>, ends: Ends) -> Result<TextTower, ModelError> {
        let spec = weights.checkpoint.spec.text.clone();
        let sight = if spec.causal { Sight::Causal { window: None } } else { Sight::All };
        Ok(TextTower {
            ends,
            embedding: weights.checkpoint.tensor("text.token_embd.weight")?,
            positions: weights.values("text.position_embd.weight")?,
            encoder: Encoder::open(weights, "text", &spec.tower, sight)?,
            norm: weights.norm("text.output_norm", spec.tower.eps)?,
            projection: weights.linear("text.projection", spec.projection_bias)?,
            spec,
        })
    }

    /// Tokens of a text there is room for.
    pub(crate) fn room(&self) -> usize {
        self.spec.context.saturating_sub(self.ends.len())
    }

    /// Blocks.
    pub(crate) fn layers(&self) -> usize {
        self.encoder.layers()
    }

    /// Rows that a text of `tokens` tokens takes.
    pub(crate) fn rows(&self, tokens: usize) -> usize {
        match self.ends.pad {
            Some(_) => self.spec.context,
            None => tokens + self.ends.len(),
        }
    }

    /// Rows before a text's first token.
    pub(crate) fn before(&self) -> usize {
        usize::from(self.ends.start.is_some())
    }

    /// The tokens of a text with those that start, end and fill it; the last row is the text's.
    pub(crate) fn ids(&self, tokens: &[u32]) -> Vec<u32> {
        let fill = std::iter::repeat(self.ends.pad.unwrap_or(self.ends.end));
        let whole = self.ends.start.into_iter().chain(tokens.iter().copied()).chain([self.ends.end]);
        whole.chain(fill).take(self.rows(tokens.len())).collect()
    }

    /// Refuses what cannot be embedded.
    pub(crate) fn check(&self, text: &WeightedTokens) -> Result<(), VisionError> {
        let (tokens, room) = (text.tokens.len(), self.room());
        if tokens > room {
            return Err(VisionError::TooLong { tokens, room });
        }
        if let Some(&id) = text.tokens.iter().find(|&&id| id as usize >= self.spec.vocab) {
            return Err(VisionError::Token { id, vocab: self.spec.vocab });
        }
        if text.weights.len() != tokens {
            let what = format!("there are {} weights for {tokens} tokens", text.weights.len());
            return Err(VisionError::Weights(what));
        }
        match text.weights.iter().find(|weight| !weight.is_finite() || **weight < 0.0) {
            Some(weight) => Err(VisionError::Weights(format!("a word's weight cannot be {weight}"))),
            None => Ok(()),
        }
    }

    /// Embeds checked texts, `[texts, dim]`, before they are brought to length 1.
    pub(crate) fn forward(
        &self,
        run: Run<'_>,
        texts: &[&WeightedTokens],
        buffers: &mut Buffers,
        out: &mut Vec<f32>,
    ) {
        let width = self.spec.tower.hidden;
        buffers.hidden.clear();
        let (mut spans, mut biases, mut pooled) = (Vec::new(), Vec::new(), Vec::new());
        let mut row = 0;
        for text in texts {
            let rows = self.rows(text.tokens.len());
            let before = self.before();
            for (id, position) in self.ids(&text.tokens).into_iter().zip(self.positions.chunks_exact(width)) {
                let start = buffers.hidden.len();
                buffers.hidden.resize(start + width, 0.0);
                let out = &mut buffers.hidden[start..];
                let embedding = self.embedding.rows(id as usize..id as usize + 1);
                dequantize_rows(embedding.format, width, &embedding.data, out);
                ops::add(out, position);
            }
            let neutral = text.weights.iter().all(|&weight| weight == 1.0);
            biases.push((!neutral).then(|| {
                let mut bias = vec![0.0; rows];
                for (bias, weight) in bias[before..].iter_mut().zip(&text.weights) {
                    *bias = weight.ln();
                }
                (bias, text.first_layer)
            }));
            spans.push(row..row + rows);
            row += rows;
            pooled.push(row - 1);
        }
        let batch = Batch { spans: &spans, bias: &biases, pooled: Some(&pooled) };
        self.encoder.forward(run, &batch, buffers);
        let Buffers { activations, hidden, normed, .. } = buffers;
        normed.resize(hidden.len(), 0.0);
        self.norm.apply_to_rows(run.threads, hidden, normed);
        run.project(activations, normed, texts.len(), [(&self.projection, out)]);
    }
}
