//! The folder of models: `{cache}/{owner}--{name}/{commit}/` in Hugging Face layout, with a manifest in each.
//!
//! A folder without a manifest is an unfinished pull: nothing opens it, the next pull goes on with it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::digest::{Checksum, hexadecimal};
use crate::error::HubError;
use crate::gguf::{Set, is_gguf, pick, sets};
use crate::plan::{Plan, PlannedFile};
use crate::reference::{Reference, is_file_name};

/// Name of the manifest.
const MANIFEST: &str = "crayon.json";
/// Fewest digits by which a commit is recognised.
const SHORT_COMMIT: usize = 7;

/// A model that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// How to name it.
    pub reference: Reference,
    /// Folder of safetensors, or GGUF file.
    pub path: PathBuf,
    /// Bytes on the disk.
    pub bytes: u64,
    /// What it is made of; of an unfinished pull, what has arrived.
    pub format: Format,
    /// False for an unfinished pull.
    pub complete: bool,
}

/// Form of a model's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A folder with safetensors.
    Safetensors,
    /// One GGUF file.
    Gguf,
}

/// What a finished pull leaves beside the files.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    repository: String,
    commit: String,
    /// Branches and tags that stood for this commit when they were last pulled.
    revisions: Vec<String>,
    /// Seconds since 1970.
    pulled: u64,
    files: Vec<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    name: String,
    bytes: u64,
    #[serde(flatten)]
    checksum: Checksum,
}

impl Manifest {
    fn has(&self, file: &PlannedFile) -> bool {
        self.files.iter().any(|e| e.name == file.name && e.bytes == file.bytes && e.checksum == file.checksum)
    }

    /// Whether `revision` means this commit.
    fn stands_for(&self, revision: &str) -> bool {
        self.revisions.iter().any(|known| known == revision)
            || (revision.len() >= SHORT_COMMIT
                && hexadecimal(revision, revision.len()).is_some_and(|hex| self.commit.starts_with(&hex)))
    }

    fn ggufs(&self) -> Vec<Set<'_>> {
        let names: Vec<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        sets(&names)
    }

    /// The entries of a model's files.
    fn entries<'m>(&'m self, set: &'m Set<'_>) -> impl Iterator<Item = &'m Entry> {
        self.files.iter().filter(|entry| set.paths.contains(&entry.name.as_str()))
    }

    fn has_tensors(&self) -> bool {
        self.files.iter().any(|file| file.name.ends_with(".safetensors"))
    }

    /// What a reference to this commit opens, if its files are all here.
    fn open(&self, folder: &Path, wanted: Option<&str>) -> Option<PathBuf> {
        let ggufs = self.ggufs();
        let set = match (wanted, ggufs.as_slice()) {
            (Some(wanted), _) => pick(wanted, &ggufs).ok()?,
            (None, _) if self.has_tensors() => {
                let whole =
                    self.files.iter().filter(|file| !is_gguf(&file.name)).all(|file| file.is_in(folder));
                return whole.then(|| folder.to_owned());
            }
            (None, [one]) => one,
            (None, _) => return None,
        };
        self.entries(set).all(|entry| entry.is_in(folder)).then(|| folder.join(set.first()))
    }
}

impl Entry {
    fn is_in(&self, folder: &Path) -> bool {
        is_file_name(&self.name) && fs::metadata(folder.join(&self.name)).is_ok_and(|m| m.len() == self.bytes)
    }
}

/// The folder of models.
#[derive(Debug)]
pub(crate) struct ModelCache {
    root: PathBuf,
}

/// Held while a model is pulled or removed; the system lets go of it when the process ends.
pub(crate) struct Lock {
    _file: File,
}

impl ModelCache {
    pub(crate) fn new(root: PathBuf) -> ModelCache {
        ModelCache { root }
    }

    /// Folder of one commit.
    pub(crate) fn folder(&self, reference: &Reference, commit: &str) -> PathBuf {
        self.root.join(reference.folder()).join(commit)
    }

    /// Takes the lock of a model.
    pub(crate) fn lock(&self, reference: &Reference) -> Result<Lock, HubError> {
        let locks = self.root.join(".locks");
        fs::create_dir_all(&locks).map_err(|error| HubError::io("create", &locks, error))?;
        let path = locks.join(format!("{}.lock", reference.folder()));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| HubError::io("create", &path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(HubError::Busy { repository: reference.repository() }),
            Err(fs::TryLockError::Error(error)) => Err(HubError::io("lock", &path, error)),
        }
    }

    /// What a reference opens, if it is all here.
    pub(crate) fn find(&self, reference: &Reference) -> Option<PathBuf> {
        self.manifests(reference)
            .filter(|(_, manifest)| manifest.stands_for(reference.revision()))
            .filter_map(|(folder, m)| Some((m.pulled, m.open(&folder, reference.file.as_deref())?)))
            .max()
            .map(|(_, path)| path)
    }

    /// Whether an earlier pull finished this file of this commit.
    pub(crate) fn has(&self, folder: &Path, file: &PlannedFile) -> bool {
        read_manifest(folder).is_some_and(|manifest| manifest.has(file))
            && fs::metadata(folder.join(&file.name)).is_ok_and(|m| m.len() == file.bytes)
    }

    /// Links `target` to the same file of another commit, if there is one.
    pub(crate) fn reuse(&self, reference: &Reference, file: &PlannedFile, target: &Path) -> bool {
        self.manifests(reference).any(|(folder, manifest)| {
            manifest.files.iter().any(|entry| {
                entry.checksum == file.checksum
                    && entry.bytes == file.bytes
                    && entry.is_in(&folder)
                    && fs::hard_link(folder.join(&entry.name), target).is_ok()
            })
        })
    }

    /// Records a finished pull: from now on the model can be found.
    pub(crate) fn finish(&self, plan: &Plan) -> Result<(), HubError> {
        let reference = &plan.reference;
        let here = self.folder(reference, &plan.commit);
        let revision = reference.revision();
        for (folder, mut other) in self.manifests(reference) {
            if folder != here && other.revisions.iter().any(|known| known == revision) {
                other.revisions.retain(|known| known != revision);
                write_manifest(&folder, &other)?;
            }
        }
        let mut manifest = read_manifest(&here).unwrap_or_else(|| Manifest {
            repository: reference.repository(),
            commit: plan.commit.clone(),
            revisions: Vec::new(),
            pulled: 0,
            files: Vec::new(),
        });
        if !manifest.revisions.iter().any(|known| known == revision) {
            manifest.revisions.push(revision.to_owned());
        }
        manifest.pulled = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for file in &plan.files {
            manifest.files.retain(|entry| entry.name != file.name);
            manifest.files.push(Entry {
                name: file.name.clone(),
                bytes: file.bytes,
                checksum: file.checksum.clone(),
            });
        }
        write_manifest(&here, &manifest)
    }

    /// Everything that is here, unfinished pulls included, by name.
    pub(crate) fn list(&self) -> Vec<Local> {
        let mut found = Vec::new();
        for model in folders(&self.root) {
            let name = model.file_name().and_then(|name| name.to_str());
            let Some(reference) = name.and_then(Reference::from_folder) else { continue };
            for folder in folders(&model) {
                match read_manifest(&folder) {
                    Some(manifest) => found.extend(listed(&reference, &folder, &manifest)),
                    None => found.push(unfinished(&reference, &folder)),
                }
            }
        }
        found.sort_by_key(|local| local.reference.to_string());
        found
    }

    /// Removes a model: all of it, one revision or one GGUF file. Returns the bytes that were freed.
    pub(crate) fn remove(&self, reference: &Reference) -> Result<u64, HubError> {
        let missing = || HubError::NotHere { reference: reference.clone() };
        let model = self.root.join(reference.folder());
        if !model.is_dir() {
            return Err(missing());
        }
        let _lock = self.lock(reference)?;
        let remove =
            |folder: &Path| fs::remove_dir_all(folder).map_err(|error| HubError::io("remove", folder, error));
        let mut freed = 0;
        if let Some(wanted) = &reference.file {
            let gguf = self
                .manifests(reference)
                .filter(|(_, m)| reference.revision.as_deref().is_none_or(|revision| m.stands_for(revision)))
                .find_map(|(folder, m)| {
                    let sets = m.ggufs();
                    let names = pick(wanted, &sets).ok()?.paths.iter().map(|name| (*name).to_owned());
                    let names: Vec<String> = names.collect();
                    Some((folder, m, names))
                });
            let (folder, mut manifest, names) = gguf.ok_or_else(missing)?;
            freed += names
                .iter()
                .filter_map(|name| fs::metadata(folder.join(name)).ok())
                .map(|m| m.len())
                .sum::<u64>();
            manifest.files.retain(|entry| !names.contains(&entry.name));
            if manifest.files.is_empty() {
                remove(&folder)?;
            } else {
                for path in names.iter().map(|name| folder.join(name)) {
                    fs::remove_file(&path).map_err(|error| HubError::io("remove", &path, error))?;
                }
                write_manifest(&folder, &manifest)?;
            }
        } else {
            for folder in folders(&model) {
                let named =
                    reference.revision.as_deref().is_none_or(|revision| match read_manifest(&folder) {
                        Some(manifest) => manifest.stands_for(revision),
                        None => folder.file_name().is_some_and(|commit| commit == revision),
                    });
                if named {
                    freed += size(&folder);
                    remove(&folder)?;
                }
            }
            if freed == 0 {
                return Err(missing());
            }
        }
        // Goes only when it is empty.
        let _ = fs::remove_dir(&model);
        Ok(freed)
    }

    /// The finished pulls of a model, each with its folder.
    fn manifests(&self, reference: &Reference) -> impl Iterator<Item = (PathBuf, Manifest)> + use<> {
        folders(&self.root.join(reference.folder()))
            .into_iter()
            .filter_map(|folder| read_manifest(&folder).map(|manifest| (folder, manifest)))
    }
}

/// One line for the safetensors of a commit and one for each GGUF model.
fn listed(reference: &Reference, folder: &Path, manifest: &Manifest) -> Vec<Local> {
    let main = manifest.revisions.iter().any(|revision| revision == "main");
    let revision = (!main).then(|| manifest.revisions.first().unwrap_or(&manifest.commit).clone());
    let local = |files: &[&Entry], path: PathBuf, format, file: Option<String>| Local {
        reference: Reference { revision: revision.clone(), file, ..reference.clone() },
        path,
        bytes: files.iter().map(|entry| entry.bytes).sum(),
        format,
        complete: files.iter().all(|entry| entry.is_in(folder)),
    };
    let others: Vec<&Entry> = manifest.files.iter().filter(|file| !is_gguf(&file.name)).collect();
    let mut found = Vec::new();
    if manifest.has_tensors() {
        found.push(local(&others, folder.to_owned(), Format::Safetensors, None));
    }
    for set in manifest.ggufs() {
        let files: Vec<&Entry> = manifest.entries(&set).collect();
        let first = set.first();
        found.push(local(&files, folder.join(first), Format::Gguf, Some(first.to_owned())));
    }
    found
}

fn unfinished(reference: &Reference, folder: &Path) -> Local {
    let gguf = files(folder).iter().any(|path| path.to_string_lossy().contains(".gguf"));
    Local {
        reference: Reference {
            revision: folder.file_name().map(|commit| commit.to_string_lossy().into_owned()),
            ..reference.clone()
        },
        path: folder.to_owned(),
        bytes: size(folder),
        format: if gguf { Format::Gguf } else { Format::Safetensors },
        complete: false,
    }
}

fn read_manifest(folder: &Path) -> Option<Manifest> {
    serde_json::from_slice(&fs::read(folder.join(MANIFEST)).ok()?).ok()
}

fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<(), HubError> {
    let path = folder.join(MANIFEST);
    let new = folder.join(format!("{MANIFEST}.part"));
    let write = || -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(manifest)?;
        text.push('\n');
        fs::write(&new, text)?;
        fs::rename(&new, &path)
    };
    write().map_err(|error| HubError::io("write", &path, error))
}

/// Folders in `folder`, sorted; none if it cannot be read.
fn folders(folder: &Path) -> Vec<PathBuf> {
    entries(folder, fs::FileType::is_dir)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    entries(folder, fs::FileType::is_file)
}

fn entries(folder: &Path, kind: impl Fn(&fs::FileType) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|file_type| kind(&file_type)))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn size(folder: &Path) -> u64 {
    files(folder).iter().filter_map(|path| fs::metadata(path).ok()).map(|m| m.len()).sum()
}
