//! Rotary positions of a `config.json`: `rope_theta` and `rope_scaling` of transformers 4, `rope_parameters` of
//! transformers 5, one set for all layers or one per layer type.

use super::json::Object;
use crate::error::{Error, Result, shown};
use crate::spec::{Family, Rope, RopeFrequencies, RopeLayout, RopeScaling};

/// What a configuration does not say itself.
pub(crate) struct RopeDefaults {
    family: Family,
    context: usize,
    head_dim: usize,
    slides: bool,
}

impl RopeDefaults {
    pub(crate) fn of(
        family: Family,
        context: usize,
        head_dim: usize,
        windows: &[Option<usize>],
    ) -> RopeDefaults {
        RopeDefaults { family, context, head_dim, slides: windows.iter().any(Option::is_some) }
    }

    fn theta(&self) -> f32 {
        if self.family == Family::Gemma3 { 1_000_000.0 } else { 10_000.0 }
    }
}

/// Theta of Gemma 3's sliding-window layers where the file does not say.
const GEMMA3_LOCAL_THETA: f32 = 10_000.0;

/// The rotary positions a configuration describes.
pub(crate) fn rotary(config: Object<'_>, defaults: &RopeDefaults) -> Result<Rope> {
    let parameters = match config.object("rope_scaling")? {
        Some(scaling) if !scaling.map.is_empty() => Some(scaling),
        _ => config.object("rope_parameters")?,
    };
    let (full, sliding) = match parameters {
        None => (None, None),
        Some(parameters) => {
            let full = parameters.object("full_attention")?;
            let sliding = parameters.object("sliding_attention")?;
            // Not nested by layer type: one set for all layers.
            if full.is_none() && sliding.is_none() { (Some(parameters), None) } else { (full, sliding) }
        }
    };
    let theta = config.f32("rope_theta")?.unwrap_or(defaults.theta());
    let global = frequencies(config, full, theta, defaults)?;
    let local = if defaults.family == Family::Gemma3 {
        let theta = config.f32("rope_local_base_freq")?.unwrap_or(GEMMA3_LOCAL_THETA);
        Some(frequencies(config, sliding, theta, defaults)?)
    } else {
        match sliding {
            Some(_) => Some(frequencies(config, sliding, theta, defaults)?),
            None => None,
        }
    };
    let local = local.filter(|local| defaults.slides && *local != global);
    Ok(Rope { layout: RopeLayout::Half, dims: rotated(config, full, defaults)?, global, local })
}

/// Leading values of a head that rotate.
fn rotated(config: Object<'_>, parameters: Option<Object<'_>>, defaults: &RopeDefaults) -> Result<usize> {
    const KEY: &str = "partial_rotary_factor";
    let inner = parameters.map(|parameters| parameters.f32(KEY)).transpose()?.flatten();
    let factor = match inner {
        Some(factor) => factor,
        None => config.f32(KEY)?.unwrap_or(1.0),
    };
    if factor == 1.0 {
        return Ok(defaults.head_dim);
    }
    if defaults.family != Family::Phi3 || !(0.0..=1.0).contains(&factor) {
        return Err(Error::key(config.file, KEY, format!("{factor} is not supported for this architecture")));
    }
    Ok((defaults.head_dim as f64 * f64::from(factor)) as usize)
}

fn frequencies(
    config: Object<'_>,
    parameters: Option<Object<'_>>,
    theta: f32,
    defaults: &RopeDefaults,
) -> Result<RopeFrequencies> {
    let Some(parameters) = parameters else {
        return Ok(RopeFrequencies { theta, scaling: RopeScaling::None });
    };
    let theta = parameters.f32("rope_theta")?.unwrap_or(theta);
    let kind = match parameters.str("rope_type")? {
        Some(kind) => kind,
        None => parameters.str("type")?.unwrap_or("default"),
    };
    let required = |key: &str| parameters.f32(key)?.ok_or_else(|| parameters.missing(key));
    let original = || match config.usize("original_max_position_embeddings")? {
        Some(original) => Ok(original),
        // Phi-3's configuration class has this key with a default of its own.
        None if defaults.family == Family::Phi3 => Ok(4096),
        None => Ok::<usize, Error>(
            parameters.usize("original_max_position_embeddings")?.unwrap_or(defaults.context),
        ),
    };
    let scaling = match kind {
        "default" => RopeScaling::None,
        // Dynamic scaling stretches theta only beyond the trained context, which is never exceeded here: within
        // it the frequencies are the plain ones.
        "dynamic" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: required("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: required("factor")?,
            low_freq_factor: required("low_freq_factor")?,
            high_freq_factor: required("high_freq_factor")?,
            original_context: original()?,
        },
        "longrope" | "su" => longrope(parameters, original()?, defaults)?,
        // Early Phi-3 files call it yarn.
        "yarn" if defaults.family == Family::Phi3 => longrope(parameters, original()?, defaults)?,
        "yarn" => yarn(parameters, original()?, defaults)?,
        other => {
            let what = format!("rotary scaling `{}` is not supported", shown(other));
            return Err(Error::key(config.file, "rope_type", what)
                .with_hint("supported: default, linear, dynamic, llama3, yarn, longrope"));
        }
    };
    Ok(RopeFrequencies { theta, scaling })
}

/// YaRN (arXiv 2309.00071) with the attention factor of section 3.4 where the file gives none.
fn yarn(parameters: Object<'_>, original: usize, defaults: &RopeDefaults) -> Result<RopeScaling> {
    if parameters.bool("truncate")? == Some(false) {
        return Err(Error::key(parameters.file, "truncate", "is false, which is not supported"));
    }
    let factor = match parameters.f32("factor")? {
        Some(factor) => f64::from(factor),
        None => defaults.context as f64 / original.max(1) as f64,
    };
    let scale = |weight: f32| if factor <= 1.0 { 1.0 } else { 0.1 * f64::from(weight) * factor.ln() + 1.0 };
    let non_zero = |value: Option<f32>| value.filter(|value| *value != 0.0);
    let attention_factor = match parameters.f32("attention_factor")? {
        Some(given) => given,
        None => {
            let all = non_zero(parameters.f32("mscale_all_dim")?);
            match (non_zero(parameters.f32("mscale")?), all) {
                (Some(mscale), Some(all)) => (scale(mscale) / scale(all)) as f32,
                _ => scale(1.0) as f32,
            }
        }
    };
    Ok(RopeScaling::Yarn {
        factor: factor as f32,
        beta_fast: non_zero(parameters.f32("beta_fast")?).unwrap_or(32.0),
        beta_slow: non_zero(parameters.f32("beta_slow")?).unwrap_or(1.0),
        original_context: original,
        attention_factor,
    })
}

/// LongRoPE (arXiv 2402.13753): a divisor per rotated pair.
fn longrope(parameters: Object<'_>, original: usize, defaults: &RopeDefaults) -> Result<RopeScaling> {
    let list = |key: &str| parameters.f32s(key)?.ok_or_else(|| parameters.missing(key));
    let attention_factor = match parameters.f32("attention_factor")? {
        Some(given) => given,
        None => {
            let factor = match parameters.f32("factor")? {
                Some(factor) => f64::from(factor),
                None => defaults.context as f64 / original.max(1) as f64,
            };
            longrope_attention_factor(factor, original)
        }
    };
    Ok(RopeScaling::Factors {
        short: list("short_factor")?,
        long: list("long_factor")?,
        original_context: original,
        attention_factor,
    })
}

/// Factor on cos and sin for a context `factor` times the original one.
pub(crate) fn longrope_attention_factor(factor: f64, original: usize) -> f32 {
    if factor <= 1.0 || original <= 1 {
        return 1.0;
    }
    (1.0 + factor.ln() / (original as f64).ln()).sqrt() as f32
}
