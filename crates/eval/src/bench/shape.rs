//! Sizes of well-known networks, and storage schemes for their weights.

use crayon_errors::Setting;
use crayon_formats::Format;
use crayon_formats::export::embedding_format;
use crayon_formats::gguf::{Metadata, TensorInfo};

use crate::EvalError;

/// The sizes of a network, named after the model they belong to. Serves benchmarks with made-up weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Name on the command line.
    pub name: &'static str,
    /// GGUF's name of the architecture: `llama`, `qwen2` or `gpt2`.
    pub arch: &'static str,
    /// Rows of the token embedding, which is the output layer too.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of the MLP.
    pub intermediate: usize,
    /// Longest sequence.
    pub context: usize,
    /// Base of the rotary frequencies; unused by GPT-2.
    pub rope_theta: f32,
}

impl Shape {
    /// Every named shape.
    pub const ALL: [Shape; 3] = [
        Shape {
            name: "qwen2.5-0.5b",
            arch: "qwen2",
            vocab: 151_936,
            hidden: 896,
            layers: 24,
            heads: 14,
            kv_heads: 2,
            intermediate: 4864,
            context: 32_768,
            rope_theta: 1e6,
        },
        Shape {
            name: "llama-3.2-1b",
            arch: "llama",
            vocab: 128_256,
            hidden: 2048,
            layers: 16,
            heads: 32,
            kv_heads: 8,
            intermediate: 8192,
            context: 131_072,
            rope_theta: 5e5,
        },
        Shape {
            name: "gpt2",
            arch: "gpt2",
            vocab: 50_257,
            hidden: 768,
            layers: 12,
            heads: 12,
            kv_heads: 12,
            intermediate: 3072,
            context: 1024,
            rope_theta: 0.0,
        },
    ];

    /// The shape called `name`.
    ///
    /// # Errors
    /// When there is none; the hint lists them.
    pub fn from_name(name: &str) -> Result<Shape, EvalError> {
        let found = Shape::ALL.into_iter().find(|shape| shape.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            let names = Shape::ALL.map(|shape| shape.name).join(", ");
            EvalError::option(Setting::Shape, format!("{name:?} is not known"), format!("known are {names}"))
        })
    }

    /// What a GGUF file of this network says about itself.
    pub(super) fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::new(self.name);
        metadata.insert("general.architecture", self.arch);
        // Says in so many words that there is no tokenizer; llama.cpp asks for that.
        metadata.insert("tokenizer.ggml.model", "no_vocab");
        metadata.insert("general.name", format!("{} with made-up weights", self.name));
        let mut size = |key: &str, value: usize| {
            // Sizes above are constants far below 2^32.
            metadata.insert(&format!("{}.{key}", self.arch), value as u32);
        };
        size("block_count", self.layers);
        size("embedding_length", self.hidden);
        size("feed_forward_length", self.intermediate);
        size("attention.head_count", self.heads);
        size("attention.head_count_kv", self.kv_heads);
        size("context_length", self.context);
        size("vocab_size", self.vocab);
        if self.arch == "gpt2" {
            metadata.insert("gpt2.attention.layer_norm_epsilon", 1e-5f32);
        } else {
            metadata.insert(&format!("{}.attention.layer_norm_rms_epsilon", self.arch), 1e-6f32);
            metadata.insert(&format!("{}.rope.freq_base", self.arch), self.rope_theta);
        }
        metadata
    }

    /// The tensors of such a file, as llama.cpp's converter lays them out.
    pub(super) fn tensors(&self, scheme: Scheme) -> Vec<TensorInfo> {
        let is_gpt2 = self.arch == "gpt2";
        let mut tensors = Vec::new();
        let mut push = |name: String, shape: Vec<usize>| {
            let is_matrix = shape.len() == 2 && !name.starts_with("position_embd");
            let format = match name.as_str() {
                _ if !is_matrix => Format::F32,
                "token_embd.weight" => Scheme(embedding_format(scheme.0)).format_for(shape[1]),
                _ => scheme.format_for(shape[1]),
            };
            tensors.push(TensorInfo { name, format, shape });
        };
        let kv = self.hidden / self.heads * self.kv_heads;
        push("token_embd.weight".to_owned(), vec![self.vocab, self.hidden]);
        if is_gpt2 {
            push("position_embd.weight".to_owned(), vec![self.context, self.hidden]);
        }
        for layer in 0..self.layers {
            let mut block = |part: &str, shape: Vec<usize>| push(format!("blk.{layer}.{part}"), shape);
            block("attn_norm.weight", vec![self.hidden]);
            block("ffn_norm.weight", vec![self.hidden]);
            if is_gpt2 {
                block("attn_norm.bias", vec![self.hidden]);
                block("ffn_norm.bias", vec![self.hidden]);
                block("attn_qkv.weight", vec![3 * self.hidden, self.hidden]);
                block("attn_qkv.bias", vec![3 * self.hidden]);
                block("attn_output.bias", vec![self.hidden]);
                block("ffn_up.bias", vec![self.intermediate]);
                block("ffn_down.bias", vec![self.hidden]);
            } else {
                for (part, rows) in [("attn_q", self.hidden), ("attn_k", kv), ("attn_v", kv)] {
                    block(&format!("{part}.weight"), vec![rows, self.hidden]);
                    if self.arch == "qwen2" {
                        block(&format!("{part}.bias"), vec![rows]);
                    }
                }
                block("ffn_gate.weight", vec![self.intermediate, self.hidden]);
            }
            block("attn_output.weight", vec![self.hidden, self.hidden]);
            block("ffn_up.weight", vec![self.intermediate, self.hidden]);
            block("ffn_down.weight", vec![self.hidden, self.intermediate]);
        }
        push("output_norm.weight".to_owned(), vec![self.hidden]);
        if is_gpt2 {
            push("output_norm.bias".to_owned(), vec![self.hidden]);
        }
        tensors
    }
}

/// How the matrices of a made-up model are stored; the token embedding as a conversion would store it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme(Format);

/// Every scheme.
pub const SCHEMES: [Scheme; Format::ALL.len()] = {
    let mut all = [Scheme(Format::F32); Format::ALL.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = Scheme(Format::ALL[at]);
        at += 1;
    }
    all
};

impl Scheme {
    /// All matrices in `format`.
    pub const fn new(format: Format) -> Scheme {
        Scheme(format)
    }

    /// The scheme called `name`.
    ///
    /// # Errors
    /// When there is none; the hint lists them.
    pub fn from_name(name: &str) -> Result<Scheme, EvalError> {
        Format::from_name(name).map(Scheme).ok_or_else(|| {
            let names = SCHEMES.map(Scheme::name).join(", ");
            EvalError::option(Setting::Scheme, format!("{name:?} is not known"), format!("known are {names}"))
        })
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.0.name()
    }

    /// The format of a matrix with rows of `cols` values. Rows that are not whole blocks of 256 take the block of
    /// 32 that llama.cpp's quantiser falls back to; rows that are not whole blocks of 32 stay f16.
    pub fn format_for(self, cols: usize) -> Format {
        let fallback = match self.0 {
            Format::Q4K => Format::Q5_0,
            Format::Q5K => Format::Q5_1,
            Format::Q6K => Format::Q8_0,
            _ => Format::F16,
        };
        let fits = |format: Format| format.row_bytes(cols).is_some();
        [self.0, fallback].into_iter().find(|format| fits(*format)).unwrap_or(Format::F16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crayon_errors::Explain as _;

    #[test]
    fn names_lead_back() {
        for shape in Shape::ALL {
            assert_eq!(Shape::from_name(shape.name).unwrap(), shape);
            assert!(shape.hidden.is_multiple_of(shape.heads) && shape.heads.is_multiple_of(shape.kv_heads));
        }
        for scheme in SCHEMES {
            assert_eq!(Scheme::from_name(scheme.name()).unwrap(), scheme);
        }
        assert!(Shape::from_name("gpt5").unwrap_err().hint().unwrap().contains("llama-3.2-1b"));
        assert!(Scheme::from_name("q3_k").unwrap_err().hint().unwrap().contains("q4_k"));
    }

    #[test]
    fn rows_that_do_not_divide_fall_back() {
        let scheme = Scheme::new(Format::Q4K);
        assert_eq!(scheme.format_for(2048), Format::Q4K);
        assert_eq!(scheme.format_for(896), Format::Q5_0);
        assert_eq!(scheme.format_for(33), Format::F16);
        assert_eq!(Scheme::new(Format::Q8_0).format_for(33), Format::F16);
        assert_eq!(Scheme::new(Format::F32).format_for(33), Format::F32);
    }

    #[test]
    fn parameters_are_those_of_the_models() {
        // Published counts: 494,032,768 and 1,235,814,400 and 124,439,808.
        for (shape, published) in Shape::ALL.iter().zip([494_032_768usize, 1_235_814_400, 124_439_808]) {
            let tensors = shape.tensors(Scheme::new(Format::F16));
            let total: usize = tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
            assert_eq!(total, published, "{}", shape.name);
        }
    }
}
