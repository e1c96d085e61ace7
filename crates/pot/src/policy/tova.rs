//! TOVA (arXiv 2401.06104): what the last token attends to, averaged over the heads of a layer.

use super::{Attention, Head, Needs, Policy};

pub(super) struct Tova;

impl Policy for Tova {
    fn score(&self, head: &Head<'_>, scores: &mut [f32]) {
        scores.copy_from_slice(head.attention);
    }

    fn needs(&self) -> Needs {
        Needs { attention: Attention::Last(1), shared: true, ..Needs::default() }
    }
}
