//! SnapKV (arXiv 2404.14469): the last tokens vote with their attention, smoothed over neighbours, and stay themselves.

use super::{Attention, Head, Needs, Policy, smooth};

pub(super) struct SnapKv;

/// Tokens that vote.
const WINDOW: usize = 64;
/// Neighbours that share a vote.
const POOL: usize = 5;

impl Policy for SnapKv {
    fn score(&self, head: &Head<'_>, scores: &mut [f32]) {
        smooth(head.attention, POOL, scores);
        // In a small pot the voters leave at least half the places to others.
        let voters = WINDOW.min(head.keep / 2).min(scores.len());
        let first = scores.len() - voters;
        scores[first..].fill(f32::MAX);
    }

    fn needs(&self) -> Needs {
        Needs { attention: Attention::Last(WINDOW), ..Needs::default() }
    }
}
