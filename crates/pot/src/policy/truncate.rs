//! The first and the last tokens of the text, half and half: what programs do that cut the middle out of a prompt.

use super::{Head, Policy};

pub(super) struct Truncate;

impl Policy for Truncate {
    fn score(&self, head: &Head<'_>, scores: &mut [f32]) {
        let half = (head.keep / 2) as u32;
        for (score, &origin) in scores.iter_mut().zip(head.origins) {
            *score = if origin < half { f32::MAX } else { origin as f32 };
        }
    }
}
