//! A pool: base adapters with a key each, and the folder it is kept in.
//!
//! `pool.safetensors` holds the keys, the mean query and, in its metadata, the description; `adapters/NNN` are PEFT
//! folders. The first is written last and replaced in one step, so a pool is there whole or not at all. A packed pool is one
//! file that holds the adapters too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crayon_formats::safetensors::{self, SafeTensors};
use crayon_formats::spec::Spec;
use crayon_formats::{Bytes, Checkpoint, Tensor};
use crayon_kernels::Pool as Threads;
use serde::{Deserialize, Serialize};

use crate::{AdapterError, Form, Keys, Lora, Stack, blend, packed, peft, weights};

/// File with the keys and the description.
const FILE: &str = "pool.safetensors";
/// Key of the description in its metadata.
const DESCRIPTION: &str = "crayon.pool";
/// Version of the folder and of the packed file.
const VERSION: u32 = 1;
pub(crate) const DAMAGED: &str = "the pool is damaged or was cut short; train it again or copy it anew";

/// One base adapter.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it learned, in a word.
    pub name: String,
    /// Examples nearest to its key when it was made.
    pub examples: usize,
    /// The adapter.
    pub lora: Lora,
}

/// Base adapters with their keys.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The adapters, in the order of the keys.
    pub members: Vec<Member>,
    /// The keys.
    pub keys: Keys,
    /// Temperature of the softmax over scores.
    pub temperature: f32,
    /// Fingerprint of the model it was made beside.
    pub base: String,
    /// Name of that model.
    pub base_name: String,
}

/// What [`Pool::blend`] makes.
#[derive(Clone, Debug)]
pub struct Blended {
    /// Weight of each member; they sum to 1.
    pub weights: Vec<f32>,
    /// The customised adapter.
    pub lora: Lora,
}

/// The description as the metadata holds it.
#[derive(Deserialize, Serialize)]
struct Description {
    version: u32,
    base: String,
    base_name: String,
    temperature: f32,
    floor: f32,
    members: Vec<Entry>,
}

#[derive(Deserialize, Serialize)]
struct Entry {
    name: String,
    examples: usize,
}

impl Pool {
    /// Whether `folder` holds a pool.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE).is_file()
    }

    /// Reads the pool in the folder or the packed file `path` for the model in `checkpoint`, which messages call `name`. All of
    /// it or nothing.
    ///
    /// # Errors
    /// When there is none, it was made for another model, or a part of it is missing or damaged.
    pub fn open(path: &Path, checkpoint: &Checkpoint, name: &str) -> Result<Pool, AdapterError> {
        if path.is_file() {
            return packed::read(&SafeTensors::open(path)?, checkpoint, name);
        }
        let file = path.join(FILE);
        if !file.is_file() {
            let hint = "`crayon pool train --data FILE -o DIR` makes a pool";
            return Err(AdapterError::file(path, "holds no pool", hint));
        }
        let mut index = 0;
        Pool::read(&SafeTensors::open(&file)?, checkpoint, name, &mut |_| {
            let path = member_folder(path, index);
            index += 1;
            let lora = peft::read(&path, &checkpoint.spec)?;
            lora.check_base(&path.display().to_string(), &checkpoint.fingerprint(), name)?;
            Ok(lora)
        })
    }

    /// Reads a packed pool that is in memory; `file` is what messages call it.
    ///
    /// # Errors
    /// As [`Pool::open`].
    pub fn from_bytes(
        file: &str,
        bytes: Bytes,
        checkpoint: &Checkpoint,
        name: &str,
    ) -> Result<Pool, AdapterError> {
        packed::read(&SafeTensors::from_bytes(file, bytes)?, checkpoint, name)
    }

    /// Writes the pool into one file, adapters in half precision.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn pack(&self, path: &Path) -> Result<(), AdapterError> {
        packed::write(self, path)
    }

    /// Reads keys and description from `file`, and each adapter by its number with `adapter`.
    pub(crate) fn read(
        file: &SafeTensors,
        checkpoint: &Checkpoint,
        name: &str,
        adapter: &mut dyn FnMut(usize) -> Result<Lora, AdapterError>,
    ) -> Result<Pool, AdapterError> {
        let path = Path::new(&file.file);
        let text = file.metadata.get(DESCRIPTION).map_or("", String::as_str);
        let description: Description = serde_json::from_str(text).map_err(|error| {
            AdapterError::key(path, DESCRIPTION, format!("cannot be read: {error}"), DAMAGED)
        })?;
        if description.version != VERSION {
            let what = format!("is of version {}, this program reads {VERSION}", description.version);
            return Err(AdapterError::key(path, DESCRIPTION, what, "use the program that made it"));
        }
        let owner = Lora {
            base: Some(description.base.clone()),
            base_name: Some(description.base_name.clone()),
            ..Lora::default()
        };
        owner.check_base(&file.file, &checkpoint.fingerprint(), name)?;
        let (keys, mean) = (matrix(file, "keys")?, matrix(file, "mean")?);
        let spec = &checkpoint.spec;
        let width = spec.heads * spec.head_dim;
        let fits = keys.len() == description.members.len()
            && mean.len() == 1
            && keys.iter().chain(&mean).all(|row| row.len() == width)
            && !keys.is_empty();
        if !fits {
            let what = format!(
                "{} keys and {} adapters do not belong together",
                keys.len(),
                description.members.len()
            );
            return Err(AdapterError::file(path, what, DAMAGED));
        }
        let sane = |value: f32| value.is_finite() && value > 0.0;
        if !sane(description.temperature) || !description.floor.is_finite() {
            return Err(AdapterError::key(path, DESCRIPTION, "holds a temperature that is none", DAMAGED));
        }
        let mut members = Vec::with_capacity(keys.len());
        for (index, entry) in description.members.into_iter().enumerate() {
            members.push(Member { name: entry.name, examples: entry.examples, lora: adapter(index)? });
        }
        let mean = mean.into_iter().next().unwrap_or_default();
        Ok(Pool {
            members,
            keys: Keys { keys, mean, floor: description.floor },
            temperature: description.temperature,
            base: description.base,
            base_name: description.base_name,
        })
    }

    /// Writes the pool into `folder`; adapters from `first` on, those before it are there already.
    ///
    /// # Errors
    /// When the disk does not take it; a pool that was there before stays.
    pub fn save(&self, folder: &Path, spec: &Spec, first: usize) -> Result<(), AdapterError> {
        for (index, member) in self.members.iter().enumerate().skip(first) {
            let mut lora = member.lora.clone();
            lora.base = Some(self.base.clone());
            lora.base_name = Some(self.base_name.clone());
            peft::write(&member_folder(folder, index), &lora, spec)?;
        }
        let (tensors, metadata) = self.described()?;
        Ok(safetensors::write(&folder.join(FILE), &tensors, &metadata)?)
    }

    /// Keys and description as both forms of the pool hold them.
    pub(crate) fn described(&self) -> Result<(Vec<Tensor>, BTreeMap<String, String>), AdapterError> {
        let description = Description {
            version: VERSION,
            base: self.base.clone(),
            base_name: self.base_name.clone(),
            temperature: self.temperature,
            floor: self.keys.floor,
            members: self
                .members
                .iter()
                .map(|member| Entry { name: member.name.clone(), examples: member.examples })
                .collect(),
        };
        let text = serde_json::to_string(&description).map_err(|error| {
            AdapterError::unusable(format!("the pool cannot be described: {error}"), DAMAGED)
        })?;
        let width = self.keys.mean.len();
        let tensors = vec![
            Tensor::from_f32("keys", vec![self.keys.keys.len(), width], &self.keys.keys.concat()),
            Tensor::from_f32("mean", vec![1, width], &self.keys.mean),
        ];
        Ok((tensors, BTreeMap::from([(DESCRIPTION.to_owned(), text)])))
    }

    /// Adds an adapter whose key is `query`, a mean of centred queries of its example data.
    pub fn add(&mut self, name: String, lora: Lora, query: Vec<f32>, examples: usize) {
        self.keys.keys.push(query);
        self.members.push(Member { name, examples, lora });
    }

    /// Its adapters, held once for any number of weightings.
    ///
    /// # Errors
    /// When one does not fit the network.
    pub fn stack(&self, spec: &Spec, threads: &Threads) -> Result<Stack, AdapterError> {
        let members: Vec<&Lora> = self.members.iter().map(|member| &member.lora).collect();
        Stack::new(&members, spec, threads)
    }

    /// The largest rank of its adapters.
    pub fn rank(&self) -> usize {
        self.members.iter().map(|member| member.lora.rank()).max().unwrap_or(0)
    }

    /// One adapter for these scores: `sum of alpha_n * scale * B_n A_n` with `alpha = softmax(scores / temperature)`.
    ///
    /// # Errors
    /// When there are not as many scores as adapters, or the form does not take adapters of different ranks.
    pub fn blend(
        &self,
        scores: &[f32],
        temperature: f32,
        form: Form,
        threads: &Threads,
    ) -> Result<Blended, AdapterError> {
        if scores.len() != self.members.len() || scores.iter().any(|score| !score.is_finite()) {
            let what =
                format!("{} scores do not fit a pool of {} adapters", scores.len(), self.members.len());
            return Err(AdapterError::unusable(what, "score the examples with the keys of this pool"));
        }
        let weights = weights(scores, temperature);
        let parts: Vec<(&Lora, f32)> =
            self.members.iter().zip(&weights).map(|(member, weight)| (&member.lora, *weight)).collect();
        let mut lora = blend(&parts, form, threads)?;
        lora.base = Some(self.base.clone());
        lora.base_name = Some(self.base_name.clone());
        Ok(Blended { weights, lora })
    }
}

fn member_folder(folder: &Path, index: usize) -> PathBuf {
    folder.join("adapters").join(format!("{index:03}"))
}

/// The rows of a tensor of finite values.
fn matrix(file: &SafeTensors, name: &str) -> Result<Vec<Vec<f32>>, AdapterError> {
    let wrong = |what: &str| AdapterError::tensor(&file.file, name, what, DAMAGED);
    let tensor = file.tensor(name)?.ok_or_else(|| wrong("is missing"))?;
    if tensor.shape.len() != 2 || tensor.cols() == 0 {
        return Err(wrong("is no matrix"));
    }
    if tensor.first_non_finite().is_some() {
        return Err(wrong("holds NaN or infinity"));
    }
    Ok(tensor.to_f32().chunks_exact(tensor.cols()).map(<[f32]>::to_vec).collect())
}
