//! A candidate and how well it did.

use crate::judge::Judged;
use crate::rung::Rung;

/// A candidate, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// Which one.
    pub rung: Rung,
    /// What every example says about it.
    pub judged: Vec<Judged>,
    /// Time it took to make and to judge it.
    pub seconds: f64,
}

impl Tried {
    /// Examples answered right.
    pub fn right(&self) -> usize {
        self.judged.iter().filter(|one| one.right).count()
    }

    /// Mean of the examples' losses, in nats a token of their answers.
    pub fn loss(&self) -> f64 {
        mean_loss(&self.judged)
    }
}

pub(crate) fn mean_loss(judged: &[Judged]) -> f64 {
    judged.iter().map(|one| one.loss).sum::<f64>() / judged.len().max(1) as f64
}
