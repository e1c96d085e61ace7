//! What is to be known of a pool without holding its adapters: keys, mean query, and what the adapters are called. A
//! device scores its examples with this alone.
//!
//! One safetensors file: `keys` `[adapters, width]`, `mean` `[1, width]`, `answer_keys` and `answer_mean` of the same shapes where the
//! pool looks at answers, and the description as JSON in its metadata.

use std::collections::BTreeMap;
use std::path::Path;

use crayon_formats::safetensors::{self, SafeTensors};
use crayon_formats::{Bytes, Checkpoint, Tensor};
use serde::{Deserialize, Serialize};

use crate::{AdapterError, AnswerKeys, Keys, Lora};

/// Key of the description in the file's metadata.
const DESCRIPTION: &str = "crayon.pool";
/// Version of the file. Files of version 1 have no keys for answers and no score of no adapter.
const VERSION: u32 = 2;
/// Longest name of an adapter or a model, in characters.
const LONGEST_NAME: usize = 200;
pub(crate) const DAMAGED: &str = "the pool is damaged or was cut short; train it again or copy it anew";

/// An adapter of a pool, without its factors.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// What it learned, in a word.
    pub name: String,
    /// Examples nearest to its key when it was made.
    pub examples: usize,
}

/// A pool without its adapters.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalogue {
    /// What the adapters are, in the order of the keys.
    pub members: Vec<Listed>,
    /// The keys.
    pub keys: Keys,
    /// Temperature of the softmax over scores.
    pub temperature: f32,
    /// Fingerprint of the model it was made beside.
    pub base: String,
    /// Name of that model.
    pub base_name: String,
}

/// The description as the metadata holds it.
#[derive(Deserialize, Serialize)]
struct Description {
    version: u32,
    base: String,
    base_name: String,
    temperature: f32,
    floor: f32,
    #[serde(default)]
    rest: Option<f32>,
    members: Vec<Listed>,
}

impl Catalogue {
    /// Reads the file at `path`; see [`from_bytes`](Self::from_bytes). Messages call the pool `what`.
    pub(crate) fn open(
        path: &Path,
        what: &str,
        checkpoint: &Checkpoint,
        name: &str,
    ) -> Result<Catalogue, AdapterError> {
        Catalogue::parse(&SafeTensors::open(path)?, what, checkpoint, name)
    }

    /// Reads the file in `bytes` for the model in `checkpoint` or the one it is a form of, which messages call `name`; they call the pool `what`.
    /// Nothing in it is trusted, names least of all: what a terminal would obey is taken out of them.
    ///
    /// # Errors
    /// When it is damaged, or belongs to another model.
    pub fn from_bytes(
        what: &str,
        bytes: Bytes,
        checkpoint: &Checkpoint,
        name: &str,
    ) -> Result<Catalogue, AdapterError> {
        Catalogue::parse(&SafeTensors::from_bytes(what, bytes)?, what, checkpoint, name)
    }

    /// Reads an open file; see [`from_bytes`](Self::from_bytes).
    pub(crate) fn parse(
        file: &SafeTensors,
        what: &str,
        checkpoint: &Checkpoint,
        name: &str,
    ) -> Result<Catalogue, AdapterError> {
        let path = Path::new(&file.file);
        let text = file.metadata.get(DESCRIPTION).map_or("", String::as_str);
        let mut description: Description = serde_json::from_str(text).map_err(|error| {
            AdapterError::key(path, DESCRIPTION, format!("cannot be read: {error}"), DAMAGED)
        })?;
        if !(1..=VERSION).contains(&description.version) {
            let what = format!("is of version {}, this program reads up to {VERSION}", description.version);
            return Err(AdapterError::key(path, DESCRIPTION, what, "use the program that made it"));
        }
        let names = description.members.iter_mut().map(|member| &mut member.name);
        names.chain([&mut description.base, &mut description.base_name]).for_each(tame);
        let mut owner = Lora {
            base: Some(description.base.clone()),
            base_name: Some(description.base_name.clone()),
            ..Lora::default()
        };
        owner.fit(what, checkpoint, name)?;
        let spec = &checkpoint.spec;
        let width = spec.heads * spec.head_dim;
        let read = |keys: &str, mean: &str| {
            let (keys, mut mean) = (matrix(file, keys)?, matrix(file, mean)?);
            let fits = keys.len() == description.members.len()
                && mean.len() == 1
                && keys.iter().chain(&mean).all(|row| row.len() == width)
                && !keys.is_empty();
            if !fits {
                let (keys, adapters) = (keys.len(), description.members.len());
                let what = format!("{keys} keys and {adapters} adapters do not belong together");
                return Err(AdapterError::file(path, what, DAMAGED));
            }
            Ok((keys, mean.swap_remove(0)))
        };
        let (keys, mean) = read("keys", "mean")?;
        let answers = match file.tensor("answer_keys")? {
            Some(_) => Some(read("answer_keys", "answer_mean")?),
            None => None,
        };
        let answers = answers.map(|(keys, mean)| AnswerKeys { keys, mean });
        let sane = |value: f32| value.is_finite() && value > 0.0;
        let finite = description.rest.is_none_or(f32::is_finite) && description.floor.is_finite();
        if !sane(description.temperature) || !finite {
            return Err(AdapterError::key(path, DESCRIPTION, "holds a temperature that is none", DAMAGED));
        }
        Ok(Catalogue {
            members: description.members,
            keys: Keys { keys, mean, answers, floor: description.floor, rest: description.rest },
            temperature: description.temperature,
            base: description.base,
            base_name: description.base_name,
        })
    }

    /// The file in memory.
    ///
    /// # Errors
    /// When the description cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, AdapterError> {
        let (tensors, metadata) = self.parts()?;
        Ok(safetensors::to_bytes("catalogue", &tensors, &metadata)?)
    }

    /// Writes the file at `path`.
    pub(crate) fn save(&self, path: &Path) -> Result<(), AdapterError> {
        let (tensors, metadata) = self.parts()?;
        Ok(safetensors::write(path, &tensors, &metadata)?)
    }

    /// Tensors and metadata of the file.
    pub(crate) fn parts(&self) -> Result<(Vec<Tensor>, BTreeMap<String, String>), AdapterError> {
        let description = Description {
            version: VERSION,
            base: self.base.clone(),
            base_name: self.base_name.clone(),
            temperature: self.temperature,
            floor: self.keys.floor,
            rest: self.keys.rest,
            members: self.members.clone(),
        };
        let text = serde_json::to_string(&description).map_err(|error| {
            AdapterError::file(Path::new(&self.base_name), format!("cannot be described: {error}"), DAMAGED)
        })?;
        let Keys { keys, mean, answers, .. } = &self.keys;
        let mut tensors = Vec::new();
        let mut push = |names: [&str; 2], keys: &[Vec<f32>], mean: &[f32]| {
            tensors.push(Tensor::from_f32(names[0], vec![keys.len(), mean.len()], &keys.concat()));
            tensors.push(Tensor::from_f32(names[1], vec![1, mean.len()], mean));
        };
        push(["keys", "mean"], keys, mean);
        if let Some(AnswerKeys { keys, mean }) = answers {
            push(["answer_keys", "answer_mean"], keys, mean);
        }
        Ok((tensors, BTreeMap::from([(DESCRIPTION.to_owned(), text)])))
    }
}

/// Makes a name one short line without control characters.
fn tame(name: &mut String) {
    if name.contains(char::is_control) || name.chars().count() > LONGEST_NAME {
        *name = name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    }
}

/// The rows of a tensor of finite values.
pub(crate) fn matrix(file: &SafeTensors, name: &str) -> Result<Vec<Vec<f32>>, AdapterError> {
    let wrong = |what: &str| AdapterError::tensor(&file.file, name, what, DAMAGED);
    let tensor = file.tensor(name)?.ok_or_else(|| wrong("is missing"))?;
    if tensor.shape.len() != 2 || tensor.cols() == 0 {
        return Err(wrong("is not a matrix"));
    }
    if tensor.first_non_finite().is_some() {
        return Err(wrong("holds NaN or infinity"));
    }
    Ok(tensor.to_f32().chunks_exact(tensor.cols()).map(<[f32]>::to_vec).collect())
}
