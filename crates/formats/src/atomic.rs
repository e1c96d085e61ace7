//! Files that appear whole or not at all.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Writes beside the target and renames on [`AtomicFile::commit`]; dropped without it, nothing remains.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    temporary: PathBuf,
    out: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Starts a file that will become `target`.
    ///
    /// # Errors
    /// If the folder does not take a new file.
    pub fn create(target: &Path) -> Result<AtomicFile> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let name = target.file_name().ok_or_else(|| {
            Error::file(&target.display().to_string(), "is not the name of a file that could be written")
        })?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{number}.part", std::process::id()));
        let temporary = target.with_file_name(hidden);
        let file = File::create(&temporary).map_err(|source| Error::io(target, "create", source))?;
        let out = Some(BufWriter::with_capacity(1 << 20, file));
        Ok(AtomicFile { target: target.to_owned(), temporary, out })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// If the disk does not take them.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.out {
            Some(out) => out.write_all(bytes).map_err(|source| Error::io(&self.target, "write", source)),
            None => Ok(()),
        }
    }

    /// Flushes to the disk and puts the file in place of the target.
    ///
    /// # Errors
    /// If flushing or renaming fails; the target is then as it was.
    pub fn commit(mut self) -> Result<()> {
        if let Some(out) = self.out.take() {
            let write = |source| Error::io(&self.target, "write", source);
            let file = out.into_inner().map_err(|error| write(error.into_error()))?;
            file.sync_all().map_err(write)?;
            drop(file);
            if let Err(source) = std::fs::rename(&self.temporary, &self.target) {
                let _ = std::fs::remove_file(&self.temporary);
                return Err(Error::io(&self.target, "replace", source));
            }
        }
        Ok(())
    }

    /// Where the file will be.
    pub fn target(&self) -> &Path {
        &self.target
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.out.take().is_some() {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Writes a small file at once.
///
/// # Errors
/// As [`AtomicFile`].
pub fn write_file(target: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(target)?;
    file.write(bytes)?;
    file.commit()
}
