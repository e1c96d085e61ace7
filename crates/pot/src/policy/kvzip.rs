//! In the manner of KVzip (arXiv 2505.23416): what the text attends to when it is repeated. The original repeats the
//! whole text over a full cache; here each chunk is repeated before it is distilled, and entries keep their score.

use super::{Attention, Head, Needs, Policy};

pub(super) struct KvZip;

impl Policy for KvZip {
    fn score(&self, head: &Head<'_>, scores: &mut [f32]) {
        scores.copy_from_slice(head.attention);
    }

    fn needs(&self) -> Needs {
        Needs { attention: Attention::Repeat, ..Needs::default() }
    }
}
