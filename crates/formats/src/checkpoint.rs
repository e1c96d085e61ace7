//! A model as it lies on disk, whatever the format: description, tensors under canonical names, tokenizer,
//! chat template, generation settings.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crayon_kernels::Rounding;
use sha2::{Digest, Sha256};

use crate::agree::no_tensor_unused;
use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::generation::Generation;
use crate::gguf::{self, Gguf};
use crate::huggingface::{self, Weights};
use crate::llama2c::{self, Llama2c};
use crate::locate::{Location, locate_fused, transpose};
use crate::names::split_block;
use crate::note::Note;
use crate::origin::Origin;
use crate::rounding;
use crate::spec::Spec;
use crate::tensor::Tensor;
use crate::tokenizer_source::TokenizerSource;

/// A model whose description was read and whose tensors were all found with the right shapes.
///
/// Cloning is cheap: the data is shared.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The network.
    pub spec: Spec,
    /// Where it came from.
    pub source: Source,
    /// Files to make a tokenizer from.
    pub tokenizer: TokenizerSource,
    /// Contents of `tokenizer_config.json` (Hugging Face).
    pub tokenizer_config: Option<serde_json::Value>,
    /// Jinja template of conversations.
    pub chat_template: Option<String>,
    /// Special ids and sampling settings the model's makers suggest.
    pub generation: Generation,
    /// Name of the model: what a GGUF file calls itself, else that of the folder or file.
    pub name: Option<String>,
    notes: Vec<Note>,
    weights: Arc<TensorFiles>,
    /// Tensors in place of those of the file.
    replaced: Arc<BTreeMap<String, Tensor>>,
    /// How inputs of linear layers are rounded, by the layers' stems.
    roundings: Arc<BTreeMap<String, Rounding>>,
    /// The model that this is another form of.
    origin: Option<Arc<Origin>>,
}

/// Where a checkpoint came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Path, or a name such as `embedded:mini`.
    pub name: String,
    /// The path, unless it came from memory.
    pub path: Option<PathBuf>,
    /// Format.
    pub kind: SourceKind,
}

/// Format of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// One `.gguf` file.
    Gguf,
    /// A folder with `config.json` and safetensors.
    HuggingFace,
    /// A llama2.c checkpoint.
    Llama2c,
}

#[derive(Debug)]
struct TensorFiles {
    weights: Stored,
    /// The last matrix that had to be transposed. The parts of a fused one are asked for one after another, so
    /// one place is enough and no second copy of the model stays in memory.
    transposed: Mutex<Option<Tensor>>,
}

#[derive(Debug)]
enum Stored {
    Gguf(Gguf),
    HuggingFace(Weights),
    Llama2c(Llama2c),
}

impl Checkpoint {
    /// Opens a folder in Hugging Face layout, a `.gguf` file, or a llama2.c `.bin` with its tokenizer beside it.
    ///
    /// Every tensor of the network is looked up and its shape checked; no data is read.
    ///
    /// # Errors
    /// If nothing is there, it is of no known kind, damaged, or of an architecture this project does not run.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let metadata = std::fs::metadata(path).map_err(|source| Error::io(path, "open", source))?;
        if metadata.is_dir() {
            return open_folder(path);
        }
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let name = path.display().to_string();
        match extension {
            "gguf" => {}
            "bin" => return Checkpoint::from_llama2c(path, Bytes::map(path)?),
            "safetensors" => {
                return Err(Error::file(&name, "holds tensors only, no description of the network")
                    .with_hint("give the folder that holds it together with config.json"));
            }
            _ if Bytes::map(path)?.starts_with(&crate::gguf::MAGIC) => {}
            _ => {
                return Err(Error::file(&name, "is not a model file this program knows")
                    .with_hint("give a folder with config.json and safetensors, or a .gguf file"));
            }
        }
        let mut checkpoint = Checkpoint::of_gguf(&name, Gguf::open(path)?)?;
        checkpoint.source.path = Some(path.to_owned());
        Ok(checkpoint)
    }

    /// Reads a GGUF file that is already in memory; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_gguf(name: &str, bytes: Bytes) -> Result<Checkpoint> {
        Checkpoint::of_gguf(name, Gguf::from_bytes(name, bytes)?)
    }

    fn of_gguf(name: &str, gguf: Gguf) -> Result<Checkpoint> {
        let spec = gguf.spec()?;
        let metadata = &gguf.metadata;
        let id = |key: &str| metadata.u32(&format!("tokenizer.ggml.{key}"));
        let mut eos = Vec::new();
        for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            eos.extend(id(key)?.filter(|id| !eos.contains(id)));
        }
        let generation = Generation {
            eos,
            bos: id("bos_token_id")?,
            pad: id("padding_token_id")?,
            add_bos: metadata.bool("tokenizer.ggml.add_bos_token")?,
            add_eos: metadata.bool("tokenizer.ggml.add_eos_token")?,
            ..Generation::default()
        };
        let tokenizer = match metadata.str("tokenizer.ggml.model")? {
            // llama.cpp's words for a file without vocabulary.
            Some("none" | "no_vocab") => TokenizerSource::None,
            Some(_) => TokenizerSource::Gguf(Arc::new(metadata.clone())),
            None => TokenizerSource::None,
        };
        let origin = Origin::of_gguf(name, metadata)?.map(Arc::new);
        let checkpoint = Checkpoint {
            spec,
            source: Source { name: name.to_owned(), path: None, kind: SourceKind::Gguf },
            tokenizer,
            tokenizer_config: None,
            chat_template: metadata.str("tokenizer.chat_template")?.map(str::to_owned),
            generation,
            name: metadata.str("general.name")?.map(str::to_owned),
            notes: Vec::new(),
            weights: TensorFiles::new(Stored::Gguf(gguf)),
            replaced: Arc::default(),
            roundings: Arc::default(),
            origin,
        };
        checkpoint.validate()
    }

    /// Opens a folder in Hugging Face layout, reading the network's description from another file than its
    /// `config.json`.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_with_config(folder: &Path, config: &Path) -> Result<Checkpoint> {
        let name = config.display().to_string();
        let json = Bytes::map(config)?;
        let mut notes = Vec::new();
        let spec = huggingface::spec_from_config(&name, &json)?;
        let weights = Weights::open(folder, &mut notes)?;
        let spec = weights.settle(spec, &name, &mut notes)?;
        let map = huggingface::json::parse_object(&name, &json)?;
        let tokenizer_config = huggingface::tokenizer_config(folder)?;
        let mut generation = huggingface::generation(folder, &map, &mut notes)?;
        let flag = |key: &str| tokenizer_config.as_ref().and_then(|config| config.get(key)?.as_bool());
        for key in ["add_eos_token", "split_special_tokens"] {
            if flag(key) == Some(true) {
                let file = folder.join("tokenizer_config.json").display().to_string();
                notes.push(Note::new(&file, key, "is not applied"));
            }
        }
        let roundings = Arc::new(rounding::read(&weights, &spec)?);
        let origin = Origin::read(&weights)?.map(Arc::new);
        generation.add_bos = flag("add_bos_token");
        generation.add_eos = flag("add_eos_token");
        let checkpoint = Checkpoint {
            spec,
            source: Source {
                name: folder.display().to_string(),
                path: Some(folder.to_owned()),
                kind: SourceKind::HuggingFace,
            },
            tokenizer: huggingface::tokenizer(folder)?,
            chat_template: huggingface::chat_template(folder, tokenizer_config.as_ref())?,
            tokenizer_config,
            generation,
            name: folder.file_name().map(|name| name.to_string_lossy().into_owned()),
            notes,
            weights: TensorFiles::new(Stored::HuggingFace(weights)),
            replaced: Arc::default(),
            roundings,
            origin,
        };
        checkpoint.validate()
    }

    fn from_llama2c(path: &Path, bytes: Bytes) -> Result<Checkpoint> {
        let name = path.display().to_string();
        let file = Llama2c::from_bytes(&name, bytes)?;
        let tokenizer = match llama2c::tokenizer_beside(path, file.spec.vocab) {
            Some(path) => TokenizerSource::Llama2c(Bytes::map(&path)?),
            None => TokenizerSource::None,
        };
        let checkpoint = Checkpoint {
            spec: file.spec.clone(),
            source: Source { name, path: Some(path.to_owned()), kind: SourceKind::Llama2c },
            tokenizer,
            tokenizer_config: None,
            chat_template: None,
            // Texts are trained one after another, each started by 1; that id also ends one.
            generation: Generation {
                eos: vec![2, 1],
                bos: Some(1),
                add_bos: Some(true),
                add_eos: Some(false),
                ..Generation::default()
            },
            name: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()),
            notes: Vec::new(),
            weights: TensorFiles::new(Stored::Llama2c(file)),
            replaced: Arc::default(),
            roundings: Arc::default(),
            origin: None,
        };
        checkpoint.validate()
    }

    /// The tensor called `canonical` (GGUF's names), as `[out, in]` for linear weights.
    ///
    /// Shares the file's bytes except where the file stores it in another form: GPT-2's `[in, out]` matrices and
    /// Gemma's norm weights of a Hugging Face folder.
    ///
    /// # Errors
    /// If the network has no such tensor.
    pub fn tensor(&self, canonical: &str) -> Result<Tensor> {
        if let Some(tensor) = self.replaced.get(canonical) {
            return Ok(tensor.clone());
        }
        let (location, stored) = self.find(canonical)?;
        if !location.transposed {
            return Ok(location.finish(canonical, stored));
        }
        let upright = if location.rows.is_some() {
            self.weights.transpose_once(&self.source.name, &stored)?
        } else {
            transpose(&self.source.name, &stored)?
        };
        Ok(location.finish(canonical, upright))
    }

    /// The same model with some of its tensors replaced, under their canonical names. It is not a form of what it was made from any more,
    /// unless [`with_origin`](Self::with_origin) says so.
    ///
    /// # Errors
    /// If the network has no such tensor or it has another shape.
    pub fn with_tensors(mut self, tensors: Vec<Tensor>) -> Result<Checkpoint> {
        let mut replaced = (*self.replaced).clone();
        for tensor in tensors {
            let expected = self.spec.shape_of(&tensor.name);
            if expected.as_ref() != Some(&tensor.shape) {
                let what = format!("has shape {:?}, the network asks for {expected:?}", tensor.shape);
                return Err(Error::tensor(&self.source.name, &tensor.name, what));
            }
            replaced.insert(tensor.name.clone(), tensor);
        }
        self.replaced = Arc::new(replaced);
        // Another network, unless it is said to be none.
        self.origin = None;
        Ok(self)
    }

    /// How the input of the linear layer `stem` (`blk.0.attn_q`) is rounded where products run on integers, if the model says so.
    pub fn rounding(&self, stem: &str) -> Option<Rounding> {
        self.roundings.get(stem).copied()
    }

    /// Every layer whose input is rounded as the model says, by its stem.
    pub fn roundings(&self) -> &BTreeMap<String, Rounding> {
        &self.roundings
    }

    /// The same model with the inputs of its linear layers rounded so.
    ///
    /// # Errors
    /// If the network has no such layer, or a rounding cannot be used.
    pub fn with_roundings(mut self, roundings: BTreeMap<String, Rounding>) -> Result<Checkpoint> {
        for (stem, rounding) in &roundings {
            if self.spec.shape_of(&format!("{stem}.weight")).is_none_or(|shape| shape.len() != 2) {
                return Err(Error::tensor(&self.source.name, stem, "is not a linear layer of this network"));
            }
            if !rounding.is_valid() {
                let what = format!("its input cannot be rounded by {rounding:?}");
                return Err(Error::tensor(&self.source.name, stem, what));
            }
        }
        self.roundings = Arc::new(roundings);
        Ok(self)
    }

    /// The model that this one computes as, but for rounding, where its file says so.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// The same model, said to be another form of `origin`.
    pub fn with_origin(mut self, origin: Origin) -> Checkpoint {
        self.origin = Some(Arc::new(origin));
        self
    }

    /// The origin of this model in another number type, or of one that scales are folded into: this model and what it comes from.
    /// A model that has scales folded in is left out, because what was made beside it must not take them. `None` where tensors were
    /// replaced without a word of how.
    pub fn as_origin(&self) -> Option<Origin> {
        let mut origin = self.origin.as_deref().cloned().unwrap_or_else(|| Origin::from_text(""));
        if self.replaced.is_empty() && origin.scales.is_empty() {
            origin.fingerprints.push(self.fingerprint());
        }
        (origin.rotated || !origin.fingerprints.is_empty()).then_some(origin)
    }

    /// Whether the network has a tensor called `canonical`.
    pub fn has(&self, canonical: &str) -> bool {
        self.spec.shape_of(canonical).is_some()
    }

    /// Bytes of all tensors of the network as they are stored.
    pub fn bytes(&self) -> usize {
        let sizes = self.spec.tensors().into_iter().map(|(name, shape)| {
            if let Some(tensor) = self.replaced.get(&name) {
                return tensor.data.len();
            }
            self.find_shaped(&name, &shape).map_or(0, |(location, stored)| location.bytes(&stored))
        });
        sizes.sum()
    }

    /// SHA-256, in hexadecimal, over the description of the network, names, formats and shapes of its tensors
    /// and a few samples of the data of each: tells one model from another without reading it whole.
    pub fn fingerprint(&self) -> String {
        /// Bytes of a sample, of which there are two in a tensor: each may cost a page read from the disk.
        const SAMPLE: usize = 64;
        let mut hash = Sha256::new();
        hash.update(format!("{:?}", self.spec));
        for (name, shape) in self.spec.tensors() {
            let Ok((location, stored)) = self.find_shaped(&name, &shape) else { continue };
            hash.update(format!("{name} {} {shape:?} {:?}", stored.format, location.rows));
            let data: &[u8] = &stored.data;
            for third in [1, 2] {
                let start = data.len() / 3 * third;
                hash.update(data.get(start..data.len().min(start + SAMPLE)).unwrap_or_default());
            }
        }
        for (name, tensor) in self.replaced.iter() {
            hash.update(format!("replaced {name}"));
            hash.update(&*tensor.data);
        }
        for (stem, rounding) in self.roundings.iter() {
            hash.update(format!("{stem} {rounding:?}"));
        }
        hex::encode(hash.finalize())
    }

    /// What the files say and is not done, or not as they say.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The GGUF file behind this checkpoint, if it is one.
    pub fn gguf(&self) -> Option<&Gguf> {
        match &self.weights.weights {
            Stored::Gguf(gguf) => Some(gguf),
            _ => None,
        }
    }

    /// Looks up every tensor of the network, and looks for those that are none of it.
    fn validate(mut self) -> Result<Checkpoint> {
        let mut used = HashSet::new();
        for (name, shape) in self.spec.tensors() {
            used.insert(self.find_shaped(&name, &shape)?.0.name);
        }
        let (file, layers) = (&self.source.name, self.spec.layers);
        match &self.weights.weights {
            Stored::Gguf(gguf) => {
                // Factors of the rotary positions, which the description holds already.
                let known = |name: &str| name.starts_with("rope_");
                no_tensor_unused(file, gguf.names(), &used, layers, split_block, known, &mut self.notes)?;
            }
            Stored::HuggingFace(weights) => {
                let names = weights.files().iter().flat_map(|file| file.names());
                let block = |name| weights.block(name);
                let known = |name: &str| weights.is_known(name);
                no_tensor_unused(file, names, &used, layers, block, known, &mut self.notes)?;
            }
            Stored::Llama2c(_) => {}
        }
        Ok(self)
    }

    fn find(&self, canonical: &str) -> Result<(Location, Tensor)> {
        match self.spec.shape_of(canonical) {
            Some(shape) => self.find_shaped(canonical, &shape),
            None => Err(Error::tensor(&self.source.name, canonical, "is not part of this network")),
        }
    }

    fn find_shaped(&self, canonical: &str, shape: &[usize]) -> Result<(Location, Tensor)> {
        let missing = |name: &str| {
            Error::tensor(&self.source.name, name, "is missing")
                .with_hint("the file is incomplete; download or convert it again")
        };
        match &self.weights.weights {
            Stored::Gguf(gguf) => {
                let location = locate_in_gguf(gguf, &self.spec, canonical);
                let stored = gguf.tensor(&location.name).ok_or_else(|| missing(&location.name))?;
                let stored = location.check(&gguf.file, stored, shape)?;
                Ok((location, stored))
            }
            Stored::HuggingFace(weights) => {
                let mut location = weights.locate(&self.spec, canonical);
                let stored = weights.stored(&location.name)?;
                // Scales belong to output channels, so these stand upright in every family.
                location.transposed &= stored.format.is_float();
                let stored = location.check(weights.file_of(&location.name), stored, shape)?;
                Ok((location, stored))
            }
            Stored::Llama2c(file) => {
                let stored = file.tensor(canonical).ok_or_else(|| missing(canonical))?;
                Ok((Location::whole(canonical.to_owned()), stored))
            }
        }
    }
}

impl TensorFiles {
    fn new(weights: Stored) -> Arc<TensorFiles> {
        Arc::new(TensorFiles { weights, transposed: Mutex::new(None) })
    }

    fn transpose_once(&self, file: &str, stored: &Tensor) -> Result<Tensor> {
        let mut last = self.transposed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = last.as_ref()
            && tensor.name == stored.name
        {
            return Ok(tensor.clone());
        }
        let tensor = transpose(file, stored)?;
        *last = Some(tensor.clone());
        Ok(tensor)
    }
}

/// Where a GGUF file keeps a canonical tensor: under its name, or inside a fused one.
fn locate_in_gguf(gguf: &Gguf, spec: &Spec, canonical: &str) -> Location {
    let fused = locate_fused(spec, canonical);
    match fused {
        Some(fused) if gguf.entry(&fused.name).is_some() && is_fused(gguf, canonical) => fused,
        _ => Location::whole(canonical.to_owned()),
    }
}

/// Whether this file holds the fused form: q, k, v if they are not there by themselves, and `ffn_up` with the
/// gate in it if there is no gate.
fn is_fused(gguf: &Gguf, canonical: &str) -> bool {
    match canonical.split_once(".ffn_up.") {
        Some((block, kind)) => gguf.entry(&format!("{block}.ffn_gate.{kind}")).is_none(),
        None => gguf.entry(canonical).is_none(),
    }
}

fn open_folder(folder: &Path) -> Result<Checkpoint> {
    let config = folder.join("config.json");
    if config.is_file() {
        return Checkpoint::open_with_config(folder, &config);
    }
    let listing = std::fs::read_dir(folder).map_err(|source| Error::io(folder, "list", source))?;
    let mut files: Vec<PathBuf> = listing
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "gguf"))
        .collect();
    files.sort();
    // Of a model in several files the first stands for all.
    files.retain(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        gguf::parts::numbers(&name).is_none_or(|(stem, number, of)| {
            number == 1 || !folder.join(format!("{stem}-00001-of-{of:05}.gguf")).is_file()
        })
    });
    let name = folder.display().to_string();
    match files.as_slice() {
        [file] => Checkpoint::open(file),
        [] => Err(Error::file(&name, "holds no config.json and no .gguf file")
            .with_hint("give a folder in Hugging Face layout or a .gguf file")),
        several => {
            let names: Vec<String> = several
                .iter()
                .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
                .collect();
            Err(Error::file(&name, format!("holds several models: {}", names.join(", ")))
                .with_hint("give one of these files"))
        }
    }
}
