//! The network a GGUF file describes: `general.architecture` and the keys under it to [`Spec`].
//!
//! Keys and defaults are those llama.cpp reads. Biases and tied embeddings are not stated in a GGUF file; they
//! show in which tensors it holds.

use super::{Gguf, Metadata};
use crate::error::{Error, Result, shown};
use crate::names::limits;
use crate::spec::{
    Activation, Biases, Family, Norm, Positions, Rope, RopeFrequencies, RopeLayout, RopeScaling, Spec,
};

/// What to do about an architecture this project does not run.
const ARCHITECTURES: &str = "supported: llama, qwen2, qwen3, gemma2, gemma3, phi3, gpt2";

/// Theta of Gemma 3's sliding-window layers where the file does not say.
const GEMMA3_LOCAL_THETA: f32 = 10_000.0;

impl Gguf {
    /// The network this file describes.
    ///
    /// # Errors
    /// If the file has no weights, the architecture is unknown, a key is missing or of the wrong type, or sizes
    /// contradict each other.
    pub fn spec(&self) -> Result<Spec> {
        let name = self.metadata.str("general.architecture")?.ok_or_else(|| {
            Error::key(&self.file, "general.architecture", "is missing").with_hint(ARCHITECTURES)
        })?;
        let family = match name {
            "llama" => Family::Llama,
            "qwen2" => Family::Qwen2,
            "qwen3" => Family::Qwen3,
            "gemma2" => Family::Gemma2,
            "gemma3" => Family::Gemma3,
            "phi3" => Family::Phi3,
            "gpt2" => Family::Gpt2,
            other => {
                let what = format!("architecture `{}` is not supported", shown(other));
                return Err(Error::key(&self.file, "general.architecture", what).with_hint(ARCHITECTURES));
            }
        };
        if self.entries().is_empty() {
            return Err(Error::file(&self.file, "holds a vocabulary only, no weights")
                .with_hint("use the full model file; this one serves to test tokenizers"));
        }
        let keys = Keys { arch: name, metadata: &self.metadata, file: &self.file };
        let spec = self.describe(family, &keys)?;
        spec.check().map_err(|what| Error::file(&self.file, what))?;
        Ok(spec)
    }

    fn describe(&self, family: Family, keys: &Keys<'_>) -> Result<Spec> {
        if let Some(experts) = keys.size("expert_count")?
            && experts > 0
        {
            let what = format!("{experts} experts: mixture-of-experts models are not supported");
            return Err(Error::key(&self.file, &keys.full("expert_count"), what));
        }
        let layers = keys.required("block_count")?;
        if layers == 0 || layers > limits::LAYERS {
            let what = format!("{layers} layers; there must be between 1 and {}", limits::LAYERS);
            return Err(Error::key(&self.file, &keys.full("block_count"), what));
        }
        let hidden = keys.required("embedding_length")?;
        let heads = keys.required("attention.head_count")?;
        let head_dim = self.head_dim(keys, hidden, heads)?;
        let context = keys.required("context_length")?;
        let windows = self.windows(family, keys, layers)?;
        let is_gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
        let family = match family {
            Family::Llama if windows.iter().any(Option::is_some) => Family::Mistral,
            family => family,
        };
        let softcap = |key: &str, default: Option<f32>| {
            // llama.cpp and its converters write 0 for "none".
            Ok::<_, Error>(keys.float(key)?.or(default).filter(|cap| *cap != 0.0))
        };
        let gemma2 = family == Family::Gemma2;
        Ok(Spec {
            family,
            vocab: self.vocab()?,
            hidden,
            layers,
            heads,
            kv_heads: keys.size("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            intermediate: keys.required("feed_forward_length")?,
            context,
            norm: norm(family, keys)?,
            post_norms: is_gemma,
            qk_norm: matches!(family, Family::Qwen3 | Family::Gemma3),
            activation: if is_gemma || family == Family::Gpt2 {
                Activation::GeluTanh
            } else {
                Activation::Silu
            },
            gated: family != Family::Gpt2,
            biases: Biases {
                qkv: self.holds("attn_q.bias") || self.holds("attn_qkv.bias"),
                attention_output: self.holds("attn_output.bias"),
                mlp: self.holds("ffn_up.bias"),
            },
            positions: match family {
                Family::Gpt2 => Positions::Learned,
                _ => Positions::Rope(self.rope(family, keys, head_dim, context, &windows)?),
            },
            attention_scale: attention_scale(family, keys, layers, hidden, heads, head_dim)?,
            attention_softcap: softcap("attn_logit_softcapping", gemma2.then_some(50.0))?,
            logit_softcap: softcap("final_logit_softcapping", gemma2.then_some(30.0))?,
            windows,
            embedding_scale: if is_gemma { (hidden as f32).sqrt() } else { 1.0 },
            tied: self.entry("output.weight").is_none(),
        })
    }

    /// Whether block 0 holds a tensor of this name.
    fn holds(&self, part: &str) -> bool {
        self.entry(&format!("blk.0.{part}")).is_some()
    }

    fn vocab(&self) -> Result<usize> {
        const NAME: &str = "token_embd.weight";
        match self.entry(NAME).map(|entry| entry.shape.as_slice()) {
            Some(&[rows, _]) => Ok(rows),
            Some(shape) => {
                Err(Error::tensor(&self.file, NAME, format!("has shape {shape:?}, should have two sizes")))
            }
            None => Err(Error::tensor(&self.file, NAME, "is missing").with_hint(crate::error::DAMAGED)),
        }
    }

    fn head_dim(&self, keys: &Keys<'_>, hidden: usize, heads: usize) -> Result<usize> {
        let width = match keys.size("attention.key_length")? {
            Some(width) => width,
            None if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                let what = format!("{heads} heads do not divide the embedding length {hidden}");
                return Err(Error::key(&self.file, &keys.full("attention.head_count"), what));
            }
        };
        match keys.size("attention.value_length")? {
            Some(value) if value != width => {
                let what = format!("{value} differs from the key length {width}, which is not supported");
                Err(Error::key(&self.file, &keys.full("attention.value_length"), what))
            }
            _ => Ok(width),
        }
    }

    /// Window of every layer: which layers slide is stated by `sliding_window_pattern` (a period, or one truth
    /// value a layer) or follows from the architecture.
    fn windows(&self, family: Family, keys: &Keys<'_>, layers: usize) -> Result<Vec<Option<usize>>> {
        const PATTERN: &str = "attention.sliding_window_pattern";
        let default = matches!(family, Family::Gemma2).then_some(4096);
        // 0 stands for "no window" in Phi-3 files.
        let window = keys.size("attention.sliding_window")?.or(default).filter(|window| *window > 0);
        let full = keys.full(PATTERN);
        let by_period = |period: usize| -> Vec<Option<usize>> {
            (0..layers).map(|layer| window.filter(|_| !(layer + 1).is_multiple_of(period))).collect()
        };
        match self.metadata.get(&full) {
            Some(super::Value::Array(_)) => {
                let slides = self.metadata.bools(&full)?.unwrap_or_default();
                if slides.len() != layers {
                    let what = format!("has {} entries for {layers} layers", slides.len());
                    return Err(Error::key(&self.file, &full, what));
                }
                Ok(slides.into_iter().map(|slides| window.filter(|_| slides)).collect())
            }
            Some(_) => match self.metadata.usize(&full)? {
                Some(period) if period > 0 => Ok(by_period(period)),
                _ => Err(Error::key(&self.file, &full, "is 0")),
            },
            None => Ok(match family {
                Family::Gemma2 => by_period(2),
                Family::Gemma3 => by_period(6),
                // Windows of Qwen files are switched off unless a pattern says otherwise.
                Family::Qwen2 | Family::Qwen3 => vec![None; layers],
                _ => vec![window; layers],
            }),
        }
    }

    fn rope(
        &self,
        family: Family,
        keys: &Keys<'_>,
        head_dim: usize,
        context: usize,
        windows: &[Option<usize>],
    ) -> Result<Rope> {
        let theta = keys.float("rope.freq_base")?.unwrap_or(10_000.0);
        let global = RopeFrequencies { theta, scaling: self.scaling(keys, context)? };
        let local = match family {
            Family::Gemma3 => {
                let theta = keys.float("rope.freq_base_swa")?.unwrap_or(GEMMA3_LOCAL_THETA);
                Some(RopeFrequencies { theta, scaling: RopeScaling::None })
            }
            _ => None,
        };
        let slides = windows.iter().any(Option::is_some);
        let layout = match family {
            Family::Llama | Family::Mistral => RopeLayout::Interleaved,
            _ => RopeLayout::Half,
        };
        Ok(Rope {
            layout,
            dims: keys.size("rope.dimension_count")?.unwrap_or(head_dim),
            local: local.filter(|local| slides && *local != global),
            global,
        })
    }

    fn scaling(&self, keys: &Keys<'_>, context: usize) -> Result<RopeScaling> {
        let kind = keys.text("rope.scaling.type")?.unwrap_or("linear");
        let factor = match keys.float("rope.scaling.factor")? {
            Some(factor) => factor,
            None => keys.float("rope.scale_linear")?.unwrap_or(0.0),
        };
        let factor = if factor == 0.0 { 1.0 } else { factor };
        let original = keys.size("rope.scaling.original_context_length")?;
        let attention = keys.float("rope.scaling.attn_factor")?;
        if let Some(short) = self.factors("rope_factors_short.weight")?.or(self.factors("rope_freqs.weight")?)
        {
            let long = self.factors("rope_factors_long.weight")?.unwrap_or_else(|| short.clone());
            return Ok(RopeScaling::Factors {
                short,
                long,
                original_context: original.unwrap_or(context),
                attention_factor: attention.unwrap_or(1.0),
            });
        }
        match kind {
            "none" | "longrope" => Ok(RopeScaling::None),
            "linear" if factor == 1.0 => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor }),
            "yarn" => Ok(RopeScaling::Yarn {
                factor,
                beta_fast: keys.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: keys.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                original_context: original.unwrap_or(context),
                attention_factor: attention.unwrap_or(1.0) * yarn_magnitude(factor),
            }),
            other => {
                let what = format!("`{}` is not supported", shown(other));
                Err(Error::key(&self.file, &keys.full("rope.scaling.type"), what)
                    .with_hint("supported: none, linear, yarn, longrope"))
            }
        }
    }

    /// Frequency divisors kept as a tensor.
    fn factors(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let Some(tensor) = self.tensor(name) else { return Ok(None) };
        if tensor.elements() > limits::WIDTH {
            return Err(Error::tensor(
                &self.file,
                name,
                format!("has shape {:?}, far too many factors", tensor.shape),
            ));
        }
        Ok(Some(tensor.to_f32()))
    }
}

/// The part of YaRN's factor on cos and sin that llama.cpp applies by itself; files hold what comes on top.
pub(crate) fn yarn_magnitude(factor: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 }
}

/// Number of layers of the one size of Gemma 2 and 3 that scales scores by `hidden / heads` rather than by the
/// width of a head: both 27B models. A GGUF file does not say.
const GEMMA2_27B_LAYERS: usize = 46;
const GEMMA3_27B_LAYERS: usize = 62;

fn attention_scale(
    family: Family,
    keys: &Keys<'_>,
    layers: usize,
    hidden: usize,
    heads: usize,
    head_dim: usize,
) -> Result<f32> {
    if let Some(scale) = keys.float("attention.scale")?
        && scale != 0.0
    {
        return Ok(scale);
    }
    let of_hidden = match family {
        Family::Gemma2 => layers == GEMMA2_27B_LAYERS,
        Family::Gemma3 => layers == GEMMA3_27B_LAYERS,
        _ => false,
    };
    let width = if of_hidden && heads > 0 { hidden / heads } else { head_dim };
    Ok(1.0 / (width as f32).sqrt())
}

fn norm(family: Family, keys: &Keys<'_>) -> Result<Norm> {
    let key = match family {
        Family::Gpt2 => "attention.layer_norm_epsilon",
        _ => "attention.layer_norm_rms_epsilon",
    };
    let eps = keys.float(key)?.ok_or_else(|| {
        Error::key(keys.file, &keys.full(key), "is missing").with_hint(crate::error::DAMAGED)
    })?;
    Ok(if family == Family::Gpt2 { Norm::Layer { eps } } else { Norm::Rms { eps } })
}

/// Getters for keys under the architecture's name.
struct Keys<'a> {
    arch: &'a str,
    metadata: &'a Metadata,
    file: &'a str,
}

impl<'a> Keys<'a> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }

    fn required(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| {
            Error::key(self.file, &self.full(key), "is missing").with_hint("convert the model to GGUF again")
        })
    }

    /// A size; a list of one size a layer is taken if all are the same.
    fn size(&self, key: &str) -> Result<Option<usize>> {
        let full = self.full(key);
        if !matches!(self.metadata.get(&full), Some(super::Value::Array(_))) {
            return self.metadata.usize(&full);
        }
        let values = self.metadata.i32s(&full)?.unwrap_or_default();
        match values.split_first() {
            Some((&first, rest)) if first >= 0 && rest.iter().all(|&value| value == first) => {
                Ok(usize::try_from(first).ok())
            }
            _ => Err(Error::key(self.file, &full, "differs from layer to layer, which is not supported")),
        }
    }

    fn float(&self, key: &str) -> Result<Option<f32>> {
        self.metadata.f32(&self.full(key))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.metadata.str(&self.full(key))
    }
}
