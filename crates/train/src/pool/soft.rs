//! All adapters of a pool as one: A stacked, B side by side, and each example's weights on the inner values in between.

use std::collections::BTreeMap;

use crayon_adapters::{Pool, Random};
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
    /// `A x` of the pass under way, `[rows, adapters * rank]`.
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
    /// The examples of the pass under way.
    examples: Vec<Rows>,
    /// The loss's gradient by their weights, `[examples, adapters]`.
    by_shares: Vec<f32>,
}

/// The rows of an example in a pass.
struct Rows {
    count: usize,
    /// Whether A and B learn from them.
    taught: bool,
}

/// How an example takes part in a pass.
pub(super) struct Part<'a> {
    /// The weight of each adapter.
    pub(super) shares: &'a [f32],
    /// Rows of it.
    pub(super) rows: usize,
    /// Whether A and B learn from it.
    pub(super) taught: bool,
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
            examples: Vec::new(),
            by_shares: Vec::new(),
        }
    }

    /// Begins with the adapters of `pool`, which are of this number, rank and places.
    pub(super) fn set(&mut self, pool: &Pool) {
        let (rank, inner, scale) = (self.rank, self.inner, self.scale);
        for (site, pair) in &mut self.pairs {
            for (number, member) in pool.members.iter().enumerate() {
                let Some(own) = member.lora.pairs.get(site) else { continue };
                let size = own.a.len();
                pair.a.values[number * size..(number + 1) * size].copy_from_slice(&own.a);
                for (to, from) in pair.b.values.chunks_exact_mut(inner).zip(own.b.chunks_exact(rank)) {
                    let to = to[number * rank..].iter_mut();
                    to.zip(from).for_each(|(to, from)| *to = from * own.scale / scale);
                }
            }
        }
    }

    /// The examples of the next pass.
    pub(super) fn set_parts<'a>(&mut self, examples: impl Iterator<Item = Part<'a>>) {
        self.gains.clear();
        self.examples.clear();
        for Part { shares, rows, taught } in examples {
            let spread = shares.iter().flat_map(|share| std::iter::repeat_n(share * self.scale, self.rank));
            let row: Vec<f32> = spread.collect();
            (0..rows).for_each(|_| self.gains.extend_from_slice(&row));
            self.examples.push(Rows { count: rows, taught });
        }
        self.by_shares = vec![0.0; self.examples.len() * self.inner / self.rank];
    }

    /// The loss's gradient by the weights of the last pass, `[examples, adapters]`.
    pub(super) fn by_shares(&self) -> &[f32] {
        &self.by_shares
    }

    /// Values of A and B of every place.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (Site, &[f32], &[f32])> {
        self.pairs.iter().map(|(site, pair)| (*site, &pair.a.values[..], &pair.b.values[..]))
    }

    /// Inner values of a row, what those of each row are multiplied by, and for each example 1 where A and B learn from it.
    pub(super) fn gains(&self) -> (usize, &[f32], Vec<f32>) {
        let taught = self.examples.iter().map(|example| f32::from(u8::from(example.taught)));
        (self.inner, &self.gains, taught.collect())
    }

    /// Takes gradients that were computed elsewhere.
    pub(super) fn set_gradients(&mut self, site: Site, a: Vec<f32>, b: Vec<f32>) {
        if let Some(pair) = self.pairs.get_mut(&site) {
            (pair.a.gradient, pair.b.gradient) = (a, b);
        }
    }

    /// Takes the gradient by the gains of every example, `[examples, adapters * rank]`, that was computed elsewhere.
    pub(super) fn set_by_gains(&mut self, by_gains: &[f32]) {
        let by_share = by_gains.chunks_exact(self.rank).map(|own| own.iter().sum::<f32>() * self.scale);
        self.by_shares = by_share.collect();
    }

    /// Sets the rows of `values`, `[rows, adapters * rank]`, from which nothing is learned, to 0.
    fn mute(&self, values: &mut [f32]) {
        let mut rows = values.chunks_exact_mut(self.inner);
        for example in &self.examples {
            let own = rows.by_ref().take(example.count);
            if example.taught {
                own.for_each(drop);
            } else {
                own.for_each(|row| row.fill(0.0));
            }
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

fn multiplied(values: &[f32], factors: &[f32]) -> Vec<f32> {
    values.iter().zip(factors).map(|(value, factor)| value * factor).collect()
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
        outward(&multiplied(&pair.inner, &self.gains), rows, &pair.b.values, y, threads);
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
        let Some(pair) = self.pairs.get(&site) else { return };
        let inner = self.inner;
        let mut weighed = multiplied(&pair.inner, &self.gains);
        self.mute(&mut weighed);
        let by_b = matrix_gradient(gradient, &weighed, rows, threads);
        let mut flow = back_to_inner(gradient, rows, &pair.b.values, inner, threads);
        let by_gains = multiplied(&flow, &pair.inner);
        flow = multiplied(&flow, &self.gains);
        back_to_input(&flow, rows, &pair.a.values, x_gradient, threads);
        self.mute(&mut flow);
        let by_a = matrix_gradient(&flow, x, rows, threads);
        let mut rows = by_gains.chunks_exact(inner);
        for (example, by) in self.examples.iter().zip(self.by_shares.chunks_exact_mut(inner / self.rank)) {
            for row in rows.by_ref().take(example.count) {
                for (by, own) in by.iter_mut().zip(row.chunks_exact(self.rank)) {
                    *by += own.iter().sum::<f32>() * self.scale;
                }
            }
        }
        self.set_gradients(site, by_a, by_b);
    }
}
