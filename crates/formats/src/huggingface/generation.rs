//! `generation_config.json`: what is applied, and notes about what is not.

use std::path::Path;

use serde_json::{Map, Value};

use super::json::Object;
use super::sidecar::object;
use crate::error::{Error, Result};
use crate::generation::{Bans, Generation};
use crate::note::Note;

/// Settings that would change an answer and are not applied, with the values under which they change nothing. (Limits on
/// the length of an answer are the caller's to set, and settings of caches and batches change no text.)
const NOT_APPLIED: [(&str, &[f64]); 22] = [
    ("min_length", &[0.0]),
    ("num_beams", &[1.0]),
    ("num_beam_groups", &[1.0]),
    ("top_h", &[]),
    ("typical_p", &[1.0]),
    ("epsilon_cutoff", &[0.0]),
    ("eta_cutoff", &[0.0]),
    ("encoder_repetition_penalty", &[1.0]),
    ("forced_bos_token_id", &[]),
    ("forced_eos_token_id", &[]),
    ("exponential_decay_length_penalty", &[]),
    ("sequence_bias", &[]),
    ("guidance_scale", &[1.0]),
    ("watermarking_config", &[]),
    ("token_healing", &[0.0]),
    ("penalty_alpha", &[0.0]),
    ("dola_layers", &[]),
    ("diversity_penalty", &[0.0]),
    ("constraints", &[]),
    ("force_words_ids", &[]),
    ("decoder_start_token_id", &[]),
    ("max_time", &[]),
];

/// Generation settings: `generation_config.json`, for ids it does not give `config.json`, and for all of them where there
/// is no such file.
pub(crate) fn generation(
    folder: &Path,
    config: &Map<String, Value>,
    notes: &mut Vec<Note>,
) -> Result<Generation> {
    let config_file = folder.join("config.json").display().to_string();
    let config = Object { file: &config_file, map: config };
    let path = folder.join("generation_config.json");
    let file = path.display().to_string();
    let map = object(&path)?;
    let own = map.as_ref().map_or(config, |map| Object { file: &file, map });
    let text = config.object("text_config")?;
    let ids = |key: &str| -> Result<Option<Vec<u32>>> {
        if let Some(ids) = own.ids(key)? {
            return Ok(Some(ids));
        }
        if let Some(ids) = config.ids(key)? {
            return Ok(Some(ids));
        }
        text.map_or(Ok(None), |text| text.ids(key))
    };
    let first = |key: &str| Ok::<_, Error>(ids(key)?.and_then(|ids| ids.first().copied()));
    for (key, neutral) in NOT_APPLIED {
        if own.get(key).is_some_and(|value| changes(value, neutral)) {
            notes.push(Note::new(own.file, key, "is not applied"));
        }
    }
    let eos = ids("eos_token_id")?.unwrap_or_default();
    Ok(Generation {
        bos: first("bos_token_id")?,
        pad: first("pad_token_id")?,
        add_bos: None,
        add_eos: None,
        sample: own.bool("do_sample")?,
        temperature: own.f32("temperature")?,
        top_k: own.usize("top_k")?,
        top_p: own.f32("top_p")?,
        min_p: own.f32("min_p")?,
        repetition_penalty: own.f32("repetition_penalty")?,
        stop: stop(own)?,
        bans: bans(own, &eos)?,
        eos,
    })
}

fn changes(value: &Value, neutral: &[f64]) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::Number(number) => !number.as_f64().is_some_and(|number| neutral.contains(&number)),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::String(_) => true,
        Value::Null => false,
    }
}

fn stop(own: Object<'_>) -> Result<Vec<String>> {
    let texts = match own.get("stop_strings") {
        Some(Value::String(text)) => vec![text.as_str()],
        _ => own.strings("stop_strings")?.unwrap_or_default(),
    };
    Ok(texts.into_iter().filter(|text| !text.is_empty()).map(str::to_owned).collect())
}

fn bans(own: Object<'_>, eos: &[u32]) -> Result<Bans> {
    let mut sequences = own.id_lists("bad_words_ids")?.unwrap_or_default();
    // As in transformers: a word that is nothing but the end of an answer is not a bad word.
    sequences
        .retain(|sequence| !sequence.is_empty() && !matches!(sequence.as_slice(), [id] if eos.contains(id)));
    Ok(Bans {
        always: own.ids("suppress_tokens")?.unwrap_or_default(),
        first: own.ids("begin_suppress_tokens")?.unwrap_or_default(),
        sequences,
        min_tokens: own.usize("min_new_tokens")?.unwrap_or(0),
        repeated: own.usize("no_repeat_ngram_size")?.unwrap_or(0),
    })
}
