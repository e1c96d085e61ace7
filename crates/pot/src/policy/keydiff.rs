//! KeyDiff (arXiv 2504.15364): keys that point away from the average direction stay.

use super::{Head, Policy};

pub(super) struct KeyDiff;

impl Policy for KeyDiff {
    fn score(&self, head: &Head<'_>, scores: &mut [f32]) {
        let dim = head.head_dim();
        let (mut key, mut mean) = (vec![0.0; dim], vec![0.0; dim]);
        for slot in 0..scores.len() {
            head.key(slot, &mut key);
            let length = norm(&key);
            mean.iter_mut().zip(&key).for_each(|(mean, key)| *mean += key / length);
        }
        let length = norm(&mean);
        for (slot, score) in scores.iter_mut().enumerate() {
            head.key(slot, &mut key);
            let product: f32 = key.iter().zip(&mean).map(|(a, b)| a * b).sum();
            *score = -product / (norm(&key) * length);
        }
    }
}

fn norm(x: &[f32]) -> f32 {
    x.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE)
}
