//! All vectors of an index beside some queries: an exact scan in 8 bits.

use crayon_kernels::{Activations, Format, Matrix, Mode, Product, Threads, matmul};

use crate::Codes;

/// Cosines in 8 bits, `[queries, pictures]`, of queries `[queries, dim]`.
///
/// Panics when the queries are not whole rows of the vectors' width.
pub fn scan(codes: &Codes, dim: usize, queries: &[f32], threads: &Threads) -> Vec<f32> {
    let (pictures, count) = (codes.hashes.len(), queries.len() / dim.max(1));
    let mut scores = vec![0.0; count * pictures];
    // Rows were measured when they were read.
    let Ok(weight) = Matrix::new(Format::W8A8, pictures, dim, &codes.bytes) else { return scores };
    let mut activations = Activations::default();
    activations.set(queries, count, dim);
    activations.prepare(threads, std::iter::once(Format::W8A8), Mode::Fast);
    matmul(threads, &activations, &mut [Product { weight, out: &mut scores }], Mode::Fast);
    scores
}

/// The rows with the `count` largest scores, best first, of those that `keep` lets through. Rows of the same score stay in their order.
pub fn top(scores: &[f32], count: usize, keep: impl Fn(usize) -> bool) -> Vec<usize> {
    let better = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
    let mut best: Vec<usize> = Vec::with_capacity(4 * count.max(64));
    // The score that a row needs to be among the best so far.
    let mut needed = f32::NEG_INFINITY;
    for (row, score) in scores.iter().enumerate() {
        if *score < needed || !keep(row) {
            continue;
        }
        best.push(row);
        if best.len() == best.capacity() && count > 0 && best.len() > count {
            best.select_nth_unstable_by(count - 1, better);
            best.truncate(count);
            needed = best.iter().map(|row| scores[*row]).fold(f32::INFINITY, f32::min);
        }
    }
    best.sort_unstable_by(better);
    best.truncate(count);
    best
}

pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_top_is_that_of_a_whole_sort(scores in proptest::collection::vec(-3i8..4, 0..900), count in 0usize..70) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let keep = |row: usize| row % 3 != 1;
            let mut all: Vec<usize> = (0..scores.len()).filter(|row| keep(*row)).collect();
            all.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            all.truncate(count);
            prop_assert_eq!(top(&scores, count, keep), all);
        }
    }

    #[test]
    fn eight_bits_are_near_the_cosine() {
        let dim = 48;
        let value = |i: usize| ((i * 7919 % 101) as f32 - 50.0) / 50.0;
        let vectors: Vec<f32> = (0..30 * dim).map(value).collect();
        let mut bytes = Vec::new();
        crayon_kernels::quantize_rows(Format::W8A8, dim, &vectors, &mut bytes);
        let codes = Codes { hashes: vec![[0; 32]; 30], bytes };
        let queries: Vec<f32> = (0..2 * dim).map(|i| value(i + 13)).collect();
        let scores = scan(&codes, dim, &queries, &Threads::new(2));
        for (i, query) in queries.chunks_exact(dim).enumerate() {
            for (row, vector) in vectors.chunks_exact(dim).enumerate() {
                assert!((scores[i * 30 + row] - dot(vector, query)).abs() < 0.3);
            }
        }
    }
}
