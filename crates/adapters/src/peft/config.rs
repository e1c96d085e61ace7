//! `adapter_config.json`: rank, alpha and what else shapes the result.

use std::path::Path;

use serde_json::{Map, Value};

use crate::AdapterError;

/// The settings that matter for what an adapter computes.
pub(super) struct Config {
    rank: usize,
    alpha: f64,
    rank_stabilised: bool,
    ranks: Vec<(String, f64)>,
    alphas: Vec<(String, f64)>,
    pub(super) base_name: Option<String>,
}

/// Switches that would change the result, and what they mean.
const SWITCHES: [(&str, &str); 9] = [
    ("use_dora", "DoRA rescales the base's weights"),
    ("lora_bias", "biases beside the factors are not supported"),
    ("use_qalora", "QA-LoRA pools its inputs"),
    ("use_bdlora", "block-diagonal factors are not supported"),
    ("kasa_config", "KaSA changes the base's weights"),
    ("monteclora_config", "MonteCLoRA's sampling is not supported"),
    ("velora_config", "VeLoRA is not supported"),
    ("arrow_config", "Arrow's routing between adapters is not supported"),
    ("lora_ga_config", "its initialisation changed the base's weights"),
];
/// Settings that name parts of the model; anything but nothing would change the result.
const PARTS: [(&str, &str); 5] = [
    ("modules_to_save", "whole trained modules are not supported"),
    ("trainable_token_indices", "trained token embeddings are not supported"),
    ("layer_replication", "replicated layers are not supported"),
    ("alora_invocation_tokens", "adapters that act after an invocation only are not supported"),
    ("target_parameters", "adapted parameters outside of linear layers are not supported"),
];
/// Initialisations that subtract the first adapter from the base's weights.
const CHANGED_BASE: [&str; 5] = ["pissa", "olora", "corda", "lora_ga", "loftq"];

const PLAIN: &str = "train or export it as plain LoRA (merge what is beside it into the base first)";

impl Config {
    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Config, AdapterError> {
        let map: Map<String, Value> = serde_json::from_slice(text).map_err(|error| {
            AdapterError::file(path, format!("is not valid JSON: {error}"), "get the adapter again")
        })?;
        let fail = |key: &str, what: String| Err(AdapterError::key(path, key, what, PLAIN));
        let kind = map.get("peft_type").and_then(Value::as_str).unwrap_or("missing");
        if kind != "LORA" {
            return fail("peft_type", format!("is {kind}; only LORA is supported"));
        }
        for (key, what) in SWITCHES {
            if !matches!(map.get(key), None | Some(Value::Null | Value::Bool(false))) {
                return fail(key, what.to_owned());
            }
        }
        for (key, what) in PARTS {
            let empty = match map.get(key) {
                None | Some(Value::Null) => true,
                Some(Value::Array(list)) => list.is_empty(),
                Some(Value::Object(object)) => object.is_empty(),
                Some(_) => false,
            };
            if !empty {
                return fail(key, what.to_owned());
            }
        }
        match map.get("bias").and_then(Value::as_str) {
            None | Some("none") => {}
            Some(other) => return fail("bias", format!("is {other}; trained biases are not supported")),
        }
        if let Some(start) = map.get("init_lora_weights").and_then(Value::as_str)
            && CHANGED_BASE.iter().any(|name| start.to_lowercase().starts_with(name))
        {
            let what = format!("is {start}, which changes the base's weights");
            return fail("init_lora_weights", what);
        }
        let number = |key: &str| {
            let value = map.get(key).and_then(Value::as_f64).filter(|value| value.is_finite());
            value.ok_or_else(|| AdapterError::key(path, key, "is not a number", "get the adapter again"))
        };
        let rank = number("r")?;
        if !(1.0..=65536.0).contains(&rank) || rank.fract() != 0.0 {
            return fail("r", format!("is {rank}, not a rank"));
        }
        Ok(Config {
            rank: rank as usize,
            alpha: number("lora_alpha")?,
            rank_stabilised: map.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
            ranks: pattern(path, &map, "rank_pattern")?,
            alphas: pattern(path, &map, "alpha_pattern")?,
            base_name: map.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_owned),
        })
    }

    /// The rank the settings give a module.
    pub(super) fn rank(&self, module: &str) -> usize {
        found(&self.ranks, module).map_or(self.rank, |rank| rank as usize)
    }

    /// The factor on its product: `alpha / r`, or `alpha / sqrt(r)` where ranks are stabilised (rsLoRA, arXiv
    /// 2312.03732).
    pub(super) fn scale(&self, module: &str) -> f32 {
        let (alpha, rank) = (found(&self.alphas, module).unwrap_or(self.alpha), self.rank(module) as f64);
        (alpha / if self.rank_stabilised { rank.sqrt() } else { rank }) as f32
    }
}

/// A map from module names to numbers. PEFT takes the keys for regular expressions; names are what is written.
fn pattern(path: &Path, map: &Map<String, Value>, key: &str) -> Result<Vec<(String, f64)>, AdapterError> {
    let Some(Value::Object(object)) = map.get(key) else { return Ok(Vec::new()) };
    let mut out = Vec::with_capacity(object.len());
    for (name, value) in object {
        let plain = name.trim_start_matches('^');
        if plain.chars().any(|c| !(c.is_alphanumeric() || c == '_' || c == '.' || c == '-')) {
            let what = format!("holds `{name}`, a regular expression");
            return Err(AdapterError::key(path, key, what, "write the full names of the modules instead"));
        }
        let value = value.as_f64().filter(|value| value.is_finite() && *value >= 0.0);
        let Some(value) = value else {
            return Err(AdapterError::key(
                path,
                key,
                format!("`{name}` has no number"),
                "get the adapter again",
            ));
        };
        out.push((name.clone(), value));
    }
    Ok(out)
}

/// The value of the first key that is `module` or ends it after a dot.
fn found(pattern: &[(String, f64)], module: &str) -> Option<f64> {
    let fits = |name: &str| match name.strip_prefix('^') {
        Some(whole) => module == whole,
        None => module.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
    };
    pattern.iter().find(|(name, _)| fits(name)).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Config, String> {
        Config::parse(Path::new("adapter_config.json"), json.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn ranks_and_scales_follow_the_patterns() {
        let config = parse(
            r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "rank_pattern": {"layers.1.self_attn.q_proj": 2, "v_proj": 4},
                "alpha_pattern": {"^model.layers.1.self_attn.q_proj": 3}}"#,
        )
        .unwrap();
        let at = |module: &str| (config.rank(module), config.scale(module));
        assert_eq!(at("model.layers.0.self_attn.q_proj"), (8, 2.0));
        assert_eq!(at("model.layers.1.self_attn.q_proj"), (2, 1.5));
        assert_eq!(at("model.layers.0.self_attn.v_proj"), (4, 4.0));
        // A name is matched at a dot only.
        assert_eq!(at("model.layers.0.self_attn.kv_proj"), (8, 2.0));
    }

    #[test]
    fn rank_stabilised_scaling_divides_by_the_root() {
        let config = parse(r#"{"peft_type": "LORA", "r": 16, "lora_alpha": 8, "use_rslora": true}"#).unwrap();
        assert_eq!(config.scale("x"), 2.0);
    }

    #[test]
    fn what_would_change_the_result_is_refused_by_name() {
        for (extra, name) in [
            (r#""use_dora": true"#, "use_dora"),
            (r#""bias": "all""#, "bias"),
            (r#""modules_to_save": ["lm_head"]"#, "modules_to_save"),
            (r#""init_lora_weights": "pissa_niter_4""#, "init_lora_weights"),
            (r#""layer_replication": [[0, 4]]"#, "layer_replication"),
            (r#""rank_pattern": {".*q_proj": 2}"#, "regular expression"),
            (r#""r": 0"#, "rank"),
        ] {
            let text = format!(r#"{{"peft_type": "LORA", "r": 8, "lora_alpha": 16, {extra}}}"#);
            let error = parse(&text).err().unwrap_or_else(|| panic!("{extra} was taken"));
            assert!(error.contains(name), "{extra}: {error}");
        }
        assert!(parse(r#"{"peft_type": "IA3"}"#).err().unwrap().contains("IA3"));
        assert!(parse("{").err().unwrap().contains("not valid JSON"));
    }

    #[test]
    fn what_does_not_change_the_result_is_ignored() {
        let text = r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "lora_dropout": 0.1, "bias": "none",
            "modules_to_save": null, "layer_replication": [], "use_dora": false, "init_lora_weights": true,
            "fan_in_fan_out": true, "target_modules": "all-linear"}"#;
        assert_eq!(parse(text).unwrap().scale("x"), 2.0);
    }
}
