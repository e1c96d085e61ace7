//! The file of an index, in redb: transactions, checksums, one process that writes and any number that read.
//!
//! | table | key | value |
//! |---|---|---|
//! | `about` | a name | the version of this layout; name, fingerprint and width of the model; the cut-off; which graph is this state's |
//! | `files` | a path | [`FileRecord`]: which picture, size and time of the file |
//! | `pictures` | SHA-256 of the file | [`Details`] as JSON |
//! | `vectors` | the same | the vector in half precision |
//! | `codes` | the same | the vector in 8 bits with a scale, for the scan |
//! | `broken` | a path | [`Broken`] as JSON |
//! | `places` | SHA-256 of the file | every path it lies at |
//! | `keywords` | a keyword in lower case | SHA-256 of every picture that has it |

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use crayon_kernels::{Format, quantize_rows};
use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, MultimapTableDefinition, ReadOnlyDatabase,
    ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
};

use crate::caught::caught;
use crate::record::{halves, json_from_bytes, vector_from_bytes};
use crate::{Broken, Details, Embedder, FileRecord, Hash, ImageError};

const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
const FILES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("files");
const PICTURES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pictures");
const VECTORS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("vectors");
const CODES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("codes");
const BROKEN: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("broken");

const PLACES: MultimapTableDefinition<'_, &[u8], &[u8]> = MultimapTableDefinition::new("places");
const KEYWORDS: MultimapTableDefinition<'_, &str, &[u8]> = MultimapTableDefinition::new("keywords");

/// Version of the layout above.
const VERSION: &str = "1";
/// The name of the graph of this state of the index, which is forgotten when its pictures change.
pub(crate) const GRAPH: &str = "graph";
/// Memory for pages of a file.
const CACHE: usize = 64 << 20;

/// Which model made an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeWith {
    /// What it is called.
    pub name: String,
    /// [`crate::Embedder::fingerprint`].
    pub fingerprint: String,
    /// Numbers of a vector.
    pub dim: usize,
}

impl MadeWith {
    /// Of the model in use.
    pub fn of(embedder: &dyn Embedder) -> MadeWith {
        MadeWith { name: embedder.name(), fingerprint: embedder.fingerprint(), dim: embedder.dim() }
    }

    /// Name and beginning of the fingerprint.
    fn shown(&self) -> String {
        let short: String = self.fingerprint.chars().take(12).collect();
        format!("{} ({short})", self.name)
    }

    /// Refuses another model.
    pub(crate) fn must_be(&self, model: &MadeWith, file: &Path) -> Result<(), ImageError> {
        self.must_be_at(model, &file.display().to_string())
    }

    /// The same for an index that may not be a file.
    pub(crate) fn must_be_at(&self, model: &MadeWith, index: &str) -> Result<(), ImageError> {
        if self.fingerprint == model.fingerprint && self.dim == model.dim {
            return Ok(());
        }
        let file = index.to_owned();
        Err(ImageError::OtherModel { file, made_with: self.shown(), model: model.shown() })
    }
}

/// What is written at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// New pictures with their vectors of length 1.
    pub pictures: Vec<(Hash, Details, Vec<f32>)>,
    /// Files and which picture they hold.
    pub files: Vec<(PathBuf, FileRecord)>,
    /// Files that are not pictures.
    pub broken: Vec<(PathBuf, Broken)>,
    /// Files that are gone.
    pub gone: Vec<PathBuf>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.pictures.is_empty() && self.files.is_empty() && self.broken.is_empty() && self.gone.is_empty()
    }
}

/// An index open for writing. One process at a time has it.
pub struct Store {
    path: PathBuf,
    database: Database,
    made_with: MadeWith,
}

/// An index open for reading.
pub struct Reader {
    path: PathBuf,
    transaction: ReadTransaction,
    made_with: MadeWith,
}

/// All vectors of an index in 8 bits, a row each: a scale and the codes.
pub struct Codes {
    /// Which picture a row is, in order.
    pub hashes: Vec<Hash>,
    /// `[pictures, dim]` in [`Format::W8A8`].
    pub bytes: Vec<u8>,
}

impl Store {
    /// Opens an index, or makes a new one for `model`.
    ///
    /// # Errors
    /// If the file is not an index, damaged, of another model or layout, or in use by another process that writes.
    pub fn open(path: &Path, model: &MadeWith) -> Result<Store, ImageError> {
        let is_new = !path.exists();
        let mut builder = builder();
        builder.set_check_integrity_on_open(true);
        let open = || if is_new { builder.create(path) } else { builder.open(path) };
        let database = guarded(path, || open().map_err(|error| database_error(path, error)))?;
        let mut store = Store { path: path.to_owned(), database, made_with: model.clone() };
        if is_new {
            store.begin(model)?;
        }
        let transaction = store.database.begin_read().map_err(|error| damaged(path, error))?;
        store.made_with = read_about(path, &transaction)?;
        store.made_with.must_be(model, path)?;
        Ok(store)
    }

    fn begin(&self, model: &MadeWith) -> Result<(), ImageError> {
        let dim = model.dim.to_string();
        let rows = [
            ("version", VERSION),
            ("model", &model.name),
            ("fingerprint", &model.fingerprint),
            ("dim", &dim),
        ];
        self.transact(|transaction| {
            let mut about = transaction.open_table(ABOUT)?;
            for (name, value) in rows {
                about.insert(name, value.as_bytes())?;
            }
            for table in [FILES, PICTURES, VECTORS, CODES, BROKEN] {
                transaction.open_table(table)?;
            }
            transaction.open_multimap_table(PLACES)?;
            transaction.open_multimap_table(KEYWORDS)?;
            Ok(())
        })
    }

    fn transact(
        &self,
        write: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), ImageError> {
        guarded(&self.path, || {
            let whole = || {
                let mut transaction = self.database.begin_write()?;
                // After a kill the file opens at once, at the last commit.
                transaction.set_quick_repair(true);
                write(&transaction)?;
                Ok(transaction.commit()?)
            };
            whole().map_err(|error: redb::Error| match error {
                redb::Error::Io(source) => ImageError::io(&self.path, source),
                other => damaged(&self.path, other),
            })
        })
    }

    /// Writes a batch, all of it or nothing.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, batch: &Batch) -> Result<(), ImageError> {
        let dim = self.made_with.dim;
        self.transact(|transaction| {
            if !batch.pictures.is_empty() {
                transaction.open_table(ABOUT)?.remove(GRAPH)?;
            }
            let mut pictures = transaction.open_table(PICTURES)?;
            let mut vectors = transaction.open_table(VECTORS)?;
            let mut codes = transaction.open_table(CODES)?;
            for (hash, details, vector) in &batch.pictures {
                let json = serde_json::to_vec(details).unwrap_or_default();
                let mut code = Vec::new();
                quantize_rows(Format::W8A8, dim, vector, &mut code);
                pictures.insert(&hash[..], &json[..])?;
                vectors.insert(&hash[..], &halves(vector)[..])?;
                codes.insert(&hash[..], &code[..])?;
            }
            let mut keywords = transaction.open_multimap_table(KEYWORDS)?;
            for (hash, details, _) in &batch.pictures {
                for keyword in &details.keywords {
                    keywords.insert(keyword.to_lowercase().as_str(), &hash[..])?;
                }
            }
            let mut files = transaction.open_table(FILES)?;
            let mut places = transaction.open_multimap_table(PLACES)?;
            let mut broken = transaction.open_table(BROKEN)?;
            // What lay at a path before lies there no more.
            let mut leave = |path: &[u8], old: Option<FileRecord>| match old {
                Some(old) => places.remove(&old.hash[..], path).map(|_| ()),
                None => Ok(()),
            };
            for (path, record) in &batch.files {
                let path = to_bytes(path);
                let old = files.insert(&path[..], &record.to_bytes()[..])?;
                leave(&path, old.and_then(|old| FileRecord::from_bytes(old.value())))?;
                broken.remove(&path[..])?;
            }
            for (path, record) in &batch.broken {
                let path = to_bytes(path);
                let json = serde_json::to_vec(record).unwrap_or_default();
                broken.insert(&path[..], &json[..])?;
                leave(&path, files.remove(&path[..])?.and_then(|old| FileRecord::from_bytes(old.value())))?;
            }
            for path in &batch.gone {
                let path = to_bytes(path);
                broken.remove(&path[..])?;
                leave(&path, files.remove(&path[..])?.and_then(|old| FileRecord::from_bytes(old.value())))?;
            }
            for (path, record) in &batch.files {
                places.insert(&record.hash[..], &to_bytes(path)[..])?;
            }
            Ok(())
        })
    }

    /// Removes pictures that no file holds any more; how many.
    ///
    /// # Errors
    /// If the file is damaged or the disk refuses.
    pub fn sweep(&self) -> Result<usize, ImageError> {
        let reader = self.reader()?;
        let used: HashSet<Hash> = reader.files()?.into_values().map(|record| record.hash).collect();
        let lost: Vec<Hash> = reader.hashes()?.into_iter().filter(|hash| !used.contains(hash)).collect();
        if lost.is_empty() {
            return Ok(0);
        }
        let mut words = Vec::new();
        for hash in &lost {
            let keywords = reader.detail(hash)?.keywords;
            words.extend(keywords.into_iter().map(|keyword| (keyword.to_lowercase(), *hash)));
        }
        drop(reader);
        self.transact(|transaction| {
            transaction.open_table(ABOUT)?.remove(GRAPH)?;
            let mut keywords = transaction.open_multimap_table(KEYWORDS)?;
            for (keyword, hash) in &words {
                keywords.remove(keyword.as_str(), &hash[..])?;
            }
            for table in [PICTURES, VECTORS, CODES] {
                let mut table = transaction.open_table(table)?;
                for hash in &lost {
                    table.remove(&hash[..])?;
                }
            }
            Ok(())
        })?;
        Ok(lost.len())
    }

    /// Keeps a value beside the pictures.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remember(&self, name: &str, value: &[u8]) -> Result<(), ImageError> {
        self.transact(|transaction| {
            transaction.open_table(ABOUT)?.insert(name, value)?;
            Ok(())
        })
    }

    /// What is in the index now.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn reader(&self) -> Result<Reader, ImageError> {
        let transaction = self.database.begin_read().map_err(|error| damaged(&self.path, error))?;
        Ok(Reader { path: self.path.clone(), transaction, made_with: self.made_with.clone() })
    }
}

impl Reader {
    /// Opens an index for reading, beside others who read and one who writes.
    ///
    /// # Errors
    /// If there is none, or it is damaged or of another layout.
    pub fn open(path: &Path) -> Result<Reader, ImageError> {
        std::fs::metadata(path).map_err(|error| ImageError::io(path, error))?;
        guarded(path, || {
            let opened = match builder().open_read_only(path) {
                // A process was killed while it wrote: opening the file for writing takes it back to the last commit.
                Err(DatabaseError::RepairAborted) => {
                    drop(builder().open(path).map_err(|error| database_error(path, error))?);
                    builder().open_read_only(path)
                }
                other => other,
            };
            let database: ReadOnlyDatabase = opened.map_err(|error| database_error(path, error))?;
            let transaction = database.begin_read().map_err(|error| damaged(path, error))?;
            let made_with = read_about(path, &transaction)?;
            Ok(Reader { path: path.to_owned(), transaction, made_with })
        })
    }

    /// The index's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which model made it.
    pub fn made_with(&self) -> &MadeWith {
        &self.made_with
    }

    /// A value that was remembered.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn recall(&self, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        guarded(&self.path, || {
            let table = self.transaction.open_table(ABOUT).map_err(|error| damaged(&self.path, error))?;
            let value = table.get(name).map_err(|error| damaged(&self.path, error))?;
            Ok(value.map(|value| value.value().to_vec()))
        })
    }

    /// Every row of a table through `read`, which gives `None` for what cannot be a record.
    fn rows<K: Eq + std::hash::Hash, V>(
        &self,
        table: TableDefinition<'_, &'static [u8], &'static [u8]>,
        what: &str,
        mut read: impl FnMut(&[u8], &[u8]) -> Option<(K, V)>,
    ) -> Result<Vec<(K, V)>, ImageError> {
        guarded(&self.path, || {
            let table = self.transaction.open_table(table).map_err(|error| damaged(&self.path, error))?;
            let mut rows = Vec::new();
            for row in table.iter().map_err(|error| damaged(&self.path, error))? {
                let (key, value) = row.map_err(|error| damaged(&self.path, error))?;
                let record = read(key.value(), value.value());
                rows.push(record.ok_or_else(|| damaged(&self.path, format!("a record of {what}")))?);
            }
            Ok(rows)
        })
    }

    /// Every file with the picture it holds.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn files(&self) -> Result<HashMap<PathBuf, FileRecord>, ImageError> {
        let read = |path: &[u8], record: &[u8]| Some((from_bytes(path)?, FileRecord::from_bytes(record)?));
        Ok(self.rows(FILES, "a file", read)?.into_iter().collect())
    }

    /// Every file that was not a picture.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn broken(&self) -> Result<HashMap<PathBuf, Broken>, ImageError> {
        let read = |path: &[u8], record: &[u8]| Some((from_bytes(path)?, json_from_bytes(record)?));
        Ok(self.rows(BROKEN, "a broken file", read)?.into_iter().collect())
    }

    /// What is known of every picture.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn details(&self) -> Result<HashMap<Hash, Details>, ImageError> {
        let read = |hash: &[u8], record: &[u8]| Some((hash.try_into().ok()?, json_from_bytes(record)?));
        Ok(self.rows(PICTURES, "a picture", read)?.into_iter().collect())
    }

    fn hashes(&self) -> Result<Vec<Hash>, ImageError> {
        let rows = self.rows(PICTURES, "a picture", |hash, _| Some((Hash::try_from(hash).ok()?, ())))?;
        Ok(rows.into_iter().map(|(hash, ())| hash).collect())
    }

    /// What is known of a picture; nothing of one that is not there.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn detail(&self, hash: &Hash) -> Result<Details, ImageError> {
        guarded(&self.path, || {
            let table = self.transaction.open_table(PICTURES).map_err(|error| damaged(&self.path, error))?;
            let value = table.get(&hash[..]).map_err(|error| damaged(&self.path, error))?;
            let read = |bytes: &[u8]| {
                json_from_bytes(bytes).ok_or_else(|| damaged(&self.path, "a record of a picture"))
            };
            value.map_or_else(|| Ok(Details::default()), |value| read(value.value()))
        })
    }

    /// The record of a file, if it is known.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn file(&self, path: &Path) -> Result<Option<FileRecord>, ImageError> {
        guarded(&self.path, || {
            let table = self.transaction.open_table(FILES).map_err(|error| damaged(&self.path, error))?;
            let value = table.get(&to_bytes(path)[..]).map_err(|error| damaged(&self.path, error))?;
            Ok(value.and_then(|value| FileRecord::from_bytes(value.value())))
        })
    }

    /// Every path at which a picture lies, in order.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn places(&self, hash: &Hash) -> Result<Vec<PathBuf>, ImageError> {
        guarded(&self.path, || {
            let fail = |error: redb::Error| damaged(&self.path, error);
            let table = self.transaction.open_multimap_table(PLACES).map_err(|error| fail(error.into()))?;
            let mut places = Vec::new();
            for place in table.get(&hash[..]).map_err(|error| fail(error.into()))? {
                let place = place.map_err(|error| fail(error.into()))?;
                places.extend(from_bytes(place.value()));
            }
            Ok(places)
        })
    }

    /// The pictures with a keyword, which is in lower case.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn with_keyword(&self, keyword: &str) -> Result<Vec<Hash>, ImageError> {
        guarded(&self.path, || {
            let fail = |error: redb::Error| damaged(&self.path, error);
            let table = self.transaction.open_multimap_table(KEYWORDS).map_err(|error| fail(error.into()))?;
            let mut hashes = Vec::new();
            for hash in table.get(keyword).map_err(|error| fail(error.into()))? {
                let hash = hash.map_err(|error| fail(error.into()))?;
                hashes.extend(Hash::try_from(hash.value()));
            }
            Ok(hashes)
        })
    }

    /// The vectors of some pictures, `[pictures, dim]`.
    ///
    /// # Errors
    /// If one is not there or the index is damaged.
    pub fn vectors(&self, hashes: &[Hash]) -> Result<Vec<f32>, ImageError> {
        guarded(&self.path, || {
            let table = self.transaction.open_table(VECTORS).map_err(|error| damaged(&self.path, error))?;
            let mut all = Vec::with_capacity(hashes.len() * self.made_with.dim);
            for hash in hashes {
                let value = table.get(&hash[..]).map_err(|error| damaged(&self.path, error))?;
                let vector = value.and_then(|value| vector_from_bytes(value.value(), self.made_with.dim));
                all.extend(vector.ok_or_else(|| damaged(&self.path, "a vector"))?);
            }
            Ok(all)
        })
    }

    /// All vectors in 8 bits.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn codes(&self) -> Result<Codes, ImageError> {
        let row = Format::W8A8.row_bytes(self.made_with.dim).unwrap_or(0);
        let mut bytes = Vec::new();
        let rows = self.rows(CODES, "a vector", |hash, code| {
            let scale = code.first_chunk::<4>().map(|bytes| f32::from_le_bytes(*bytes));
            if code.len() != row || !scale.is_some_and(f32::is_finite) {
                return None;
            }
            bytes.extend_from_slice(code);
            Some((Hash::try_from(hash).ok()?, ()))
        })?;
        Ok(Codes { hashes: rows.into_iter().map(|(hash, ())| hash).collect(), bytes })
    }
}

/// One process writes, others read beside it.
fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE).set_concurrency_mode(ConcurrencyMode::SingleWriter);
    builder
}

fn read_about(path: &Path, transaction: &ReadTransaction) -> Result<MadeWith, ImageError> {
    let table = transaction.open_table(ABOUT).map_err(|error| match error {
        TableError::TableDoesNotExist(_) => ImageError::index(path, "this is not an index of pictures"),
        other => damaged(path, other),
    })?;
    let text = |name: &str| -> Result<String, ImageError> {
        let value = table.get(name).map_err(|error| damaged(path, error))?;
        let text = value.and_then(|value| String::from_utf8(value.value().to_vec()).ok());
        text.ok_or_else(|| damaged(path, format!("its {name}")))
    };
    let version = text("version")?;
    if version != VERSION {
        let what = format!("an index in layout {version}; this program knows {VERSION}");
        return Err(ImageError::index(path, what));
    }
    let dim = text("dim")?.parse().ok().filter(|dim| (1..=1 << 16).contains(dim));
    let dim = dim.ok_or_else(|| damaged(path, "its width"))?;
    Ok(MadeWith { name: text("model")?, fingerprint: text("fingerprint")?, dim })
}

fn damaged(path: &Path, what: impl Display) -> ImageError {
    ImageError::index(path, format!("the index is damaged ({what})"))
}

fn database_error(path: &Path, error: DatabaseError) -> ImageError {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            ImageError::InUse { file: path.display().to_string(), what: "only one may write".to_owned() }
        }
        DatabaseError::Storage(redb::StorageError::Io(source))
            if !matches!(source.kind(), InvalidData | UnexpectedEof) =>
        {
            ImageError::io(path, source)
        }
        DatabaseError::Storage(redb::StorageError::Io(_)) => {
            ImageError::index(path, "this is not an index of pictures, or one cut short")
        }
        other => damaged(path, other),
    }
}

/// A file that was changed by something else can make the store panic, which is then an error as any other.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    caught(work).unwrap_or_else(|| Err(damaged(path, "its pages do not fit together")))
}

#[cfg(unix)]
fn to_bytes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(unix)]
fn from_bytes(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
}

#[cfg(not(unix))]
fn to_bytes(path: &Path) -> Vec<u8> {
    path.to_string_lossy().into_owned().into_bytes()
}

#[cfg(not(unix))]
fn from_bytes(bytes: &[u8]) -> Option<PathBuf> {
    String::from_utf8(bytes.to_vec()).ok().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stamp;

    fn model(fingerprint: &str) -> MadeWith {
        MadeWith { name: "made up".to_owned(), fingerprint: fingerprint.to_owned(), dim: 4 }
    }

    fn batch(count: u8) -> Batch {
        let hash = |i| [i; 32];
        let details = || Details { keywords: vec!["Beach".to_owned()], ..Details::default() };
        let stamp = Stamp { size: 1, modified: 2 };
        Batch {
            pictures: (0..count).map(|i| (hash(i), details(), vec![0.5, -0.5, 0.5, 0.5])).collect(),
            files: (0..count)
                .map(|i| (PathBuf::from(format!("/{i}")), FileRecord { hash: hash(i), stamp }))
                .collect(),
            ..Batch::default()
        }
    }

    #[test]
    fn what_was_written_is_read_beside_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        assert!(Reader::open(&path).is_err());
        let store = Store::open(&path, &model("f")).unwrap();
        store.write(&batch(3)).unwrap();
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.made_with(), &model("f"));
        assert_eq!(reader.files().unwrap().len(), 3);
        assert_eq!(reader.codes().unwrap().bytes.len(), 3 * 8);
        assert_eq!(reader.vectors(&[[1; 32]]).unwrap(), [0.5, -0.5, 0.5, 0.5]);
        assert!(reader.vectors(&[[9; 32]]).is_err());
        let second = Store::open(&path, &model("f")).err().unwrap();
        assert!(matches!(second, ImageError::InUse { .. }), "{second}");
        store.write(&Batch { gone: vec!["/0".into()], ..Batch::default() }).unwrap();
        assert_eq!(store.sweep().unwrap(), 1);
        assert_eq!(store.reader().unwrap().with_keyword("beach").unwrap(), [[1; 32], [2; 32]]);
        assert_eq!(store.reader().unwrap().places(&[1; 32]).unwrap(), [PathBuf::from("/1")]);
        let moved =
            (PathBuf::from("/1"), FileRecord { hash: [2; 32], stamp: Stamp { size: 1, modified: 2 } });
        store.write(&Batch { files: vec![moved], ..Batch::default() }).unwrap();
        let places = |hash| store.reader().unwrap().places(&[hash; 32]).unwrap().len();
        assert_eq!([places(0), places(1), places(2)], [0, 0, 2]);
        assert_eq!(Reader::open(&path).unwrap().codes().unwrap().hashes.len(), 2);
        drop(store);
        let other = Store::open(&path, &model("g")).err().unwrap();
        assert!(matches!(other, ImageError::OtherModel { .. }), "{other}");
    }

    #[test]
    fn a_damaged_index_is_refused_and_never_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        Store::open(&path, &model("f")).unwrap().write(&batch(100)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let read = Reader::open(&path).and_then(|reader| {
                reader.files()?;
                reader.codes()?;
                reader.details()
            });
            let _ = Store::open(&path, &model("f")).and_then(|store| store.write(&batch(1)));
            read.map(|details| details.len())
        };
        for bytes in [&b"no index"[..], &whole[..whole.len() / 3], &[0; 8192]] {
            assert!(read(bytes).is_err());
        }
        for at in (0..whole.len()).step_by(1009) {
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            let _ = read(&changed);
        }
        let other = folder.path().join("other");
        drop(Builder::new().create(&other).unwrap());
        assert!(matches!(Reader::open(&other), Err(ImageError::Index { .. })));
    }
}
