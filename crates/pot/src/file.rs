//! A pot in a file: what was read is not read again.
//!
//! Layout, little-endian: the magic bytes, a version (u32), the length of a JSON header (u64), the header, token ids
//! (u32), logits (f32), attention being collected (f32), the slab, and SHA-256 of everything before. A file appears
//! whole or not at all.

use std::ops::Range;
use std::path::Path;

use crayon_errors::{Command, phrase};
use crayon_files::OutputFile;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::storage::{floats, take};
use crate::{KvStorage, Pot, PotError, PotOptions};

const MAGIC: &[u8; 8] = b"CRAYPOT\n";
/// Version written, and the only one read.
const VERSION: u32 = 1;
/// Longest header believed.
const HEADER: usize = 1 << 20;
const DIGEST: usize = 32;

/// Whose keys and values these are. Another model or adapter would make nonsense of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Fingerprint of the model.
    pub model: String,
    /// Fingerprint of the adapter blend, if one was used.
    pub adapter: Option<String>,
}

/// What a file says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Whose it is.
    pub owner: Owner,
    /// Shape and policy; `None` for a pot that keeps everything.
    pub options: Option<PotOptions>,
    /// How keys and values are stored.
    pub storage: KvStorage,
    /// The rotation of keys, as a word.
    frequencies: String,
    /// Tokens read.
    pub tokens: usize,
    /// Text of the caller's own, for example the messages of a conversation.
    pub note: String,
    /// Entries each layer keeps.
    keeps: Vec<usize>,
    capacity: Vec<usize>,
    logits: usize,
    watched: usize,
    distillations: usize,
    settled: usize,
    pinned: Vec<Range<u32>>,
    medoids: Vec<Vec<u32>>,
}

impl Saved {
    /// Reads the header of `path` and checks the whole file.
    ///
    /// # Errors
    /// When the file is something else, is damaged, or is of another version.
    pub fn open(path: &Path) -> Result<Saved, PotError> {
        Ok(read(path)?.0)
    }

    /// Whether this was saved by `owner`.
    ///
    /// # Errors
    /// Says what differs.
    pub fn check_owner(&self, path: &Path, owner: &Owner) -> Result<(), PotError> {
        let other = |what, saved: &str, now: &str| PotError::Other {
            file: path.display().to_string(),
            what,
            saved: short(saved),
            now: short(now),
        };
        if self.owner.model != owner.model {
            return Err(other("model", &self.owner.model, &owner.model));
        }
        let name = |adapter: &Option<String>| adapter.clone().unwrap_or_else(|| "none".to_owned());
        if self.owner.adapter != owner.adapter {
            return Err(other("adapter", &name(&self.owner.adapter), &name(&owner.adapter)));
        }
        Ok(())
    }
}

fn short(fingerprint: &str) -> String {
    fingerprint.chars().take(12).collect()
}

impl Pot {
    /// Writes the pot to `path` with the token ids it read, the logits after them and a `note`.
    ///
    /// # Errors
    /// When the disk does not take it; a file that was there is then as it was.
    pub fn save(
        &mut self,
        path: &Path,
        owner: &Owner,
        tokens: &[u32],
        logits: &[f32],
        note: &str,
    ) -> Result<(), PotError> {
        let mut watched: Vec<u8> = Vec::new();
        let (mut keeps, mut medoids) = (Vec::new(), Vec::new());
        if let Some(distiller) = &mut self.distiller {
            keeps.clone_from(&distiller.keeps);
            medoids.clone_from(&distiller.medoids);
            if let Some(watch) = &mut distiller.watch {
                watch.values().for_each(|value| watched.extend(value.to_le_bytes()));
            }
        }
        let header = Saved {
            owner: owner.clone(),
            options: self.options().cloned(),
            storage: self.slab.storage(),
            frequencies: self.slab.frequencies(self.slab.length()),
            tokens: tokens.len(),
            note: note.to_owned(),
            keeps,
            capacity: (0..self.slab.layers()).map(|layer| self.slab.capacity(layer)).collect(),
            logits: logits.len(),
            watched: watched.len() / 4,
            distillations: self.distillations,
            settled: self.settled,
            pinned: self.pinned.clone(),
            medoids,
        };
        // Numbers and strings always serialise.
        let header = serde_json::to_vec(&header).unwrap_or_default();
        let mut bytes = Vec::new();
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header);
        tokens.iter().for_each(|token| bytes.extend(token.to_le_bytes()));
        logits.iter().for_each(|logit| bytes.extend(logit.to_le_bytes()));
        bytes.extend(watched);
        self.slab.save(&mut bytes);
        let digest = Sha256::digest(&bytes);
        let mut file = OutputFile::create(path)?;
        file.write(&bytes)?;
        file.write(&digest)?;
        file.commit()?;
        Ok(())
    }

    /// Fills this pot with what `path` holds; returns the token ids read and the logits after them. The pot must have
    /// the shape the file was saved with; one that keeps everything may be larger.
    ///
    /// # Errors
    /// When the file is damaged, or belongs to another model, adapter or shape. The pot is then empty.
    pub fn load(&mut self, path: &Path, owner: &Owner) -> Result<(Vec<u32>, Vec<f32>), PotError> {
        self.clear();
        let (header, bytes, start) = read(path)?;
        header.check_owner(path, owner)?;
        let name = |options: Option<&PotOptions>| {
            options.map_or("everything kept".to_owned(), |o| format!("{} of {} entries", o.policy, o.entries))
        };
        let same = match (self.options(), &header.options) {
            (Some(own), Some(saved)) => {
                let choice = |o: &PotOptions| {
                    (o.policy.clone(), o.entries, o.novelty.to_bits(), o.exact_novelty, o.smooth)
                };
                let capacity = (0..self.slab.layers()).map(|layer| self.slab.capacity(layer));
                choice(own) == choice(saved) && capacity.eq(header.capacity.iter().copied())
            }
            (None, None) => header.tokens <= self.slab.capacity(0),
            _ => false,
        };
        // Of all lengths of text, the shortest and the longest have every kind of frequencies there is.
        let mut lengths = [0, usize::MAX].into_iter();
        let length = lengths.find(|length| header.frequencies == self.slab.frequencies(*length));
        if !same || header.storage != self.slab.storage() || length.is_none() {
            return Err(PotError::Other {
                file: path.display().to_string(),
                what: "pot",
                saved: format!("{}, {}", name(header.options.as_ref()), header.storage.name()),
                now: format!("{}, {}", name(self.options()), self.slab.storage().name()),
            });
        }
        self.slab.expect(length.unwrap_or_default());
        match self.fill(header, &bytes[start..bytes.len() - DIGEST]) {
            Some(found) => Ok(found),
            None => {
                self.clear();
                Err(damaged(path, "its parts contradict each other"))
            }
        }
    }

    fn fill(&mut self, header: Saved, mut bytes: &[u8]) -> Option<(Vec<u32>, Vec<f32>)> {
        let needed = header.tokens.checked_add(header.logits)?.checked_add(header.watched)?.checked_mul(4)?;
        if needed > bytes.len() {
            return None;
        }
        let mut tokens = vec![0; header.tokens];
        for token in &mut tokens {
            *token = u32::from_le_bytes(take(&mut bytes)?);
        }
        let mut logits = vec![0.0; header.logits];
        floats(&mut logits, &mut bytes)?;
        let vocab = self.slab.vocab();
        let known = |ids: &[u32]| ids.iter().all(|id| (*id as usize) < vocab);
        if !known(&tokens)
            || !header.medoids.iter().all(|ids| known(ids))
            || ![0, vocab].contains(&logits.len())
        {
            return None;
        }
        if let Some(distiller) = &mut self.distiller {
            let capacity = (0..self.slab.layers()).map(|layer| self.slab.capacity(layer));
            if !capacity.eq(header.capacity.iter().copied()) || header.keeps.len() != self.slab.layers() {
                return None;
            }
            let watched = distiller.watch.as_mut().map_or(0, |watch| watch.values().count());
            if watched != header.watched {
                return None;
            }
            if let Some(watch) = &mut distiller.watch {
                for value in watch.values() {
                    *value = f32::from_le_bytes(take(&mut bytes)?);
                }
            }
            distiller.chunk = tokens.get(header.settled..)?.to_vec();
            distiller.keeps = header.keeps;
            distiller.medoids = header.medoids;
            let options = header.options?;
            distiller.reserve = options.reserve(distiller.needs.attention);
            distiller.options = options;
        }
        self.slab.load(&mut bytes)?;
        let fewest = self.slab.lasting().map(|layer| self.slab.len(layer)).min()?;
        let since = header.tokens.checked_sub(header.settled)?;
        if !bytes.is_empty() || self.slab.read() != header.tokens || since > fewest {
            return None;
        }
        (self.distillations, self.settled, self.pinned) =
            (header.distillations, header.settled, header.pinned);
        Some((tokens, logits))
    }
}

/// Header, all bytes, and where the data begins.
fn read(path: &Path) -> Result<(Saved, Vec<u8>, usize), PotError> {
    let io = |source| PotError::Io { file: path.display().to_string(), source };
    let bytes = std::fs::read(path).map_err(io)?;
    let prefix = MAGIC.len() + 4 + 8;
    if bytes.len() < MAGIC.len() || &bytes[..MAGIC.len()] != MAGIC {
        return Err(PotError::File {
            file: path.display().to_string(),
            what: "not a saved session".to_owned(),
            hint: phrase!["a session is what ", Command::SaveSession, " wrote"],
        });
    }
    let mut rest = &bytes[MAGIC.len()..];
    let (Some(version), Some(length)) =
        (take(&mut rest).map(u32::from_le_bytes), take(&mut rest).map(u64::from_le_bytes))
    else {
        return Err(damaged(path, "it ends early"));
    };
    if version != VERSION {
        return Err(PotError::File {
            file: path.display().to_string(),
            what: format!("a session of version {version}; this program reads version {VERSION}"),
            hint: "start anew with another file, or use the program that wrote it".into(),
        });
    }
    let content = bytes.len().checked_sub(DIGEST).filter(|end| *end >= prefix);
    let Some(content) = content else { return Err(damaged(path, "it ends early")) };
    if Sha256::digest(&bytes[..content])[..] != bytes[content..] {
        return Err(damaged(path, "its checksum does not match"));
    }
    let header =
        usize::try_from(length).ok().filter(|length| *length <= HEADER && *length <= content - prefix);
    let json = header.and_then(|length| bytes.get(prefix..prefix + length)).filter(|_| content >= prefix);
    let saved =
        json.and_then(|json| serde_json::from_slice(json).ok().map(|saved| (saved, prefix + json.len())));
    match saved {
        Some((saved, start)) if start <= content => Ok((saved, bytes, start)),
        _ => Err(damaged(path, "its header cannot be read")),
    }
}

fn damaged(path: &Path, what: &str) -> PotError {
    PotError::File {
        file: path.display().to_string(),
        what: format!("damaged: {what}"),
        hint: "the session is lost; remove the file and start anew".into(),
    }
}
