//! The safetensors of a folder, and where in them each canonical tensor lies.

use std::path::Path;

use super::naming::Naming;
use crate::error::{DAMAGED, Error, Result};
use crate::locate::Location;
use crate::safetensors::{Entry, SafeTensors, open_index};
use crate::spec::Spec;
use crate::tensor::Tensor;

/// Name of the single weight file.
const SINGLE: &str = "model.safetensors";
/// Name of the index of several.
const INDEX: &str = "model.safetensors.index.json";

/// The weight files of a folder seen as one.
#[derive(Clone, Debug)]
pub struct Weights {
    folder: String,
    files: Vec<SafeTensors>,
    /// What stands before `layers.0` or `h.0` in tensor names.
    prefix: &'static str,
    /// Whether q, k, v and gate, up are one matrix each (Phi-3).
    fused: bool,
}

/// Names of the output layer, which stands outside the body.
const HEADS: [&str; 3] = ["lm_head.weight", "language_model.lm_head.weight", "model.lm_head.weight"];

/// What may stand before the names of the network's body.
const PREFIXES: [&str; 5] = ["model.", "", "transformer.", "model.language_model.", "language_model.model."];

impl Weights {
    /// Opens the weight files of `folder`: by its index if there is one, else `model.safetensors`, else every
    /// `.safetensors` file in it.
    ///
    /// # Errors
    /// If there are none, one is damaged, or two hold a tensor of the same name.
    pub fn open(folder: &Path) -> Result<Weights> {
        let name = folder.display().to_string();
        let files = if folder.join(INDEX).is_file() {
            open_index(&folder.join(INDEX))?
        } else if folder.join(SINGLE).is_file() {
            vec![SafeTensors::open(&folder.join(SINGLE))?]
        } else {
            open_all(folder)?
        };
        let mut seen = std::collections::HashMap::new();
        for file in &files {
            for tensor in file.names() {
                if let Some(other) = seen.insert(tensor, &file.file) {
                    return Err(
                        Error::tensor(&file.file, tensor, format!("is also in {other}")).with_hint(DAMAGED)
                    );
                }
            }
        }
        let probes = ["layers.0.input_layernorm.weight", "h.0.ln_1.weight"];
        let prefix = PREFIXES
            .into_iter()
            .find(|prefix| probes.iter().any(|probe| seen.contains_key(format!("{prefix}{probe}").as_str())))
            .unwrap_or("model.");
        let fused = seen.contains_key(format!("{prefix}layers.0.self_attn.qkv_proj.weight").as_str());
        Ok(Weights { folder: name, files, prefix, fused })
    }

    /// The files.
    pub fn files(&self) -> &[SafeTensors] {
        &self.files
    }

    /// The tensor of this name in the files.
    pub(crate) fn stored(&self, name: &str) -> Result<Tensor> {
        for file in &self.files {
            if let Some(tensor) = file.tensor(name)? {
                return Ok(tensor);
            }
        }
        Err(Error::tensor(&self.folder, name, "is missing").with_hint(
            "the download is incomplete, or config.json belongs to another model; compare the file list with its source",
        ))
    }

    /// The file that holds `name`, for messages.
    pub(crate) fn file_of(&self, name: &str) -> &str {
        let holder = self.files.iter().find(|file| file.entry(name).is_some());
        holder.map_or(&self.folder, |file| &file.file)
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.files.iter().find_map(|file| file.entry(name))
    }

    /// Where the tensor called `canonical` lies.
    pub(crate) fn locate(&self, spec: &Spec, canonical: &str) -> Location {
        let naming = Naming { prefix: self.prefix, fused: self.fused };
        let mut location = naming.locate(spec, canonical);
        let head = HEADS.into_iter().find(|name| self.entry(name).is_some());
        match (canonical, head) {
            ("output.weight", Some(head)) => location.name = head.to_owned(),
            // Tied models may store the shared matrix under the output's name only.
            ("token_embd.weight", Some(head)) if spec.tied && self.entry(&location.name).is_none() => {
                location.name = head.to_owned();
            }
            _ => {}
        }
        location
    }
}

fn open_all(folder: &Path) -> Result<Vec<SafeTensors>> {
    let name = folder.display().to_string();
    let listing = std::fs::read_dir(folder).map_err(|source| Error::io(folder, "list", source))?;
    let mut paths: Vec<_> = listing.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    let is = |path: &Path, wanted: &str| path.extension().is_some_and(|found| found == wanted);
    let mut files = Vec::new();
    for path in paths.iter().filter(|path| is(path, "safetensors")) {
        files.push(SafeTensors::open(path)?);
    }
    if files.is_empty() {
        let hint = if paths.iter().any(|path| is(path, "bin") || is(path, "pt")) {
            "PyTorch .bin files are not read, they can run code; convert them to safetensors"
        } else {
            "the download is incomplete; fetch model.safetensors"
        };
        return Err(Error::file(&name, "holds no .safetensors file").with_hint(hint));
    }
    Ok(files)
}
