//! Reading: header, metadata and tensor table are checked in full when the file is opened, the data stays
//! where it is.

use std::collections::HashMap;
use std::path::Path;

use crayon_kernels::Format;

use super::metadata::{Array, Metadata, Value};
use super::{DEFAULT_ALIGNMENT, MAGIC, format_of, parts, type_name};
use crate::bytes::Bytes;
use crate::error::{DAMAGED, Error, Result, shown};
use crate::tensor::{Tensor, stored_bytes, unfit};

/// Arrays inside arrays are followed this deep.
const MAX_NESTING: usize = 4;
/// Dimensions of a tensor, as in ggml.
const MAX_DIMS: u32 = 4;
/// Smallest entries of the tables, which bound the counts a header may claim: a key (8-byte length), a type
/// and a one-byte value; a name, the number of dimensions, a type and an offset.
const MIN_PAIR: usize = 8 + 4 + 1;
const MIN_TENSOR: usize = 8 + 4 + 4 + 8;

/// A GGUF file with its metadata read and its tensors located.
#[derive(Clone, Debug)]
pub struct Gguf {
    /// Path or name, for messages.
    pub file: String,
    /// 2 or 3.
    pub version: u32,
    /// Key-value pairs.
    pub metadata: Metadata,
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
    /// The files, one but for models in several.
    parts: Vec<Bytes>,
}

/// A tensor in the table of a file: what it is and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name in the file.
    pub name: String,
    /// Storage format.
    pub format: Format,
    /// Sizes, outermost first (the reverse of the order in the file).
    pub shape: Vec<usize>,
    /// Which of the model's files holds it, from 0.
    pub part: usize,
    /// First byte, counted from the start of that file.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Gguf {
    /// Maps and reads the file at `path`; of a model in several files, all of them, whichever is named.
    ///
    /// # Errors
    /// If it cannot be opened, is not GGUF of version 2 or 3, contradicts itself, reaches beyond its end or
    /// holds a tensor of a type this project does not compute with; if another file of the model is missing.
    pub fn open(path: &Path) -> Result<Gguf> {
        let gguf = Gguf::from_part(&path.display().to_string(), Bytes::map(path)?)?;
        match parts::place(&gguf.metadata)? {
            Some((_, count)) => parts::join(path, gguf, count),
            None => Ok(gguf),
        }
    }

    /// Reads a file that is already in memory; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`Gguf::open`], and if the model has other files.
    pub fn from_bytes(name: &str, bytes: Bytes) -> Result<Gguf> {
        let gguf = Gguf::from_part(name, bytes)?;
        match parts::place(&gguf.metadata)? {
            Some((_, count)) => Err(Error::file(name, format!("is one of {count} parts of a model"))
                .with_hint("open it by its path, with the other parts beside it")),
            None => Ok(gguf),
        }
    }

    /// Reads one file, whatever part of a model it is.
    pub(super) fn from_part(name: &str, bytes: Bytes) -> Result<Gguf> {
        let mut cursor = Cursor { file: name, bytes: &bytes, at: 0 };
        let (version, tensors, pairs) = read_header(&mut cursor)?;
        let metadata = read_metadata(&mut cursor, pairs)?;
        let entries = read_tensors(&mut cursor, tensors, &metadata)?;
        let mut index = HashMap::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            if index.insert(entry.name.clone(), at).is_some() {
                return Err(Error::tensor(name, &entry.name, "appears twice").with_hint(DAMAGED));
            }
        }
        Ok(Gguf { file: name.to_owned(), version, metadata, entries, index, parts: vec![bytes] })
    }

    /// Adds the tensors of another part of the same model.
    pub(super) fn append(&mut self, other: Gguf) -> Result<()> {
        for mut entry in other.entries {
            entry.part += self.parts.len();
            if self.index.insert(entry.name.clone(), self.entries.len()).is_some() {
                return Err(Error::tensor(&other.file, &entry.name, "is in two parts of the model")
                    .with_hint(DAMAGED));
            }
            self.entries.push(entry);
        }
        self.parts.extend(other.parts);
        Ok(())
    }

    /// The tensor called `name`, sharing the file's bytes.
    pub fn tensor(&self, name: &str) -> Option<Tensor> {
        let entry = self.entry(name)?;
        let data = self.parts.get(entry.part)?.get(entry.start..entry.end)?;
        Some(Tensor { name: entry.name.clone(), format: entry.format, shape: entry.shape.clone(), data })
    }

    /// The table entry of the tensor called `name`.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.index.get(name).and_then(|&at| self.entries.get(at))
    }

    /// Table entries in file order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Tensor names in file order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }
}

fn read_header(cursor: &mut Cursor<'_>) -> Result<(u32, usize, usize)> {
    let file = cursor.file;
    let magic = cursor.bytes.get(..4).unwrap_or_default();
    if magic != MAGIC {
        return Err(Error::file(file, "does not start with `GGUF`")
            .with_hint("give a .gguf file, or a folder with config.json and safetensors"));
    }
    cursor.at = 4;
    let version = u32::from_le_bytes(cursor.array("the version")?);
    match version {
        2 | 3 => {}
        1 => {
            return Err(Error::file(file, "is GGUF version 1, which is no longer read")
                .with_hint("convert the model again with a current converter"));
        }
        _ if matches!(version.swap_bytes(), 1..=3) => {
            return Err(
                Error::file(file, "is a big-endian GGUF file").with_hint("use the little-endian build")
            );
        }
        _ => {
            return Err(Error::file(file, format!("is GGUF version {version}; versions 2 and 3 are read"))
                .with_hint("convert the model to GGUF version 3"));
        }
    }
    let tensors = cursor.count(MIN_TENSOR, "", "the number of tensors")?;
    let pairs = cursor.count(MIN_PAIR, "", "the number of metadata entries")?;
    Ok((version, tensors, pairs))
}

fn read_metadata(cursor: &mut Cursor<'_>, pairs: usize) -> Result<Metadata> {
    let mut metadata = Metadata::new(cursor.file);
    for number in 0..pairs {
        let key = cursor.string(&format!("the key of metadata entry {number}"))?;
        let value = cursor.typed_value("its value").map_err(|error| match error {
            Error::File { file, what, hint } => Error::Key { file, key: shown(&key), what, hint },
            other => other,
        })?;
        if metadata.insert(&key, value).is_some() {
            return Err(Error::key(cursor.file, &key, "appears twice").with_hint(DAMAGED));
        }
    }
    Ok(metadata)
}

fn read_tensors(cursor: &mut Cursor<'_>, count: usize, metadata: &Metadata) -> Result<Vec<Entry>> {
    let file = cursor.file;
    let alignment = metadata.usize("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() || alignment < 8 {
        return Err(Error::key(
            file,
            "general.alignment",
            format!("{alignment} is not a power of two of 8 or more"),
        ));
    }
    // Offsets count from the data section, which is known only after the table: `start` holds the offset and
    // `end` the size until then.
    let mut entries = Vec::with_capacity(count);
    for number in 0..count {
        entries.push(read_entry(cursor, number, alignment)?);
    }
    let data = cursor
        .at
        .checked_next_multiple_of(alignment)
        .ok_or_else(|| Error::file(file, "the data section starts beyond the address space"))?;
    for entry in &mut entries {
        let start = data.checked_add(entry.start);
        let end = start.and_then(|start| start.checked_add(entry.end));
        match (start, end) {
            (Some(start), Some(end)) if end <= cursor.bytes.len() => (entry.start, entry.end) = (start, end),
            _ => {
                let (offset, size, have) = (entry.start, entry.end, cursor.bytes.len().saturating_sub(data));
                let what = format!(
                    "needs {size} bytes at offset {offset}, but the file holds {have} bytes of tensor data"
                );
                return Err(Error::tensor(file, &entry.name, what).with_hint(DAMAGED));
            }
        }
    }
    let mut by_start: Vec<&Entry> = entries.iter().collect();
    by_start.sort_by_key(|entry| entry.start);
    for pair in by_start.windows(2) {
        if let [first, second] = pair
            && first.end > second.start
        {
            let what = format!("overlaps tensor `{}`", shown(&first.name));
            return Err(Error::tensor(file, &second.name, what).with_hint(DAMAGED));
        }
    }
    Ok(entries)
}

/// One row of the tensor table, with the offset in `start` and the size in `end`.
fn read_entry(cursor: &mut Cursor<'_>, number: usize, alignment: usize) -> Result<Entry> {
    let file = cursor.file;
    let name = cursor.string(&format!("the name of tensor {number}"))?;
    let bad = |what: String| Error::tensor(file, &name, what);
    let what = format!("the description of tensor `{}`", shown(&name));
    let dims = u32::from_le_bytes(cursor.array(&what)?);
    if dims > MAX_DIMS {
        return Err(bad(format!("has {dims} dimensions; at most {MAX_DIMS} are allowed")).with_hint(DAMAGED));
    }
    let mut shape = Vec::with_capacity(dims as usize);
    for _ in 0..dims {
        let size = u64::from_le_bytes(cursor.array(&what)?);
        match usize::try_from(size) {
            Ok(size) if size > 0 => shape.push(size),
            _ => return Err(bad(format!("has a dimension of {size} values")).with_hint(DAMAGED)),
        }
    }
    shape.reverse();
    let kind = u32::from_le_bytes(cursor.array(&what)?);
    let Some(format) = format_of(kind) else {
        let called = type_name(kind).unwrap_or("unknown");
        return Err(bad(format!("has type {kind} ({called}), which is not supported")).with_hint(
            "convert or download the model in f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k, w8a8 or w4a8",
        ));
    };
    let offset = u64::from_le_bytes(cursor.array(&what)?);
    let size = stored_bytes(format, &shape)
        .ok_or_else(|| bad(format!("has shape {shape:?}, which {}", unfit(format))).with_hint(DAMAGED))?;
    let start = usize::try_from(offset).map_err(|_| bad(format!("offset {offset} is out of range")))?;
    if !start.is_multiple_of(alignment) {
        return Err(
            bad(format!("offset {start} is not a multiple of the alignment {alignment}")).with_hint(DAMAGED)
        );
    }
    Ok(Entry { name, format, shape, part: 0, start, end: size })
}

/// Bounds-checked reading of little-endian values.
struct Cursor<'a> {
    file: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8]> {
        let taken = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        match taken {
            Some(bytes) => {
                self.at += count;
                Ok(bytes)
            }
            None => Err(Error::file(
                self.file,
                format!("ends in the middle of {what} (byte {} of {})", self.at, self.bytes.len()),
            )
            .with_hint(DAMAGED)),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let bytes = self.take(N, what)?;
        <[u8; N]>::try_from(bytes)
            .map_err(|_| Error::file(self.file, format!("ends in the middle of {what}")))
    }

    /// A 64-bit count of things that take at least `smallest` bytes each, so that no more memory is set aside
    /// than the file could fill.
    fn count(&mut self, smallest: usize, of: &str, what: &str) -> Result<usize> {
        let count = u64::from_le_bytes(self.array(what)?);
        let most = self.remaining() / smallest.max(1);
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(Error::file(
                self.file,
                format!(
                    "{of}{what} is given as {count}, more than the remaining {} bytes can hold",
                    self.remaining()
                ),
            )
            .with_hint(DAMAGED)),
        }
    }

    fn string(&mut self, what: &str) -> Result<String> {
        let length = self.count(1, "the length of ", what)?;
        let bytes = self.take(length, what)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => {
                let at = error.valid_up_to();
                Err(Error::file(self.file, format!("{what} is not UTF-8 (byte {at} of {length})"))
                    .with_hint(DAMAGED))
            }
        }
    }

    fn truth(&mut self, what: &str) -> Result<bool> {
        match self.array::<1>(what)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => {
                Err(Error::file(self.file, format!("{what} is a bool of value {other}")).with_hint(DAMAGED))
            }
        }
    }

    fn typed_value(&mut self, what: &str) -> Result<Value> {
        let kind = u32::from_le_bytes(self.array(what)?);
        Ok(match kind {
            0 => Value::U8(u8::from_le_bytes(self.array(what)?)),
            1 => Value::I8(i8::from_le_bytes(self.array(what)?)),
            2 => Value::U16(u16::from_le_bytes(self.array(what)?)),
            3 => Value::I16(i16::from_le_bytes(self.array(what)?)),
            4 => Value::U32(u32::from_le_bytes(self.array(what)?)),
            5 => Value::I32(i32::from_le_bytes(self.array(what)?)),
            6 => Value::F32(f32::from_le_bytes(self.array(what)?)),
            7 => Value::Bool(self.truth(what)?),
            8 => Value::String(self.string(what)?),
            9 => Value::Array(self.elements(what, 0)?),
            10 => Value::U64(u64::from_le_bytes(self.array(what)?)),
            11 => Value::I64(i64::from_le_bytes(self.array(what)?)),
            12 => Value::F64(f64::from_le_bytes(self.array(what)?)),
            _ => {
                return Err(Error::file(self.file, format!("{what} has unknown value type {kind}"))
                    .with_hint(DAMAGED));
            }
        })
    }

    fn elements(&mut self, what: &str, depth: usize) -> Result<Array> {
        let kind = u32::from_le_bytes(self.array(what)?);
        Ok(match kind {
            0 => Array::U8(self.numbers(what, u8::from_le_bytes)?),
            1 => Array::I8(self.numbers(what, i8::from_le_bytes)?),
            2 => Array::U16(self.numbers(what, u16::from_le_bytes)?),
            3 => Array::I16(self.numbers(what, i16::from_le_bytes)?),
            4 => Array::U32(self.numbers(what, u32::from_le_bytes)?),
            5 => Array::I32(self.numbers(what, i32::from_le_bytes)?),
            6 => Array::F32(self.numbers(what, f32::from_le_bytes)?),
            7 => {
                let count = self.count(1, "the length of ", what)?;
                Array::Bool((0..count).map(|_| self.truth(what)).collect::<Result<_>>()?)
            }
            8 => {
                let count = self.count(8, "the length of ", what)?;
                let mut strings = Vec::with_capacity(count);
                for number in 0..count {
                    let text = self.string(what).map_err(|error| match error {
                        Error::File { file, what, hint } => {
                            Error::File { file, what: format!("{what}, element {number}"), hint }
                        }
                        other => other,
                    })?;
                    strings.push(text);
                }
                Array::String(strings)
            }
            9 if depth < MAX_NESTING => {
                let count = self.count(12, "the length of ", what)?;
                Array::Array((0..count).map(|_| self.elements(what, depth + 1)).collect::<Result<_>>()?)
            }
            9 => {
                return Err(Error::file(self.file, format!("{what} nests arrays deeper than {MAX_NESTING}")));
            }
            10 => Array::U64(self.numbers(what, u64::from_le_bytes)?),
            11 => Array::I64(self.numbers(what, i64::from_le_bytes)?),
            12 => Array::F64(self.numbers(what, f64::from_le_bytes)?),
            _ => {
                return Err(Error::file(self.file, format!("{what} is an array of unknown type {kind}"))
                    .with_hint(DAMAGED));
            }
        })
    }

    fn numbers<const N: usize, T>(&mut self, what: &str, read: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        let count = self.count(N, "the length of ", what)?;
        let bytes = self.take(count.saturating_mul(N), what)?;
        Ok(bytes.as_chunks::<N>().0.iter().map(|&chunk| read(chunk)).collect())
    }
}
