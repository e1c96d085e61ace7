//! The weights of a pool's adapters as what learns: N numbers, the adapters stay as they are.
//!
//! `y += sum of w_n * scale_n * B_n A_n x`; the gradient of `w_n` is the sum over places and rows of `scale_n * (A_n x) . (B_nᵀ dy)`.
//! Weights are a softmax, or free ([`Weighing`]): then they need not sum to 1, and all near 0 is the model alone.

use std::collections::BTreeMap;

use crayon_adapters::Lora;
use crayon_kernels::{Threads, ops};
use crayon_model::Site;

use crate::frozen::{TrainableAdapter, back_to_inner, back_to_input, inward, outward, transpose};
use crate::{Trainable, Variable};

/// The adapters of one place, side by side.
struct Place {
    /// `[inner, in]`.
    a: Vec<f32>,
    /// `[out, inner]`.
    b: Vec<f32>,
    /// For each inner value the adapter it belongs to, and that adapter's scale.
    owners: Vec<(usize, f32)>,
    /// `A x` of the pass under way, `[rows, inner]`.
    inner: Vec<f32>,
}

/// What a mixture's weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighing {
    /// A number for each adapter.
    Free,
    /// The softmax of a number for each adapter: their sum is 1.
    Softmax,
    /// A number for each adapter in each layer.
    Layers,
}

/// Adapters under weights that learn.
pub struct Mixture {
    places: BTreeMap<Site, Place>,
    values: Variable,
    weighing: Weighing,
    members: usize,
}

impl Mixture {
    /// `members`, beginning with one free weight for each.
    pub fn new(members: &[&Lora], weights: &[f32]) -> Mixture {
        Mixture::weighed(members, weights, Weighing::Free)
    }

    /// `members`, beginning with one weight for each.
    pub fn weighed(members: &[&Lora], weights: &[f32], weighing: Weighing) -> Mixture {
        let mut places = BTreeMap::new();
        let sites: std::collections::BTreeSet<Site> =
            members.iter().flat_map(|lora| lora.pairs.keys().copied()).collect();
        for site in sites {
            let parts = || {
                let pairs = members.iter().enumerate();
                pairs.filter_map(|(number, lora)| lora.pairs.get(&site).map(|pair| (number, pair)))
            };
            let inner: usize = parts().map(|(_, pair)| pair.rank).sum();
            let a: Vec<f32> = parts().flat_map(|(_, pair)| pair.a.iter().copied()).collect();
            // B of each, turned, lie one behind another.
            let b_turned: Vec<f32> = parts()
                .flat_map(|(_, pair)| transpose(&pair.b, pair.b.len() / pair.rank, pair.rank))
                .collect();
            let owners =
                parts().flat_map(|(number, pair)| std::iter::repeat_n((number, pair.scale), pair.rank));
            let place = Place {
                b: transpose(&b_turned, inner, b_turned.len() / inner),
                a,
                owners: owners.collect(),
                inner: Vec::new(),
            };
            places.insert(site, place);
        }
        let layers = places.keys().map(|site| site.layer + 1).max().unwrap_or(0);
        let values = match weighing {
            Weighing::Free => weights.to_vec(),
            Weighing::Softmax => weights.iter().map(|weight| weight.max(1e-6).ln()).collect(),
            Weighing::Layers => weights.repeat(layers),
        };
        Mixture { places, values: Variable::new(values), weighing, members: members.len() }
    }

    /// The weights in `layer` as they are now, `[members]`.
    pub fn weights(&self, layer: usize) -> Vec<f32> {
        let values = &self.values.values;
        match self.weighing {
            Weighing::Free => values.clone(),
            Weighing::Softmax => {
                let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let shares: Vec<f32> = values.iter().map(|value| (value - largest).exp()).collect();
                let sum: f32 = shares.iter().sum();
                shares.iter().map(|share| share / sum).collect()
            }
            Weighing::Layers => values[layer * self.members..(layer + 1) * self.members].to_vec(),
        }
    }

    /// Adds the gradient of the weights in `layer`.
    fn add_gradient(&mut self, layer: usize, gradient: &[f32]) {
        let weights = self.weights(layer);
        let mean: f32 = weights.iter().zip(gradient).map(|(weight, gradient)| weight * gradient).sum();
        let own = &mut self.values.gradient;
        match self.weighing {
            Weighing::Free => ops::add(own, gradient),
            Weighing::Softmax => {
                let moved = weights.iter().zip(gradient).map(|(weight, gradient)| weight * (gradient - mean));
                own.iter_mut().zip(moved).for_each(|(own, moved)| *own += moved);
            }
            Weighing::Layers => {
                ops::add(&mut own[layer * self.members..(layer + 1) * self.members], gradient);
            }
        }
    }
}

impl Trainable for Mixture {
    fn variables(&self) -> Vec<&Variable> {
        vec![&self.values]
    }

    fn variables_mut(&mut self) -> Vec<&mut Variable> {
        vec![&mut self.values]
    }
}

impl TrainableAdapter for Mixture {
    fn alike(&self) -> bool {
        true
    }

    fn begin(&mut self, _: usize) {
        self.values.gradient.fill(0.0);
    }

    fn forward(&mut self, site: Site, x: &[f32], rows: usize, y: &mut [f32], threads: &Threads) {
        let weights = self.weights(site.layer);
        let Some(place) = self.places.get_mut(&site) else { return };
        let count = place.owners.len();
        place.inner = inward(x, rows, &place.a, count, threads);
        let gains: Vec<f32> = place.owners.iter().map(|(owner, scale)| weights[*owner] * scale).collect();
        outward(&scaled(&place.inner, &gains), rows, &place.b, y, threads);
    }

    fn backward(
        &mut self,
        site: Site,
        _: &[f32],
        gradient: &[f32],
        rows: usize,
        x_gradient: &mut [f32],
        threads: &Threads,
    ) {
        let Some(place) = self.places.get(&site) else { return };
        let count = place.owners.len();
        let flow = back_to_inner(gradient, rows, &place.b, count, threads);
        let (weights, mut learned) = (self.weights(site.layer), vec![0.0; self.members]);
        for (flow, inner) in flow.chunks_exact(count).zip(place.inner.chunks_exact(count)) {
            for ((flow, inner), (owner, scale)) in flow.iter().zip(inner).zip(&place.owners) {
                learned[*owner] += scale * flow * inner;
            }
        }
        let gains: Vec<f32> = place.owners.iter().map(|(owner, scale)| weights[*owner] * scale).collect();
        back_to_input(&scaled(&flow, &gains), rows, &place.a, x_gradient, threads);
        self.add_gradient(site.layer, &learned);
    }
}

/// Every row of `values` times `gains`.
fn scaled(values: &[f32], gains: &[f32]) -> Vec<f32> {
    values.iter().zip(gains.iter().cycle()).map(|(value, gain)| value * gain).collect()
}
