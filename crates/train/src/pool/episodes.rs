//! The weights under which an example is learned: those that a few examples of its task would give a person.
//!
//! A person's blend is weighed by the mean query of several examples. Queries of single texts lie far apart and their mean
//! near the middle, so that a pool learned under each example's own weights has never answered in the mixture that is asked
//! of it. Each time an example is read here, its weights come from the mean over 1, 2, 4, … examples of its task, itself
//! among them, drawn anew: training is what use will be (episodes, Vinyals et al., 2016, arXiv 1606.04080).

use std::collections::HashMap;

use crayon_adapters::{Keys, QueryMean, Random, Sample, weights};

use super::TrainOptions;

/// Draws the weights of training examples.
pub(super) struct Episodes<'a> {
    keys: &'a Keys,
    samples: &'a [Sample],
    /// The examples that train, by task.
    tasks: HashMap<&'a str, Vec<usize>>,
    largest: usize,
    temperature: f32,
}

impl<'a> Episodes<'a> {
    /// Of `learning`, the examples that train.
    pub(super) fn new(
        keys: &'a Keys,
        samples: &'a [Sample],
        learning: &[usize],
        options: &TrainOptions,
    ) -> Self {
        let mut tasks = HashMap::<&str, Vec<usize>>::new();
        for &at in learning {
            tasks.entry(&samples[at].task).or_default().push(at);
        }
        let temperature = if options.hard { f32::MIN_POSITIVE } else { options.temperature };
        Episodes { keys, samples, tasks, largest: options.episode, temperature }
    }

    /// The weight of each adapter for example `at`.
    pub(super) fn shares(&self, at: usize, random: &mut Random) -> Vec<f32> {
        let others = self.tasks.get(&*self.samples[at].task).map_or(&[][..], |task| task);
        let size = if others.is_empty() { 1 } else { 1 << random.below(self.largest.ilog2() as usize + 1) };
        let query = &self.samples[at].query;
        let mut mean = QueryMean::new(query.len());
        mean.add(self.keys, query);
        for _ in 1..size {
            mean.add(self.keys, &self.samples[others[random.below(others.len())]].query);
        }
        weights(&self.keys.scores(&mean.mean()), self.temperature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(task: &str, query: [f32; 2]) -> Sample {
        Sample { prompt: vec![1], answer: vec![2], query: query.to_vec(), task: task.to_owned() }
    }

    fn keys() -> Keys {
        Keys { keys: vec![vec![1.0, 0.0], vec![0.0, 1.0]], mean: vec![0.0, 0.0], floor: 0.0 }
    }

    #[test]
    fn alone_an_example_has_the_weights_of_its_own_query() {
        let (keys, samples) = (keys(), [sample("a", [1.0, 0.8]), sample("a", [0.0, 1.0])]);
        let options = TrainOptions { episode: 1, ..TrainOptions::default() };
        let soft = Episodes::new(&keys, &samples, &[0, 1], &options).shares(0, &mut Random::new(0, 0));
        assert_eq!(soft, weights(&keys.scores(&keys.centre(&samples[0].query)), options.temperature));
        assert!(soft[0] > soft[1] && soft[1] > 0.0 && (soft[0] + soft[1] - 1.0).abs() < 1e-6);
        let options = TrainOptions { hard: true, ..options };
        let hard = Episodes::new(&keys, &samples, &[0, 1], &options).shares(0, &mut Random::new(0, 0));
        assert_eq!(hard, [1.0, 0.0]);
    }

    #[test]
    fn in_company_its_weights_lean_to_its_task_and_to_no_other() {
        let keys = keys();
        let mut samples = vec![sample("a", [1.0, 0.0])];
        samples.extend(vec![sample("a", [0.0, 1.0]); 20]);
        samples.extend(vec![sample("b", [-1.0, 0.0]); 20]);
        let all: Vec<usize> = (0..samples.len()).collect();
        let options = TrainOptions { episode: 16, ..TrainOptions::default() };
        let episodes = Episodes::new(&keys, &samples, &all, &options);
        let mut random = Random::new(3, 0);
        let drawn: Vec<Vec<f32>> = (0..200).map(|_| episodes.shares(0, &mut random)).collect();
        let alone = drawn.iter().filter(|shares| shares[0] > 0.99).count();
        assert!((15..85).contains(&alone), "one in five: {alone}");
        // two of its task, itself and another: the middle between both keys
        assert!(drawn.iter().any(|shares| (shares[0] - 0.5).abs() < 0.01));
        assert!(drawn.iter().any(|shares| shares[1] > 0.99));
        // a held-out example of a task that nobody learns stands alone
        let apart = Episodes::new(&keys, &samples, &all[21..], &options);
        assert!((0..20).all(|_| apart.shares(0, &mut random)[0] > 0.99));
    }
}
