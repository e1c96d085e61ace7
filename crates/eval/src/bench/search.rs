//! How long an exact search among many pictures takes, and what its 8 bits cost.

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
}

/// Measures it on vectors that lie around some centres, as those of pictures do.
///
/// # Errors
/// When `progress` stops it.
pub fn search(options: &SearchBenchOptions, progress: &mut Progress<'_>) -> Result<SearchBench, EvalError> {
    let SearchBenchOptions { pictures, dim, runs, threads } = *options;
    let pool = Threads::new(threads);
    let (mut halves, mut codes) = (Vec::with_capacity(pictures * dim * 2), Vec::new());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let centres: Vec<f32> = (0..64 * dim).map(|_| random()).collect();
    let mut vector = vec![0.0f32; dim];
    let mut make = |centre: usize, vector: &mut [f32]| {
        let around = &centres[centre % 64 * dim..][..dim];
        vector.iter_mut().zip(around).for_each(|(value, centre)| *value = centre + 1.2 * random());
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|value| *value /= length);
    };
    for picture in 0..pictures {
        make(picture.wrapping_mul(2_654_435_761) >> 7, &mut vector);
        halves.extend(vector.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()));
        quantize_rows(Format::W8A8, dim, &vector, &mut codes);
    }
    let codes = Codes { hashes: vec![[0; 32]; pictures], bytes: codes };
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
    })
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
        let options = SearchBenchOptions { pictures: 3000, dim: 64, runs: 3, threads: 2 };
        let bench = search(&options, &mut |_, _| ControlFlow::Continue(())).unwrap();
        assert!(bench.recall > 0.95, "{bench:?}");
        assert_eq!(bench.bytes, 3000 * 68);
    }
}
