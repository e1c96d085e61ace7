//! In the spirit of EpiCache (arXiv 2509.17396): the text is cut into segments, segments are clustered into episodes,
//! and the segment nearest to the middle of each episode takes the place of the catalyst prompt. Layers get room by
//! their sensitivity. The original keeps one memory for each episode; here all share one pot.

use super::{Attention, Head, Needs, Policy};

pub(super) struct Episodic;

impl Policy for Episodic {
    fn score(&self, head: &Head<'_>, scores: &mut [f32]) {
        scores.copy_from_slice(head.attention);
    }

    fn needs(&self) -> Needs {
        Needs { attention: Attention::Medoids, budgets: true, ..Needs::default() }
    }
}
