//! A graph of near vectors (HNSW, arXiv 1603.09320) as one file that is searched where it lies: mapped, it need not be read first.
//!
//! | part | bytes |
//! |---|---|
//! | header | [`MAGIC`], the [`GraphId`], then as u32: vectors, numbers of each, neighbours a vector has in the lowest layer and in others, layers, the vector that a search begins at |
//! | codes | a row of 8 bits with its scale for each vector, as in the index |
//! | hashes | which picture each is, in order |
//! | lowest layer | the neighbours of each vector as u32, filled up with `u32::MAX` |
//! | each layer above | how many vectors it has, then for each its number and its neighbours |
//!
//! Numbers are little-endian. The lengths must fit the file to the byte; a neighbour that does not exist is passed over.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::path::Path;

use crayon_files::OutputFile;
use crayon_formats::Bytes;
use crayon_kernels::{Format, quantize_rows};

use crate::{Codes, Hash, ImageError};

pub(super) const MAGIC: &[u8; 8] = b"crayonG1";
/// Which state of an index a graph was made of.
pub(crate) type GraphId = [u8; 16];
/// No neighbour.
pub(super) const NONE: u32 = u32::MAX;
/// Bytes of the header: what stands in it as u32 comes last.
const HEADER: usize = 8 + 16 + 6 * 4;
/// Vectors that a search keeps in view, at least.
const IN_VIEW: usize = 256;

/// A graph, ready to be searched.
pub struct Graph {
    bytes: Bytes,
    id: GraphId,
    count: usize,
    dim: usize,
    /// Neighbours of a vector in the lowest layer, and in those above it.
    width: usize,
    upper_width: usize,
    entry: u32,
    /// Where the layers above the lowest begin, behind their counts, and how many vectors they have.
    upper: Vec<(usize, usize)>,
}

/// A vector and how near it is.
#[derive(Clone, Copy, PartialEq)]
struct Near(f32, u32);

impl Eq for Near {}

impl Ord for Near {
    fn cmp(&self, other: &Near) -> Ordering {
        self.0.total_cmp(&other.0).then(other.1.cmp(&self.1))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Near) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a graph is made of.
pub(super) struct Parts<'a> {
    pub(super) id: GraphId,
    pub(super) codes: &'a Codes,
    pub(super) dim: usize,
    pub(super) width: usize,
    pub(super) upper_width: usize,
    pub(super) entry: u32,
    /// `[vectors, width]`.
    pub(super) lowest: Vec<u32>,
    /// For each layer above it the vectors in order, each with `upper_width` neighbours behind it.
    pub(super) upper: Vec<Vec<u32>>,
}

impl Graph {
    /// Puts the parts into one run of bytes.
    pub(super) fn new(parts: &Parts<'_>) -> Result<Graph, ImageError> {
        let Parts { id, codes, dim, width, upper_width, entry, lowest, upper } = parts;
        let sizes = [codes.hashes.len(), *dim, *width, *upper_width, upper.len() + 1, *entry as usize];
        let mut bytes = [&MAGIC[..], id].concat();
        bytes.extend(sizes.iter().flat_map(|size| (*size as u32).to_le_bytes()));
        bytes.extend_from_slice(&codes.bytes);
        bytes.extend_from_slice(codes.hashes.as_flattened());
        bytes.extend(lowest.iter().flat_map(|near| near.to_le_bytes()));
        for layer in upper {
            let count = (layer.len() / (upper_width + 1)) as u32;
            bytes.extend(std::iter::once(&count).chain(layer).flat_map(|number| number.to_le_bytes()));
        }
        Graph::from_bytes(bytes.into()).ok_or_else(|| {
            ImageError::unusable("the graph is too large for its layout", "use the exact search")
        })
    }

    fn from_bytes(bytes: Bytes) -> Option<Graph> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let number = |at: usize| Some(u32::from_le_bytes(*rest.get(4 * at..)?.first_chunk()?) as usize);
        let (count, dim, width) = (number(0)?, number(1)?, number(2)?);
        let (upper_width, layers, entry) = (number(3)?, number(4)?, number(5)?);
        let row = Format::W8A8.row_bytes(dim)?;
        if magic != MAGIC || layers == 0 || layers > 64 || count > 0 && entry >= count {
            return None;
        }
        let mut at = count.checked_mul(row + 32 + 4 * width)?.checked_add(HEADER)?;
        let mut upper = Vec::with_capacity(layers - 1);
        for _ in 1..layers {
            let count = u32::from_le_bytes(*bytes[..].get(at..)?.first_chunk()?) as usize;
            upper.push((at + 4, count));
            at = count.checked_mul(4 * (upper_width + 1))?.checked_add(at + 4)?;
        }
        let (id, entry) = (*id, entry as u32);
        (at == bytes.len()).then_some(Graph { bytes, id, count, dim, width, upper_width, entry, upper })
    }

    /// Opens a file.
    ///
    /// # Errors
    /// If it is not a graph, or cut short.
    pub(super) fn open(path: &Path) -> Result<Graph, ImageError> {
        let broken = |why: String| ImageError::index(path, why);
        let bytes = Bytes::map(path).map_err(|error| broken(error.to_string()))?;
        Graph::from_bytes(bytes)
            .ok_or_else(|| broken("this is not a graph of an index, or one cut short".to_owned()))
    }

    /// Writes it, in place of what is there only when it is whole.
    pub(super) fn save(&self, path: &Path) -> Result<(), ImageError> {
        let mut file = OutputFile::create(path)?;
        for part in self.bytes.chunks(1 << 24) {
            file.write(part)?;
        }
        Ok(file.commit()?)
    }

    pub(super) fn id(&self) -> &GraphId {
        &self.id
    }

    /// Vectors of the graph.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Numbers of a vector.
    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// Bytes of the whole graph.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn row_bytes(&self) -> usize {
        4 + self.dim
    }

    /// The first vectors in 8 bits. Hashes are in order, so these are as good as drawn by chance.
    pub(super) fn first(&self, count: usize) -> Codes {
        let count = count.min(self.count);
        let hashes = (0..count as u32).map(|row| *self.hash(row)).collect();
        Codes { hashes, bytes: self.bytes[HEADER..][..count * self.row_bytes()].to_vec() }
    }

    pub(super) fn hash(&self, row: u32) -> &Hash {
        let hashes = &self.bytes[HEADER + self.count * self.row_bytes()..][..self.count * 32];
        &hashes.as_chunks::<32>().0[row as usize]
    }

    /// The row of a picture.
    pub(super) fn row_of(&self, hash: &Hash) -> Option<u32> {
        let hashes = &self.bytes[HEADER + self.count * self.row_bytes()..][..self.count * 32];
        hashes.as_chunks::<32>().0.binary_search(hash).ok().map(|row| row as u32)
    }

    fn code(&self, row: u32) -> &[u8] {
        &self.bytes[HEADER + row as usize * self.row_bytes()..][..self.row_bytes()]
    }

    fn numbers(&self, at: usize, count: usize) -> impl Iterator<Item = u32> {
        let numbers = self.bytes[at..][..4 * count].as_chunks::<4>().0;
        numbers.iter().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Who is near `row` in the layer, 0 the lowest.
    fn neighbours(&self, layer: usize, row: u32) -> impl Iterator<Item = u32> {
        let (at, width) = match layer {
            0 => {
                let begin = HEADER + self.count * (self.row_bytes() + 32);
                (begin + row as usize * 4 * self.width, self.width)
            }
            _ => {
                let (begin, count) = self.upper[layer - 1];
                let step = 4 * (self.upper_width + 1);
                let number = |at: usize| self.numbers(begin + at * step, 1).next().unwrap_or(NONE);
                let (mut from, mut to) = (0, count);
                while from < to {
                    let middle = (from + to) / 2;
                    if number(middle) < row { from = middle + 1 } else { to = middle }
                }
                match from < count && number(from) == row {
                    true => (begin + from * step + 4, self.upper_width),
                    false => (begin, 0),
                }
            }
        };
        self.numbers(at, width).filter(|near| (*near as usize) < self.count)
    }

    /// The rows that are probably nearest to `query`, at most `count`, best first. Without any promise: some that are nearer may be missed.
    pub fn nearest(&self, query: &[f32], count: usize) -> Vec<u32> {
        if self.is_empty() || query.len() != self.dim {
            return Vec::new();
        }
        let mut code = Vec::new();
        quantize_rows(Format::W8A8, self.dim, query, &mut code);
        let near = |row: u32| Near(cosine(&code, self.code(row)), row);
        let mut best = near(self.entry);
        for layer in (1..=self.upper.len()).rev() {
            while let Some(better) =
                self.neighbours(layer, best.1).map(near).max().filter(|other| *other > best)
            {
                best = better;
            }
        }
        let in_view = count.max(IN_VIEW);
        let mut seen = vec![0u64; self.count.div_ceil(64)];
        let mut is_new = |row: u32| {
            let (word, bit) = (&mut seen[row as usize / 64], 1u64 << (row % 64));
            let new = *word & bit == 0;
            *word |= bit;
            new
        };
        is_new(best.1);
        let mut open = BinaryHeap::from([best]);
        let mut found = BinaryHeap::from([Reverse(best)]);
        while let Some(next) = open.pop() {
            if found.len() == in_view && found.peek().is_some_and(|worst| next < worst.0) {
                break;
            }
            for row in self.neighbours(0, next.1) {
                if !is_new(row) {
                    continue;
                }
                let this = near(row);
                if found.len() < in_view || found.peek().is_some_and(|worst| this > worst.0) {
                    open.push(this);
                    found.push(Reverse(this));
                    if found.len() > in_view {
                        found.pop();
                    }
                }
            }
        }
        found.into_sorted_vec().into_iter().take(count).map(|near| near.0.1).collect()
    }
}

/// The cosine of two rows of codes.
pub(super) fn cosine(a: &[u8], b: &[u8]) -> f32 {
    let split = |row: &[u8]| row.first_chunk::<4>().map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
    let products = a[4..].iter().zip(&b[4..]);
    let sum: i32 = products.map(|(a, b)| i32::from(a.cast_signed()) * i32::from(b.cast_signed())).sum();
    split(a) * split(b) * sum as f32
}
