//! H2O (arXiv 2306.14048): half the places for the entries with the largest sum of attention so far, half for the
//! most recent tokens.

use super::{Attention, Head, Needs, Policy};

pub(super) struct H2o;

impl Policy for H2o {
    fn score(&self, head: &Head<'_>, scores: &mut [f32]) {
        scores.copy_from_slice(head.attention);
        let recent = scores.len() - (head.keep / 2).min(scores.len());
        scores[recent..].fill(f32::MAX);
    }

    fn needs(&self) -> Needs {
        Needs { attention: Attention::Every, ..Needs::default() }
    }
}
