//! CLIP's tower of texts written plainly with candle tensors: exact f32, differentiable in the weights of words and in embeddings.
//!
//! Shapes: ids `[texts, rows]`, biases `[texts, rows]`, hidden `[texts, rows, hidden]`. Texts shorter than the longest are filled up behind
//! their end, where a causal tower does not look.

use std::collections::BTreeMap;

use candle_core::{D, Device, Result as Candle, Tensor};
use crayon_formats::clip::{ClipCheckpoint, TextSpec};
use crayon_formats::spec::Activation;

use crate::TrainError;
use crate::plain::flat_matmul;

/// A text as its tower reads it, with the tokens that start and end it.
#[derive(Clone, Debug, PartialEq)]
pub struct TextRows {
    /// Token ids.
    pub ids: Vec<u32>,
    /// The row whose vector is the text's.
    pub pooled: usize,
}

/// The tower, with fixed weights.
pub struct PlainTextTower {
    spec: TextSpec,
    parameters: BTreeMap<String, Tensor>,
    device: Device,
}

impl PlainTextTower {
    /// Reads the tower of texts of `checkpoint` into f32 tensors on `device`.
    ///
    /// # Errors
    /// When a tensor cannot be read.
    pub fn open(checkpoint: &ClipCheckpoint, device: &Device) -> Result<PlainTextTower, TrainError> {
        let mut parameters = BTreeMap::new();
        for (name, _) in checkpoint.spec.tensors() {
            if name.starts_with("text.") {
                let tensor = checkpoint.tensor(&name)?;
                let value = Tensor::from_vec(tensor.to_f32(), tensor.shape.clone(), device)?;
                parameters.insert(name, value);
            }
        }
        Ok(PlainTextTower { spec: checkpoint.spec.text.clone(), parameters, device: device.clone() })
    }

    /// Where its tensors are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Width of a token's embedding.
    pub fn hidden(&self) -> usize {
        self.spec.tower.hidden
    }

    /// The embeddings of tokens, `[texts, rows, hidden]`, without positions.
    pub(crate) fn embed(&self, texts: &[TextRows]) -> Result<Tensor, TrainError> {
        let rows = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0);
        let mut ids = Vec::with_capacity(texts.len() * rows);
        for text in texts {
            ids.extend_from_slice(&text.ids);
            let last = text.ids.last().copied().unwrap_or(0);
            ids.extend(std::iter::repeat_n(last, rows - text.ids.len()));
        }
        let ids = Tensor::from_vec(ids, texts.len() * rows, &self.device)?;
        let embedded = self.parameter("text.token_embd.weight").index_select(&ids, 0)?;
        Ok(embedded.reshape((texts.len(), rows, self.hidden()))?)
    }

    /// [`PlainTextTower::forward`] on slices: `bias` `[texts, rows]`, vectors `[texts, dim]`.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn vectors(&self, texts: &[TextRows], bias: &[f32]) -> Result<Vec<f32>, TrainError> {
        let shape = (texts.len(), bias.len() / texts.len().max(1));
        let bias = Tensor::from_slice(bias, shape, &self.device)?;
        Ok(self.forward(texts, Some(&bias))?.flatten_all()?.to_vec1()?)
    }

    /// Vectors of length 1, `[texts, dim]`. `bias` `[texts, rows]` is added to the attention logits of the keys, the logarithms of words'
    /// weights.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn forward(&self, texts: &[TextRows], bias: Option<&Tensor>) -> Result<Tensor, TrainError> {
        self.forward_embedded(&self.embed(texts)?, texts, bias)
    }

    /// The same from embeddings, `[texts, rows, hidden]`.
    pub(crate) fn forward_embedded(
        &self,
        embedded: &Tensor,
        texts: &[TextRows],
        bias: Option<&Tensor>,
    ) -> Result<Tensor, TrainError> {
        let (count, rows, width) = embedded.dims3()?;
        let positions = self.parameter("text.position_embd.weight").narrow(0, 0, rows)?;
        let mut hidden = embedded.broadcast_add(&positions)?;
        // What a row's attention adds to each key: nothing or minus infinity, and the words' weights.
        let sees = |row: usize, key: usize| !self.spec.causal || key <= row;
        let mask: Vec<f32> = (0..rows * rows)
            .map(|at| if sees(at / rows, at % rows) { 0.0 } else { f32::NEG_INFINITY })
            .collect();
        let mut mask = Tensor::from_vec(mask, (1, 1, rows, rows), &self.device)?;
        if let Some(bias) = bias {
            mask = mask.broadcast_add(&bias.reshape((count, 1, 1, rows))?)?;
        }
        for layer in 0..self.spec.tower.layers {
            let stem = format!("text.blk.{layer}");
            hidden = (&hidden + self.attention(&stem, &hidden, &mask)?)?;
            let normed = self.norm(&format!("{stem}.ffn_norm"), &hidden)?;
            let up = self.linear(&format!("{stem}.ffn_up"), &normed, true)?;
            let inner = self.act(&up)?;
            hidden = (&hidden + self.linear(&format!("{stem}.ffn_down"), &inner, true)?)?;
        }
        let pooled: Vec<u32> =
            texts.iter().enumerate().map(|(i, text)| (i * rows + text.pooled) as u32).collect();
        let pooled = Tensor::from_vec(pooled, count, &self.device)?;
        let pooled = hidden.reshape((count * rows, width))?.index_select(&pooled, 0)?;
        let normed = self.norm("text.output_norm", &pooled)?;
        let projected = self.linear("text.projection", &normed.unsqueeze(0)?, self.spec.projection_bias)?;
        Ok(unit(&projected.squeeze(0)?)?)
    }

    fn parameter(&self, name: &str) -> &Tensor {
        // Every name asked for is in `ClipSpec::tensors`, from which the map was filled.
        &self.parameters[name]
    }

    fn attention(&self, stem: &str, hidden: &Tensor, mask: &Tensor) -> Result<Tensor, TrainError> {
        let (count, rows, width) = hidden.dims3()?;
        let heads = self.spec.tower.heads;
        let dim = width / heads;
        let normed = self.norm(&format!("{stem}.attn_norm"), hidden)?;
        let part = |name: &str| -> Result<Tensor, TrainError> {
            let x = self.linear(&format!("{stem}.{name}"), &normed, true)?;
            Ok(x.reshape((count, rows, heads, dim))?.transpose(1, 2)?.contiguous()?)
        };
        let (q, k, v) = (part("attn_q")?, part("attn_k")?, part("attn_v")?);
        let logits = (q.matmul(&k.t()?.contiguous()?)? / (dim as f64).sqrt())?.broadcast_add(mask)?;
        let most = logits.max_keepdim(D::Minus1)?.detach();
        let exps = logits.broadcast_sub(&most)?.exp()?;
        let shares = exps.broadcast_div(&exps.sum_keepdim(D::Minus1)?)?;
        let mixed = shares.matmul(&v)?.transpose(1, 2)?.reshape((count, rows, width))?;
        self.linear(&format!("{stem}.attn_output"), &mixed, true)
    }

    fn linear(&self, stem: &str, x: &Tensor, bias: bool) -> Result<Tensor, TrainError> {
        let y = flat_matmul(x, self.parameter(&format!("{stem}.weight")))?;
        Ok(if bias { y.broadcast_add(self.parameter(&format!("{stem}.bias")))? } else { y })
    }

    fn norm(&self, stem: &str, x: &Tensor) -> Result<Tensor, TrainError> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        Ok(centred
            .broadcast_div(&(variance + f64::from(self.spec.tower.eps))?.sqrt()?)?
            .broadcast_mul(self.parameter(&format!("{stem}.weight")))?
            .broadcast_add(self.parameter(&format!("{stem}.bias")))?)
    }

    fn act(&self, x: &Tensor) -> Candle<Tensor> {
        match self.spec.tower.activation {
            Activation::Silu => x.silu(),
            Activation::GeluTanh => x.gelu(),
            Activation::Gelu => x.gelu_erf(),
            Activation::QuickGelu => (x * 1.702)?.silu()? / 1.702,
        }
    }
}

/// Rows brought to length 1.
pub(crate) fn unit(x: &Tensor) -> Candle<Tensor> {
    x.broadcast_div(&(x.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?)
}
