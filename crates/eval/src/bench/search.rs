//! How long an exact search among many pictures takes, what its 8 bits cost, and an approximate one beside it.

use std::ops::ControlFlow;
use std::time::Instant;

use crayon_engine::EngineError;
use crayon_images::{Codes, scan, top};
use crayon_kernels::{Activations, Format, Matrix, Mode, Product, Threads, matmul, quantize_rows};
use serde::Serialize;

use crate::{EvalError, Progress};

/// Candidates of the 8-bit scan that are looked at again.
const CANDIDATES: usize = 256;
/// Results whose agreement is measured.
const RESULTS: usize = 10;

/// What is searched in.
#[derive(Clone, Copy, Debug)]
pub struct SearchBenchOptions {
    /// Vectors, made up.
    pub pictures: usize,
    /// Numbers of each.
    pub dim: usize,
    /// Timed searches.
    pub runs: usize,
    /// Centres that vectors and queries lie around; with 0 they are scattered without any.
    pub centres: usize,
    /// Whether to search through a graph, too.
    pub approximate: bool,
    /// Threads.
    pub threads: usize,
}

/// The times.
#[derive(Clone, Debug, Serialize)]
pub struct SearchBench {
    /// Vectors.
    pub pictures: usize,
    /// Numbers of each.
    pub dim: usize,
    /// Timed searches.
    pub runs: usize,
    /// Threads.
    pub threads: usize,
    /// Scan in 8 bits, the best of it, and these again in half precision: median, least and most, in milliseconds.
    pub millis: [f64; 3],
    /// The scan in half precision alone, median, in milliseconds.
    pub half_millis: f64,
    /// Bytes that the scan in 8 bits reads.
    pub bytes: usize,
    /// The share of the first ten of an exact search that are among the first ten.
    pub recall: f64,
    /// The same through a graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approximate: Option<ApproximateBench>,
}

/// Searches through a graph.
#[derive(Clone, Debug, Serialize)]
pub struct ApproximateBench {
    /// Making the graph, in seconds.
    pub build_seconds: f64,
    /// Bytes of the graph, the vectors in 8 bits among them.
    pub bytes: usize,
    /// Search and the best again in half precision: median, least and most, in milliseconds.
    pub millis: [f64; 3],
    /// The share of the first ten of an exact search that are among the first ten.
    pub recall: f64,
}

/// Measures it on vectors that lie around some centres, as those of pictures do.
///
/// # Errors
/// When `progress` stops it.
pub fn search(options: &SearchBenchOptions, progress: &mut Progress<'_>) -> Result<SearchBench, EvalError> {
    let SearchBenchOptions { pictures, dim, runs, centres: around, approximate, threads } = *options;
    let pool = Threads::new(threads);
    let (mut halves, mut codes) = (Vec::with_capacity(pictures * dim * 2), Vec::new());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let centres: Vec<f32> = (0..around * dim).map(|_| random()).collect();
    let mut vector = vec![0.0f32; dim];
    let mut make = |centre: usize, vector: &mut [f32]| {
        vector.iter_mut().for_each(|value| *value = 1.2 * random());
        if around > 0 {
            let centre = &centres[centre % around * dim..][..dim];
            vector.iter_mut().zip(centre).for_each(|(value, centre)| *value += centre);
        }
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|value| *value /= length);
    };
    for picture in 0..pictures {
        make(picture.wrapping_mul(2_654_435_761) >> 7, &mut vector);
        halves.extend(vector.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()));
        quantize_rows(Format::W8A8, dim, &vector, &mut codes);
    }
    let codes = Codes { hashes: vec![[0; 32]; pictures], bytes: codes };
    let mut graph = match approximate {
        true => Some(Linked::build(&codes, dim, threads, progress)?),
        false => None,
    };
    let (mut times, mut half_times, mut same) = (Vec::new(), Vec::new(), 0);
    // The first search finds cold caches and sleeping threads; it is not counted.
    for run in 0..=runs {
        if progress(run, runs + 1) == ControlFlow::Break(()) {
            return Err(EngineError::Cancelled.into());
        }
        make(run, &mut vector);
        let began = Instant::now();
        let scores = scan(&codes, dim, &vector, &pool);
        let rows = top(&scores, CANDIDATES, |_| true);
        let again: Vec<f32> = rows.iter().map(|row| exact(&halves, dim, *row, &vector)).collect();
        let best: Vec<usize> = top(&again, RESULTS, |_| true).into_iter().map(|i| rows[i]).collect();
        let time = began.elapsed().as_secs_f64() * 1e3;
        let began = Instant::now();
        let mut all = vec![0.0; pictures];
        let mut activations = Activations::new();
        activations.set(&vector, 1, dim);
        if let Ok(weight) = Matrix::new(Format::F16, pictures, dim, &halves) {
            activations.prepare(&pool, std::iter::once(Format::F16), Mode::Exact);
            matmul(&pool, &activations, &mut [Product { weight, out: &mut all }], Mode::Exact);
        }
        let truth = top(&all, RESULTS, |_| true);
        let half_time = began.elapsed().as_secs_f64() * 1e3;
        if let Some(graph) = &mut graph {
            graph.search(&vector, &halves, &truth, run > 0);
        }
        if run > 0 {
            times.push(time);
            half_times.push(half_time);
            same += truth.iter().filter(|row| best.contains(row)).count();
        }
    }
    times.sort_by(f64::total_cmp);
    half_times.sort_by(f64::total_cmp);
    Ok(SearchBench {
        pictures,
        dim,
        runs,
        threads: pool.count(),
        millis: [times[runs / 2], times[0], times[runs - 1]],
        half_millis: half_times[runs / 2],
        bytes: codes.bytes.len(),
        recall: same as f64 / (runs * RESULTS.min(pictures)) as f64,
        approximate: graph.map(|graph| graph.measured(runs * RESULTS.min(pictures))),
    })
}

/// A graph and what its searches took.
#[cfg(feature = "hnsw")]
struct Linked {
    graph: crayon_images::Graph,
    dim: usize,
    build_seconds: f64,
    times: Vec<f64>,
    same: usize,
}

#[cfg(feature = "hnsw")]
impl Linked {
    fn build(
        codes: &Codes,
        dim: usize,
        threads: usize,
        progress: &mut Progress<'_>,
    ) -> Result<Linked, EvalError> {
        let began = Instant::now();
        let graph =
            crayon_images::Graph::build(codes, dim, threads, progress).map_err(|error| match error {
                crayon_images::ImageError::Stopped => EvalError::from(EngineError::Cancelled),
                other => EvalError::Content {
                    file: "the graph".to_owned(),
                    line: None,
                    what: other.to_string(),
                    hint: None,
                },
            })?;
        let build_seconds = began.elapsed().as_secs_f64();
        Ok(Linked { graph, dim, build_seconds, times: Vec::new(), same: 0 })
    }

    fn search(&mut self, query: &[f32], halves: &[u8], truth: &[usize], counts: bool) {
        let began = Instant::now();
        let rows = self.graph.nearest(query, CANDIDATES);
        let again: Vec<f32> = rows.iter().map(|row| exact(halves, self.dim, *row as usize, query)).collect();
        let best = top(&again, RESULTS, |_| true);
        let time = began.elapsed().as_secs_f64() * 1e3;
        if counts {
            self.times.push(time);
            self.same += best.iter().filter(|i| truth.contains(&(rows[**i] as usize))).count();
        }
    }

    fn measured(mut self, of: usize) -> ApproximateBench {
        self.times.sort_by(f64::total_cmp);
        let at = |place: usize| self.times.get(place).copied().unwrap_or(f64::NAN);
        ApproximateBench {
            build_seconds: self.build_seconds,
            bytes: self.graph.bytes(),
            millis: [at(self.times.len() / 2), at(0), at(self.times.len().saturating_sub(1))],
            recall: self.same as f64 / of as f64,
        }
    }
}

/// In place of a graph, where this program was built without it.
#[cfg(not(feature = "hnsw"))]
enum Linked {}

#[cfg(not(feature = "hnsw"))]
impl Linked {
    fn build(_: &Codes, _: usize, _: usize, _: &mut Progress<'_>) -> Result<Linked, EvalError> {
        Err(EvalError::LeftOut { what: "approximate searches", feature: "hnsw" })
    }

    fn search(&mut self, _: &[f32], _: &[u8], _: &[usize], _: bool) {
        match *self {}
    }

    fn measured(self, _: usize) -> ApproximateBench {
        match self {}
    }
}

fn exact(halves: &[u8], dim: usize, row: usize, query: &[f32]) -> f32 {
    let row = halves[row * dim * 2..][..dim * 2].as_chunks::<2>().0;
    row.iter().zip(query).map(|(half, value)| half::f16::from_le_bytes(*half).to_f32() * value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_find_what_an_exact_search_finds() {
        let options = SearchBenchOptions {
            pictures: 3000,
            dim: 64,
            runs: 3,
            centres: 64,
            approximate: cfg!(feature = "hnsw"),
            threads: 2,
        };
        let bench = search(&options, &mut |_, _| ControlFlow::Continue(())).unwrap();
        assert!(bench.recall > 0.95, "{bench:?}");
        assert_eq!(bench.bytes, 3000 * 68);
        assert!(bench.approximate.as_ref().is_none_or(|bench| bench.recall > 0.8), "{bench:?}");
    }

    #[cfg(not(feature = "hnsw"))]
    #[test]
    fn without_graphs_none_is_promised() {
        let options =
            SearchBenchOptions { pictures: 10, dim: 8, runs: 1, centres: 0, approximate: true, threads: 1 };
        let refused = search(&options, &mut |_, _| ControlFlow::Continue(())).unwrap_err();
        assert!(matches!(refused, EvalError::LeftOut { .. }), "{refused}");
    }
}
