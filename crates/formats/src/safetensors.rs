//! safetensors: a JSON table of tensors followed by their data; one file, or several with an index.
//!
//! Read by hand rather than with the reference library so that every complaint names the file and the tensor;
//! the rules are the reference's: offsets in order, no overlap, no holes, nothing behind the last tensor.
//!
//! A matrix `[rows, cols]` in a quantised format is stored as bytes: dtype `U8`, shape `[rows, bytes of a row]`, and
//! under `__metadata__` the format and the number of columns, such as `"crayon.lm_head.weight": "w4a8 896"`. A program
//! that does not know the key finds a matrix of the wrong shape and refuses it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crayon_files::OutputFile;
use crayon_kernels::Format;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::bytes::Bytes;
use crate::error::{DAMAGED, Error, Result, shown};
use crate::tensor::{Tensor, stored_bytes, unfit};

/// Longest JSON table, as in the reference implementation.
pub const MAX_HEADER: usize = 100_000_000;
/// Most dimensions of a tensor.
const MAX_DIMS: usize = 8;

/// One safetensors file.
#[derive(Clone, Debug)]
pub struct SafeTensors {
    /// Path or name, for messages.
    pub file: String,
    /// The free-form strings under `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
    bytes: Bytes,
}

/// A tensor in the table of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name in the file.
    pub name: String,
    /// Value type as the file spells it, such as `F32` or `I64`.
    pub dtype: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Bytes, counted from the start of the file.
    pub range: Range<usize>,
}

impl SafeTensors {
    /// Maps and reads the file at `path`.
    ///
    /// # Errors
    /// If it cannot be opened, is cut short or contradicts itself.
    pub fn open(path: &Path) -> Result<SafeTensors> {
        SafeTensors::from_bytes(&path.display().to_string(), Bytes::map(path)?)
    }

    /// Reads a file that is already in memory; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`SafeTensors::open`].
    pub fn from_bytes(name: &str, bytes: Bytes) -> Result<SafeTensors> {
        let damaged = |what: String| Error::file(name, what).with_hint(DAMAGED);
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(damaged(format!("has {} bytes, too few for a safetensors file", bytes.len())));
        };
        let length = u64::from_le_bytes(*length);
        let header = match usize::try_from(length) {
            Ok(length) if length <= MAX_HEADER => rest.get(..length),
            _ => None,
        };
        let Some(header) = header else {
            let what =
                format!("claims a table of {length} bytes, but {} follow (at most {MAX_HEADER})", rest.len());
            return Err(damaged(what));
        };
        let table: Table = serde_json::from_slice(header)
            .map_err(|error| damaged(format!("its table of tensors is not valid: {error}")))?;
        let data = 8 + header.len();
        let entries = place(name, table.entries, data, bytes.len())?;
        let index = entries.iter().enumerate().map(|(at, entry)| (entry.name.clone(), at)).collect();
        Ok(SafeTensors { file: name.to_owned(), metadata: table.metadata, entries, index, bytes })
    }

    /// The tensor called `name`, sharing the file's bytes; `None` if there is none.
    ///
    /// # Errors
    /// If its values are not f32, f16 or bf16, nor rows in a quantised format.
    pub fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        let Some(entry) = self.entry(name) else { return Ok(None) };
        if let Some(stored) = self.metadata.get(&key_of(name)) {
            return self.quantised(entry, stored).map(Some);
        }
        let Some(format) = format_of(&entry.dtype) else {
            let what = format!("has values of type {}, which is not supported", shown(&entry.dtype));
            return Err(Error::tensor(&self.file, name, what).with_hint(
                "use the f32, f16 or bf16 build of the model, or a GGUF file for quantised weights",
            ));
        };
        let data = self.bytes.get(entry.range.clone()).unwrap_or(Bytes::from_static(&[]));
        Tensor::new(&self.file, name, format, entry.shape.clone(), data).map(Some)
    }

    /// The matrix whose rows `entry` holds as bytes; `stored` is what the metadata say of it.
    fn quantised(&self, entry: &Entry, stored: &str) -> Result<Tensor> {
        let bad = |what: String| Error::tensor(&self.file, &entry.name, what).with_hint(DAMAGED);
        let parsed = stored.split_once(' ').and_then(|(format, cols)| {
            let format = Format::from_name(format).filter(|format| !format.is_float())?;
            Some((format, cols.parse::<usize>().ok()?))
        });
        let Some((format, cols)) = parsed else {
            return Err(bad(format!("is said to be `{}`, which is not a quantised format", shown(stored))));
        };
        let shape = match (entry.dtype.as_str(), entry.shape.as_slice()) {
            ("U8", &[rows, bytes]) if format.row_bytes(cols) == Some(bytes) => vec![rows, cols],
            _ => {
                return Err(bad(format!(
                    "has type {} and shape {:?}, no rows of {cols} values in {format}",
                    shown(&entry.dtype),
                    entry.shape
                )));
            }
        };
        let data = self.bytes.get(entry.range.clone()).unwrap_or(Bytes::from_static(&[]));
        Tensor::new(&self.file, &entry.name, format, shape, data)
    }

    /// The table entry of the tensor called `name`.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.index.get(name).and_then(|&at| self.entries.get(at))
    }

    /// Table entries in the order of their data.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Tensor names in the order of their data.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }
}

/// The files an index such as `model.safetensors.index.json` names, in name order.
///
/// # Errors
/// If the index is not valid, names files outside its folder, or a file lacks a tensor it should hold.
pub fn open_index(path: &Path) -> Result<Vec<SafeTensors>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: StringMap,
    }
    let file = path.display().to_string();
    let json = Bytes::map(path)?;
    let index: Index = serde_json::from_slice(&json)
        .map_err(|error| Error::file(&file, format!("is not a valid index of safetensors files: {error}")))?;
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let mut shards: BTreeMap<&str, SafeTensors> = BTreeMap::new();
    for (tensor, shard) in &index.weight_map.0 {
        if !is_plain_name(shard) {
            let what = format!("is placed in `{}`, which is not a file of this folder", shown(shard));
            return Err(Error::tensor(&file, tensor, what));
        }
        if !shards.contains_key(shard.as_str()) {
            let opened = SafeTensors::open(&folder.join(shard)).map_err(|error| match error {
                Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Error::tensor(
                    &file,
                    tensor,
                    format!("is placed in `{}`, which is not there", shown(shard)),
                )
                .with_hint("the download is incomplete; fetch the missing file"),
                other => other,
            })?;
            shards.insert(shard, opened);
        }
        let held = shards.get(shard.as_str()).is_some_and(|shard| shard.entry(tensor).is_some());
        if !held {
            let what = format!("is placed in `{}`, which does not hold it", shown(shard));
            return Err(Error::tensor(&file, tensor, what).with_hint(DAMAGED));
        }
    }
    Ok(shards.into_values().collect())
}

/// Writes tensors of floats or in quantised formats to one file, atomically, in the order given.
///
/// # Errors
/// If a quantised tensor is not a matrix, a name appears twice, or the file cannot be written.
pub fn write(path: &Path, tensors: &[Tensor], metadata: &BTreeMap<String, String>) -> Result<()> {
    let mut writer = Writer::create(path, &infos(tensors), metadata)?;
    for tensor in tensors {
        writer.tensor(&tensor.data)?;
    }
    writer.finish()
}

/// The same file in memory; `name` is what messages call it.
///
/// # Errors
/// If a quantised tensor is not a matrix or a name appears twice.
pub fn to_bytes(name: &str, tensors: &[Tensor], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let (mut bytes, _) = table(name, &infos(tensors), metadata)?;
    bytes.reserve_exact(tensors.iter().map(|tensor| tensor.data.len()).sum());
    for tensor in tensors {
        bytes.extend_from_slice(&tensor.data);
    }
    Ok(bytes)
}

/// Name, format and shape of a tensor to be written.
type Info = (String, Format, Vec<usize>);
/// Names and bytes of tensors.
type Sizes = Vec<(String, usize)>;

fn infos(tensors: &[Tensor]) -> Vec<Info> {
    tensors.iter().map(|tensor| (tensor.name.clone(), tensor.format, tensor.shape.clone())).collect()
}

/// The beginning of a file, up to its data, and the size in bytes of every tensor.
fn table(file: &str, tensors: &[Info], metadata: &BTreeMap<String, String>) -> Result<(Vec<u8>, Sizes)> {
    let mut table = serde_json::Map::new();
    let mut metadata = metadata.clone();
    for (name, format, shape) in tensors {
        if let (false, Some(cols)) = (format.is_float(), shape.last()) {
            metadata.insert(key_of(name), format!("{format} {cols}"));
        }
    }
    if !metadata.is_empty() {
        table.insert("__metadata__".to_owned(), serde_json::json!(metadata));
    }
    let mut sizes = Vec::with_capacity(tensors.len());
    let mut offset = 0usize;
    for (name, format, shape) in tensors {
        if !format.is_float() && shape.len() != 2 {
            return Err(Error::tensor(
                file,
                name,
                format!("has shape {shape:?}, which is not a matrix ({format})"),
            ));
        }
        let size = stored_bytes(*format, shape).ok_or_else(|| {
            Error::tensor(file, name, format!("has shape {shape:?}, which {}", unfit(*format)))
        })?;
        let shape = match (format.is_float(), shape.first()) {
            (false, Some(&rows)) => vec![rows, size.checked_div(rows).unwrap_or(0)],
            _ => shape.clone(),
        };
        let row = serde_json::json!({"dtype": dtype_of(*format), "shape": shape, "data_offsets": [offset, offset + size]});
        if table.insert(name.clone(), row).is_some() {
            return Err(Error::tensor(file, name, "appears twice"));
        }
        offset += size;
        sizes.push((name.clone(), size));
    }
    let mut header = serde_json::Value::Object(table).to_string().into_bytes();
    // Spaces bring the data to a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut header);
    Ok((bytes, sizes))
}

/// A safetensors file in the making: the table first, then the data of every tensor in the order announced.
#[derive(Debug)]
pub struct Writer {
    out: OutputFile,
    file: String,
    /// Tensors still to come, last first, with their sizes in bytes.
    pending: Vec<(String, usize)>,
}

impl Writer {
    /// Starts the file and writes the table of `tensors`: name, format, shape.
    ///
    /// # Errors
    /// If a format is one of blocks, a name appears twice, or the file cannot be created.
    pub fn create(path: &Path, tensors: &[Info], metadata: &BTreeMap<String, String>) -> Result<Writer> {
        let file = path.display().to_string();
        let (beginning, mut pending) = table(&file, tensors, metadata)?;
        pending.reverse();
        let mut out = OutputFile::create(path)?;
        out.write(&beginning)?;
        Ok(Writer { out, file, pending })
    }

    /// Appends the data of the next tensor.
    ///
    /// # Errors
    /// If its size is not what was announced, or the disk does not take it.
    pub fn tensor(&mut self, data: &[u8]) -> Result<()> {
        match self.pending.pop() {
            Some((_, size)) if size == data.len() => Ok(self.out.write(data)?),
            Some((name, size)) => {
                Err(Error::tensor(&self.file, &name, format!("takes {size} bytes, got {}", data.len())))
            }
            None => Err(Error::file(&self.file, "more tensors were written than announced")),
        }
    }

    /// Puts the file in place.
    ///
    /// # Errors
    /// If tensors are missing or the file cannot be renamed.
    pub fn finish(self) -> Result<()> {
        match self.pending.last() {
            Some((name, _)) => Err(Error::tensor(&self.file, name, "was announced but not written")),
            None => Ok(self.out.commit()?),
        }
    }
}

/// The format of a dtype, if it is one of the floats this project computes with.
fn format_of(dtype: &str) -> Option<Format> {
    match dtype {
        "F32" => Some(Format::F32),
        "F16" => Some(Format::F16),
        "BF16" => Some(Format::BF16),
        _ => None,
    }
}

fn dtype_of(format: Format) -> &'static str {
    match format {
        Format::F32 => "F32",
        Format::F16 => "F16",
        Format::BF16 => "BF16",
        _ => "U8",
    }
}

/// The metadata key that says how a tensor's rows are stored.
fn key_of(tensor: &str) -> String {
    format!("crayon.{tensor}")
}

/// Whether a name in an index is a file right beside it, so that an index cannot reach elsewhere.
fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(std::path::Component::Normal(_)), None))
        && !name.contains(['/', '\\'])
}

/// Checks sizes and offsets and turns them into ranges of the file.
fn place(file: &str, rows: Vec<(String, Row)>, data: usize, length: usize) -> Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(rows.len());
    for (name, row) in rows {
        let bad = |what: String| Error::tensor(file, &name, what).with_hint(DAMAGED);
        if row.shape.len() > MAX_DIMS {
            return Err(bad(format!("has {} dimensions; at most {MAX_DIMS} are allowed", row.shape.len())));
        }
        let elements = row.shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let Some(elements) = elements else {
            return Err(bad(format!("shape {:?} is too large", row.shape)));
        };
        let [start, end] = row.data_offsets;
        let range = match (data.checked_add(start), data.checked_add(end)) {
            (Some(first), Some(last)) if start <= end && last <= length => first..last,
            _ => {
                return Err(bad(format!(
                    "lies at bytes {start} to {end}, but the file holds {} bytes of tensor data",
                    length - data
                )));
            }
        };
        if let Some(format) = format_of(&row.dtype)
            && elements.checked_mul(format.block_bytes()) != Some(range.len())
        {
            let what = format!("{} {:?} does not fit its {} bytes", row.dtype, row.shape, range.len());
            return Err(bad(what));
        }
        entries.push(Entry { name, dtype: row.dtype, shape: row.shape, range });
    }
    entries.sort_by_key(|entry| (entry.range.start, entry.range.end));
    let mut at = data;
    for entry in &entries {
        if entry.range.start != at {
            let relation =
                if entry.range.start < at { "overlaps the one before it" } else { "leaves a gap before it" };
            return Err(Error::tensor(file, &entry.name, relation).with_hint(DAMAGED));
        }
        at = entry.range.end;
    }
    if at != length {
        return Err(
            Error::file(file, format!("has {} bytes behind its last tensor", length - at)).with_hint(DAMAGED)
        );
    }
    Ok(entries)
}

/// One row of the table.
#[derive(Deserialize)]
struct Row {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// The whole table. Duplicate names are an error here; a plain JSON map would keep the last one silently.
struct Table {
    metadata: BTreeMap<String, String>,
    entries: Vec<(String, Row)>,
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Table, D::Error> {
        struct TableVisitor;

        impl<'de> Visitor<'de> for TableVisitor {
            type Value = Table;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Table, A::Error> {
                use serde::de::Error as _;
                let mut table = Table { metadata: BTreeMap::new(), entries: Vec::new() };
                let mut seen = std::collections::HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!("tensor `{}` appears twice", shown(&name))));
                    }
                    if name == "__metadata__" {
                        table.metadata = map.next_value()?;
                        continue;
                    }
                    let row = map
                        .next_value::<Row>()
                        .map_err(|error| A::Error::custom(format!("tensor `{}`: {error}", shown(&name))))?;
                    table.entries.push((name, row));
                }
                Ok(table)
            }
        }

        deserializer.deserialize_map(TableVisitor)
    }
}

/// A JSON object of strings in file order that refuses duplicate keys.
struct StringMap(Vec<(String, String)>);

impl<'de> Deserialize<'de> for StringMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<StringMap, D::Error> {
        struct MapVisitor;

        impl<'de> Visitor<'de> for MapVisitor {
            type Value = StringMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object of file names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<StringMap, A::Error> {
                use serde::de::Error as _;
                let mut pairs = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("tensor `{}` appears twice", shown(&key))));
                    }
                    pairs.push((key, value));
                }
                Ok(StringMap(pairs))
            }
        }

        deserializer.deserialize_map(MapVisitor)
    }
}
