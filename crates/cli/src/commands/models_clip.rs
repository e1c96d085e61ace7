//! `crayon models show` for a model of texts and pictures.

use std::collections::BTreeMap;

use crayon_engine::ModelSource;
use crayon_formats::clip::{ClipCheckpoint, ClipSpec, TowerSpec, spec_from_config, stored_tensors};
use serde_json::json;

use crate::failure::Result;
use crate::output::Output;
use crate::{clip, model, show};

/// The model called `text`, where it is one of texts and pictures.
pub(super) fn opened(text: &str) -> Result<Option<ClipCheckpoint>> {
    if clip::embedded(text).is_some() {
        return Ok(Some(clip::checkpoint(text)?));
    }
    let ModelSource::Path(path) = model::resolve(text)? else { return Ok(None) };
    let config = std::fs::read(path.join("config.json"));
    match config.is_ok_and(|json| spec_from_config(text, &json).is_ok()) {
        true => Ok(Some(ClipCheckpoint::open(&path)?)),
        false => Ok(None),
    }
}

/// The family of a model, as `crayon models` lists it.
pub(super) fn family(spec: &ClipSpec) -> &'static str {
    if spec.sigmoid { "siglip" } else { "clip" }
}

/// Numbers in all tensors of a model.
pub(super) fn parameters(spec: &ClipSpec) -> usize {
    stored_tensors(spec).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// Says what the model called `name` is.
pub(super) fn describe(name: &str, checkpoint: &ClipCheckpoint, output: &Output) -> Result {
    let spec = &checkpoint.spec;
    let mut types: BTreeMap<&str, usize> = BTreeMap::new();
    for tensor in checkpoint.tensors() {
        let tensor = tensor?;
        *types.entry(tensor.format.name()).or_insert(0) += tensor.data.len();
    }
    let bytes: usize = types.values().sum();
    if output.json {
        let tower = |tower: &TowerSpec| {
            json!({
                "layers": tower.layers,
                "hidden": tower.hidden,
                "heads": tower.heads,
                "intermediate": tower.intermediate,
            })
        };
        return Ok(output.object(&json!({
            "model": name,
            "format": "safetensors",
            "family": family(spec),
            "parameters": parameters(spec),
            "bytes": bytes,
            "bytes_by_type": types,
            "dim": spec.dim,
            "context": spec.text.context,
            "vocabulary": spec.text.vocab,
            "image_size": spec.image.size,
            "patch": spec.image.patch,
            "text": tower(&spec.text.tower),
            "image": tower(&spec.image.tower),
            "fingerprint": checkpoint.fingerprint(),
        }))?);
    }
    let by_type: Vec<String> =
        types.iter().map(|(name, bytes)| format!("{name} {}", show::bytes(*bytes as u64))).collect();
    let tower = |tower: &TowerSpec| {
        format!(
            "{} layers of width {}, {} heads, MLP of {} ({:?})",
            tower.layers,
            show::count(tower.hidden),
            tower.heads,
            show::count(tower.intermediate),
            tower.activation,
        )
    };
    let (size, patch) = (spec.image.size, spec.image.patch);
    let rows = [
        ("model", name.to_owned()),
        ("family", format!("{} (safetensors), compares texts with pictures", family(spec))),
        ("parameters", show::count(parameters(spec))),
        ("weights", format!("{}: {}", show::bytes(bytes as u64), by_type.join(", "))),
        ("vectors", format!("{} numbers", show::count(spec.dim))),
        ("texts", format!("up to {} tokens of {}", spec.text.context, show::count(spec.text.vocab))),
        ("", tower(&spec.text.tower)),
        ("pictures", format!("{size} × {size} pixels in patches of {patch} × {patch}")),
        ("", tower(&spec.image.tower)),
        ("fingerprint", checkpoint.fingerprint()),
    ];
    for (name, value) in rows {
        output.line(&format!("{name:<14} {value}"))?;
    }
    Ok(())
}
