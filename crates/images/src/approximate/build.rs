//! A graph made by the crate `hnsw_rs`, flattened into the layout that is searched.

use std::ops::ControlFlow;

use hnsw_rs::anndists::dist::distances::Distance;
use hnsw_rs::hnsw::Hnsw;
use sha2::{Digest, Sha256};

use super::graph::{Graph, GraphId, NONE, Parts, cosine};
use crate::{Codes, ImageError};

/// Neighbours of a vector in the upper layers; twice as many in the lowest.
const NEIGHBOURS: usize = 16;
/// Vectors in view while one is put in.
const IN_VIEW: usize = 128;
/// Layers, at most.
const LAYERS: usize = 16;
/// Vectors between two looks at the caller.
const TOGETHER: usize = 2000;

/// How far two rows of codes are from each other.
struct Apart;

impl Distance<u8> for Apart {
    fn eval(&self, a: &[u8], b: &[u8]) -> f32 {
        (1.0 - cosine(a, b)).max(0.0)
    }
}

impl Graph {
    /// Makes the graph of all vectors of an index. `progress` hears how many of how many are in it, and may stop it.
    ///
    /// The order in which threads come changes which neighbours a vector gets, so that two graphs of the same index may differ.
    ///
    /// # Errors
    /// If `progress` stops it, or there are more vectors than its layout can number.
    pub fn build(
        codes: &Codes,
        dim: usize,
        threads: usize,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Graph, ImageError> {
        let count = codes.hashes.len();
        if u32::try_from(count).is_err() {
            let what = format!("{count} pictures are more than a graph can hold");
            return Err(ImageError::unusable(what, "use the exact search"));
        }
        let hnsw = Hnsw::<u8, Apart>::new(NEIGHBOURS, count, LAYERS, IN_VIEW, Apart);
        let rows: Vec<(&[u8], usize)> = codes.bytes.chunks_exact(4 + dim).zip(0..).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| ImageError::unusable(error.to_string(), "name fewer threads"))?;
        for (part, rows) in rows.chunks(TOGETHER).enumerate() {
            if progress(part * TOGETHER, count).is_break() {
                return Err(ImageError::Stopped);
            }
            pool.install(|| hnsw.parallel_insert_slice(&rows.to_vec()));
        }
        let mut lowest = vec![NONE; count * 2 * NEIGHBOURS];
        // A vector is in all layers up to its own.
        let mut upper: Vec<Vec<(u32, Vec<u32>)>> = Vec::new();
        let mut entry = (0, 0);
        // The crate's iterator panics where there is no point.
        let points = (count > 0).then(|| hnsw.get_point_indexation());
        for point in points.into_iter().flatten() {
            let (row, layer) = (point.get_origin_id(), usize::from(point.get_point_id().0));
            entry = entry.max((layer, row as u32));
            upper.resize_with(upper.len().max(layer), Vec::new);
            for (of, neighbours) in point.get_neighborhood_id().iter().enumerate().take(layer + 1) {
                let near = neighbours.iter().map(|near| near.d_id as u32).filter(|near| *near != row as u32);
                match of {
                    0 => lowest[row * 2 * NEIGHBOURS..][..2 * NEIGHBOURS]
                        .iter_mut()
                        .zip(near)
                        .for_each(|(place, near)| *place = near),
                    _ => upper[of - 1].push((row as u32, near.take(NEIGHBOURS).collect())),
                }
            }
        }
        let flat = |mut layer: Vec<(u32, Vec<u32>)>| {
            layer.sort_unstable();
            let filled = |(row, near): (u32, Vec<u32>)| {
                std::iter::once(row).chain(near.into_iter().chain(std::iter::repeat(NONE)).take(NEIGHBOURS))
            };
            layer.into_iter().flat_map(filled).collect()
        };
        let upper: Vec<Vec<u32>> = upper.into_iter().map(flat).collect();
        Graph::new(&Parts {
            id: id(codes, &lowest),
            codes,
            dim,
            width: 2 * NEIGHBOURS,
            upper_width: NEIGHBOURS,
            entry: entry.1,
            lowest,
            upper,
        })
    }
}

fn id(codes: &Codes, lowest: &[u32]) -> GraphId {
    let mut digest = Sha256::new_with_prefix(codes.hashes.as_flattened());
    lowest.iter().for_each(|near| digest.update(near.to_le_bytes()));
    let mut id = GraphId::default();
    id.copy_from_slice(&digest.finalize()[..16]);
    id
}
