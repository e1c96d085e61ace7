//! The safetensors of a folder, and where in them each canonical tensor lies.

use std::path::Path;

use crate::error::{DAMAGED, Error, Result};
use crate::locate::Location;
use crate::names::split_block;
use crate::safetensors::{Entry, SafeTensors, open_index};
use crate::spec::{Family, Spec};
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
}

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
        Ok(Weights { folder: name, files, prefix })
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
        let mut location = match spec.family {
            Family::Gpt2 => self.locate_gpt2(spec, canonical),
            _ => self.locate_rms(spec, canonical),
        };
        let is_norm = canonical.ends_with("norm.weight");
        location.plus_one = is_norm && matches!(spec.family, Family::Gemma2 | Family::Gemma3);
        location
    }

    fn body(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The output layer stands outside the body.
    fn head(&self) -> String {
        let names = ["lm_head.weight", "language_model.lm_head.weight", "model.lm_head.weight"];
        let found = names.into_iter().find(|name| self.entry(name).is_some());
        found.unwrap_or("lm_head.weight").to_owned()
    }

    fn embedding(&self, name: &str) -> Location {
        let own = self.body(name);
        // Tied models may store the shared matrix under the output's name only.
        if self.entry(&own).is_none() && self.entry(&self.head()).is_some() {
            return Location::whole(self.head());
        }
        Location::whole(own)
    }

    fn locate_rms(&self, spec: &Spec, canonical: &str) -> Location {
        let Some((layer, part)) = split_block(canonical) else {
            return match canonical {
                "token_embd.weight" => self.embedding("embed_tokens.weight"),
                "output.weight" => Location::whole(self.head()),
                "output_norm.weight" => Location::whole(self.body("norm.weight")),
                other => Location::whole(other.to_owned()),
            };
        };
        let (stem, kind) = part.rsplit_once('.').unwrap_or((part, "weight"));
        let name = |inner: &str| self.body(&format!("layers.{layer}.{inner}.{kind}"));
        let (q, kv, mlp) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim, spec.intermediate);
        // Phi-3 stores q, k, v and gate, up as one matrix each.
        let part_of = |own: &str, fused: &str, start: usize, rows: usize, total: usize| {
            let (own, fused) = (name(own), name(fused));
            if self.entry(&own).is_none() && self.entry(&fused).is_some() {
                Location::rows(fused, start..start + rows, total)
            } else {
                Location::whole(own)
            }
        };
        const QKV: &str = "self_attn.qkv_proj";
        const GATE_UP: &str = "mlp.gate_up_proj";
        let four_norms = spec.post_norms;
        match stem {
            "attn_norm" => Location::whole(name("input_layernorm")),
            "ffn_norm" if four_norms => Location::whole(name("pre_feedforward_layernorm")),
            "ffn_norm" => Location::whole(name("post_attention_layernorm")),
            "post_attention_norm" => Location::whole(name("post_attention_layernorm")),
            "post_ffw_norm" => Location::whole(name("post_feedforward_layernorm")),
            "attn_q" => part_of("self_attn.q_proj", QKV, 0, q, q + 2 * kv),
            "attn_k" => part_of("self_attn.k_proj", QKV, q, kv, q + 2 * kv),
            "attn_v" => part_of("self_attn.v_proj", QKV, q + kv, kv, q + 2 * kv),
            "attn_q_norm" => Location::whole(name("self_attn.q_norm")),
            "attn_k_norm" => Location::whole(name("self_attn.k_norm")),
            "attn_output" => Location::whole(name("self_attn.o_proj")),
            "ffn_gate" => part_of("mlp.gate_proj", GATE_UP, 0, mlp, 2 * mlp),
            "ffn_up" => part_of("mlp.up_proj", GATE_UP, mlp, mlp, 2 * mlp),
            "ffn_down" => Location::whole(name("mlp.down_proj")),
            _ => Location::whole(canonical.to_owned()),
        }
    }

    fn locate_gpt2(&self, spec: &Spec, canonical: &str) -> Location {
        let Some((layer, part)) = split_block(canonical) else {
            return match canonical {
                "token_embd.weight" => self.embedding("wte.weight"),
                "position_embd.weight" => Location::whole(self.body("wpe.weight")),
                "output.weight" => Location::whole(self.head()),
                "output_norm.weight" => Location::whole(self.body("ln_f.weight")),
                "output_norm.bias" => Location::whole(self.body("ln_f.bias")),
                other => Location::whole(other.to_owned()),
            };
        };
        let (stem, kind) = part.rsplit_once('.').unwrap_or((part, "weight"));
        let name = |inner: &str| self.body(&format!("h.{layer}.{inner}.{kind}"));
        let hidden = spec.hidden;
        let fused = |index: usize| {
            Location::rows(name("attn.c_attn"), index * hidden..(index + 1) * hidden, 3 * hidden)
        };
        let mut location = match stem {
            "attn_norm" => Location::whole(name("ln_1")),
            "ffn_norm" => Location::whole(name("ln_2")),
            "attn_q" => fused(0),
            "attn_k" => fused(1),
            "attn_v" => fused(2),
            "attn_output" => Location::whole(name("attn.c_proj")),
            "ffn_up" => Location::whole(name("mlp.c_fc")),
            "ffn_down" => Location::whole(name("mlp.c_proj")),
            _ => Location::whole(canonical.to_owned()),
        };
        // GPT-2's layers are written as convolutions: their weights are `[in, out]`.
        location.transposed = kind == "weight" && !stem.ends_with("norm");
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
