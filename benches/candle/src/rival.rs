//! Llama-like networks on candle's quantised products, in candle's fastest CPU operations.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::quantized::gguf_file::Content;
use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::attention::{AttnMask, flash_attn};
use candle_nn::kv_cache::KvCache;
use candle_nn::rotary_emb;

use crate::Attention;

/// A quantised network with its memory of one sequence.
pub(crate) struct Rival {
    embedding: QMatMul,
    blocks: Vec<Block>,
    norm: Tensor,
    eps: f32,
    cos: Tensor,
    sin: Tensor,
    attention: Attention,
    position: usize,
}

struct Block {
    attention_norm: Tensor,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    mlp_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    interleaved: bool,
    cache: KvCache,
}

struct Linear {
    weight: QMatMul,
    bias: Option<Tensor>,
}

/// Reads tensors of one file.
struct Source {
    content: Content,
    file: std::io::BufReader<std::fs::File>,
}

impl Source {
    fn quantised(&mut self, name: &str) -> Result<QTensor> {
        self.content.tensor(&mut self.file, name, &Device::Cpu).with_context(|| name.to_owned())
    }

    fn dense(&mut self, name: &str) -> Result<Tensor> {
        Ok(self.quantised(name)?.dequantize(&Device::Cpu)?)
    }

    fn linear(&mut self, name: &str) -> Result<Linear> {
        let weight = QMatMul::from_qtensor(self.quantised(&format!("{name}.weight"))?)?;
        let bias = format!("{name}.bias");
        let bias = match self.content.tensor_infos.contains_key(&bias) {
            true => Some(self.dense(&bias)?),
            false => None,
        };
        Ok(Linear { weight, bias })
    }

    fn number(&self, key: &str) -> Result<f64> {
        let arch =
            self.content.metadata.get("general.architecture").context("no architecture")?.to_string()?;
        let value = self.content.metadata.get(&format!("{arch}.{key}")).with_context(|| key.to_owned())?;
        Ok(value.to_u32().map(f64::from).or_else(|_| value.to_f32().map(f64::from))?)
    }
}

impl Rival {
    /// Opens `path` with room for `context` tokens.
    pub(crate) fn open(path: &Path, context: usize, attention: Attention) -> Result<Rival> {
        let mut file = std::io::BufReader::new(std::fs::File::open(path)?);
        let content = Content::read(&mut file)?;
        let mut source = Source { content, file };
        let size = |source: &Source, key: &str| source.number(key).map(|value| value as usize);
        let (layers, hidden) = (size(&source, "block_count")?, size(&source, "embedding_length")?);
        let (heads, kv_heads) =
            (size(&source, "attention.head_count")?, size(&source, "attention.head_count_kv")?);
        let head_dim = hidden / heads;
        let interleaved = source
            .content
            .metadata
            .get("general.architecture")
            .is_some_and(|arch| arch.to_string().is_ok_and(|a| a == "llama"));
        // Flash attention reads [batch, row, head, dim], products [batch, head, row, dim].
        let row_axis = if attention == Attention::Flash { 1 } else { 2 };
        let mut blocks = Vec::with_capacity(layers);
        for layer in 0..layers {
            let name = |part: &str| format!("blk.{layer}.{part}");
            blocks.push(Block {
                attention_norm: source.dense(&name("attn_norm.weight"))?,
                q: source.linear(&name("attn_q"))?,
                k: source.linear(&name("attn_k"))?,
                v: source.linear(&name("attn_v"))?,
                o: source.linear(&name("attn_output"))?,
                mlp_norm: source.dense(&name("ffn_norm.weight"))?,
                gate: source.linear(&name("ffn_gate"))?,
                up: source.linear(&name("ffn_up"))?,
                down: source.linear(&name("ffn_down"))?,
                heads,
                kv_heads,
                head_dim,
                interleaved,
                cache: KvCache::new(row_axis, context),
            });
        }
        let theta = source.number("rope.freq_base")?;
        let (cos, sin) = rotations(theta, head_dim, context)?;
        Ok(Rival {
            embedding: QMatMul::from_qtensor(source.quantised("token_embd.weight")?)?,
            norm: source.dense("output_norm.weight")?,
            eps: source.number("attention.layer_norm_rms_epsilon")? as f32,
            blocks,
            cos,
            sin,
            attention,
            position: 0,
        })
    }

    /// Forgets the sequence.
    pub(crate) fn reset(&mut self) {
        self.position = 0;
        self.blocks.iter_mut().for_each(|block| block.cache.reset());
    }

    /// Logits after the last of `ids`, `[vocab]`.
    pub(crate) fn feed(&mut self, ids: &[u32]) -> Result<Tensor> {
        let rows = ids.len();
        let mut x = self.embedding.embedding(&Tensor::new(ids, &Device::Cpu)?)?.unsqueeze(0)?;
        let cos = self.cos.narrow(0, self.position, rows)?;
        let sin = self.sin.narrow(0, self.position, rows)?;
        for block in &mut self.blocks {
            let normed = candle_nn::ops::rms_norm(&x, &block.attention_norm, self.eps)?;
            x = (x + block.attend(&normed, &cos, &sin, self.position, self.attention)?)?;
            let normed = candle_nn::ops::rms_norm(&x, &block.mlp_norm, self.eps)?;
            x = (x + block.mlp(&normed)?)?;
        }
        self.position += rows;
        let last = x.narrow(1, rows - 1, 1)?.contiguous()?;
        let last = candle_nn::ops::rms_norm(&last, &self.norm, self.eps)?;
        Ok(self.embedding.forward(&last)?.flatten_all()?)
    }
}

impl Block {
    fn attend(
        &mut self,
        x: &Tensor,
        cos: &Tensor,
        sin: &Tensor,
        past: usize,
        how: Attention,
    ) -> Result<Tensor> {
        let (_, rows, _) = x.dims3()?;
        let [q, k, v] = shared(x, [&self.q, &self.k, &self.v])?;
        let q = q.reshape((1, rows, self.heads, self.head_dim))?;
        let k = k.reshape((1, rows, self.kv_heads, self.head_dim))?;
        let v = v.reshape((1, rows, self.kv_heads, self.head_dim))?;
        let scale = 1.0 / (self.head_dim as f64).sqrt();
        let mixed = match how {
            Attention::Flash => {
                let (q, k) = (self.rotate_rows(&q, cos, sin)?, self.rotate_rows(&k, cos, sin)?);
                let (k, v) = self.cache.append(&k, &v)?;
                let mask = AttnMask::causal_with_offset(past);
                flash_attn::<f32>(&q, &k, &v, scale as f32, mask, None, None)?.transpose(1, 2)?
            }
            Attention::Matmul => {
                let q = self.rotate_heads(&q.transpose(1, 2)?.contiguous()?, cos, sin)?;
                let k = self.rotate_heads(&k.transpose(1, 2)?.contiguous()?, cos, sin)?;
                let (k, v) = self.cache.append(&k, &v.transpose(1, 2)?.contiguous()?)?;
                self.products(&q, &k.contiguous()?, &v.contiguous()?, past, scale)?.transpose(1, 2)?
            }
        };
        let mixed = mixed.reshape((1, rows, self.heads * self.head_dim))?;
        self.o.forward(&mixed)
    }

    /// Rotation of `[1, row, head, dim]`.
    fn rotate_rows(&self, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
        if !self.interleaved {
            return Ok(rotary_emb::rope_thd(x, cos, sin)?);
        }
        let by_head = rotary_emb::rope_i(&x.transpose(1, 2)?.contiguous()?, cos, sin)?;
        Ok(by_head.transpose(1, 2)?.contiguous()?)
    }

    /// Rotation of `[1, head, row, dim]`.
    fn rotate_heads(&self, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
        match self.interleaved {
            true => Ok(rotary_emb::rope_i(x, cos, sin)?),
            false => Ok(rotary_emb::rope(x, cos, sin)?),
        }
    }

    /// Attention by whole matrices; the query heads of a group are rows of one product, so that nothing is
    /// repeated.
    fn products(&self, q: &Tensor, k: &Tensor, v: &Tensor, past: usize, scale: f64) -> Result<Tensor> {
        let (_, _, rows, dim) = q.dims4()?;
        let group = self.heads / self.kv_heads;
        let grouped = q.reshape((1, self.kv_heads, group * rows, dim))?;
        let mut scores = (grouped.matmul(&k.transpose(2, 3)?)? * scale)?;
        if rows > 1 {
            let slots = past + rows;
            let mask: Vec<f32> = (0..rows)
                .flat_map(|row| {
                    (0..slots).map(move |slot| if slot > past + row { f32::NEG_INFINITY } else { 0.0 })
                })
                .collect();
            let mask = Tensor::from_vec(mask, (1, 1, rows, slots), &Device::Cpu)?;
            let shaped = scores.reshape((1, self.kv_heads * group, rows, slots))?;
            scores = shaped.broadcast_add(&mask)?.reshape((1, self.kv_heads, group * rows, slots))?;
        }
        let weights = candle_nn::ops::softmax_last_dim(&scores)?;
        Ok(weights.matmul(v)?.reshape((1, self.heads, rows, dim))?)
    }

    fn mlp(&self, x: &Tensor) -> Result<Tensor> {
        let [gate, up] = shared(x, [&self.gate, &self.up])?;
        self.down.forward(&(gate.silu()? * up)?)
    }
}

impl Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.add_bias(self.weight.forward(x)?)
    }

    fn add_bias(&self, x: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => Ok(x.broadcast_add(bias)?),
            None => Ok(x),
        }
    }
}

/// Several linear layers of one input, in one product where candle has a kernel for that.
fn shared<const N: usize>(x: &Tensor, layers: [&Linear; N]) -> Result<[Tensor; N]> {
    let weights: Vec<&QTensor> = layers
        .iter()
        .filter_map(|layer| match &layer.weight {
            QMatMul::QTensor(weight) => Some(weight.as_ref()),
            _ => None,
        })
        .collect();
    let fused = match weights.len() == N {
        true => QTensor::gemv_fused_shared_lhs(&weights, x)?,
        false => None,
    };
    let outputs: Vec<Tensor> = match fused {
        Some(outputs) => {
            outputs.into_iter().zip(layers).map(|(out, layer)| layer.add_bias(out)).collect::<Result<_>>()?
        }
        None => layers.iter().map(|layer| layer.forward(x)).collect::<Result<_>>()?,
    };
    outputs.try_into().map_err(|_| anyhow::anyhow!("one output a layer"))
}

/// cos and sin `[context, head_dim / 2]`.
fn rotations(theta: f64, head_dim: usize, context: usize) -> Result<(Tensor, Tensor)> {
    let frequencies: Vec<f32> =
        (0..head_dim / 2).map(|pair| theta.powf(-2.0 * pair as f64 / head_dim as f64) as f32).collect();
    let frequencies = Tensor::from_vec(frequencies, (1, head_dim / 2), &Device::Cpu)?;
    let positions = Tensor::arange(0u32, context as u32, &Device::Cpu)?.to_dtype(DType::F32)?;
    let angles = positions.reshape((context, 1))?.matmul(&frequencies)?;
    Ok((angles.cos()?, angles.sin()?))
}
