//! A weight matrix as it lies in a file: a format, a shape and borrowed bytes.

use std::fmt;
use std::ops::Range;

use crate::Format;

/// A matrix `[rows, cols]`, row after row in its format, borrowed from anywhere (a mapped file, a vector).
/// The bytes need no alignment.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// How values are stored.
    pub format: Format,
    /// Number of rows (outputs of a linear layer).
    pub rows: usize,
    /// Values in a row (inputs of a linear layer), a multiple of the block length.
    pub cols: usize,
    /// `rows` rows of `format.row_bytes(cols)` bytes.
    pub data: &'a [u8],
}

/// Bytes and shape of a matrix disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixError {
    /// A row is not a whole number of blocks, or longer than a per-channel format allows.
    Row {
        /// The format asked for.
        format: Format,
        /// Values in a row.
        cols: usize,
    },
    /// The number of bytes is not what the shape needs, or what it needs does not fit a `usize`.
    Size {
        /// The format asked for.
        format: Format,
        /// Rows asked for.
        rows: usize,
        /// Values in a row.
        cols: usize,
        /// Bytes given.
        bytes: usize,
    },
}

impl fmt::Display for MatrixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            MatrixError::Row { format, cols } if format.is_per_channel() => {
                write!(f, "rows of {cols} values are longer than {format} allows ({})", Format::LONGEST_ROW)
            }
            MatrixError::Row { format, cols } => {
                write!(
                    f,
                    "rows of {cols} values do not divide into {format} blocks of {}",
                    format.block_len()
                )
            }
            MatrixError::Size { format, rows, cols, bytes } => {
                match format.row_bytes(cols).and_then(|row| row.checked_mul(rows)) {
                    Some(need) => {
                        write!(f, "a {format} matrix [{rows}, {cols}] takes {need} bytes, not {bytes}")
                    }
                    None => write!(f, "a {format} matrix [{rows}, {cols}] is larger than the address space"),
                }
            }
        }
    }
}

impl std::error::Error for MatrixError {}

impl<'a> Matrix<'a> {
    /// A view of `data` as `[rows, cols]`.
    ///
    /// # Errors
    /// When `cols` is not a valid length of a row in this format or `data` is not exactly the matrix.
    pub fn new(format: Format, rows: usize, cols: usize, data: &'a [u8]) -> Result<Matrix<'a>, MatrixError> {
        let too_long = format.is_per_channel() && cols > Format::LONGEST_ROW;
        if too_long || !cols.is_multiple_of(format.block_len()) {
            return Err(MatrixError::Row { format, cols });
        }
        match format.row_bytes(cols).and_then(|row| row.checked_mul(rows)) {
            Some(need) if need == data.len() => Ok(Matrix { format, rows, cols, data }),
            _ => Err(MatrixError::Size { format, rows, cols, bytes: data.len() }),
        }
    }

    /// A float matrix over `values`, without a copy.
    ///
    /// # Errors
    /// When `values` does not hold `rows * cols` values.
    #[cfg(target_endian = "little")]
    pub fn from_f32(rows: usize, cols: usize, values: &'a [f32]) -> Result<Matrix<'a>, MatrixError> {
        // SAFETY: any f32 is four initialised bytes, and bytes need no alignment.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
        Matrix::new(Format::F32, rows, cols, bytes)
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        // `new` saw that there is one; a matrix put together by hand without it has no rows to walk.
        self.format.row_bytes(self.cols).unwrap_or(0)
    }

    /// The matrix of some whole rows. Panics when the range leaves the matrix, as slicing does.
    pub fn rows(&self, range: Range<usize>) -> Matrix<'a> {
        let row = self.row_bytes();
        Matrix { rows: range.len(), data: &self.data[range.start * row..range.end * row], ..*self }
    }

    /// The bytes of row `i`. Panics when there is no such row, as indexing does.
    pub fn row(&self, i: usize) -> &'a [u8] {
        let row = self.row_bytes();
        &self.data[i * row..(i + 1) * row]
    }
}

impl fmt::Debug for Matrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matrix({} [{}, {}])", self.format, self.rows, self.cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_and_bytes_must_agree() {
        let data = [0u8; 34 * 6];
        let matrix = Matrix::new(Format::Q8_0, 3, 64, &data).unwrap();
        assert_eq!(matrix.row(2).len(), 68);
        assert_eq!(matrix.rows(1..3).rows, 2);
        assert_eq!(matrix.rows(1..3).data.len(), 136);
        let blocks = Matrix::new(Format::Q8_0, 3, 65, &data).unwrap_err();
        assert_eq!(blocks.to_string(), "rows of 65 values do not divide into q8_0 blocks of 32");
        let long = Matrix::new(Format::W8A8, 0, (1 << 17) + 1, &[]).unwrap_err();
        assert_eq!(long.to_string(), "rows of 131073 values are longer than w8a8 allows (131072)");
        let odd = Matrix::new(Format::W8A8, 3, 64, &data[..204]).unwrap();
        assert_eq!(odd.row(2).len(), 68);
        let size = Matrix::new(Format::Q8_0, 4, 64, &data).unwrap_err();
        assert_eq!(size.to_string(), "a q8_0 matrix [4, 64] takes 272 bytes, not 204");
        let huge = Matrix::new(Format::F32, usize::MAX, 64, &data).unwrap_err();
        assert!(huge.to_string().contains("address space"), "{huge}");
    }
}
