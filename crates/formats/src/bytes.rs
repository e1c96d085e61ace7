//! Bytes that are cheap to share: a mapped file, a part of the program, or memory of our own.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// A shared, read-only run of bytes. Cloning and slicing copy nothing.
#[derive(Clone)]
pub struct Bytes {
    storage: Storage,
    range: Range<usize>,
}

#[derive(Clone)]
enum Storage {
    Static(&'static [u8]),
    Mapped(Arc<Mmap>),
    Owned(Arc<Vec<u8>>),
}

impl Bytes {
    /// Bytes built into the program.
    pub const fn from_static(bytes: &'static [u8]) -> Bytes {
        Bytes { storage: Storage::Static(bytes), range: 0..bytes.len() }
    }

    /// The file at `path`, mapped. Its pages are read when touched and can be dropped by the system under
    /// memory pressure.
    ///
    /// # Errors
    /// If the file cannot be opened or mapped.
    pub fn map(path: &Path) -> Result<Bytes> {
        let file = File::open(path).map_err(|source| Error::io(path, "open", source))?;
        let metadata = file.metadata().map_err(|source| Error::io(path, "open", source))?;
        if metadata.is_dir() {
            return Err(Error::file(&path.display().to_string(), "is a folder, not a file"));
        }
        if metadata.len() == 0 {
            // An empty mapping is an error on some systems.
            return Ok(Bytes::from_static(&[]));
        }
        // SAFETY: the mapping is private and only read. Another process that shortens or rewrites the file
        // while it is open is outside what a process can guard against; writers in this project replace model
        // files by renaming, which leaves existing mappings as they were.
        let map = unsafe { Mmap::map(&file) }.map_err(|source| Error::io(path, "map", source))?;
        let range = 0..map.len();
        Ok(Bytes { storage: Storage::Mapped(Arc::new(map)), range })
    }

    /// The bytes of `range`, counted from the start of these, sharing the storage; `None` if it reaches beyond
    /// the end or is reversed.
    pub fn get(&self, range: Range<usize>) -> Option<Bytes> {
        if range.start > range.end || range.end > self.len() {
            return None;
        }
        let start = self.range.start;
        Some(Bytes { storage: self.storage.clone(), range: start + range.start..start + range.end })
    }

    /// As [`Bytes::get`], for ranges known to lie inside.
    ///
    /// # Panics
    /// If the range reaches beyond the end, as slicing does.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        match self.get(range.clone()) {
            Some(bytes) => bytes,
            None => panic!("range {range:?} outside {} bytes", self.len()),
        }
    }

    /// Whether these bytes lie in a mapped file, so that they take no memory of the process's own.
    pub fn is_mapped(&self) -> bool {
        matches!(self.storage, Storage::Mapped(_))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let all: &[u8] = match &self.storage {
            Storage::Static(bytes) => bytes,
            Storage::Mapped(map) => map,
            Storage::Owned(bytes) => bytes,
        };
        &all[self.range.clone()]
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        let range = 0..bytes.len();
        Bytes { storage: Storage::Owned(Arc::new(bytes)), range }
    }
}

impl From<&'static [u8]> for Bytes {
    fn from(bytes: &'static [u8]) -> Bytes {
        Bytes::from_static(bytes)
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.storage {
            Storage::Static(_) => "static",
            Storage::Mapped(_) => "mapped",
            Storage::Owned(_) => "owned",
        };
        write!(f, "Bytes({kind}, {} bytes)", self.len())
    }
}
