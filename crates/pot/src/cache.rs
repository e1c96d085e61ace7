//! Pots kept on disk by what they read, so that a document is read once.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::{Owner, Pot, PotError};

/// A folder of pots. What was used longest ago goes when it grows beyond its limit.
#[derive(Clone, Debug)]
pub struct PrefixCache {
    folder: PathBuf,
    /// Bytes of all files together.
    limit: u64,
}

impl PrefixCache {
    /// A cache in `folder`, which is made when something is stored.
    pub fn new(folder: PathBuf, limit: u64) -> PrefixCache {
        PrefixCache { folder, limit }
    }

    /// Where a text read by `owner` into a pot of this shape is kept: the name covers model, adapter, shape, policy,
    /// catalyst, pinned places and every token.
    fn path(&self, pot: &Pot, owner: &Owner, tokens: &[u32]) -> PathBuf {
        let mut hash = Sha256::new();
        // The parts are JSON, so that none can be mistaken for another.
        let end = tokens.len() as u32;
        let pins: Vec<_> =
            pot.pinned.iter().map(|place| (place.start.min(end), place.end.min(end))).collect();
        let keeps = pot.distiller.as_ref().map(|distiller| &distiller.keeps);
        let shape = (owner, pot.options(), pot.slab().storage(), pot.slab().frequencies(), pins, keeps);
        hash.update(serde_json::to_vec(&shape).unwrap_or_default());
        tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
        let name = hex::encode(hash.finalize());
        self.folder.join(format!("{name}.pot"))
    }

    /// Fills `pot` with what was kept of exactly `tokens`; returns the logits after them. A damaged file counts as
    /// none and is removed.
    pub fn find(&self, pot: &mut Pot, owner: &Owner, tokens: &[u32]) -> Option<Vec<f32>> {
        let path = self.path(pot, owner, tokens);
        if !path.exists() {
            return None;
        }
        match pot.load(&path, owner) {
            Ok((found, logits)) if found == tokens => {
                // Used now; failing to say so only makes it look older.
                let _ = std::fs::File::options()
                    .append(true)
                    .open(&path)
                    .and_then(|file| file.set_modified(SystemTime::now()));
                Some(logits)
            }
            _ => {
                pot.clear();
                let _ = std::fs::remove_file(&path);
                None
            }
        }
    }

    /// Keeps `pot`, which read exactly `tokens`.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn store(
        &self,
        pot: &mut Pot,
        owner: &Owner,
        tokens: &[u32],
        logits: &[f32],
    ) -> Result<(), PotError> {
        crayon_files::create_folder(&self.folder)?;
        let path = self.path(pot, owner, tokens);
        pot.save(&path, owner, tokens, logits, "")?;
        self.prune(&path);
        Ok(())
    }

    /// Removes the oldest files but `newest` until the rest fits the limit.
    fn prune(&self, newest: &Path) {
        let mut files = self.files();
        files.sort_by_key(|(_, _, used)| *used);
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (path, size, _) in files {
            if total > self.limit && path != newest && std::fs::remove_file(&path).is_ok() {
                total -= size;
            }
        }
    }

    fn files(&self) -> Vec<(PathBuf, u64, SystemTime)> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let describe = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.ok()?.path();
            let data =
                path.extension().is_some_and(|end| end == "pot").then(|| std::fs::metadata(&path))?.ok()?;
            Some((path, data.len(), data.modified().ok()?))
        };
        entries.filter_map(describe).collect()
    }

    /// Number of texts kept and their bytes.
    pub fn size(&self) -> (usize, u64) {
        let files = self.files();
        (files.len(), files.iter().map(|(_, size, _)| size).sum())
    }

    /// Forgets everything; returns how many texts were kept.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn clear(&self) -> Result<usize, PotError> {
        let files = self.files();
        for (path, ..) in &files {
            std::fs::remove_file(path)
                .map_err(|source| PotError::Io { file: path.display().to_string(), source })?;
        }
        Ok(files.len())
    }
}
