//! Arrow (arXiv 2405.11157): every token picks its adapters in every layer, without examples and without training.
//!
//! The prototype of an adapter at a place is the direction that it changes most: the first right singular vector of `B A`. A
//! token's scores are `|prototype · x|`; the `K` best take part, weighted by a softmax over their scores, as in PEFT's
//! `create_arrow_model` with its default temperature of 1.

use std::collections::BTreeMap;
use std::sync::Arc;

use crayon_kernels::Threads;
use crayon_model::{Adapter, LowRankPair, Site};

use crate::keys::{dot, weights};
use crate::{AdapterError, Pool, Stack};

/// Adapters that take part for a token.
const TOP: usize = 3;

/// A pool under Arrow's routing.
#[derive(Clone, Debug)]
pub struct Arrow {
    stack: Arc<Stack>,
    /// Of each adapter at each place, `[in]`; empty where it has none.
    prototypes: BTreeMap<Site, Vec<Vec<f32>>>,
}

impl Arrow {
    /// Finds the prototypes of `pool`, whose adapters `stack` holds.
    ///
    /// # Errors
    /// When the stack holds another number of adapters.
    pub fn new(pool: &Pool, stack: Arc<Stack>) -> Result<Arrow, AdapterError> {
        if stack.members != pool.members.len() {
            let what = format!("a stack of {} adapters is not of this pool", stack.members);
            return Err(AdapterError::unusable(what, "stack the pool that is routed"));
        }
        let prototype = |site: &Site| {
            let members = pool.members.iter().map(|member| member.lora.pairs.get(site));
            members.map(|pair| pair.map_or_else(Vec::new, direction)).collect()
        };
        let prototypes = stack.owners.keys().map(|site| (*site, prototype(site))).collect();
        Ok(Arrow { stack, prototypes })
    }
}

/// The first right singular vector of `B A`, `[in]`, by power iteration.
fn direction(pair: &LowRankPair) -> Vec<f32> {
    /// Enough for singular values that differ by a few per cent.
    const ROUNDS: usize = 100;
    let (rank, input) = (pair.rank, pair.a.len() / pair.rank);
    let rows =
        |values: &[f32]| -> Vec<f64> { pair.a.chunks_exact(input).map(|row| dot(row, values)).collect() };
    // Bᵀ B
    let mut square = vec![0.0f64; rank * rank];
    for row in pair.b.chunks_exact(rank) {
        for (i, a) in row.iter().enumerate() {
            for (j, b) in row.iter().enumerate() {
                square[i * rank + j] += f64::from(*a) * f64::from(*b);
            }
        }
    }
    // It lies in the span of A's rows; their sum is no worse a start than another.
    let mut vector: Vec<f32> =
        (0..input).map(|i| (0..rank).map(|k| pair.a[k * input + i] * (1.0 + k as f32)).sum()).collect();
    for _ in 0..ROUNDS {
        let inner = rows(&vector);
        let turned: Vec<f64> =
            square.chunks_exact(rank).map(|row| row.iter().zip(&inner).map(|(a, b)| a * b).sum()).collect();
        vector = (0..input)
            .map(|i| (0..rank).map(|k| f64::from(pair.a[k * input + i]) * turned[k]).sum::<f64>() as f32)
            .collect();
        let length = dot(&vector, &vector).sqrt();
        if length == 0.0 {
            return vector;
        }
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
    vector
}

/// Weights of the adapters for a token with these scores.
fn route(scores: &[f32]) -> Vec<f32> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(TOP);
    let best: Vec<f32> = order.iter().map(|&at| scores[at]).collect();
    let mut out = vec![0.0; scores.len()];
    for (at, weight) in order.into_iter().zip(weights(&best, 1.0)) {
        out[at] = weight;
    }
    out
}

impl Adapter for Arrow {
    fn add(&self, site: Site, x: &[f32], rows: usize, out: &mut [f32], pool: &Threads) {
        let Some((owners, prototypes)) = self.stack.owners.get(&site).zip(self.prototypes.get(&site)) else {
            return;
        };
        let gains: Vec<f32> = x
            .chunks_exact(x.len() / rows.max(1))
            .flat_map(|x| {
                let scores: Vec<f32> =
                    prototypes.iter().map(|prototype| dot(prototype, x).abs() as f32).collect();
                let weights = route(&scores);
                owners.iter().map(move |&owner| weights[owner])
            })
            .collect();
        self.stack.stacked.add_weighted(site, x, rows, out, pool, &gains);
    }

    fn fingerprint(&self) -> String {
        format!("arrow {}", self.stack.fingerprint())
    }

    fn bytes(&self) -> usize {
        self.stack.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direction_is_what_the_product_changes_most() {
        // B A = diag(3, 1) in the plane of the first two inputs.
        let pair = LowRankPair {
            a: vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            b: vec![3.0, 0.0, 0.0, 1.0],
            rank: 2,
            scale: 1.0,
        };
        let found = direction(&pair);
        assert!((found[0].abs() - 1.0).abs() < 1e-5 && found[1].abs() < 1e-5 && found[2] == 0.0, "{found:?}");
    }

    #[test]
    fn a_token_takes_the_best_few() {
        let weights = route(&[0.1, 3.0, 1.0, 2.0]);
        assert_eq!(weights[0], 0.0);
        assert!(weights[1] > weights[3] && weights[3] > weights[2] && weights[2] > 0.0);
        assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(route(&[0.5]), [1.0]);
    }
}
