//! Writing version 3: the table first, then the tensors one after another, so that no more than one tensor
//! need be in memory.

use std::path::Path;

use crayon_files::OutputFile;
use crayon_kernels::Format;

use super::metadata::{Array, Metadata, Value};
use super::{DEFAULT_ALIGNMENT, MAGIC, type_number};
use crate::error::{Error, Result};
use crate::tensor::stored_bytes;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the file.
    pub name: String,
    /// Storage format.
    pub format: Format,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
}

/// A GGUF file in the making: [`Writer::create`], then [`Writer::tensor`] for every tensor in the order
/// announced, then [`Writer::finish`]. Without the last, no file remains.
#[derive(Debug)]
pub struct Writer {
    out: OutputFile,
    file: String,
    /// Tensors still to come, last first, with their sizes in bytes.
    pending: Vec<(TensorInfo, usize)>,
}

impl Writer {
    /// Starts the file and writes metadata and table.
    ///
    /// # Errors
    /// If the file cannot be created, a name appears twice or a shape does not fit its format.
    pub fn create(path: &Path, metadata: &Metadata, tensors: &[TensorInfo]) -> Result<Writer> {
        let file = path.display().to_string();
        let (header, sizes) = encode_header(&file, metadata, tensors)?;
        let mut out = OutputFile::create(path)?;
        out.write(&header)?;
        let pending = tensors.iter().cloned().zip(sizes).rev().collect();
        Ok(Writer { out, file, pending })
    }

    /// Appends the data of the next tensor.
    ///
    /// # Errors
    /// If its size is not what was announced, or the disk does not take it.
    pub fn tensor(&mut self, data: &[u8]) -> Result<()> {
        let Some((info, size)) = self.pending.pop() else {
            return Err(Error::file(&self.file, "more tensors were written than announced"));
        };
        if data.len() != size {
            let what = format!("{} {:?} takes {size} bytes, got {}", info.format, info.shape, data.len());
            return Err(Error::tensor(&self.file, &info.name, what));
        }
        self.out.write(data)?;
        Ok(self.out.write(&[0u8; DEFAULT_ALIGNMENT][..padding(data.len())])?)
    }

    /// Puts the file in place.
    ///
    /// # Errors
    /// If tensors are missing or the file cannot be renamed.
    pub fn finish(self) -> Result<()> {
        match self.pending.last() {
            Some((info, _)) => Err(Error::tensor(&self.file, &info.name, "was announced but not written")),
            None => Ok(self.out.commit()?),
        }
    }
}

/// A whole file in memory, for embedding and for tests: metadata, and tensors with their data.
///
/// # Errors
/// As [`Writer`].
pub fn to_bytes(name: &str, metadata: &Metadata, tensors: &[(TensorInfo, Vec<u8>)]) -> Result<Vec<u8>> {
    let infos: Vec<TensorInfo> = tensors.iter().map(|(info, _)| info.clone()).collect();
    let (mut out, sizes) = encode_header(name, metadata, &infos)?;
    for ((info, data), size) in tensors.iter().zip(sizes) {
        if data.len() != size {
            return Err(Error::tensor(name, &info.name, format!("takes {size} bytes, got {}", data.len())));
        }
        out.extend_from_slice(data);
        out.resize(out.len() + padding(data.len()), 0);
    }
    Ok(out)
}

fn padding(length: usize) -> usize {
    length.next_multiple_of(DEFAULT_ALIGNMENT) - length
}

/// Everything up to the first tensor, and the size of every tensor.
fn encode_header(file: &str, metadata: &Metadata, tensors: &[TensorInfo]) -> Result<(Vec<u8>, Vec<usize>)> {
    let mut names = std::collections::HashSet::new();
    let mut sizes = Vec::with_capacity(tensors.len());
    for info in tensors {
        if !names.insert(info.name.as_str()) {
            return Err(Error::tensor(file, &info.name, "appears twice"));
        }
        let size = stored_bytes(info.format, &info.shape).ok_or_else(|| {
            let what = format!("shape {:?} cannot be stored as {}", info.shape, info.format);
            Error::tensor(file, &info.name, what)
        })?;
        sizes.push(size);
    }
    let pairs = || metadata.iter().filter(|(key, _)| *key != "general.alignment");
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&3u32.to_le_bytes());
    put_size(&mut out, tensors.len());
    put_size(&mut out, pairs().count());
    for (key, value) in pairs() {
        put_string(&mut out, key);
        put_value(&mut out, value);
    }
    let mut offset = 0usize;
    for (info, size) in tensors.iter().zip(&sizes) {
        put_string(&mut out, &info.name);
        out.extend_from_slice(&(info.shape.len() as u32).to_le_bytes());
        for &size in info.shape.iter().rev() {
            put_size(&mut out, size);
        }
        out.extend_from_slice(&type_number(info.format).to_le_bytes());
        put_size(&mut out, offset);
        offset += size + padding(*size);
    }
    let pad = padding(out.len());
    out.resize(out.len() + pad, 0);
    Ok((out, sizes))
}

fn put_size(out: &mut Vec<u8>, size: usize) {
    out.extend_from_slice(&(size as u64).to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_size(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    let mut put = |kind: u32, bytes: &[u8]| {
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(bytes);
    };
    match value {
        Value::U8(v) => put(0, &v.to_le_bytes()),
        Value::I8(v) => put(1, &v.to_le_bytes()),
        Value::U16(v) => put(2, &v.to_le_bytes()),
        Value::I16(v) => put(3, &v.to_le_bytes()),
        Value::U32(v) => put(4, &v.to_le_bytes()),
        Value::I32(v) => put(5, &v.to_le_bytes()),
        Value::F32(v) => put(6, &v.to_le_bytes()),
        Value::Bool(v) => put(7, &[u8::from(*v)]),
        Value::String(v) => {
            put(8, &[]);
            put_string(out, v);
        }
        Value::Array(v) => {
            put(9, &[]);
            put_array(out, v);
        }
        Value::U64(v) => put(10, &v.to_le_bytes()),
        Value::I64(v) => put(11, &v.to_le_bytes()),
        Value::F64(v) => put(12, &v.to_le_bytes()),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    fn put<const N: usize, T: Copy>(
        out: &mut Vec<u8>,
        kind: u32,
        values: &[T],
        bytes: impl Fn(T) -> [u8; N],
    ) {
        out.extend_from_slice(&kind.to_le_bytes());
        put_size(out, values.len());
        out.extend(values.iter().flat_map(|&value| bytes(value)));
    }
    match array {
        Array::U8(v) => put(out, 0, v, u8::to_le_bytes),
        Array::I8(v) => put(out, 1, v, i8::to_le_bytes),
        Array::U16(v) => put(out, 2, v, u16::to_le_bytes),
        Array::I16(v) => put(out, 3, v, i16::to_le_bytes),
        Array::U32(v) => put(out, 4, v, u32::to_le_bytes),
        Array::I32(v) => put(out, 5, v, i32::to_le_bytes),
        Array::F32(v) => put(out, 6, v, f32::to_le_bytes),
        Array::Bool(v) => put(out, 7, v, |value| [u8::from(value)]),
        Array::String(v) => {
            out.extend_from_slice(&8u32.to_le_bytes());
            put_size(out, v.len());
            for text in v {
                put_string(out, text);
            }
        }
        Array::Array(v) => {
            out.extend_from_slice(&9u32.to_le_bytes());
            put_size(out, v.len());
            for inner in v {
                put_array(out, inner);
            }
        }
        Array::U64(v) => put(out, 10, v, u64::to_le_bytes),
        Array::I64(v) => put(out, 11, v, i64::to_le_bytes),
        Array::F64(v) => put(out, 12, v, f64::to_le_bytes),
    }
}
