//! All adapters of a pool as one: A stacked, B side by side, and each example's weights on the inner values in between.

use std::collections::BTreeMap;

use candle_core::{Device, Result as Candle, Tensor, Var};
use crayon_formats::spec::Spec;
use crayon_model::plain::PlainAdapter;
use crayon_model::{LowRankPair, Projection, Site};

use super::Options;
use crate::AdapterError;
use crate::random::Random;

/// A `[adapters * rank, in]` and B `[out, adapters * rank]` of every site.
pub(super) struct Soft {
    pub(super) pairs: BTreeMap<Site, (Var, Var)>,
    scale: f64,
    rank: usize,
    /// Weights of the inner values, `[batch, 1, adapters * rank]`.
    shares: Option<Tensor>,
}

impl Soft {
    /// A drawn as PEFT draws it (uniform within `1 / sqrt(in)`), B zero: the untrained pool changes nothing.
    pub(super) fn new(spec: &Spec, options: &Options, device: &Device) -> Result<Soft, AdapterError> {
        let mut pairs = BTreeMap::new();
        let inner = options.adapters * options.rank;
        for layer in 0..spec.layers {
            for &projection in &options.targets {
                if projection == Projection::Gate && !spec.gated {
                    continue;
                }
                let site = Site { layer, projection };
                let (input, output) = projection.size(spec);
                let mut random = Random::new(options.seed, 100_000 + pairs.len() as u64);
                let bound = 1.0 / (input as f64).sqrt();
                let a: Vec<f32> =
                    (0..inner * input).map(|_| ((2.0 * random.uniform() - 1.0) * bound) as f32).collect();
                let a = Var::from_tensor(&Tensor::from_vec(a, (inner, input), device)?)?;
                let b = Var::zeros((output, inner), candle_core::DType::F32, device)?;
                pairs.insert(site, (a, b));
            }
        }
        let scale = f64::from(options.alpha) / options.rank as f64;
        Ok(Soft { pairs, scale, rank: options.rank, shares: None })
    }

    /// The weights of the next batch's examples, `[batch, adapters]`.
    pub(super) fn set_shares(&mut self, shares: Tensor) -> Candle<()> {
        let (batch, adapters) = shares.dims2()?;
        let spread = shares.unsqueeze(2)?.expand((batch, adapters, self.rank))?;
        self.shares = Some(spread.reshape((batch, 1, adapters * self.rank))?);
        Ok(())
    }

    /// All variables in a fixed order.
    pub(super) fn variables(&self) -> impl Iterator<Item = &Var> {
        self.pairs.values().flat_map(|(a, b)| [a, b])
    }

    /// Values of all variables in that order.
    pub(super) fn values(&self) -> Candle<Vec<Vec<f32>>> {
        self.variables().map(|variable| variable.flatten_all()?.to_vec1()).collect()
    }

    /// The single adapters in `values`.
    pub(super) fn split(&self, values: &[Vec<f32>], options: &Options) -> Vec<BTreeMap<Site, LowRankPair>> {
        let (rank, inner) = (options.rank, options.adapters * options.rank);
        let single = |n: usize| {
            let pairs = self.pairs.keys().zip(values.chunks_exact(2)).map(|(site, pair)| {
                let input = pair[0].len() / inner;
                let a = pair[0][n * rank * input..(n + 1) * rank * input].to_vec();
                let b = pair[1].chunks_exact(inner).flat_map(|row| &row[n * rank..(n + 1) * rank]).copied();
                (*site, LowRankPair { a, b: b.collect(), rank, scale: self.scale as f32 })
            });
            pairs.collect()
        };
        (0..options.adapters).map(single).collect()
    }
}

impl PlainAdapter for Soft {
    fn delta(&self, site: Site, x: &Tensor) -> Candle<Option<Tensor>> {
        let (Some((a, b)), Some(shares)) = (self.pairs.get(&site), &self.shares) else { return Ok(None) };
        let (batch, rows, width) = x.dims3()?;
        let inner = x.reshape((batch * rows, width))?.matmul(&a.t()?)?;
        let inner = inner.reshape((batch, rows, a.dim(0)?))?.broadcast_mul(shares)?;
        let out = inner.reshape((batch * rows, a.dim(0)?))?.matmul(&b.t()?)?;
        Ok(Some((out.reshape((batch, rows, b.dim(0)?))? * self.scale)?))
    }
}
