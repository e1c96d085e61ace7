//! SirLLM (arXiv 2405.12528): the tokens that were hardest to predict stay, in all heads the same.

use super::{Head, Needs, Policy};

pub(super) struct SirLlm;

impl Policy for SirLlm {
    fn score(&self, head: &Head<'_>, scores: &mut [f32]) {
        scores.copy_from_slice(head.novelty);
    }

    fn needs(&self) -> Needs {
        Needs { novelty: true, ..Needs::default() }
    }
}
