//! A model of texts and pictures as it lies on disk.

use std::collections::HashSet;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::config::{self, OpenAiShapes};
use super::layout::Layout;
use super::preprocess::Preprocess;
use super::spec::ClipSpec;
use crate::bytes::Bytes;
use crate::error::{DAMAGED, Error, Result};
use crate::huggingface::json::{Object, parse_object};
use crate::huggingface::{tokenizer, tokenizer_config};
use crate::locate::{Location, transpose};
use crate::names::NamedShape;
use crate::note::Note;
use crate::safetensors::{SafeTensors, open_index};
use crate::tensor::Tensor;
use crate::tokenizer_source::TokenizerSource;

/// The files of a model that is already in memory.
#[derive(Clone, Debug)]
pub struct ClipFiles {
    /// What messages call it.
    pub name: String,
    /// transformers' `config.json`.
    pub config: Bytes,
    /// transformers' `preprocessor_config.json`.
    pub preprocessor: Option<Bytes>,
    /// The tokenizer.
    pub tokenizer: TokenizerSource,
    /// transformers' `model.safetensors`.
    pub weights: Bytes,
}

/// A model whose description was read and whose tensors were all found with the right shapes.
#[derive(Clone, Debug)]
pub struct ClipCheckpoint {
    /// The towers.
    pub spec: ClipSpec,
    /// How pictures are prepared.
    pub preprocess: Preprocess,
    /// Files to make a tokenizer from.
    pub tokenizer: ClipTokenizer,
    /// Contents of `tokenizer_config.json`.
    pub tokenizer_config: Option<serde_json::Value>,
    /// Path or name, for messages.
    pub name: String,
    notes: Vec<Note>,
    files: Vec<SafeTensors>,
    layout: Layout,
}

/// What the tokenizer of texts is made from.
#[derive(Clone, Debug)]
pub enum ClipTokenizer {
    /// Files as language models have them; a pair of vocabulary and merges is read CLIP's way.
    Files(TokenizerSource),
    /// OpenAI's `bpe_simple_vocab_16e6.txt`, packed by gzip or not, from which the vocabulary follows.
    Merges(Bytes),
}

/// What to do with PyTorch's own files.
const PICKLES: &str = "PyTorch's own files are not read, they can run code; convert them to safetensors: in Python, \
                       `safetensors.torch.save_file(model.state_dict(), \"model.safetensors\")`";

impl ClipCheckpoint {
    /// Opens a folder in Hugging Face layout, a folder of OpenCLIP, or a `.safetensors` file with the tensors of OpenAI's or
    /// OpenCLIP's models, beside which `open_clip_config.json` and the files of a tokenizer are looked for.
    ///
    /// Every tensor of the towers is looked up and its shape checked; no data is read.
    ///
    /// # Errors
    /// If nothing is there, it is of no known kind, or damaged.
    pub fn open(path: &Path) -> Result<ClipCheckpoint> {
        let metadata = std::fs::metadata(path).map_err(|source| Error::io(path, "open", source))?;
        let name = path.display().to_string();
        if metadata.is_dir() {
            let files = weights(path)?;
            return ClipCheckpoint::of(name, path, files);
        }
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension {
            "safetensors" => {
                let folder = path.parent().unwrap_or(Path::new("."));
                ClipCheckpoint::of(name, folder, vec![SafeTensors::open(path)?])
            }
            "pt" | "pth" | "bin" | "ckpt" => {
                Err(Error::file(&name, "is a file of PyTorch").with_hint(PICKLES))
            }
            _ => Err(Error::file(&name, "is not a model of texts and pictures this program knows")
                .with_hint("give a folder with config.json and safetensors, or a .safetensors file of OpenAI's or OpenCLIP's")),
        }
    }

    /// Reads a model that is already in memory.
    ///
    /// # Errors
    /// As [`ClipCheckpoint::open`].
    pub fn from_files(files: ClipFiles) -> Result<ClipCheckpoint> {
        let ClipFiles { name, config, preprocessor, tokenizer, weights } = files;
        let weights = vec![SafeTensors::from_bytes(&format!("{name}/model.safetensors"), weights)?];
        let config = (format!("{name}/config.json"), config);
        let preprocessor = preprocessor.map(|bytes| (format!("{name}/preprocessor_config.json"), bytes));
        let (spec, preprocess) = described(&config, preprocessor.as_ref())?;
        let checkpoint = ClipCheckpoint {
            spec,
            preprocess,
            tokenizer: ClipTokenizer::Files(tokenizer),
            tokenizer_config: None,
            name,
            notes: Vec::new(),
            files: weights,
            layout: Layout::Transformers,
        };
        checkpoint.validate()
    }

    fn of(name: String, folder: &Path, files: Vec<SafeTensors>) -> Result<ClipCheckpoint> {
        let holds = |tensor: &str| files.iter().any(|file| file.entry(tensor).is_some());
        let read = |file: &str| -> Result<Option<(String, Bytes)>> {
            let path = folder.join(file);
            path.is_file().then(|| Ok((path.display().to_string(), Bytes::map(&path)?))).transpose()
        };
        let (spec, preprocess, layout) = if holds("visual.conv1.weight") {
            let split = holds("text.token_embedding.weight");
            let (spec, preprocess) = open_ai(&name, &files, split, read("open_clip_config.json")?.as_ref())?;
            (spec, preprocess, Layout::OpenAi { split })
        } else {
            let Some(config) = read("config.json")? else {
                return Err(Error::file(
                    &name,
                    "comes without config.json, and its tensors are not OpenAI's",
                )
                .with_hint("give the folder that holds it together with config.json"));
            };
            let (spec, preprocess) = described(&config, read("preprocessor_config.json")?.as_ref())?;
            (spec, preprocess, Layout::Transformers)
        };
        let tokenizer = match tokenizer(folder)? {
            TokenizerSource::None => beside(folder)?,
            source => ClipTokenizer::Files(source),
        };
        let checkpoint = ClipCheckpoint {
            spec,
            preprocess,
            tokenizer,
            tokenizer_config: tokenizer_config(folder)?,
            name,
            notes: Vec::new(),
            files,
            layout,
        };
        checkpoint.validate()
    }

    /// The tensor called `canonical`, as `[out, in]` for linear weights; patches of a picture are such inputs.
    ///
    /// # Errors
    /// If the towers have no such tensor, or it cannot be brought into that form.
    pub fn tensor(&self, canonical: &str) -> Result<Tensor> {
        let shape =
            self.spec.tensors().into_iter().find(|(name, _)| name == canonical).map(|(_, shape)| shape);
        let shape =
            shape.ok_or_else(|| Error::tensor(&self.name, canonical, "is not a tensor of these towers"))?;
        self.shaped(canonical, &shape)
    }

    /// Every tensor of the towers under its canonical name, in the order of [`ClipSpec::tensors`].
    ///
    /// # Errors
    /// If one cannot be brought into its form.
    pub fn tensors(&self) -> impl Iterator<Item = Result<Tensor>> + '_ {
        self.spec.tensors().into_iter().map(|(name, shape)| self.shaped(&name, &shape))
    }

    fn shaped(&self, canonical: &str, shape: &[usize]) -> Result<Tensor> {
        let (location, stored) = self.find(canonical, shape)?;
        let upright = if location.transposed { transpose(&self.name, &stored)? } else { stored };
        Ok(location.finish(canonical, upright))
    }

    /// The tensor that transformers stores as `name`, put together from the canonical ones.
    pub(crate) fn as_stored(&self, name: &str, shape: Vec<usize>) -> Result<Tensor> {
        let parts = self.spec.tensors().into_iter().filter_map(|(canonical, shape)| {
            let location = locate(Layout::Transformers, &self.spec, &canonical, &shape);
            (location.name == name).then_some((canonical, shape))
        });
        let parts =
            parts.map(|(canonical, shape)| self.shaped(&canonical, &shape)).collect::<Result<Vec<_>>>()?;
        match &parts[..] {
            [whole] if whole.format.is_per_channel() => Ok(Tensor { name: name.to_owned(), ..whole.clone() }),
            [whole] => Ok(Tensor { name: name.to_owned(), shape, ..whole.clone() }),
            parts => {
                let values: Vec<f32> = parts.iter().flat_map(Tensor::to_f32).collect();
                Ok(Tensor::from_f32(name, shape, &values))
            }
        }
    }

    /// SHA-256, in hexadecimal, over the description, names, formats and shapes of the tensors and a few samples of the data
    /// of each: tells one model from another without reading it whole.
    pub fn fingerprint(&self) -> String {
        /// Bytes of a sample, of which there are two in a tensor.
        const SAMPLE: usize = 64;
        let mut hash = Sha256::new();
        hash.update(format!("{:?} {:?}", self.spec, self.preprocess));
        for (name, shape) in self.spec.tensors() {
            let Ok((location, stored)) = self.find(&name, &shape) else { continue };
            hash.update(format!("{name} {} {shape:?} {:?}", stored.format, location.rows));
            let data: &[u8] = &stored.data;
            for third in [1, 2] {
                let start = data.len() / 3 * third;
                hash.update(data.get(start..data.len().min(start + SAMPLE)).unwrap_or_default());
            }
        }
        hex::encode(hash.finalize())
    }

    /// What the files say and is not done.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    fn stored(&self, name: &str) -> Result<Option<Tensor>> {
        for file in &self.files {
            if let Some(tensor) = file.tensor(name)? {
                return Ok(Some(tensor));
            }
        }
        Ok(None)
    }

    /// Where a tensor lies, and what is stored there, its shape checked.
    fn find(&self, canonical: &str, shape: &[usize]) -> Result<(Location, Tensor)> {
        let location = locate(self.layout, &self.spec, canonical, shape);
        let mut stored = self.stored(&location.name)?.ok_or_else(|| {
            Error::tensor(&self.name, &location.name, "is missing")
                .with_hint("the download is incomplete, or config.json belongs to another model")
        })?;
        if canonical == "image.patch_embd.weight" {
            let patch = self.spec.image.patch;
            let square = stored.shape.get(1..) == Some(&[3, patch, patch]);
            if !square && stored.shape.get(1..) != Some(&[3 * patch * patch]) {
                let what =
                    format!("has shape {:?}, not that of patches of 3 × {patch} × {patch}", stored.shape);
                return Err(Error::tensor(&self.name, &location.name, what).with_hint(DAMAGED));
            }
            stored = flat(&self.name, stored)?;
        }
        if shape == [1] && stored.shape.is_empty() {
            stored.shape = vec![1];
        }
        let file = self.files.iter().find(|file| file.entry(&location.name).is_some());
        let file = file.map_or(self.name.as_str(), |file| &file.file);
        let stored = location.check(file, stored, shape)?;
        Ok((location, stored))
    }

    /// Looks up every tensor, and notes those that are none of the towers'.
    fn validate(mut self) -> Result<ClipCheckpoint> {
        let mut used = HashSet::new();
        for (name, shape) in self.spec.tensors() {
            used.insert(self.find(&name, &shape)?.0.name);
        }
        for file in &self.files {
            for name in file.names().filter(|name| !used.contains(*name) && !Layout::is_buffer(name)) {
                self.notes.push(Note::new(&file.file, name, "is not part of these towers and is not read"));
            }
        }
        Ok(self)
    }
}

/// The description of a transformers configuration.
///
/// # Errors
/// If it is none, or of a model that is not supported.
pub fn spec_from_config(file: &str, json: &[u8]) -> Result<ClipSpec> {
    let map = parse_object(file, json)?;
    Ok(config::transformers(Object { file, map: &map })?.0)
}

/// The tensors of the towers as transformers stores them, names and shapes: for whoever writes such a file.
pub fn stored_tensors(spec: &ClipSpec) -> Vec<NamedShape> {
    let mut out: Vec<NamedShape> = Vec::new();
    for (canonical, mut shape) in spec.tensors() {
        let location = locate(Layout::Transformers, spec, &canonical, &shape);
        if let (Some((_, rows)), Some(first)) = (&location.rows, shape.first_mut()) {
            *first = *rows;
        }
        if canonical == "image.patch_embd.weight" {
            shape = vec![spec.image.tower.hidden, 3, spec.image.patch, spec.image.patch];
        }
        if canonical == "image.head.probe" {
            shape = vec![1, 1, spec.image.tower.hidden];
        }
        if canonical == "logit_scale" && !spec.sigmoid {
            shape = Vec::new();
        }
        if out.iter().all(|(name, _)| *name != location.name) {
            out.push((location.name, shape));
        }
    }
    out
}

/// Where the tensor called `canonical` lies.
fn locate(layout: Layout, spec: &ClipSpec, canonical: &str, shape: &[usize]) -> Location {
    let mut location = layout.locate(canonical, shape.first().copied().unwrap_or(1));
    // SigLIP's last layer has another name.
    if canonical == "text.projection.weight" && spec.text.projection_bias {
        location.name = "text_model.head.weight".to_owned();
    }
    location
}

/// `[out, 3, patch, patch]` as `[out, 3 * patch * patch]`.
fn flat(file: &str, tensor: Tensor) -> Result<Tensor> {
    let (rows, values) = (tensor.shape.first().copied().unwrap_or(1), tensor.shape.iter().skip(1).product());
    Tensor::new(file, &tensor.name, tensor.format, vec![rows, values], tensor.data)
}

/// Description and preparation of pictures from transformers' files.
fn described(
    config: &(String, Bytes),
    preprocessor: Option<&(String, Bytes)>,
) -> Result<(ClipSpec, Preprocess)> {
    let map = parse_object(&config.0, &config.1)?;
    let (spec, preprocess) = config::transformers(Object { file: &config.0, map: &map })?;
    let preprocess = match preprocessor {
        Some((file, bytes)) => {
            let map = parse_object(file, bytes)?;
            preprocess.with_transformers(Object { file, map: &map }, spec.image.size)?
        }
        None => preprocess,
    };
    Ok((spec, preprocess))
}

/// The same from the shapes of OpenAI's tensors and OpenCLIP's configuration.
fn open_ai(
    name: &str,
    files: &[SafeTensors],
    split: bool,
    config: Option<&(String, Bytes)>,
) -> Result<(ClipSpec, Preprocess)> {
    let text = if split { "text." } else { "" };
    let entry = |tensor: &str| files.iter().find_map(|file| file.entry(tensor));
    let shape = |tensor: &str| {
        entry(tensor)
            .map(|entry| entry.shape.clone())
            .ok_or_else(|| Error::tensor(name, tensor, "is missing").with_hint(DAMAGED))
    };
    fn sizes<const N: usize>(name: &str, tensor: &str, shape: Vec<usize>) -> Result<[usize; N]> {
        <[usize; N]>::try_from(shape).map_err(|shape| {
            Error::tensor(name, tensor, format!("has shape {shape:?}, and {N} dimensions are expected"))
        })
    }
    let two = |tensor: String| sizes::<2>(name, &tensor, shape(&tensor)?);
    let conv = sizes(name, "visual.conv1.weight", shape("visual.conv1.weight")?)?;
    let layers = |prefix: &str| {
        (0..)
            .take_while(|layer| {
                entry(&format!("{prefix}transformer.resblocks.{layer}.ln_1.weight")).is_some()
            })
            .count()
    };
    let inner =
        |prefix: &str| two(format!("{prefix}transformer.resblocks.0.mlp.c_fc.weight")).map(|[rows, _]| rows);
    let shapes = OpenAiShapes {
        conv,
        image_positions: two("visual.positional_embedding".to_owned())?[0],
        tokens: two(format!("{text}token_embedding.weight"))?,
        context: two(format!("{text}positional_embedding"))?[0],
        dim: two(format!("{text}text_projection"))?[1],
        layers: [layers(text), layers("visual.")],
        intermediate: [inner(text)?, inner("visual.")?],
    };
    let map = config.map(|(file, bytes)| parse_object(file, bytes)).transpose()?;
    let file = config.map_or(name, |(file, _)| file.as_str());
    let object = map.as_ref().map(|map| Object { file, map });
    let (model, preprocess) = match object {
        Some(object) => (object.object("model_cfg")?, object.object("preprocess_cfg")?),
        None => (None, None),
    };
    let spec = config::open_ai(name, &shapes, model)?;
    let plain = Preprocess::clip(spec.image.size);
    let preprocess = preprocess.map_or(Ok(plain.clone()), |config| plain.with_open_clip(config))?;
    Ok((spec, preprocess))
}

/// Weights of a folder: transformers' names first, then OpenCLIP's, then whatever single file there is.
fn weights(folder: &Path) -> Result<Vec<SafeTensors>> {
    for name in ["model.safetensors", "open_clip_model.safetensors"] {
        if folder.join(name).is_file() {
            return Ok(vec![SafeTensors::open(&folder.join(name))?]);
        }
    }
    let index = folder.join("model.safetensors.index.json");
    if index.is_file() {
        return open_index(&index);
    }
    let listing = std::fs::read_dir(folder).map_err(|source| Error::io(folder, "list", source))?;
    let mut paths: Vec<_> = listing.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    let is = |path: &Path, wanted: &str| path.extension().is_some_and(|found| found == wanted);
    let name = folder.display().to_string();
    let mut found = paths.iter().filter(|path| is(path, "safetensors"));
    match (found.next(), found.next()) {
        (Some(path), None) => Ok(vec![SafeTensors::open(path)?]),
        (Some(_), Some(_)) => {
            Err(Error::file(&name, "holds several .safetensors files, none of them model.safetensors")
                .with_hint("give the path of the one to use"))
        }
        (None, _) => {
            let pickled = paths.iter().any(|path| ["bin", "pt", "pth"].iter().any(|kind| is(path, kind)));
            let hint = if pickled { PICKLES } else { "the download is incomplete; fetch model.safetensors" };
            Err(Error::file(&name, "holds no .safetensors file").with_hint(hint))
        }
    }
}

/// The merges of OpenAI's CLIP under the name they have in its repository, or SigLIP's vocabulary.
fn beside(folder: &Path) -> Result<ClipTokenizer> {
    for name in ["bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt"] {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(ClipTokenizer::Merges(Bytes::map(&path)?));
        }
    }
    let path = folder.join("spiece.model");
    if path.is_file() {
        return Ok(ClipTokenizer::Files(TokenizerSource::SentencePiece(Bytes::map(&path)?)));
    }
    Ok(ClipTokenizer::Files(TokenizerSource::None))
}
