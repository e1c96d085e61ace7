//! Matrices of numpy's `.npy` files (NEP 1, versions 1 to 3), row after row.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use half::f16;

use crate::ImageError;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// The longest header that is read; those of matrices have about 100 bytes.
const LONGEST_HEADER: usize = 1 << 16;
/// The widest row.
const WIDEST: usize = 1 << 16;

/// A matrix on its way out of a file.
pub(super) struct Npy {
    path: PathBuf,
    reader: BufReader<File>,
    /// Bytes of a number: 2, 4 or 8.
    width: usize,
    /// Rows of the matrix.
    pub(super) rows: usize,
    /// Numbers of a row.
    pub(super) dim: usize,
}

impl Npy {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// If it holds no matrix of f16, f32 or f64 in rows, or is not as long as its header says.
    pub(super) fn open(path: &Path) -> Result<Npy, ImageError> {
        let fail = |what: &str| ImageError::import(path, what);
        let file = File::open(path).map_err(|error| ImageError::io(path, error))?;
        let length = file.metadata().map_err(|error| ImageError::io(path, error))?.len();
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut read = |count: usize| {
            let mut bytes = vec![0; count];
            reader.read_exact(&mut bytes).map(|()| bytes)
        };
        let start = read(8).ok().filter(|start| start.starts_with(MAGIC));
        let version = start.ok_or_else(|| fail("this is not a .npy file"))?[6];
        let digits = match version {
            1 => 2,
            2 | 3 => 4,
            _ => return Err(fail("this version of .npy is not known")),
        };
        let cut = || fail("its header is cut short");
        let size = read(digits).map_err(|_| cut())?;
        let size = size.iter().rev().fold(0, |size, byte| size << 8 | usize::from(*byte));
        if size > LONGEST_HEADER {
            return Err(fail("its header is too long"));
        }
        let header = String::from_utf8(read(size).map_err(|_| cut())?)
            .map_err(|_| fail("its header is not a text"))?;
        let (width, rows, dim) = described(&header).map_err(|what| fail(&what))?;
        let begins = 8 + digits + size;
        let wanted =
            rows.checked_mul(dim).and_then(|count| count.checked_mul(width)).map(|bytes| bytes + begins);
        if wanted.and_then(|bytes| u64::try_from(bytes).ok()) != Some(length) {
            return Err(fail(&format!(
                "it has {length} bytes, which do not fit its {rows} rows of {dim} numbers"
            )));
        }
        Ok(Npy { path: path.to_owned(), reader, width, rows, dim })
    }

    /// The next row.
    ///
    /// # Errors
    /// If the file is shorter by now, or cannot be read.
    pub(super) fn next(&mut self) -> Result<Vec<f32>, ImageError> {
        let mut bytes = vec![0; self.width * self.dim];
        self.reader.read_exact(&mut bytes).map_err(|error| ImageError::io(&self.path, error))?;
        Ok(match self.width {
            2 => bytes.as_chunks::<2>().0.iter().map(|two| f16::from_le_bytes(*two).to_f32()).collect(),
            4 => bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect(),
            _ => bytes.as_chunks::<8>().0.iter().map(|eight| f64::from_le_bytes(*eight) as f32).collect(),
        })
    }
}

/// Bytes of a number, rows and columns, of a header such as `{'descr': '<f2', 'fortran_order': False, 'shape': (3, 512), }`.
fn described(header: &str) -> Result<(usize, usize, usize), String> {
    let value = |key: &str| {
        let at = header.find(&format!("'{key}'"))? + key.len() + 2;
        Some(header[at..].trim_start().strip_prefix(':')?.trim_start())
    };
    let missing = |key: &str| format!("its header has no {key}");
    let descr = value("descr").ok_or_else(|| missing("descr"))?;
    let width = [("'<f2'", 2), ("'<f4'", 4), ("'<f8'", 8)];
    let width = width.iter().find(|(name, _)| descr.starts_with(name)).map(|(_, width)| *width);
    let width = width.ok_or("its numbers are not f16, f32 or f64 in the order of little-endian bytes")?;
    if !value("fortran_order").ok_or_else(|| missing("fortran_order"))?.starts_with("False") {
        return Err("its numbers lie in columns, not in rows".to_owned());
    }
    let shape = value("shape").ok_or_else(|| missing("shape"))?;
    let shape = shape.strip_prefix('(').and_then(|shape| shape.split_once(')')).map(|(inside, _)| inside);
    let sizes = shape.unwrap_or_default().split(',').map(str::trim).filter(|size| !size.is_empty());
    let sizes: Option<Vec<usize>> = sizes.map(|size| size.parse().ok()).collect();
    match sizes.as_deref() {
        Some([rows, dim]) if (1..=WIDEST).contains(dim) => Ok((width, *rows, *dim)),
        _ => Err("it holds no matrix of a vector a row".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file of version 1 with `header`, and `bytes` behind it.
    fn file(header: &str, bytes: &[u8]) -> Vec<u8> {
        let size = (header.len() as u16).to_le_bytes();
        [&MAGIC[..], &[1, 0], &size, header.as_bytes(), bytes].concat()
    }

    fn opened(bytes: &[u8]) -> Result<Vec<Vec<f32>>, ImageError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        std::fs::write(&path, bytes).unwrap();
        let mut npy = Npy::open(&path)?;
        (0..npy.rows).map(|_| npy.next()).collect()
    }

    #[test]
    fn matrices_of_every_width_are_read() {
        let values = [1.0f32, -0.5, 0.25, 2.0];
        let halves: Vec<u8> = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        let singles: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let doubles: Vec<u8> = values.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect();
        for (kind, bytes) in [("<f2", halves), ("<f4", singles), ("<f8", doubles)] {
            let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (2, 2), }}\n");
            assert_eq!(opened(&file(&header, &bytes)).unwrap(), [[1.0, -0.5], [0.25, 2.0]], "{kind}");
            assert!(opened(&file(&header, &bytes[1..])).is_err());
        }
    }

    #[test]
    fn what_is_no_matrix_is_refused() {
        for header in [
            "{'descr': '>f4', 'fortran_order': False, 'shape': (1, 1)}",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999)}",
            "{'descr': '<f4', 'fortran_order': False}",
            "",
        ] {
            assert!(opened(&file(header, &[0; 4])).is_err(), "{header}");
        }
        for bytes in
            [&b""[..], b"\x93NUMPY\x09\x00", b"PK\x03\x04 a zip file", b"\x93NUMPY\x02\x00\xff\xff\xff\xff"]
        {
            assert!(opened(bytes).is_err());
        }
    }

    proptest! {
        #[test]
        fn headers_of_any_kind_are_no_panic(header in r#"\{?('descr'|'shape'|'fortran_order'|: ?|'<f[248]'|False|\(|\)|,|[0-9]+| )*\}?"#) {
            let _ = described(&header);
            let _ = opened(&file(&header, &[0; 16]));
        }
    }
}
