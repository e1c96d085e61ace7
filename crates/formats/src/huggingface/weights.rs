//! The safetensors of a folder, and where in them each canonical tensor lies.

use std::path::Path;

use super::naming::Naming;
use crate::error::{DAMAGED, Error, Result};
use crate::locate::Location;
use crate::note::Note;
use crate::origin::Origin;
use crate::safetensors::{Entry, SafeTensors, open_index};
use crate::spec::{Biases, Spec};
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
    /// Opens the weight files of `folder`: `model.safetensors`, else those of its index, else every `.safetensors` file in
    /// it. This is transformers' order; that an index is passed over is one of the `notes`.
    ///
    /// # Errors
    /// If there are none, one is damaged, or two hold a tensor of the same name.
    pub fn open(folder: &Path, notes: &mut Vec<Note>) -> Result<Weights> {
        let name = folder.display().to_string();
        let files = if folder.join(SINGLE).is_file() {
            if folder.join(INDEX).is_file() {
                notes.push(Note::new(
                    &name,
                    INDEX,
                    format!("and its files are not read, {SINGLE} is beside it"),
                ));
            }
            vec![SafeTensors::open(&folder.join(SINGLE))?]
        } else if folder.join(INDEX).is_file() {
            open_index(&folder.join(INDEX))?
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

    /// `spec`, as `config` has it, with what these tensors know better: an output layer that is not the embedding, and
    /// biases. Each change is one of the `notes`.
    ///
    /// # Errors
    /// If both matrices are there and cannot be read.
    pub(crate) fn settle(&self, mut spec: Spec, config: &str, notes: &mut Vec<Note>) -> Result<Spec> {
        let output = self.locate(&Spec { tied: false, ..spec.clone() }, "output.weight").name;
        let embedding = self.locate(&Spec { tied: false, ..spec.clone() }, "token_embd.weight").name;
        if spec.tied
            && self.entry(&output).is_some()
            && self.entry(&embedding).is_some()
            && !alike(&self.stored(&output)?, &self.stored(&embedding)?)
        {
            spec.tied = false;
            let what = format!("is true, but the weights hold {output} with other values, which are used");
            notes.push(Note::new(config, "tie_word_embeddings", what));
        }
        let held = |part: &str| self.entry(&self.locate(&spec, &format!("blk.0.{part}.bias")).name).is_some();
        let found =
            Biases { qkv: held("attn_q"), attention_output: held("attn_output"), mlp: held("ffn_up") };
        let biases = &mut spec.biases;
        for (flag, found, key) in [
            (&mut biases.qkv, found.qkv, "attention_bias"),
            (&mut biases.attention_output, found.attention_output, "attention_bias"),
            (&mut biases.mlp, found.mlp, "mlp_bias"),
        ] {
            if found && !*flag {
                *flag = true;
                notes.push(Note::new(
                    config,
                    key,
                    "is not set, but the weights hold such biases, which are used",
                ));
            }
        }
        notes.dedup();
        Ok(spec)
    }

    /// A tensor of a block of the network as its layer and the rest of its name.
    pub(crate) fn block<'a>(&self, name: &'a str) -> Option<(usize, &'a str)> {
        let rest = name.strip_prefix(self.prefix)?;
        let (number, part) =
            rest.strip_prefix("layers.").or_else(|| rest.strip_prefix("h."))?.split_once('.')?;
        Some((number.parse().ok()?, part))
    }

    /// Whether a tensor that is not read is known for what it is: the output layer of a tied model, a buffer, or a part of
    /// a model of text and pictures that turns pictures into embeddings.
    pub(crate) fn is_known(&self, name: &str) -> bool {
        const PICTURES: [&str; 2] = ["vision_tower.", "multi_modal_projector."];
        HEADS.contains(&name)
            || Origin::is_scales(name)
            || name.ends_with("rotary_emb.inv_freq")
            || PICTURES.iter().any(|part| name.starts_with(part) || name.contains(&format!(".{part}")))
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

/// Whether two tensors hold the same values, as far as samples tell: reading both whole would cost as much as reading the
/// model.
fn alike(a: &Tensor, b: &Tensor) -> bool {
    const SAMPLES: usize = 64;
    const BYTES: usize = 64;
    let (a_bytes, b_bytes): (&[u8], &[u8]) = (&a.data, &b.data);
    a.format == b.format
        && a.shape == b.shape
        && (0..=SAMPLES).all(|sample| {
            let start = a_bytes.len().saturating_sub(BYTES) / SAMPLES * sample;
            let end = a_bytes.len().min(start + BYTES);
            a_bytes.get(start..end) == b_bytes.get(start..end)
        })
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
