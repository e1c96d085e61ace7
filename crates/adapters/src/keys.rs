//! The keys of a pool, and how near a query is to each.

/// Temperature of the softmax over cosines where a pool has none of its own.
pub const TEMPERATURE: f32 = 0.1;

/// Keys with what is needed to compare a query with them.
#[derive(Clone, Debug, PartialEq)]
pub struct Keys {
    /// `[adapters][width]`.
    pub keys: Vec<Vec<f32>>,
    /// Mean query of the data the pool was trained on, `[width]`. Raw mean queries are so alike that every cosine is near 1;
    /// what distinguishes a text is its difference from this.
    pub mean: Vec<f32>,
    /// Scores below this fit no key: nearly all of the training data lay nearer to one.
    pub floor: f32,
}

impl Keys {
    /// `query - mean`, of length 1; zeros where there is no difference.
    pub fn centre(&self, query: &[f32]) -> Vec<f32> {
        centre(query, &self.mean)
    }

    /// Cosines between `query` `[width]`, a mean of centred queries, and every key: the only thing that has to leave a device.
    pub fn scores(&self, query: &[f32]) -> Vec<f32> {
        self.keys.iter().map(|key| cosine(query, key)).collect()
    }

    /// Whether these scores are as near to some key as nearly all of the training data. That is not enough to tell that the pool
    /// knows a text: most texts are as near; see [`Known`](crate::Known).
    pub fn near(&self, scores: &[f32]) -> bool {
        scores.iter().any(|score| *score >= self.floor)
    }
}

/// `softmax(scores / temperature)`: towards 0 the nearest adapter alone, towards infinity all alike. Sums to 1.
pub fn weights(scores: &[f32], temperature: f32) -> Vec<f32> {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let temperature = f64::from(temperature.max(f32::MIN_POSITIVE));
    let powers: Vec<f64> =
        scores.iter().map(|score| (f64::from(score - largest) / temperature).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| (power / sum) as f32).collect()
}

pub(crate) fn centre(query: &[f32], mean: &[f32]) -> Vec<f32> {
    let mut out: Vec<f32> = query.iter().zip(mean).map(|(query, mean)| query - mean).collect();
    let length = dot(&out, &out).sqrt();
    if length > 0.0 {
        out.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
    out
}

pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { (dot(a, b) / lengths) as f32 } else { 0.0 }
}

pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_follow_the_temperature() {
        let scores = [0.9, 0.2, -0.4, 0.85];
        for temperature in [1e-30, 0.01, 0.1, 1.0, 1e6] {
            let weights = weights(&scores, temperature);
            let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            assert!((sum - 1.0).abs() < 1e-6, "{temperature}: {sum}");
        }
        assert_eq!(weights(&scores, 1e-30), [1.0, 0.0, 0.0, 0.0]);
        assert!(weights(&scores, 1e6).iter().all(|weight| (weight - 0.25).abs() < 1e-6));
        let sharp = weights(&scores, 0.1);
        assert!(sharp[0] > sharp[3] && sharp[3] > sharp[1] && sharp[1] > sharp[2]);
    }

    #[test]
    fn scores_do_not_depend_on_length_and_see_the_difference_from_the_mean() {
        let keys = Keys { keys: vec![vec![1.0, 0.0], vec![0.0, 2.0]], mean: vec![10.0, 10.0], floor: 0.0 };
        let one = keys.scores(&keys.centre(&[11.0, 10.0]));
        assert_eq!(one, [1.0, 0.0]);
        assert_eq!(keys.scores(&keys.centre(&[15.0, 10.0])), one);
        // Without centring the two directions can hardly be told apart.
        let raw = Keys { keys: vec![vec![11.0, 10.0], vec![10.0, 11.0]], mean: vec![0.0, 0.0], floor: 0.0 };
        let alike = raw.scores(&[11.0, 10.0]);
        assert!(alike[1] > 0.99, "{alike:?}");
        assert_eq!(keys.centre(&[10.0, 10.0]), [0.0, 0.0]);
    }
}
