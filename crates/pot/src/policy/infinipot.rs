//! InfiniPot (arXiv 2410.01518, section 3): importance for the future and novelty against the past.
//!
//! The first `α · keep` places go to the most novel tokens, the same in all heads; the rest go, head by head, to what
//! the catalyst prompt attends to most, smoothed over neighbours. The paper does not smooth; but a prompt attends to
//! the first token of what it looks for, and an answer needs the others as well.

use super::{Attention, Head, Needs, Policy, smooth};
use crate::select::largest;

pub(super) struct InfiniPot {
    /// α, the share of places that novelty fills.
    pub(super) novelty: f32,
    /// Neighbours that share attention.
    pub(super) smooth: usize,
}

impl Policy for InfiniPot {
    fn score(&self, head: &Head<'_>, scores: &mut [f32]) {
        smooth(head.attention, self.smooth, scores);
        let novel = (self.novelty * head.keep as f32).round() as usize;
        if self.novelty >= 1.0 {
            return scores.copy_from_slice(head.novelty);
        }
        // Above every sum of attention, in the order of novelty.
        let mut first = largest(head.novelty, novel);
        first.sort_unstable_by(|a, b| head.novelty[*b].total_cmp(&head.novelty[*a]).then(a.cmp(b)));
        for (rank, slot) in first.into_iter().enumerate() {
            scores[slot] = f32::MAX * (1.0 - 0.5 * rank as f32 / novel as f32);
        }
    }

    fn needs(&self) -> Needs {
        let attention = if self.novelty < 1.0 { Attention::Catalyst } else { Attention::None };
        Needs { novelty: self.novelty > 0.0, attention, ..Needs::default() }
    }
}
