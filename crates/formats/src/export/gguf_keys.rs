//! The description of a network in GGUF's keys, and the few tensors that belong to it.

use super::{Notice, Notify};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::gguf::{Metadata, yarn_magnitude};
use crate::spec::{Activation, Family, Norm, Positions, Rope, RopeFrequencies, RopeScaling, Spec};
use crate::tensor::Tensor;

/// llama.cpp's name of a family. Mistral is one of its Llamas.
pub(crate) fn architecture(family: Family) -> &'static str {
    match family {
        Family::Gpt2 => "gpt2",
        Family::Llama | Family::Mistral => "llama",
        Family::Qwen2 => "qwen2",
        Family::Qwen3 => "qwen3",
        Family::Gemma2 => "gemma2",
        Family::Gemma3 => "gemma3",
        Family::Phi3 => "phi3",
    }
}

/// Writes the network's keys and gives the tensors of rotary factors that go with them.
pub(crate) fn network_metadata(
    checkpoint: &Checkpoint,
    metadata: &mut Metadata,
    notify: Notify<'_>,
) -> Result<Vec<Tensor>> {
    let spec = &checkpoint.spec;
    let arch = architecture(spec.family);
    check_expressible(&checkpoint.source.name, spec)?;
    metadata.insert("general.architecture", arch);
    metadata.insert("general.type", "model");
    if let Some(name) = &checkpoint.name {
        metadata.insert("general.name", name.as_str());
    }
    let mut keys = Keys { arch, metadata };
    keys.size("vocab_size", spec.vocab);
    keys.size("context_length", spec.context);
    keys.size("embedding_length", spec.hidden);
    keys.size("block_count", spec.layers);
    keys.size("feed_forward_length", spec.intermediate);
    keys.size("attention.head_count", spec.heads);
    keys.size("attention.head_count_kv", spec.kv_heads);
    match spec.norm {
        Norm::Rms { eps } => keys.float("attention.layer_norm_rms_epsilon", eps),
        Norm::Layer { eps } => keys.float("attention.layer_norm_epsilon", eps),
    }
    if spec.family != Family::Gpt2 {
        keys.size("attention.key_length", spec.head_dim);
        keys.size("attention.value_length", spec.head_dim);
    }
    let gemma2 = spec.family == Family::Gemma2;
    for (key, cap) in
        [("attn_logit_softcapping", spec.attention_softcap), ("final_logit_softcapping", spec.logit_softcap)]
    {
        // Gemma 2's readers take a default for an absent cap, so none is said as 0.
        match cap {
            Some(cap) => keys.float(key, cap),
            None if gemma2 => keys.float(key, 0.0),
            None => {}
        }
    }
    windows(spec, &mut keys, notify);
    let plain_scale = 1.0 / (spec.head_dim as f32).sqrt();
    if (spec.attention_scale - plain_scale).abs() > plain_scale * 1e-6 || is_27b(spec) {
        keys.float("attention.scale", spec.attention_scale);
        let what = "scores are scaled by another factor than the width of a head gives; it is written as \
                    attention.scale, which llama.cpp does not read for this architecture";
        notify(Notice::Warning(what.to_owned()));
    }
    match &spec.positions {
        Positions::Learned => Ok(Vec::new()),
        Positions::Rope(rope) => rotary(rope, spec, &mut keys),
    }
}

/// The sizes of Gemma whose scale readers guess from the number of layers.
fn is_27b(spec: &Spec) -> bool {
    matches!((spec.family, spec.layers), (Family::Gemma2, 46) | (Family::Gemma3, 62))
}

/// What GGUF implies by the architecture and has no key for.
fn check_expressible(file: &str, spec: &Spec) -> Result<()> {
    let activation = match spec.family {
        Family::Gpt2 | Family::Gemma2 | Family::Gemma3 => Activation::GeluTanh,
        _ => Activation::Silu,
    };
    if spec.activation != activation {
        let what = format!(
            "its activation {:?} cannot be said in a GGUF file of this architecture",
            spec.activation
        );
        return Err(Error::file(file, what).with_hint("export it as a Hugging Face folder instead"));
    }
    Ok(())
}

fn windows(spec: &Spec, keys: &mut Keys<'_>, notify: Notify<'_>) {
    let window = spec.windows.iter().flatten().next().copied();
    match window {
        Some(window) => keys.size("attention.sliding_window", window),
        // Phi-3's readers look for the key; 0 means none. Gemma 2's have a default.
        None if matches!(spec.family, Family::Phi3 | Family::Gemma2) => {
            keys.size("attention.sliding_window", 0)
        }
        None => {}
    }
    let by_family = |layer: usize| match spec.family {
        Family::Gemma2 => !(layer + 1).is_multiple_of(2),
        Family::Gemma3 => !(layer + 1).is_multiple_of(6),
        Family::Qwen2 | Family::Qwen3 => false,
        _ => true,
    };
    let slides: Vec<bool> = spec.windows.iter().map(Option::is_some).collect();
    if window.is_some() && slides.iter().enumerate().any(|(layer, &slides)| slides != by_family(layer)) {
        let full = format!("{}.attention.sliding_window_pattern", keys.arch);
        keys.metadata.insert(&full, slides);
        notify(Notice::Warning(
            "which layers slide is written as a list, which other programs may not read".to_owned(),
        ));
    }
}

fn rotary(rope: &Rope, spec: &Spec, keys: &mut Keys<'_>) -> Result<Vec<Tensor>> {
    keys.size("rope.dimension_count", rope.dims);
    keys.float("rope.freq_base", rope.global.theta);
    if let Some(local) = &rope.local {
        keys.float("rope.freq_base_swa", local.theta);
        if local.scaling != RopeScaling::None {
            let what = "scaled rotation of its sliding-window layers cannot be said in GGUF";
            return Err(Error::file(keys.metadata.file(), what));
        }
    } else if spec.family == Family::Gemma3 && spec.windows.iter().any(Option::is_some) {
        if rope.global.scaling != RopeScaling::None {
            let what = "scaled rotation of its sliding-window layers cannot be said in GGUF";
            return Err(Error::file(keys.metadata.file(), what));
        }
        // Readers take 10000 for the sliding layers where nothing is said.
        keys.float("rope.freq_base_swa", rope.global.theta);
    }
    let factors = |name: &str, values: &[f32]| Tensor::from_f32(name, vec![values.len()], values);
    Ok(match &rope.global.scaling {
        RopeScaling::None => Vec::new(),
        RopeScaling::Linear { factor } => {
            keys.text("rope.scaling.type", "linear");
            keys.float("rope.scaling.factor", *factor);
            Vec::new()
        }
        RopeScaling::Llama3 { original_context, .. } => {
            keys.text("rope.scaling.type", "none");
            keys.size("rope.scaling.original_context_length", *original_context);
            vec![factors("rope_freqs.weight", &llama3_divisors(&rope.global, rope.dims))]
        }
        RopeScaling::Yarn { factor, beta_fast, beta_slow, original_context, attention_factor } => {
            keys.text("rope.scaling.type", "yarn");
            keys.float("rope.scaling.factor", *factor);
            keys.size("rope.scaling.original_context_length", *original_context);
            keys.float("rope.scaling.yarn_beta_fast", *beta_fast);
            keys.float("rope.scaling.yarn_beta_slow", *beta_slow);
            let on_top = attention_factor / yarn_magnitude(*factor);
            if (on_top - 1.0).abs() > 1e-6 {
                keys.float("rope.scaling.attn_factor", on_top);
            }
            Vec::new()
        }
        RopeScaling::Factors { short, long, original_context, attention_factor } => {
            keys.size("rope.scaling.original_context_length", *original_context);
            keys.float("rope.scaling.attn_factor", *attention_factor);
            if short == long && spec.family != Family::Phi3 {
                keys.text("rope.scaling.type", "none");
                vec![factors("rope_freqs.weight", short)]
            } else {
                keys.text("rope.scaling.type", "longrope");
                vec![factors("rope_factors_long.weight", long), factors("rope_factors_short.weight", short)]
            }
        }
    })
}

/// Llama 3.1's scaling as divisors of the frequencies, one for each rotated pair.
fn llama3_divisors(frequencies: &RopeFrequencies, dims: usize) -> Vec<f32> {
    let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } =
        frequencies.scaling
    else {
        return vec![1.0; dims / 2];
    };
    let (factor, low, high) = (f64::from(factor), f64::from(low_freq_factor), f64::from(high_freq_factor));
    let divisor = |pair: usize| {
        let frequency = f64::from(frequencies.theta).powf(-2.0 * pair as f64 / dims as f64);
        // Turns within the original context.
        let turns = original_context as f64 * frequency / std::f64::consts::TAU;
        if turns < low {
            factor
        } else if turns > high {
            1.0
        } else {
            let smooth = (turns - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    (0..dims / 2).map(|pair| divisor(pair) as f32).collect()
}

/// Setters for keys under the architecture's name.
struct Keys<'a> {
    arch: &'static str,
    metadata: &'a mut Metadata,
}

impl Keys<'_> {
    fn size(&mut self, key: &str, value: usize) {
        // `Spec::check` keeps sizes far below this.
        self.metadata.insert(&format!("{}.{key}", self.arch), u32::try_from(value).unwrap_or(u32::MAX));
    }

    fn float(&mut self, key: &str, value: f32) {
        self.metadata.insert(&format!("{}.{key}", self.arch), value);
    }

    fn text(&mut self, key: &str, value: &str) {
        self.metadata.insert(&format!("{}.{key}", self.arch), value);
    }
}
