//! A PEFT folder as an adapter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crayon_errors::{Setting, phrase};
use crayon_formats::safetensors::SafeTensors;
use crayon_formats::spec::Spec;
use crayon_formats::{Bytes, Tensor};
use crayon_model::LowRankPair;

use super::config::Config;
use super::names::{Module, is_of_other_senses};
use super::{BASE, CONFIG, PREFIX, SETTINGS, WEIGHTS};
use crate::{AdapterError, Lora};

/// A and B of a module.
#[derive(Default)]
struct Factors {
    a: Option<Tensor>,
    b: Option<Tensor>,
}

const INCOMPLETE: &str = "the file is damaged or was cut short; get the adapter again";

/// Reads the adapter in the folder `path`, or the `.safetensors` file with its `adapter_config.json` beside it, for a
/// network of `spec`. Modules of what reads pictures or sounds are left out, see [`Lora::left_out`].
///
/// # Errors
/// When a file is missing or damaged, a setting is not supported, or a module does not belong to this network; the error
/// names key, tensor or module.
pub fn read(path: &Path, spec: &Spec) -> Result<Lora, AdapterError> {
    let (config_path, weights_path) = files(path)?;
    let config = Config::parse(&config_path, &Bytes::map(&config_path)?)?;
    assemble(&SafeTensors::open(&weights_path)?, &config, spec)
}

/// Reads an adapter in one piece, as [`to_bytes`](super::to_bytes) makes it, for a network of `spec`; messages call it
/// `name`.
///
/// # Errors
/// As [`read`].
pub fn from_bytes(name: &str, bytes: Bytes, spec: &Spec) -> Result<Lora, AdapterError> {
    let weights = SafeTensors::from_bytes(name, bytes)?;
    let path = Path::new(name);
    let text = weights
        .metadata
        .get(SETTINGS)
        .ok_or_else(|| AdapterError::file(path, format!("holds no {CONFIG} in its metadata"), INCOMPLETE))?;
    let config = Config::parse(path, text.as_bytes())?;
    assemble(&weights, &config, spec)
}

/// The adapter of these factors and settings.
fn assemble(weights: &SafeTensors, config: &Config, spec: &Spec) -> Result<Lora, AdapterError> {
    let mut lora = Lora {
        base: weights.metadata.get(BASE).cloned(),
        base_name: config.base_name.clone(),
        ..Lora::default()
    };
    let file = &weights.file;
    for (name, factors) in gather(weights)? {
        if is_of_other_senses(&name) {
            lora.left_out.push(name);
            continue;
        }
        let module = Module::parse(&name).ok_or_else(|| AdapterError::Module {
            file: file.clone(),
            module: name.clone(),
            what: "is not a linear layer of a block of the language model".to_owned(),
            hint: "adapters of embeddings, output layers and other parts are not supported; train it on attention and MLP layers".into(),
        })?;
        let missing =
            |part: &str| AdapterError::tensor(file, &format!("{name}.{part}"), "is missing", INCOMPLETE);
        let a = factors.a.ok_or_else(|| missing("lora_A"))?;
        let b = factors.b.ok_or_else(|| missing("lora_B"))?;
        let expected = config.rank(&name);
        let (&[rank, input], &[output, inner]) = (&a.shape[..], &b.shape[..]) else {
            return Err(AdapterError::tensor(
                file,
                &a.name,
                format!("has shape {:?}, not two dimensions", a.shape),
                INCOMPLETE,
            ));
        };
        if rank != expected || inner != expected || rank == 0 {
            let what = format!(
                "A {:?} and B {:?} do not have the rank {expected} that {CONFIG} gives",
                a.shape, b.shape
            );
            return Err(AdapterError::tensor(
                file,
                &a.name,
                what,
                "the two files belong to different adapters",
            ));
        }
        let whole: usize = module.sites(spec).map(|(_, rows)| rows).sum();
        let fits = module.layer < spec.layers
            && whole == output
            && module.sites(spec).all(|(site, _)| site.projection.size(spec).0 == input);
        if !fits {
            let size = module.sites(spec).next().map_or(0, |(site, _)| site.projection.size(spec).0);
            return Err(AdapterError::Module {
                file: file.clone(),
                module: name,
                what: format!(
                    "has {input} values in and {output} out; this model has {size} and {whole}, in {} layers",
                    spec.layers
                ),
                hint: phrase![
                    "the adapter was trained beside another model; ",
                    Setting::Model,
                    " must be the one it was trained for"
                ],
            });
        }
        split(&module, spec, &a.to_f32(), &b.to_f32(), rank, config.scale(&name), &mut lora);
    }
    if lora.pairs.is_empty() && weights.entries().is_empty() {
        return Err(AdapterError::file(Path::new(file), "holds no tensors", INCOMPLETE));
    }
    if let (true, Some(module)) = (lora.pairs.is_empty(), lora.left_out.first()) {
        return Err(AdapterError::Module {
            file: file.clone(),
            module: module.clone(),
            what: "and all others adapt what reads pictures or sounds, nothing of the language model"
                .to_owned(),
            hint: "train the adapter on modules of the language model".into(),
        });
    }
    Ok(lora)
}

/// The two files of an adapter.
fn files(path: &Path) -> Result<(PathBuf, PathBuf), AdapterError> {
    let metadata = std::fs::metadata(path).map_err(|source| AdapterError::io(path, "open", source))?;
    let folder = match metadata.is_dir() {
        true => path.to_owned(),
        false => path.parent().map_or_else(PathBuf::new, Path::to_path_buf),
    };
    let weights = if metadata.is_dir() { path.join(WEIGHTS) } else { path.to_owned() };
    if !weights.is_file() {
        let hint = match folder.join("adapter_model.bin").is_file() {
            true => "PyTorch .bin files are not read, they can run code; save the adapter as safetensors",
            false => "an adapter is a folder with adapter_config.json and adapter_model.safetensors",
        };
        return Err(AdapterError::file(path, format!("holds no {WEIGHTS}"), hint));
    }
    if weights.extension().is_none_or(|extension| extension != "safetensors") {
        let hint = "an adapter is a folder with adapter_config.json and adapter_model.safetensors";
        return Err(AdapterError::file(path, "is not an adapter", hint));
    }
    let config = folder.join(CONFIG);
    if !config.is_file() {
        return Err(AdapterError::file(
            &folder,
            format!("holds no {CONFIG}"),
            "it says rank and alpha; get it with the weights",
        ));
    }
    Ok((config, weights))
}

/// Pairs up the tensors of a file by module.
fn gather(weights: &SafeTensors) -> Result<BTreeMap<String, Factors>, AdapterError> {
    let mut modules: BTreeMap<String, Factors> = BTreeMap::new();
    for entry in weights.entries() {
        let name = entry.name.strip_prefix(PREFIX).unwrap_or(&entry.name);
        // Older files spell the adapter's name, `default`, as well.
        let split = |part: &str| {
            let (module, rest) = name.split_once(part)?;
            matches!(rest, ".weight" | ".default.weight").then_some(module)
        };
        let (module, is_a) = match (split(".lora_A"), split(".lora_B")) {
            (Some(module), _) => (module, true),
            (_, Some(module)) => (module, false),
            _ => {
                let what = "is neither lora_A nor lora_B of a linear layer, so leaving it out would change the result";
                return Err(AdapterError::tensor(
                    &weights.file,
                    &entry.name,
                    what,
                    "only plain LoRA is supported",
                ));
            }
        };
        let tensor = weights.tensor(&entry.name)?;
        let Some(tensor) = tensor else { continue };
        if tensor.first_non_finite().is_some() {
            return Err(AdapterError::tensor(
                &weights.file,
                &entry.name,
                "holds NaN or infinity",
                "its training failed; train it again",
            ));
        }
        let factors = modules.entry(module.to_owned()).or_default();
        let place = if is_a { &mut factors.a } else { &mut factors.b };
        *place = Some(tensor);
    }
    Ok(modules)
}

/// Gives each place of a module its rows of B. Of a fused module, places keep only the inner values that reach them, so
/// that adapters fused for writing come back as they were.
fn split(module: &Module, spec: &Spec, a: &[f32], b: &[f32], rank: usize, scale: f32, lora: &mut Lora) {
    let fused = module.projections.len() > 1;
    let input = a.len() / rank;
    let mut start = 0;
    for (site, rows) in module.sites(spec) {
        let part = &b[start * rank..(start + rows) * rank];
        start += rows;
        let reaches = |k: &usize| !fused || part.iter().skip(*k).step_by(rank).any(|value| *value != 0.0);
        let kept: Vec<usize> = (0..rank).filter(reaches).collect();
        if kept.is_empty() {
            continue;
        }
        let a = kept.iter().flat_map(|&k| &a[k * input..(k + 1) * input]).copied().collect();
        let b = part.chunks_exact(rank).flat_map(|row| kept.iter().map(|&k| row[k])).collect();
        lora.pairs.insert(site, LowRankPair { a, b, rank: kept.len(), scale });
    }
}
