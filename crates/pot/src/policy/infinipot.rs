//! InfiniPot (arXiv 2410.01518, section 3): importance for the future and novelty against the past.
//!
//! The first `α · keep` places go to the most novel tokens, the same in all heads; the rest go, head by head, to what
//! the catalyst prompt attends to most.

use super::{Attention, Head, Needs, Policy};
use crate::select::largest;

pub(super) struct InfiniPot {
    /// α, the share of places that novelty fills.
    pub(super) novelty: f32,
}

impl Policy for InfiniPot {
    fn score(&self, head: &Head<'_>, scores: &mut [f32]) {
        scores.copy_from_slice(head.attention);
        let novel = (self.novelty * head.keep as f32).round() as usize;
        for slot in largest(head.novelty, novel) {
            // Above every sum of attention, in the order of novelty.
            scores[slot] = f32::MAX / 2.0;
        }
        if self.novelty >= 1.0 {
            scores.copy_from_slice(head.novelty);
        }
    }

    fn needs(&self) -> Needs {
        let attention = if self.novelty < 1.0 { Attention::Catalyst } else { Attention::None };
        Needs { novelty: self.novelty > 0.0, attention, ..Needs::default() }
    }
}
