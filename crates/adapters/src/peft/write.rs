//! An adapter as a PEFT folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crayon_files::{create_folder, write_file};
use crayon_formats::spec::{Family, Spec};
use crayon_formats::{Tensor, safetensors};
use crayon_model::LowRankPair;
use serde_json::{Map, Value, json};

use super::names::Module;
use super::{BASE, CONFIG, PREFIX, SETTINGS, WEIGHTS};
use crate::{AdapterError, Lora};

/// Writes `lora`, an adapter for a network of `spec`, into `folder`, which is made if it is not there.
///
/// Projections that the family's files keep in one matrix become one module of block-diagonal form, whose rank is the
/// sum of theirs.
///
/// # Errors
/// When the adapter does not fit the network or the disk does not take the files.
pub fn write(folder: &Path, lora: &Lora, spec: &Spec) -> Result<(), AdapterError> {
    let Files { tensors, metadata, config } = files(lora, spec)?;
    create_folder(folder)?;
    safetensors::write(&folder.join(WEIGHTS), &tensors, &metadata)?;
    write_file(&folder.join(CONFIG), format!("{config:#}\n").as_bytes())?;
    Ok(())
}

/// `lora` in one piece: its safetensors file with the settings in the metadata, under [`SETTINGS`].
///
/// # Errors
/// When the adapter does not fit the network.
pub fn to_bytes(lora: &Lora, spec: &Spec) -> Result<Vec<u8>, AdapterError> {
    let Files { tensors, mut metadata, config } = files(lora, spec)?;
    metadata.insert(SETTINGS.to_owned(), config.to_string());
    Ok(safetensors::to_bytes(WEIGHTS, &tensors, &metadata)?)
}

/// What the two files of an adapter hold.
struct Files {
    tensors: Vec<Tensor>,
    metadata: BTreeMap<String, String>,
    config: Value,
}

fn files(lora: &Lora, spec: &Spec) -> Result<Files, AdapterError> {
    // Shapes are checked as they are on attaching, so that no file is written that could not be read.
    lora.clone().attach(spec)?;
    let (mut tensors, mut ranks, mut alphas) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let mut layers: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for layer in 0..spec.layers {
        for (name, module) in Module::of(spec, layer) {
            let Some(pair) = fuse(&module, spec, lora) else { continue };
            let (input, output) = (pair.a.len() / pair.rank, pair.b.len() / pair.rank);
            tensors.push(Tensor::from_f32(
                &format!("{PREFIX}{name}.lora_A.weight"),
                vec![pair.rank, input],
                &pair.a,
            ));
            tensors.push(Tensor::from_f32(
                &format!("{PREFIX}{name}.lora_B.weight"),
                vec![output, pair.rank],
                &pair.b,
            ));
            let short = name.rsplit('.').next().unwrap_or(&name).to_owned();
            layers.entry(short).or_default().insert(layer);
            alphas.insert(name.clone(), f64::from(pair.scale) * pair.rank as f64);
            ranks.insert(name, pair.rank);
        }
    }
    // GPT-2 calls two layers `c_proj`; only full names tell them apart.
    let ambiguous = |short: &str| spec.family == Family::Gpt2 && short == "c_proj";
    let everywhere = layers.iter().all(|(short, held)| held.len() == spec.layers && !ambiguous(short));
    let targets: Vec<&String> = if everywhere { layers.keys().collect() } else { ranks.keys().collect() };
    let rank = ranks.values().copied().max().unwrap_or(1);
    let alpha = ranks
        .iter()
        .find(|(_, of)| **of == rank)
        .and_then(|(name, _)| alphas.get(name))
        .copied()
        .unwrap_or(1.0);
    let different_rank = ranks.iter().filter(|(_, of)| **of != rank);
    let different_alpha = alphas.iter().filter(|(_, of)| **of != alpha);
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": lora.base_name,
        "inference_mode": true,
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": targets,
        "rank_pattern": different_rank.map(|(name, rank)| (name.clone(), json!(rank))).collect::<Map<String, Value>>(),
        "alpha_pattern": different_alpha.map(|(name, alpha)| (name.clone(), json!(alpha))).collect::<Map<String, Value>>(),
        "use_rslora": false,
        "use_dora": false,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": spec.family == Family::Gpt2,
        "init_lora_weights": true,
        "modules_to_save": null,
    });
    let mut metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    metadata.extend(lora.base.iter().map(|base| (BASE.to_owned(), base.clone())));
    Ok(Files { tensors, metadata, config })
}

/// The pairs of a module as one: inputs stacked (shared ones once), outputs block-diagonal.
fn fuse(module: &Module, spec: &Spec, lora: &Lora) -> Option<LowRankPair> {
    let parts: Vec<(usize, usize, &LowRankPair)> = {
        let mut start = 0;
        let placed = module.sites(spec).filter_map(|(site, rows)| {
            let at = start;
            start += rows;
            lora.pairs.get(&site).map(|pair| (at, rows, pair))
        });
        placed.collect()
    };
    let &(_, _, first) = parts.first()?;
    if module.projections.len() == 1 {
        return Some(first.clone());
    }
    let output: usize = module.sites(spec).map(|(_, rows)| rows).sum();
    let same_scale = parts.iter().all(|(_, _, pair)| pair.scale == first.scale);
    let scale = if same_scale { first.scale } else { 1.0 };
    // Where each part's inner values stand in the stacked A.
    let (mut a, mut rank, mut columns) = (Vec::new(), 0, Vec::new());
    for (at, (_, _, pair)) in parts.iter().enumerate() {
        let shared = parts[..at].iter().position(|(_, _, before)| before.a == pair.a);
        columns.push(match shared {
            Some(before) => columns[before],
            None => {
                a.extend_from_slice(&pair.a);
                rank += pair.rank;
                rank - pair.rank
            }
        });
    }
    let mut b = vec![0.0; output * rank];
    for ((start, rows, pair), column) in parts.iter().zip(&columns) {
        for row in 0..*rows {
            for k in 0..pair.rank {
                b[(start + row) * rank + column + k] = pair.b[row * pair.rank + k] * (pair.scale / scale);
            }
        }
    }
    Some(LowRankPair { a, b, rank, scale })
}
