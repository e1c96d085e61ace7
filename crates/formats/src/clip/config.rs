//! The description of the towers: from transformers' `config.json`, from OpenCLIP's, or from the shapes of OpenAI's tensors.

use super::preprocess::Preprocess;
use super::spec::{ClipSpec, ImageSpec, TextSpec, TowerSpec};
use crate::error::{Error, Result, shown};
use crate::huggingface::json::Object;
use crate::huggingface::{activation, refuse_quantised};
use crate::spec::Activation;

/// Defaults of transformers' configuration classes for one tower.
struct Defaults {
    hidden: usize,
    intermediate: usize,
    heads: usize,
    activation: Activation,
    eps: f32,
}

/// Reads transformers' `config.json`.
pub(crate) fn transformers(config: Object<'_>) -> Result<(ClipSpec, Preprocess)> {
    refuse_quantised(config)?;
    let empty = serde_json::Map::new();
    let part = |key: &str| -> Result<Object<'_>> {
        Ok(config.object(key)?.unwrap_or(Object { file: config.file, map: &empty }))
    };
    let (text, vision) = (part("text_config")?, part("vision_config")?);
    let spec = match config.str("model_type")? {
        Some("clip") => clip(config, text, vision)?,
        Some("siglip") => siglip(text, vision)?,
        other => {
            let what = format!("`{}` is not supported", shown(other.unwrap_or("?")));
            return Err(Error::key(config.file, "model_type", what)
                .with_hint("supported: clip and siglip, SigLIP 2 of a fixed resolution included"));
        }
    };
    if vision.usize("num_channels")?.unwrap_or(3) != 3 {
        return Err(Error::key(config.file, "num_channels", "should be 3"));
    }
    let preprocess = if spec.sigmoid { Preprocess::siglip() } else { Preprocess::clip(spec.image.size) };
    spec.check().map_err(|what| Error::file(config.file, what))?;
    Ok((spec, preprocess))
}

fn clip(config: Object<'_>, text: Object<'_>, vision: Object<'_>) -> Result<ClipSpec> {
    /// The end token as early configurations have it; what the tokenizer says is right.
    const LEGACY_END: u32 = 2;
    let defaults = |hidden, heads| Defaults {
        hidden,
        intermediate: 4 * hidden,
        heads,
        activation: Activation::QuickGelu,
        eps: 1e-5,
    };
    let end = text.ids("eos_token_id")?.and_then(|ids| ids.first().copied());
    Ok(ClipSpec {
        text: TextSpec {
            tower: tower(text, defaults(512, 8))?,
            vocab: text.usize("vocab_size")?.unwrap_or(49408),
            context: text.usize("max_position_embeddings")?.unwrap_or(77),
            causal: true,
            projection_bias: false,
            end: end.filter(|&id| id != LEGACY_END),
            padded: false,
        },
        image: ImageSpec {
            tower: tower(vision, defaults(768, 12))?,
            size: vision.usize("image_size")?.unwrap_or(224),
            patch: vision.usize("patch_size")?.unwrap_or(32),
            pooling_head: false,
        },
        dim: config.usize("projection_dim")?.unwrap_or(512),
        sigmoid: false,
    })
}

fn siglip(text: Object<'_>, vision: Object<'_>) -> Result<ClipSpec> {
    let defaults =
        Defaults { hidden: 768, intermediate: 3072, heads: 12, activation: Activation::GeluTanh, eps: 1e-6 };
    if vision.bool("vision_use_head")? == Some(false) {
        return Err(Error::key(vision.file, "vision_use_head", "is false, and nothing pools the patches"));
    }
    let (text_tower, image_tower) = (tower(text, Defaults { ..defaults })?, tower(vision, defaults)?);
    let dim = text.usize("projection_size")?.unwrap_or(text_tower.hidden);
    if dim != image_tower.hidden {
        let what = format!("is {dim}, but pictures are embedded into {}", image_tower.hidden);
        return Err(Error::key(text.file, "projection_size", what));
    }
    Ok(ClipSpec {
        text: TextSpec {
            tower: text_tower,
            vocab: text.usize("vocab_size")?.unwrap_or(32000),
            context: text.usize("max_position_embeddings")?.unwrap_or(64),
            causal: false,
            projection_bias: true,
            end: None,
            padded: true,
        },
        image: ImageSpec {
            tower: image_tower,
            size: vision.usize("image_size")?.unwrap_or(224),
            patch: vision.usize("patch_size")?.unwrap_or(16),
            pooling_head: true,
        },
        dim,
        sigmoid: true,
    })
}

fn tower(config: Object<'_>, defaults: Defaults) -> Result<TowerSpec> {
    let of = |key: &str, default: usize| Ok::<usize, Error>(config.usize(key)?.unwrap_or(default));
    Ok(TowerSpec {
        layers: of("num_hidden_layers", 12)?,
        hidden: of("hidden_size", defaults.hidden)?,
        intermediate: of("intermediate_size", defaults.intermediate)?,
        heads: of("num_attention_heads", defaults.heads)?,
        activation: activation(config, "hidden_act", defaults.activation)?,
        eps: config.f32("layer_norm_eps")?.unwrap_or(defaults.eps),
    })
}

/// Sizes of OpenAI's tensors that tell the network apart, as OpenAI's own loader reads them.
pub(crate) struct OpenAiShapes {
    /// `visual.conv1.weight`: `[width, 3, patch, patch]`.
    pub(crate) conv: [usize; 4],
    /// `visual.positional_embedding`: `[1 + patches, width]`.
    pub(crate) image_positions: usize,
    /// `token_embedding.weight`: `[vocab, width]`.
    pub(crate) tokens: [usize; 2],
    /// `positional_embedding`: `[context, width]`.
    pub(crate) context: usize,
    /// `text_projection`: `[width, dim]`.
    pub(crate) dim: usize,
    /// Blocks of the towers of texts and pictures.
    pub(crate) layers: [usize; 2],
    /// Widths inside their MLPs.
    pub(crate) intermediate: [usize; 2],
}

/// The description that the shapes give. `open_clip` is the `model_cfg` beside them, which knows heads and activation;
/// OpenAI's models, which come without, have heads of 64 and the quick GELU.
pub(crate) fn open_ai(file: &str, shapes: &OpenAiShapes, open_clip: Option<Object<'_>>) -> Result<ClipSpec> {
    let [image_width, _, patch, _] = shapes.conv;
    let [vocab, text_width] = shapes.tokens;
    let side = shapes.image_positions.saturating_sub(1).isqrt();
    let activation = match open_clip {
        Some(config) if !config.bool("quick_gelu")?.unwrap_or(false) => Activation::Gelu,
        _ => Activation::QuickGelu,
    };
    let (mut text_heads, mut head_width, mut causal) = (text_width / 64, 64, true);
    if let Some(config) = open_clip {
        if let Some(text) = config.object("text_cfg")? {
            text_heads = text.usize("heads")?.unwrap_or(8);
            causal = !text.bool("no_causal_mask")?.unwrap_or(false);
            for (key, wanted) in [("pool_type", "argmax"), ("text_mask", "first")] {
                if let Some(found) = text.str(key)?.filter(|&found| found != wanted) {
                    return Err(Error::key(config.file, key, format!("`{}` is not supported", shown(found))));
                }
            }
            if text.str("hf_model_name")?.is_some() {
                return Err(Error::key(
                    config.file,
                    "hf_model_name",
                    "another library's text tower is not supported",
                ));
            }
        }
        if let Some(vision) = config.object("vision_cfg")? {
            head_width = vision.usize("head_width")?.unwrap_or(64).max(1);
            if vision.str("timm_model_name")?.is_some() {
                return Err(Error::key(
                    config.file,
                    "timm_model_name",
                    "another library's image tower is not supported",
                )
                .with_hint("use the Hugging Face folder of the model, if it has one"));
            }
        }
    }
    let tower = |at: usize, hidden, heads| TowerSpec {
        layers: shapes.layers[at],
        hidden,
        intermediate: shapes.intermediate[at],
        heads,
        activation,
        eps: 1e-5,
    };
    let spec = ClipSpec {
        text: TextSpec {
            tower: tower(0, text_width, text_heads),
            vocab,
            context: shapes.context,
            causal,
            projection_bias: false,
            end: None,
            padded: false,
        },
        image: ImageSpec {
            tower: tower(1, image_width, image_width / head_width),
            size: side * patch,
            patch,
            pooling_head: false,
        },
        dim: shapes.dim,
        sigmoid: false,
    };
    spec.check().map_err(|what| Error::file(file, what))?;
    Ok(spec)
}
