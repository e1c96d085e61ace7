//! Queries: what the first self-attention layer asks of a prompt, averaged over its tokens.
//!
//! The paper (arXiv 2406.07007) takes the query embedding of the first layer. Ours is the mean over prompt tokens of
//! `W_q Norm(embedding)` of layer 0, heads side by side, before any position enters: where a word stands says little about
//! what a text is about. The bias of `W_q` is left out; it is the same for every text and falls away when the mean of the
//! training queries is subtracted.

use crayon_formats::spec::Norm;
use crayon_formats::{Checkpoint, Tensor};
use crayon_kernels::{Activations, Matrix, Mode, Product, Threads, dequantize, matmul, ops};

use crate::lora::{reorder, stored_order};
use crate::{AdapterError, Keys};

/// Turns prompts into queries. Reads the embeddings and one matrix of the model, nothing else.
pub struct QueryEncoder {
    embedding: Tensor,
    scale: f32,
    norm: Norm,
    norm_weight: Vec<f32>,
    norm_bias: Option<Vec<f32>>,
    weight: Tensor,
    /// Rows of the query in the order of Hugging Face files.
    order: Option<Vec<usize>>,
}

impl QueryEncoder {
    /// The encoder of a model.
    ///
    /// # Errors
    /// When a tensor cannot be read.
    pub fn open(checkpoint: &Checkpoint) -> Result<QueryEncoder, AdapterError> {
        let spec = &checkpoint.spec;
        let norm_bias = match spec.norm {
            Norm::Layer { .. } => Some(checkpoint.tensor("blk.0.attn_norm.bias")?.to_f32()),
            Norm::Rms { .. } => None,
        };
        let order = stored_order(spec, crayon_model::Projection::Q).map(|order| {
            let mut inverse = vec![0; order.len()];
            for (stored, &half) in order.iter().enumerate() {
                inverse[half] = stored;
            }
            inverse
        });
        Ok(QueryEncoder {
            embedding: checkpoint.tensor("token_embd.weight")?,
            scale: spec.embedding_scale,
            norm: spec.norm,
            norm_weight: checkpoint.tensor("blk.0.attn_norm.weight")?.to_f32(),
            norm_bias,
            weight: checkpoint.tensor("blk.0.attn_q.weight")?,
            order,
        })
    }

    /// Values of a query.
    pub fn width(&self) -> usize {
        self.weight.shape[0]
    }

    /// The query of a prompt, `[width]`; all zeros for no tokens.
    ///
    /// # Errors
    /// When a token is not in the vocabulary.
    pub fn query(&self, tokens: &[u32], threads: &Threads) -> Result<Vec<f32>, AdapterError> {
        let mut queries = self.queries(&[tokens], threads)?;
        Ok(queries.swap_remove(0))
    }

    /// The queries of several prompts, `[prompts][width]`, made at once.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub fn queries(&self, prompts: &[&[u32]], threads: &Threads) -> Result<Vec<Vec<f32>>, AdapterError> {
        let means = prompts.iter().map(|tokens| self.mean(tokens)).collect::<Result<Vec<_>, _>>()?.concat();
        // The projection is linear: the mean of a prompt goes through it once.
        let (rows, cols) = (self.weight.shape[0], self.weight.cols());
        let weight = Matrix { format: self.weight.format, rows, cols, data: &self.weight.data };
        let mut out = vec![0.0; prompts.len() * rows];
        let mut activations = Activations::new();
        activations.set(&means, prompts.len(), cols);
        activations.prepare(threads, [weight.format].into_iter(), Mode::Exact);
        matmul(threads, &activations, &mut [Product { weight, out: &mut out }], Mode::Exact);
        let ordered = |row: &[f32]| match &self.order {
            Some(order) => reorder(row, 1, order),
            None => row.to_vec(),
        };
        Ok(out.chunks_exact(rows).map(ordered).collect())
    }

    /// Mean of what the projection reads of `tokens`, `[hidden]`.
    fn mean(&self, tokens: &[u32]) -> Result<Vec<f32>, AdapterError> {
        let (vocab, hidden) = (self.embedding.shape[0], self.embedding.cols());
        let row_bytes = self.embedding.data.len() / vocab.max(1);
        let (mut row, mut normed) = (vec![0.0; hidden], vec![0.0; hidden]);
        let mut sum = vec![0.0f64; hidden];
        for &id in tokens {
            if id as usize >= vocab {
                return Err(crayon_model::ModelError::Token { id, vocab }.into());
            }
            let start = id as usize * row_bytes;
            dequantize(self.embedding.format, &self.embedding.data[start..start + row_bytes], &mut row);
            row.iter_mut().for_each(|value| *value *= self.scale);
            match self.norm {
                Norm::Rms { eps } => ops::rms_norm(&row, &self.norm_weight, eps, &mut normed),
                Norm::Layer { eps } => {
                    ops::layer_norm(&row, &self.norm_weight, self.norm_bias.as_deref(), eps, &mut normed);
                }
            }
            for (sum, value) in sum.iter_mut().zip(&normed) {
                *sum += f64::from(*value);
            }
        }
        let count = tokens.len().max(1) as f64;
        Ok(sum.iter().map(|value| (value / count) as f32).collect())
    }
}

/// What the first layer asks of an example, or of several on average.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// Of the prompt, `[width]`.
    pub prompt: Vec<f32>,
    /// Of the answer, `[width]`, where there is one.
    pub answer: Option<Vec<f32>>,
}

impl<T: Into<Vec<f32>>> From<T> for Query {
    /// Of a prompt alone.
    fn from(prompt: T) -> Query {
        Query { prompt: prompt.into(), answer: None }
    }
}

/// The mean query of a person's examples, in memory that does not grow with their number.
#[derive(Clone, Debug)]
pub struct QueryMean {
    prompts: Sum,
    answers: Sum,
}

#[derive(Clone, Debug)]
struct Sum {
    values: Vec<f64>,
    count: usize,
}

impl Sum {
    fn add(&mut self, query: &[f32]) {
        for (sum, value) in self.values.iter_mut().zip(query) {
            *sum += f64::from(*value);
        }
        self.count += 1;
    }

    fn mean(&self) -> Vec<f32> {
        let count = self.count.max(1) as f64;
        self.values.iter().map(|value| (value / count) as f32).collect()
    }
}

impl QueryMean {
    /// Of no examples yet.
    pub fn new(width: usize) -> QueryMean {
        let none = Sum { values: vec![0.0; width], count: 0 };
        QueryMean { prompts: none.clone(), answers: none }
    }

    /// Adds one example, its queries as [`QueryEncoder::query`] gives them.
    pub fn add(&mut self, keys: &Keys, query: &Query) {
        let centred = keys.centre(query);
        self.prompts.add(&centred.prompt);
        if let Some(answer) = centred.answer {
            self.answers.add(&answer);
        }
    }

    /// Examples so far.
    pub fn count(&self) -> usize {
        self.prompts.count
    }

    /// `q_c`: the mean of the centred queries of length 1; that of the answers over the examples that have one.
    pub fn mean(&self) -> Query {
        let answer = (self.answers.count > 0).then(|| self.answers.mean());
        Query { prompt: self.prompts.mean(), answer }
    }
}
