//! The weights of a pool's adapters as what learns: keys, and the score of no adapter at all.
//!
//! `w = softmax(s / t)` over `s_n = q . k_n / (|q| |k_n|)` and a number that stands for the model as it is. The loss's gradient
//! by the weights goes on to keys and number, so that a key comes to stand where its adapter helps, and what no adapter
//! helps is left to the model.

use crayon_adapters::{AnswerKeys, Keys, Query};

use super::TrainOptions;
use crate::{Trainable, Variable};

/// The score of no adapter before training.
const REST: f32 = 0.3;

/// Keys in training.
pub(super) struct Gate {
    /// `[adapters][parts * width]`, prompts' part first.
    keys: Variable,
    /// The score of no adapter.
    rest: Variable,
    /// Means and sizes; its keys are those before training.
    before: Keys,
    temperature: f32,
    learns: bool,
}

impl Gate {
    /// Begins with `keys`. Those of the hard variant, and fixed ones, stay as they are.
    pub(super) fn new(mut keys: Keys, options: &TrainOptions) -> Gate {
        let learns = !options.hard && !options.fixed_keys;
        if learns {
            keys.rest = keys.rest.or(Some(REST));
        }
        let mut all = Vec::new();
        for (number, key) in keys.keys.iter().enumerate() {
            all.extend_from_slice(key);
            all.extend(keys.answers.iter().flat_map(|answers| &answers.keys[number]));
        }
        let temperature = if options.hard { f32::MIN_POSITIVE } else { options.temperature };
        Gate {
            keys: Variable::new(all),
            rest: Variable::new(vec![keys.rest.unwrap_or(REST)]),
            before: keys,
            temperature,
            learns,
        }
    }

    /// The keys that `values`, its variables' values, stand for.
    pub(super) fn keys(&self, values: &[Vec<f32>]) -> Keys {
        let [all, rest] = values else { return self.before.clone() };
        let (width, parts) = self.size();
        let part = |at: usize| {
            all.chunks_exact(parts * width).map(|row| row[at * width..(at + 1) * width].to_vec()).collect()
        };
        let answers = self.before.answers.as_ref();
        Keys {
            keys: part(0),
            answers: answers.map(|answers| AnswerKeys { keys: part(1), mean: answers.mean.clone() }),
            rest: rest.first().copied(),
            ..self.before.clone()
        }
    }

    /// The weights for a mean of centred queries.
    pub(super) fn shares(&self, query: &Query) -> Vec<f32> {
        let keys = self.keys(&self.values());
        keys.weights(&keys.scores(query), self.temperature)
    }

    /// Takes the loss's gradient by the weights of every query, `[queries][adapters]`.
    pub(super) fn backward<'q>(&mut self, queries: impl Iterator<Item = &'q Query>, by_weights: &[f32]) {
        self.keys.gradient.fill(0.0);
        self.rest.gradient.fill(0.0);
        if !self.learns {
            return;
        }
        let keys = self.keys(&self.values());
        let (width, parts) = self.size();
        let count = keys.keys.len();
        for (query, by_weights) in queries.zip(by_weights.chunks_exact(count)) {
            let scores = keys.scores(query);
            let weights = keys.weights(&scores, self.temperature);
            // Softmax: no adapter has a weight as well, by which the loss does not change.
            let mean: f32 = weights.iter().zip(by_weights).map(|(weight, by)| weight * by).sum();
            let none = 1.0 - weights.iter().sum::<f32>();
            self.rest.gradient[0] -= none * mean / self.temperature;
            let used = if keys.answers.is_some() && query.answer.is_some() { parts } else { 1 };
            let asked: Vec<f32> = query
                .prompt
                .iter()
                .chain(query.answer.iter().flatten())
                .take(used * width)
                .copied()
                .collect();
            let length = norm(&asked);
            let rows = self.keys.values.chunks_exact(parts * width);
            let gradients = self.keys.gradient.chunks_exact_mut(parts * width);
            for (number, (key, gradient)) in rows.zip(gradients).enumerate() {
                let by_score = weights[number] * (by_weights[number] - mean) / self.temperature;
                let key = &key[..used * width];
                let own = norm(key);
                if length == 0.0 || own == 0.0 {
                    continue;
                }
                // d cos = (q / |q| - cos k / |k|) / |k|
                for ((gradient, key), asked) in gradient.iter_mut().zip(key).zip(&asked) {
                    *gradient += by_score * (asked / length - scores[number] * key / own) / own;
                }
            }
        }
    }

    /// Width of a query, and whether it has one part or two.
    fn size(&self) -> (usize, usize) {
        (self.before.mean.len(), 1 + usize::from(self.before.answers.is_some()))
    }
}

fn norm(values: &[f32]) -> f32 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt() as f32
}

impl Trainable for Gate {
    fn variables(&self) -> Vec<&Variable> {
        if self.learns { vec![&self.keys, &self.rest] } else { Vec::new() }
    }

    fn variables_mut(&mut self) -> Vec<&mut Variable> {
        if self.learns { vec![&mut self.keys, &mut self.rest] } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys {
            keys: vec![vec![1.0, 0.2], vec![-0.3, 1.0], vec![0.5, -0.5]],
            mean: vec![0.0, 0.0],
            answers: Some(AnswerKeys {
                keys: vec![vec![0.4, 0.1], vec![0.9, -0.2], vec![-0.6, 0.3]],
                mean: vec![0.1, 0.2],
            }),
            ..Keys::default()
        }
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let mut gate = Gate::new(keys(), &TrainOptions { temperature: 0.4, ..TrainOptions::default() });
        let queries = [
            Query { prompt: vec![0.7, 0.1], answer: Some(vec![0.2, -0.6]) },
            Query { prompt: vec![-0.4, 0.5], answer: None },
        ];
        let by_weights = [0.5, -1.0, 0.3, 0.8, 0.2, -0.7];
        let value = |gate: &Gate| -> f32 {
            let shares = queries.iter().flat_map(|query| gate.shares(query));
            shares.zip(by_weights).map(|(share, by)| share * by).sum()
        };
        gate.backward(queries.iter(), &by_weights);
        let gradients: Vec<Vec<f32>> = gate.variables().iter().map(|one| one.gradient.clone()).collect();
        for (variable, gradient) in gradients.iter().enumerate() {
            for (at, expected) in gradient.iter().enumerate() {
                let mut moved = |by: f32| {
                    gate.variables_mut()[variable].values[at] += by;
                    let found = value(&gate);
                    gate.variables_mut()[variable].values[at] -= by;
                    found
                };
                let found = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                assert!((found - expected).abs() < 2e-3, "{variable} {at}: {found} {expected}");
            }
        }
    }

    #[test]
    fn fixed_keys_stay() {
        let mut gate = Gate::new(keys(), &TrainOptions { fixed_keys: true, ..TrainOptions::default() });
        gate.backward([Query::from([1.0, 0.0])].iter(), &[1.0, 2.0, 3.0]);
        assert!(gate.variables().is_empty());
        assert_eq!(gate.keys(&gate.values()), keys());
        let sum: f32 = gate.shares(&Query::from([1.0, 0.0])).iter().sum();
        assert!((sum - 1.0).abs() < 1e-6);
    }
}
