//! All adapters of a pool as one: A stacked, B side by side, and each example's weights on the inner values in between.

use std::collections::BTreeMap;

use crayon_adapters::Random;
use crayon_formats::spec::Spec;
use crayon_kernels::Threads;
use crayon_model::{LowRankPair, Site};

use super::TrainOptions;
use crate::frozen::{TrainableAdapter, back_to_inner, back_to_input, inward, matrix_gradient, outward};
use crate::{Trainable, Variable};

/// A `[adapters * rank, in]` and B `[out, adapters * rank]` of one place.
struct Pair {
    a: Variable,
    b: Variable,
    /// `A x` of the pass under way, `[rows, adapters * rank]`, times the weights.
    inner: Vec<f32>,
}

/// The adapters in training.
pub(super) struct Soft {
    pairs: BTreeMap<Site, Pair>,
    scale: f32,
    rank: usize,
    inner: usize,
    /// What each row's inner values are multiplied by, `[rows, adapters * rank]`: weights and scale.
    gains: Vec<f32>,
}

impl Soft {
    /// A drawn as PEFT draws it (uniform within `1 / sqrt(in)`), B zero: the untrained pool changes nothing.
    pub(super) fn new(spec: &Spec, options: &TrainOptions) -> Soft {
        let mut pairs = BTreeMap::new();
        let inner = options.adapters * options.rank;
        for layer in 0..spec.layers {
            for &projection in options.targets.iter().filter(|projection| projection.exists(spec)) {
                let site = Site { layer, projection };
                let (input, output) = projection.size(spec);
                let mut random = Random::new(options.seed, 100_000 + pairs.len() as u64);
                let bound = 1.0 / (input as f64).sqrt();
                let a = (0..inner * input).map(|_| ((2.0 * random.uniform() - 1.0) * bound) as f32).collect();
                let (a, b) = (Variable::new(a), Variable::new(vec![0.0; output * inner]));
                pairs.insert(site, Pair { a, b, inner: Vec::new() });
            }
        }
        Soft {
            pairs,
            scale: options.alpha / options.rank as f32,
            rank: options.rank,
            inner,
            gains: Vec::new(),
        }
    }

    /// The weights of the adapters in the next pass: of each example, and how many rows it has.
    pub(super) fn set_shares<'a>(&mut self, examples: impl Iterator<Item = (&'a [f32], usize)>) {
        self.gains.clear();
        for (shares, rows) in examples {
            let spread = shares.iter().flat_map(|share| std::iter::repeat_n(share * self.scale, self.rank));
            let row: Vec<f32> = spread.collect();
            (0..rows).for_each(|_| self.gains.extend_from_slice(&row));
        }
    }

    /// Values of A and B of every place.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (Site, &[f32], &[f32])> {
        self.pairs.iter().map(|(site, pair)| (*site, &pair.a.values[..], &pair.b.values[..]))
    }

    /// Inner values of a row, and what those of each row are multiplied by.
    pub(super) fn gains(&self) -> (usize, &[f32]) {
        (self.inner, &self.gains)
    }

    /// Takes gradients that were computed elsewhere.
    pub(super) fn set_gradients(&mut self, site: Site, a: Vec<f32>, b: Vec<f32>) {
        if let Some(pair) = self.pairs.get_mut(&site) {
            (pair.a.gradient, pair.b.gradient) = (a, b);
        }
    }

    /// The single adapters in `values`.
    pub(super) fn split(
        &self,
        values: &[Vec<f32>],
        options: &TrainOptions,
    ) -> Vec<BTreeMap<Site, LowRankPair>> {
        let (rank, inner) = (options.rank, self.inner);
        let single = |n: usize| {
            let pairs = self.pairs.keys().zip(values.chunks_exact(2)).map(|(site, pair)| {
                let input = pair[0].len() / inner;
                let a = pair[0][n * rank * input..(n + 1) * rank * input].to_vec();
                let b = pair[1].chunks_exact(inner).flat_map(|row| &row[n * rank..(n + 1) * rank]).copied();
                (*site, LowRankPair { a, b: b.collect(), rank, scale: self.scale })
            });
            pairs.collect()
        };
        (0..options.adapters).map(single).collect()
    }
}

fn multiply(values: &mut [f32], factors: &[f32]) {
    values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
}

impl Trainable for Soft {
    fn variables(&self) -> Vec<&Variable> {
        self.pairs.values().flat_map(|pair| [&pair.a, &pair.b]).collect()
    }

    fn variables_mut(&mut self) -> Vec<&mut Variable> {
        self.pairs.values_mut().flat_map(|pair| [&mut pair.a, &mut pair.b]).collect()
    }
}

impl TrainableAdapter for Soft {
    fn forward(&mut self, site: Site, x: &[f32], rows: usize, y: &mut [f32], threads: &Threads) {
        let Some(pair) = self.pairs.get_mut(&site) else { return };
        pair.inner = inward(x, rows, &pair.a.values, self.inner, threads);
        multiply(&mut pair.inner, &self.gains);
        outward(&pair.inner, rows, &pair.b.values, y, threads);
    }

    fn backward(
        &mut self,
        site: Site,
        x: &[f32],
        gradient: &[f32],
        rows: usize,
        x_gradient: &mut [f32],
        threads: &Threads,
    ) {
        let Some(pair) = self.pairs.get_mut(&site) else { return };
        pair.b.gradient = matrix_gradient(gradient, &pair.inner, rows, threads);
        let mut flow = back_to_inner(gradient, rows, &pair.b.values, self.inner, threads);
        multiply(&mut flow, &self.gains);
        pair.a.gradient = matrix_gradient(&flow, x, rows, threads);
        back_to_input(&flow, rows, &pair.a.values, x_gradient, threads);
    }
}
