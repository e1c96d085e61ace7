//! `config.json` to [`Spec`], as transformers 4 and 5 write it.
//!
//! Keys that are absent take the defaults of the family's configuration class in transformers.

use serde_json::{Map, Value};

use super::json::{Object, parse_object};
use super::rope::{RopeDefaults, rotary};
use crate::error::{Error, Result};
use crate::spec::{Activation, Biases, Family, Norm, Positions, Spec};

/// Reads the network description from the bytes of a `config.json`.
///
/// # Errors
/// If the JSON is not valid, the architecture is unknown, a key has a value of the wrong kind, or the sizes
/// contradict each other.
pub fn spec_from_config(file: &str, json: &[u8]) -> Result<Spec> {
    let map = parse_object(file, json)?;
    let spec = spec_from_map(file, &map)?;
    spec.check().map_err(|what| Error::file(file, what))?;
    Ok(spec)
}

fn spec_from_map(file: &str, map: &Map<String, Value>) -> Result<Spec> {
    let config = Object { file, map };
    refuse_quantised(config)?;
    match model_type(config)? {
        "gpt2" => gpt2(config),
        "llama" => llama(config),
        "mistral" => mistral(config),
        "qwen2" => qwen(config, Family::Qwen2),
        "qwen3" => qwen(config, Family::Qwen3),
        "gemma2" => gemma(config, Family::Gemma2, true),
        "gemma3_text" => gemma(config, Family::Gemma3, true),
        "gemma3" => {
            // Pictures and text in one file; only the text half is read.
            let text = config.object("text_config")?.ok_or_else(|| config.missing("text_config"))?;
            gemma(text, Family::Gemma3, config.bool("tie_word_embeddings")?.unwrap_or(true))
        }
        "phi3" => phi3(config),
        other => {
            Err(Error::key(file, "model_type", format!("`{}` is not supported", crate::error::shown(other)))
                .with_hint(
                    "supported: gpt2, llama, mistral, qwen2, qwen3, gemma2, gemma3, gemma3_text, phi3",
                ))
        }
    }
}

/// Weights in another library's quantised layout are not what the tensors' names say.
pub(crate) fn refuse_quantised(config: Object<'_>) -> Result<()> {
    const KEY: &str = "quantization_config";
    let Some(quantised) = config.object(KEY)? else { return Ok(()) };
    match quantised.str("quant_method")? {
        Some("crayon") => Ok(()),
        method => {
            let what =
                format!("weights quantised by `{}` are not read", crate::error::shown(method.unwrap_or("?")));
            Err(Error::key(config.file, KEY, what).with_hint(
                "use the f32, f16 or bf16 build of the model, or a GGUF file for quantised weights",
            ))
        }
    }
}

/// `model_type`, or for configurations without one the family of `architectures`.
fn model_type(config: Object<'_>) -> Result<&str> {
    if let Some(name) = config.str("model_type")? {
        return Ok(name);
    }
    const CLASSES: [(&str, &str); 9] = [
        ("GPT2LMHeadModel", "gpt2"),
        ("LlamaForCausalLM", "llama"),
        ("MistralForCausalLM", "mistral"),
        ("Qwen2ForCausalLM", "qwen2"),
        ("Qwen3ForCausalLM", "qwen3"),
        ("Gemma2ForCausalLM", "gemma2"),
        ("Gemma3ForCausalLM", "gemma3_text"),
        ("Gemma3ForConditionalGeneration", "gemma3"),
        ("Phi3ForCausalLM", "phi3"),
    ];
    let classes = config.strings("architectures")?.unwrap_or_default();
    let known = CLASSES.iter().find(|(class, _)| classes.contains(class));
    known.map(|(_, name)| *name).ok_or_else(|| config.missing("model_type"))
}

/// What is common to all families but GPT-2: sizes and defaults that differ are arguments.
struct Common {
    vocab: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    intermediate: usize,
    context: usize,
    eps: f32,
}

/// Defaults of one configuration class. `None` for heads and widths means "derived from the others".
struct Defaults {
    vocab: usize,
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    kv_heads: Option<usize>,
    head_dim: Option<usize>,
    context: usize,
    eps: f32,
}

fn common(config: Object<'_>, defaults: &Defaults) -> Result<Common> {
    let size = |key: &str, default: usize| Ok::<usize, Error>(config.usize(key)?.unwrap_or(default));
    let hidden = size("hidden_size", defaults.hidden)?;
    let heads = size("num_attention_heads", defaults.heads)?;
    // A null here means "as many as query heads" in every class, an absent key the class default.
    let kv_heads = match config.map.get("num_key_value_heads") {
        None => defaults.kv_heads.unwrap_or(heads),
        Some(Value::Null) => heads,
        Some(_) => size("num_key_value_heads", heads)?,
    };
    let head_dim = match config.usize("head_dim")?.or(defaults.head_dim) {
        Some(width) => width,
        None => divided_head(config, hidden, heads)?,
    };
    Ok(Common {
        vocab: size("vocab_size", defaults.vocab)?,
        hidden,
        layers: size("num_hidden_layers", defaults.layers)?,
        heads,
        kv_heads,
        head_dim,
        intermediate: size("intermediate_size", defaults.intermediate)?,
        context: size("max_position_embeddings", defaults.context)?,
        eps: config.f32("rms_norm_eps")?.unwrap_or(defaults.eps),
    })
}

fn divided_head(config: Object<'_>, hidden: usize, heads: usize) -> Result<usize> {
    if heads == 0 || !hidden.is_multiple_of(heads) {
        let what = format!("{heads} heads do not divide the hidden size {hidden}");
        return Err(Error::key(config.file, "num_attention_heads", what));
    }
    Ok(hidden / heads)
}

/// A pre-norm network with RMSNorm, a gated MLP and rotary positions; families change what differs.
fn rms_network(
    config: Object<'_>,
    family: Family,
    common: &Common,
    windows: Vec<Option<usize>>,
) -> Result<Spec> {
    let rope = rotary(config, &RopeDefaults::of(family, common.context, common.head_dim, &windows))?;
    Ok(Spec {
        family,
        vocab: common.vocab,
        hidden: common.hidden,
        layers: common.layers,
        heads: common.heads,
        kv_heads: common.kv_heads,
        head_dim: common.head_dim,
        intermediate: common.intermediate,
        context: common.context,
        norm: Norm::Rms { eps: common.eps },
        post_norms: false,
        qk_norm: false,
        activation: activation(config, "hidden_act", Activation::Silu)?,
        gated: true,
        biases: Biases::default(),
        positions: Positions::Rope(rope),
        attention_scale: 1.0 / (common.head_dim as f32).sqrt(),
        attention_softcap: None,
        logit_softcap: None,
        windows,
        embedding_scale: 1.0,
        tied: config.bool("tie_word_embeddings")?.unwrap_or(false),
    })
}

fn llama(config: Object<'_>) -> Result<Spec> {
    let defaults = Defaults {
        vocab: 32000,
        hidden: 4096,
        intermediate: 11008,
        layers: 32,
        heads: 32,
        kv_heads: None,
        head_dim: None,
        context: 2048,
        eps: 1e-6,
    };
    let common = common(config, &defaults)?;
    let windows = vec![None; checked_layers(config, common.layers)?];
    let mut spec = rms_network(config, Family::Llama, &common, windows)?;
    let attention = config.bool("attention_bias")?.unwrap_or(false);
    spec.biases = Biases {
        qkv: attention,
        attention_output: attention,
        mlp: config.bool("mlp_bias")?.unwrap_or(false),
    };
    Ok(spec)
}

fn mistral(config: Object<'_>) -> Result<Spec> {
    let defaults = Defaults {
        vocab: 32000,
        hidden: 4096,
        intermediate: 14336,
        layers: 32,
        heads: 32,
        kv_heads: Some(8),
        head_dim: None,
        context: 131072,
        eps: 1e-6,
    };
    let common = common(config, &defaults)?;
    let window = sliding_window(config, Some(4096))?;
    let windows = vec![window; checked_layers(config, common.layers)?];
    rms_network(config, Family::Mistral, &common, windows)
}

fn qwen(config: Object<'_>, family: Family) -> Result<Spec> {
    let defaults = Defaults {
        vocab: 151936,
        hidden: 4096,
        intermediate: 22016,
        layers: 32,
        heads: 32,
        kv_heads: Some(32),
        head_dim: if family == Family::Qwen3 { Some(128) } else { None },
        context: 32768,
        eps: 1e-6,
    };
    let common = common(config, &defaults)?;
    let layers = checked_layers(config, common.layers)?;
    let window = match config.bool("use_sliding_window")?.unwrap_or(false) {
        true => sliding_window(config, Some(4096))?,
        false => None,
    };
    let first = config.usize("max_window_layers")?.unwrap_or(28);
    let windows = layer_windows(config, layers, window, |layer| layer >= first)?;
    let mut spec = rms_network(config, family, &common, windows)?;
    if family == Family::Qwen2 {
        spec.biases.qkv = true;
    } else {
        let attention = config.bool("attention_bias")?.unwrap_or(false);
        spec.biases = Biases { qkv: attention, attention_output: attention, mlp: false };
        spec.qk_norm = true;
    }
    Ok(spec)
}

fn gemma(config: Object<'_>, family: Family, tied: bool) -> Result<Spec> {
    let is_gemma2 = family == Family::Gemma2;
    let defaults = Defaults {
        vocab: if is_gemma2 { 256_000 } else { 262_208 },
        hidden: 2304,
        intermediate: 9216,
        layers: 26,
        heads: 8,
        kv_heads: Some(4),
        head_dim: Some(256),
        context: if is_gemma2 { 8192 } else { 131_072 },
        eps: 1e-6,
    };
    let common = common(config, &defaults)?;
    let layers = checked_layers(config, common.layers)?;
    if config.bool("use_bidirectional_attention")?.unwrap_or(false) {
        return Err(Error::key(
            config.file,
            "use_bidirectional_attention",
            "is true: this is not a generating model",
        ));
    }
    let window = sliding_window(config, Some(4096))?;
    let period = match config.usize("sliding_window_pattern")? {
        Some(0) => return Err(Error::key(config.file, "sliding_window_pattern", "is 0")),
        Some(period) if !is_gemma2 => period,
        _ if is_gemma2 => 2,
        _ => 6,
    };
    let windows = layer_windows(config, layers, window, |layer| !(layer + 1).is_multiple_of(period))?;
    let mut spec = rms_network(config, family, &common, windows)?;
    let attention = config.bool("attention_bias")?.unwrap_or(false);
    let softcap = |key: &str, default: Option<f32>| match config.map.get(key) {
        None => Ok(default),
        Some(_) => config.f32(key),
    };
    let scalar = config.f32("query_pre_attn_scalar")?.unwrap_or(256.0);
    spec.biases = Biases { qkv: attention, attention_output: attention, mlp: false };
    spec.post_norms = true;
    spec.qk_norm = !is_gemma2;
    spec.activation = activation(config, "hidden_activation", Activation::GeluTanh)?;
    spec.attention_scale = 1.0 / scalar.sqrt();
    spec.attention_softcap = softcap("attn_logit_softcapping", is_gemma2.then_some(50.0))?;
    spec.logit_softcap = softcap("final_logit_softcapping", is_gemma2.then_some(30.0))?;
    spec.embedding_scale = (common.hidden as f32).sqrt();
    spec.tied = config.bool("tie_word_embeddings")?.unwrap_or(tied);
    Ok(spec)
}

fn phi3(config: Object<'_>) -> Result<Spec> {
    let defaults = Defaults {
        vocab: 32064,
        hidden: 3072,
        intermediate: 8192,
        layers: 32,
        heads: 32,
        kv_heads: None,
        head_dim: None,
        context: 4096,
        eps: 1e-5,
    };
    let common = common(config, &defaults)?;
    let window = sliding_window(config, None)?;
    let windows = vec![window; checked_layers(config, common.layers)?];
    rms_network(config, Family::Phi3, &common, windows)
}

fn gpt2(config: Object<'_>) -> Result<Spec> {
    let size = |key: &str, other: &str, default: usize| {
        Ok::<usize, Error>(config.usize(key)?.or(config.usize(other)?).unwrap_or(default))
    };
    let hidden = size("n_embd", "hidden_size", 768)?;
    let heads = size("n_head", "num_attention_heads", 12)?;
    let layers = checked_layers(config, size("n_layer", "num_hidden_layers", 12)?)?;
    let head_dim = divided_head(config, hidden, heads)?;
    for key in ["scale_attn_by_inverse_layer_idx", "add_cross_attention"] {
        if config.bool(key)?.unwrap_or(false) {
            return Err(Error::key(config.file, key, "is true, which is not supported"));
        }
    }
    let scaled = config.bool("scale_attn_weights")?.unwrap_or(true);
    Ok(Spec {
        family: Family::Gpt2,
        vocab: config.usize("vocab_size")?.unwrap_or(50257),
        hidden,
        layers,
        heads,
        kv_heads: heads,
        head_dim,
        intermediate: config.usize("n_inner")?.unwrap_or(hidden.saturating_mul(4)),
        context: size("n_positions", "max_position_embeddings", 1024)?,
        norm: Norm::Layer { eps: config.f32("layer_norm_epsilon")?.unwrap_or(1e-5) },
        post_norms: false,
        qk_norm: false,
        activation: activation(config, "activation_function", Activation::GeluTanh)?,
        gated: false,
        biases: Biases { qkv: true, attention_output: true, mlp: true },
        positions: Positions::Learned,
        attention_scale: if scaled { 1.0 / (head_dim as f32).sqrt() } else { 1.0 },
        attention_softcap: None,
        logit_softcap: None,
        windows: vec![None; layers],
        embedding_scale: 1.0,
        tied: config.bool("tie_word_embeddings")?.unwrap_or(true),
    })
}

/// The layer count, before lists of that length are made.
fn checked_layers(config: Object<'_>, layers: usize) -> Result<usize> {
    let most = crate::names::limits::LAYERS;
    if layers == 0 || layers > most {
        let what = format!("{layers} layers; there must be between 1 and {most}");
        return Err(Error::key(config.file, "num_hidden_layers", what));
    }
    Ok(layers)
}

/// `sliding_window`: absent means the class default, null means none.
fn sliding_window(config: Object<'_>, default: Option<usize>) -> Result<Option<usize>> {
    match config.map.get("sliding_window") {
        None => Ok(default),
        Some(_) => config.usize("sliding_window"),
    }
}

/// The window of every layer: by `layer_types` where the file lists them, else by the family's rule.
fn layer_windows(
    config: Object<'_>,
    layers: usize,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>> {
    let Some(types) = config.strings("layer_types")? else {
        return Ok((0..layers).map(|layer| window.filter(|_| slides(layer))).collect());
    };
    if types.len() != layers {
        let what = format!("lists {} layers, the model has {layers}", types.len());
        return Err(Error::key(config.file, "layer_types", what));
    }
    types
        .into_iter()
        .map(|kind| match kind {
            "full_attention" => Ok(None),
            "sliding_attention" if window.is_none() => {
                let what =
                    "lists layers that see a window only, and no size of a window is given or switched on";
                Err(Error::key(config.file, "layer_types", what))
            }
            "sliding_attention" => Ok(window),
            other => {
                let what = format!("layer type `{}` is not supported", crate::error::shown(other));
                Err(Error::key(config.file, "layer_types", what))
            }
        })
        .collect()
}

/// The activation under `key`.
pub(crate) fn activation(config: Object<'_>, key: &str, default: Activation) -> Result<Activation> {
    match config.str(key)? {
        None => Ok(default),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_python_tanh") => Ok(Activation::GeluTanh),
        Some("gelu" | "gelu_python") => Ok(Activation::Gelu),
        Some("quick_gelu") => Ok(Activation::QuickGelu),
        Some(other) => {
            let what = format!("activation `{}` is not supported", crate::error::shown(other));
            Err(Error::key(config.file, key, what)
                .with_hint("supported: silu, gelu, gelu_new, gelu_pytorch_tanh, quick_gelu"))
        }
    }
}
