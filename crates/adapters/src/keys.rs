//! The keys of a pool, and how near a query is to each.

use crate::Query;

/// Temperature of the softmax over cosines where a pool has none of its own.
pub const TEMPERATURE: f32 = 0.1;

/// Keys with what is needed to compare a query with them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keys {
    /// `[adapters][width]`.
    pub keys: Vec<Vec<f32>>,
    /// Mean query of the data the pool was trained on, `[width]`. Raw mean queries are so alike that every cosine is near 1;
    /// what distinguishes a text is its difference from this.
    pub mean: Vec<f32>,
    /// The same for answers, in pools that look at them. Prompts alone do not say what is wanted: the same word may be asked
    /// for its opposite, its plural or its first letter.
    pub answers: Option<AnswerKeys>,
    /// Scores below this fit no key: nearly all of the training data lay nearer to one.
    pub floor: f32,
    /// The score of no adapter at all in the softmax; without it the weights of adapters sum to 1.
    pub rest: Option<f32>,
}

/// The part of keys that answers are compared with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerKeys {
    /// `[adapters][width]`.
    pub keys: Vec<Vec<f32>>,
    /// Mean query of answers, `[width]`.
    pub mean: Vec<f32>,
}

impl Keys {
    /// `query - mean`, of length 1, for prompt and answer apart; zeros where there is no difference. An answer is left out
    /// where the keys do not look at any.
    pub fn centre(&self, query: &Query) -> Query {
        let answer = self.answers.as_ref().zip(query.answer.as_ref());
        Query {
            prompt: centre(&query.prompt, &self.mean),
            answer: answer.map(|(keys, query)| centre(query, &keys.mean)),
        }
    }

    /// Cosines between `query`, a mean of centred queries, and every key: the only thing that has to leave a device. Without
    /// an answer they are those of the prompts.
    pub fn scores(&self, query: &Query) -> Vec<f32> {
        let both = self.answers.as_ref().zip(query.answer.as_ref());
        let score = |(number, key): (usize, &Vec<f32>)| match both {
            Some((answers, answer)) => cosine([&query.prompt, answer], [key, &answers.keys[number]]),
            None => cosine([&query.prompt, &[]], [key, &[]]),
        };
        self.keys.iter().enumerate().map(score).collect()
    }

    /// The weight of each adapter: `softmax(scores / temperature)`, in which no adapter takes part with the score
    /// [`rest`](Self::rest). What the weights lack to 1 is the model as it is.
    pub fn weights(&self, scores: &[f32], temperature: f32) -> Vec<f32> {
        let mut all = scores.to_vec();
        all.extend(self.rest);
        let mut weights = weights(&all, temperature);
        weights.truncate(scores.len());
        weights
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

/// The cosine between two vectors, each in two parts.
fn cosine(a: [&[f32]; 2], b: [&[f32]; 2]) -> f32 {
    let product = |a: [&[f32]; 2], b: [&[f32]; 2]| dot(a[0], b[0]) + dot(a[1], b[1]);
    let lengths = (product(a, a) * product(b, b)).sqrt();
    if lengths > 0.0 { (product(a, b) / lengths) as f32 } else { 0.0 }
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
        let keys = |keys: Vec<Vec<f32>>, mean: Vec<f32>| Keys { keys, mean, ..Keys::default() };
        let own = keys(vec![vec![1.0, 0.0], vec![0.0, 2.0]], vec![10.0, 10.0]);
        let one = own.scores(&own.centre(&Query::from([11.0, 10.0])));
        assert_eq!(one, [1.0, 0.0]);
        assert_eq!(own.scores(&own.centre(&Query::from([15.0, 10.0]))), one);
        // Without centring the two directions can hardly be told apart.
        let raw = keys(vec![vec![11.0, 10.0], vec![10.0, 11.0]], vec![0.0, 0.0]);
        let alike = raw.scores(&Query::from([11.0, 10.0]));
        assert!(alike[1] > 0.99, "{alike:?}");
        assert_eq!(own.centre(&Query::from([10.0, 10.0])), Query::from([0.0, 0.0]));
    }

    #[test]
    fn answers_tell_apart_what_prompts_do_not() {
        let answers = AnswerKeys { keys: vec![vec![1.0, 0.0], vec![0.0, 1.0]], mean: vec![5.0, 5.0] };
        let keys = Keys {
            keys: vec![vec![1.0, 0.0], vec![1.0, 0.0]],
            mean: vec![0.0, 0.0],
            answers: Some(answers),
            ..Keys::default()
        };
        let prompt = vec![3.0, 0.0];
        assert_eq!(keys.scores(&keys.centre(&Query::from(prompt.clone()))), [1.0, 1.0]);
        let query = keys.centre(&Query { prompt: prompt.clone(), answer: Some(vec![5.0, 7.0]) });
        let scores = keys.scores(&query);
        assert!((scores[0] - 0.5).abs() < 1e-6 && (scores[1] - 1.0).abs() < 1e-6, "{scores:?}");
        // Keys without answers leave them out.
        let keys = Keys { answers: None, ..keys };
        assert_eq!(keys.centre(&query).answer, None);
    }

    #[test]
    fn no_adapter_takes_part_in_the_softmax() {
        let keys = Keys { rest: Some(0.5), ..Keys::default() };
        let sum = |scores: &[f32]| keys.weights(scores, 0.1).iter().sum::<f32>();
        assert!((sum(&[0.5, -9.0]) - 0.5).abs() < 1e-6);
        assert!(sum(&[0.95, 0.95]) > 0.98 && sum(&[0.1, 0.1]) < 0.05);
        assert_eq!(keys.weights(&[0.6, 0.4], 1e-30), [1.0, 0.0]);
        assert_eq!(keys.weights(&[0.4, 0.3], 1e-30), [0.0, 0.0]);
        let none = Keys::default();
        assert_eq!(none.weights(&[0.1, 0.3], 0.1), weights(&[0.1, 0.3], 0.1));
    }
}
