//! A candidate and how well it did.

use crate::judge::Judged;
use crate::rung::Rung;

/// A candidate, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// Which one.
    pub rung: Rung,
    /// What every example says about it; `None` for those that it was stopped before.
    pub judged: Vec<Option<Judged>>,
    /// Time it took to make and to judge it.
    pub seconds: f64,
}

impl Tried {
    /// Examples it was judged by.
    pub fn of(&self) -> usize {
        self.judged.iter().flatten().count()
    }

    /// Of these, answered right.
    pub fn right(&self) -> usize {
        self.judged.iter().flatten().filter(|one| one.right).count()
    }

    /// Mean of their losses, in nats a token of their answers.
    pub fn loss(&self) -> f64 {
        mean_loss(self.judged.iter().flatten())
    }
}

pub(crate) fn mean_loss<'a>(judged: impl Iterator<Item = &'a Judged>) -> f64 {
    let (sum, count) = judged.fold((0.0, 0usize), |(sum, count), one| (sum + one.loss, count + 1));
    sum / count.max(1) as f64
}
