//! A named array in one of the storage formats.

use std::ops::Range;

use crayon_kernels::Format;
use half::{bf16, f16};

use crate::bytes::Bytes;
use crate::error::{Error, Result};

/// A tensor as a file stores it; cloning shares the data.
///
/// `data` holds the values in row-major order, rows (the last dimension) in whole blocks of `format` or, in a per-channel
/// format, each with its scale.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Canonical name, or the file's own name where it was read without a checkpoint.
    pub name: String,
    /// How the values are stored.
    pub format: Format,
    /// Sizes, outermost first: a linear weight is `[out, in]`.
    pub shape: Vec<usize>,
    /// The stored bytes.
    pub data: Bytes,
}

/// Bytes of a tensor of this format and shape, or `None` when rows are not whole blocks, the size overflows, or the
/// format is per-channel and the shape no matrix or its rows too long.
pub fn stored_bytes(format: Format, shape: &[usize]) -> Option<usize> {
    if format.is_per_channel() && shape.len() != 2 {
        return None;
    }
    let (&cols, outer) = match shape.split_last() {
        Some(split) => split,
        None => return format.row_bytes(1),
    };
    let rows = outer.iter().try_fold(1usize, |product, &size| product.checked_mul(size))?;
    // A shape whose element count overflows is refused even if a zero makes its bytes vanish.
    rows.checked_mul(cols)?;
    format.row_bytes(cols)?.checked_mul(rows)
}

/// What is wrong with a shape that [`stored_bytes`] has no size for.
pub(crate) fn unfit(format: Format) -> String {
    match format.is_per_channel() {
        true => format!(
            "is too large or not a matrix with rows of at most {} values ({format})",
            Format::LONGEST_ROW
        ),
        false => format!(
            "is too large or has rows that are not whole blocks of {} values ({format})",
            format.block_len()
        ),
    }
}

impl Tensor {
    /// A tensor after checking that `data` has the size that format and shape ask for.
    ///
    /// # Errors
    /// If the size differs; `file` is named in the message.
    pub fn new(file: &str, name: &str, format: Format, shape: Vec<usize>, data: Bytes) -> Result<Tensor> {
        match stored_bytes(format, &shape) {
            Some(bytes) if bytes == data.len() => Ok(Tensor { name: name.to_owned(), format, shape, data }),
            Some(bytes) => Err(Error::tensor(
                file,
                name,
                format!("{format} {shape:?} takes {bytes} bytes, found {}", data.len()),
            )),
            None => Err(Error::tensor(file, name, format!("has shape {shape:?}, which {}", unfit(format)))),
        }
    }

    /// A tensor of floats of our own making.
    pub fn from_f32(name: &str, shape: Vec<usize>, values: &[f32]) -> Tensor {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor { name: name.to_owned(), format: Format::F32, shape, data: bytes.into() }
    }

    /// Number of values.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Size of the last dimension; 1 for a scalar.
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The values as `f32`, in row-major order.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.elements()];
        match self.format {
            Format::F32 => {
                for (value, bytes) in out.iter_mut().zip(self.data.as_chunks::<4>().0) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
            Format::F16 => {
                for (value, bytes) in out.iter_mut().zip(self.data.as_chunks::<2>().0) {
                    *value = f16::from_le_bytes(*bytes).to_f32();
                }
            }
            Format::BF16 => {
                for (value, bytes) in out.iter_mut().zip(self.data.as_chunks::<2>().0) {
                    *value = bf16::from_le_bytes(*bytes).to_f32();
                }
            }
            quantised => crayon_kernels::dequantize_rows(quantised, self.cols(), &self.data, &mut out),
        }
        out
    }

    /// Rows `range` of a tensor of two dimensions (of one dimension: the values), sharing the data.
    ///
    /// # Panics
    /// If the range reaches beyond the rows, or a vector's range does not fall on block borders.
    pub fn rows(&self, range: Range<usize>) -> Tensor {
        let rows = self.shape.first().copied().unwrap_or(1);
        assert!(
            range.start <= range.end && range.end <= rows,
            "rows {range:?} of tensor `{}` {:?}",
            self.name,
            self.shape
        );
        let row_bytes = self.data.len().checked_div(rows).unwrap_or(0);
        assert!(row_bytes * rows == self.data.len(), "rows of a block-quantised vector");
        let mut shape = self.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = range.len();
        }
        let data = self.data.slice(range.start * row_bytes..range.end * row_bytes);
        Tensor { name: self.name.clone(), format: self.format, shape, data }
    }

    /// Index of the first value that is NaN or infinite, or for quantised formats of the first value of the first
    /// block or row whose scale or minimum is; `None` when all is finite.
    ///
    /// Reads floats whole and of blocks and rows only the scales.
    pub fn first_non_finite(&self) -> Option<usize> {
        match self.format {
            Format::F32 => {
                first_bad::<4>(&self.data, |bytes| u32::from_le_bytes(bytes) & 0x7F80_0000 == 0x7F80_0000)
            }
            Format::F16 => first_bad::<2>(&self.data, |bytes| u16::from_le_bytes(bytes) & 0x7C00 == 0x7C00),
            Format::BF16 => first_bad::<2>(&self.data, |bytes| u16::from_le_bytes(bytes) & 0x7F80 == 0x7F80),
            // Scales of the block, as offsets of f16 values: one scale, or a scale and a minimum.
            Format::Q8_0 | Format::Q4_0 | Format::Q5_0 => self.first_bad_block(&[0]),
            Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => self.first_bad_block(&[0, 2]),
            Format::Q6K => self.first_bad_block(&[208]),
            Format::W8A8 | Format::W4A8 => {
                let row_bytes = self.format.row_bytes(self.cols())?;
                let is_bad = |row: &[u8]| {
                    row.first_chunk().is_some_and(|&scale| !f32::from_le_bytes(scale).is_finite())
                };
                Some(self.data.chunks_exact(row_bytes).position(is_bad)? * self.cols())
            }
        }
    }

    fn first_bad_block(&self, offsets: &[usize]) -> Option<usize> {
        let is_bad = |block: &[u8]| {
            offsets.iter().any(|&at| match block.get(at..at + 2) {
                Some(&[low, high]) => u16::from_le_bytes([low, high]) & 0x7C00 == 0x7C00,
                _ => false,
            })
        };
        let block = self.data.chunks_exact(self.format.block_bytes()).position(is_bad)?;
        Some(block * self.format.block_len())
    }
}

/// First of the `N`-byte values that is bad. Runs of values are folded without a branch per value, so that the
/// compiler can use vector instructions.
fn first_bad<const N: usize>(bytes: &[u8], is_bad: impl Fn([u8; N]) -> bool) -> Option<usize> {
    const RUN: usize = 256;
    let values = bytes.as_chunks::<N>().0;
    for (run, chunk) in values.chunks(RUN).enumerate() {
        if chunk.iter().fold(false, |bad, &value| bad | is_bad(value)) {
            let inside = chunk.iter().position(|&value| is_bad(value))?;
            return Some(run * RUN + inside);
        }
    }
    None
}
