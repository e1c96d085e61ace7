//! Import of vectors that clip-retrieval's inference wrote: `img_emb/img_emb_N.npy` beside `metadata/metadata_N.parquet`, a row each.
//!
//! A picture that lies where the table says is known by its contents, like one that was indexed: indexing its folder goes on from there. One
//! that is not here is known by its path or address alone, and has no date. Which model made the vectors, the files do not say: their width
//! must be the model's, and a few of the pictures that are here are embedded and compared.

mod npy;
mod table;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use self::npy::Npy;
use self::table::{Record, Table};
use crate::caught::caught;
use crate::indexing::read_file;
use crate::scan::dot;
use crate::{Batch, Details, Embedder, FileRecord, Hash, ImageError, Stamp, Store, details};

/// Pictures that are embedded to see whether the vectors are the model's.
const COMPARED: usize = 8;
/// Their least mean cosine with what was imported. Half precision and another resizing leave more than 0.99.
const LEAST: f32 = 0.9;
/// Rows between commits, at most.
const TOGETHER: usize = 4096;
/// Time between commits.
const BETWEEN_COMMITS: Duration = Duration::from_secs(1);

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// Rows of the tables.
    pub rows: usize,
    /// Pictures that are here.
    pub here: usize,
    /// Pictures of which only the path or the address is known.
    pub elsewhere: usize,
    /// Rows without a path, or whose vector is zero or no numbers.
    pub left_out: usize,
    /// Mean cosine of imported vectors with the model's own, over some pictures that are here.
    pub agreement: Option<f32>,
    /// Whether the caller stopped it.
    pub stopped: bool,
}

/// Imports the vectors below `folder`. Paths that are not absolute begin in `pictures`. `progress` hears how many of how many rows are done,
/// and may stop it; importing again begins anew and changes nothing that is there.
///
/// # Errors
/// If the folder has not that layout, files are damaged or do not belong together, vectors have another width than the model's or are those of
/// another one, or the disk refuses.
pub fn import(
    folder: &Path,
    pictures: &Path,
    store: &Store,
    embedder: &dyn Embedder,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Imported, ImageError> {
    let mut parts = Vec::new();
    for (vectors, table) in parts_of(folder)? {
        let npy = Npy::open(&vectors)?;
        if npy.dim != embedder.dim() {
            let what = format!(
                "its vectors have {} numbers, those of {} have {}",
                npy.dim,
                embedder.name(),
                embedder.dim()
            );
            return Err(ImageError::import(&vectors, what));
        }
        let rows = Table::open(&table)?.rows;
        if rows != npy.rows {
            let what = format!("it has {} vectors, {} has {rows} rows", npy.rows, table.display());
            return Err(ImageError::import(&vectors, what));
        }
        parts.push((vectors, table, rows));
    }
    let total = parts.iter().map(|(.., rows)| rows).sum();
    let mut work = Import {
        pictures,
        store,
        embedder,
        done: Imported::default(),
        batch: Batch::default(),
        committed: Instant::now(),
        compared: Vec::new(),
    };
    for (vectors, table, _) in parts {
        let mut npy = Npy::open(&vectors)?;
        let read = Table::open(&table)?.each(|record| {
            if progress(work.done.rows, total).is_break() {
                return Err(ImageError::Stopped);
            }
            let vector = npy.next()?;
            work.row(record, vector)
        });
        match read {
            Err(ImageError::Stopped) => {
                work.done.stopped = true;
                break;
            }
            other => other?,
        }
    }
    work.commit()?;
    store.sweep()?;
    Ok(work.done)
}

/// Files of vectors and the tables beside them, in the order of their numbers.
fn parts_of(folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>, ImageError> {
    let vectors = folder.join("img_emb");
    let entries = fs::read_dir(&vectors).map_err(|error| ImageError::io(&vectors, error))?;
    let mut parts = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| ImageError::io(&vectors, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(number) = name.strip_prefix("img_emb_").and_then(|rest| rest.strip_suffix(".npy")) else {
            continue;
        };
        let Ok(order) = number.parse::<u64>() else { continue };
        let table = folder.join("metadata").join(format!("metadata_{number}.parquet"));
        parts.push((order, path, table));
    }
    parts.sort();
    match parts.is_empty() {
        true => Err(ImageError::import(&vectors, "there is no img_emb_N.npy in it")),
        false => Ok(parts.into_iter().map(|(_, vectors, table)| (vectors, table)).collect()),
    }
}

struct Import<'a> {
    pictures: &'a Path,
    store: &'a Store,
    embedder: &'a dyn Embedder,
    done: Imported,
    batch: Batch,
    committed: Instant,
    /// Cosines of imported vectors with the model's own.
    compared: Vec<f32>,
}

impl Import<'_> {
    fn row(&mut self, record: Record, mut vector: Vec<f32>) -> Result<(), ImageError> {
        self.done.rows += 1;
        let length = dot(&vector, &vector).sqrt();
        let usable = length.is_finite() && length > 0.0;
        vector.iter_mut().for_each(|value| *value /= length);
        let Some(place) = self.place(&record).filter(|_| usable) else {
            self.done.left_out += 1;
            return Ok(());
        };
        let (path, file, mut known) = match place {
            Place::Here(path) => match self.here(&path, &vector)? {
                Some((file, known)) => (path, file, known),
                // It vanished or cannot be read.
                None => elsewhere(path.display().to_string()),
            },
            Place::Elsewhere(name) => elsewhere(name),
        };
        match file.stamp == Stamp::UNKNOWN {
            true => self.done.elsewhere += 1,
            false => self.done.here += 1,
        }
        (known.width, known.height) = match (known.width, known.height) {
            (0, 0) => (record.width.unwrap_or(0), record.height.unwrap_or(0)),
            size => size,
        };
        known.caption = record.caption;
        self.batch.pictures.push((file.hash, known, vector));
        self.batch.files.push((path, file));
        match self.batch.files.len() >= TOGETHER || self.committed.elapsed() >= BETWEEN_COMMITS {
            true => self.commit(),
            false => Ok(()),
        }
    }

    /// Where a picture is: on this disk, or at an address or a path that leads nowhere from here.
    fn place(&self, record: &Record) -> Option<Place> {
        let here = record.path.as_ref().and_then(|path| fs::canonicalize(self.pictures.join(path)).ok());
        match here.filter(|path| path.is_file()) {
            Some(path) => Some(Place::Here(path)),
            None => record.url.clone().or_else(|| record.path.clone()).map(Place::Elsewhere),
        }
    }

    /// A file as indexing would know it. The first few are embedded, too.
    fn here(&mut self, path: &Path, vector: &[f32]) -> Result<Option<(FileRecord, Details)>, ImageError> {
        let Ok((bytes, stamp)) = read_file(path) else { return Ok(None) };
        let hash: Hash = Sha256::digest(&bytes).into();
        if self.compared.len() < COMPARED
            && let Some(Ok(pixels)) = caught(|| self.embedder.prepare(&bytes))
        {
            let own = self.embedder.embed_pictures(&[pixels]).map_err(ImageError::Model)?;
            self.compared.push(dot(&own, vector));
        }
        Ok(Some((FileRecord { hash, stamp }, caught(|| details(&bytes)).unwrap_or_default())))
    }

    fn commit(&mut self) -> Result<(), ImageError> {
        if !self.compared.is_empty() {
            let mean = self.compared.iter().sum::<f32>() / self.compared.len() as f32;
            if mean < LEAST {
                return Err(ImageError::unusable(
                    format!(
                        "the vectors are not those of {}: pictures embedded by it have a mean cosine of {mean:.2} with them",
                        self.embedder.name()
                    ),
                    "name the model that made the vectors",
                ));
            }
            self.done.agreement = Some(mean);
        }
        self.store.write(&std::mem::take(&mut self.batch))?;
        self.committed = Instant::now();
        Ok(())
    }
}

enum Place {
    Here(PathBuf),
    Elsewhere(String),
}

/// A picture that is known by its name alone.
fn elsewhere(name: String) -> (PathBuf, FileRecord, Details) {
    let hash: Hash =
        Sha256::new().chain_update(b"a picture elsewhere\0").chain_update(&name).finalize().into();
    (PathBuf::from(name), FileRecord { hash, stamp: Stamp::UNKNOWN }, Details::default())
}
