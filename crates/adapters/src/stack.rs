//! A pool's adapters held once, for any number of people: a weighting of them costs N numbers and no copying.
//!
//! `sum of w_n * scale_n * B_n A_n x` is `B (w * (A x))` with the A's on top of each other, the B's side by side and the
//! weights on the inner values: the exact sum, as concatenation makes it, without making it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crayon_formats::spec::Spec;
use crayon_kernels::Threads;
use crayon_model::{Adapter, LowRank, Site};
use sha2::{Digest, Sha256};

use crate::{AdapterError, Form, Lora, blend};

/// Adapters of one model, stacked.
#[derive(Debug)]
pub struct Stack {
    pub(crate) stacked: LowRank,
    /// For each inner value of a place, the adapter it belongs to.
    pub(crate) owners: BTreeMap<Site, Vec<usize>>,
    pub(crate) members: usize,
    fingerprint: OnceLock<String>,
}

/// A stack under one weighting: an adapter like any other.
#[derive(Clone, Debug)]
pub struct Weighted {
    stack: Arc<Stack>,
    weights: Vec<f32>,
}

impl Stack {
    /// Stacks `members` for a network of `spec`.
    ///
    /// # Errors
    /// When one does not fit the network.
    pub fn new(members: &[&Lora], spec: &Spec, threads: &Threads) -> Result<Stack, AdapterError> {
        let parts: Vec<(&Lora, f32)> = members.iter().map(|lora| (*lora, 1.0)).collect();
        let mut owners: BTreeMap<Site, Vec<usize>> = BTreeMap::new();
        for (number, lora) in members.iter().enumerate() {
            for (site, pair) in &lora.pairs {
                owners.entry(*site).or_default().extend(std::iter::repeat_n(number, pair.rank));
            }
        }
        let stacked = blend(&parts, Form::Exact, threads)?.attach(spec)?;
        Ok(Stack { stacked, owners, members: members.len(), fingerprint: OnceLock::new() })
    }

    /// Adapters in it.
    pub fn members(&self) -> usize {
        self.members
    }

    /// Bytes it takes, whatever is weighed from it.
    pub fn bytes(&self) -> usize {
        self.stacked.bytes()
    }

    /// The adapter of these weights, one for each member.
    ///
    /// # Errors
    /// When there are more or fewer weights than members, or one is not a number.
    pub fn weigh(self: &Arc<Stack>, weights: &[f32]) -> Result<Weighted, AdapterError> {
        if weights.len() != self.members || weights.iter().any(|weight| !weight.is_finite()) {
            let what = format!("{} weights do not fit {} adapters", weights.len(), self.members);
            return Err(AdapterError::unusable(what, "give one finite weight for each adapter"));
        }
        Ok(Weighted { stack: Arc::clone(self), weights: weights.to_vec() })
    }
}

impl Stack {
    /// Tells stacks apart, whatever their weights.
    pub(crate) fn fingerprint(&self) -> &str {
        self.fingerprint.get_or_init(|| self.stacked.fingerprint())
    }
}

impl Adapter for Weighted {
    fn add(&self, site: Site, x: &[f32], rows: usize, out: &mut [f32], pool: &Threads) {
        let mut gains = Vec::new();
        if let Some(stacked) = self.weighs(site, &mut gains) {
            stacked.add_weighted(site, x, rows, out, pool, &gains);
        }
    }

    fn weighs(&self, site: Site, gains: &mut Vec<f32>) -> Option<&LowRank> {
        let owners = self.stack.owners.get(&site)?;
        gains.extend(owners.iter().map(|&owner| self.weights[owner]));
        Some(&self.stack.stacked)
    }

    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.stack.fingerprint());
        self.weights.iter().for_each(|weight| hash.update(weight.to_le_bytes()));
        hex::encode(hash.finalize())
    }

    fn bytes(&self) -> usize {
        self.stack.bytes()
    }
}
