//! A pool: base adapters with a key each, and the folder it is kept in.
//!
//! `pool.safetensors` holds the keys, the mean query and, in its metadata, the description; `adapters/NNN` are PEFT
//! folders. The first is written last and replaced in one step, so a pool is there whole or not at all. A packed pool is one
//! file that holds the adapters too.

use std::path::{Path, PathBuf};

use crayon_errors::{Command, phrase};
use crayon_formats::safetensors::SafeTensors;
use crayon_formats::spec::Spec;
use crayon_formats::{Bytes, Checkpoint};
use crayon_kernels::Threads;

use crate::catalogue::{Catalogue, Listed};
use crate::{AdapterError, Form, Keys, Lora, Query, Stack, blend, packed, peft};

/// File with the keys and the description.
const FILE: &str = "pool.safetensors";

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
    /// Weight of each member; what they lack to 1 is the model as it is.
    pub weights: Vec<f32>,
    /// The customized adapter.
    pub lora: Lora,
}

impl Pool {
    /// Whether `folder` holds a pool.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE).is_file()
    }

    /// Reads the pool in `folder`, which may be a packed file too, for the model in `checkpoint`, which messages call `name`.
    /// All of it or nothing.
    ///
    /// # Errors
    /// When there is none, it was made for another model, or a part of it is missing or damaged.
    pub fn open(folder: &Path, checkpoint: &Checkpoint, name: &str) -> Result<Pool, AdapterError> {
        if folder.is_file() {
            return packed::read(&SafeTensors::open(folder)?, checkpoint, name);
        }
        let path = folder.join(FILE);
        if !path.is_file() {
            let hint = phrase![Command::TrainPool, " makes a pool"];
            return Err(AdapterError::file(folder, "holds no pool", hint));
        }
        let what = folder.display().to_string();
        let Catalogue { members: listed, keys, temperature, base, base_name } =
            Catalogue::open(&path, &what, checkpoint, name)?;
        let mut members = Vec::with_capacity(listed.len());
        for (index, entry) in listed.into_iter().enumerate() {
            let path = member_folder(folder, index);
            let lora = peft::read(&path, &checkpoint.spec)?;
            lora.check_base(&path.display().to_string(), &base, name)?;
            members.push(Member { name: entry.name, examples: entry.examples, lora });
        }
        Pool { members, keys, temperature, base, base_name }.fit(&what, checkpoint, name)
    }

    /// The pool for the model in `checkpoint`, where that is another form of the one it was made beside; see [`Lora::fit`].
    pub(crate) fn fit(
        mut self,
        what: &str,
        checkpoint: &Checkpoint,
        name: &str,
    ) -> Result<Pool, AdapterError> {
        let own = checkpoint.fingerprint();
        if self.base != own {
            for member in &mut self.members {
                member.lora.fit(what, checkpoint, name)?;
            }
            (self.base, self.base_name) = (own, name.to_owned());
        }
        Ok(self)
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

    /// The pool without its adapters: what a device needs to score examples.
    pub fn catalogue(&self) -> Catalogue {
        let listed = |member: &Member| Listed { name: member.name.clone(), examples: member.examples };
        Catalogue {
            members: self.members.iter().map(listed).collect(),
            keys: self.keys.clone(),
            temperature: self.temperature,
            base: self.base.clone(),
            base_name: self.base_name.clone(),
        }
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
        self.catalogue().save(&folder.join(FILE))
    }

    /// Adds an adapter whose key is `query`, a mean of centred queries of its example data.
    pub fn add(&mut self, name: String, lora: Lora, query: Query, examples: usize) {
        if let Some(answers) = &mut self.keys.answers {
            answers.keys.push(query.answer.unwrap_or_else(|| vec![0.0; answers.mean.len()]));
        }
        self.keys.keys.push(query.prompt);
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

    /// One adapter for these scores: `sum of alpha_n * scale * B_n A_n` with `alpha` as [`Keys::weights`] gives it.
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
        let weights = self.keys.weights(scores, temperature);
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
