//! The data of a training: what is held out, its keys, the order of an epoch, and what its parts are called.

use std::collections::BTreeMap;

use crayon_adapters::{Clusters, Keys, Random, Sample, k_means};
use crayon_errors::{Setting, phrase};

use super::TrainOptions;
use crate::TrainError;

/// Which examples train, and which are held out.
pub(super) fn split(count: usize, options: &TrainOptions) -> Result<(Vec<usize>, Vec<usize>), TrainError> {
    let least = options.adapters + 1;
    if count < least {
        return Err(TrainError::unusable(
            format!(
                "{count} examples are too few for {} adapters; at least {least} are needed",
                options.adapters
            ),
            phrase!["give more of ", Setting::Data, ", or lower ", Setting::Adapters],
        ));
    }
    let mut order = Random::new(options.seed, 1).order(count);
    let wanted = (count as f64 * options.validation).round() as usize;
    let held_out = order.split_off(count - wanted.clamp(1, count - options.adapters));
    Ok((order, held_out))
}

/// The keys of the training examples, and from how near on an example fits one.
pub(super) fn find_keys(
    samples: &[Sample],
    learning: &[usize],
    options: &TrainOptions,
) -> Result<(Keys, Clusters), TrainError> {
    /// Share of the training examples that lie farther from every key than the floor allows.
    const OUTSIDE: f64 = 0.01;
    let width = samples.first().map_or(0, |sample| sample.query.len());
    let mut mean = vec![0.0f64; width];
    for &at in learning.iter().filter(|_| options.centred) {
        for (sum, value) in mean.iter_mut().zip(&samples[at].query) {
            *sum += f64::from(*value) / learning.len() as f64;
        }
    }
    let mean: Vec<f32> = mean.into_iter().map(|value| value as f32).collect();
    let mut keys = Keys { keys: Vec::new(), mean, floor: 0.0 };
    let points: Vec<Vec<f32>> = learning.iter().map(|&at| keys.centre(&samples[at].query)).collect();
    let clusters = k_means(&points, options.adapters, options.seed)?;
    keys.keys = clusters.centroids.clone();
    let best = |point: &Vec<f32>| keys.scores(point).into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut nearest: Vec<f32> = points.iter().map(best).collect();
    nearest.sort_by(f32::total_cmp);
    keys.floor = nearest[((nearest.len() - 1) as f64 * OUTSIDE) as usize];
    Ok((keys, clusters))
}

/// The examples of an epoch: shuffled, then sorted by length within a few batches, so that the examples of a batch
/// are about equally long and threads end together.
pub(super) fn epoch_order(
    samples: &[Sample],
    learning: &[usize],
    options: &TrainOptions,
    epoch: usize,
) -> Vec<usize> {
    /// Batches among which examples are sorted.
    const WINDOW: usize = 8;
    let mut random = Random::new(options.seed, 1000 + epoch as u64);
    let mut order: Vec<usize> = random.order(learning.len()).into_iter().map(|at| learning[at]).collect();
    for window in order.chunks_mut(WINDOW * options.batch) {
        window.sort_by_key(|&at| samples[at].prompt.len() + samples[at].answer.len());
    }
    order
}

/// For each adapter the tasks of most of its examples, and how many it has.
pub(super) fn names(
    samples: &[Sample],
    learning: &[usize],
    clusters: &Clusters,
    count: usize,
) -> Vec<(String, usize)> {
    /// A second task is named when it has at least this share of the first.
    const SECOND: f64 = 0.5;
    let mut names: Vec<(String, usize)> = Vec::with_capacity(count);
    for group in 0..count {
        let own = learning.iter().zip(&clusters.nearest).filter(|(_, nearest)| **nearest == group);
        let mut tasks = BTreeMap::<&str, usize>::new();
        own.for_each(|(at, _)| *tasks.entry(&samples[*at].task).or_default() += 1);
        let examples = tasks.values().sum();
        let mut tasks: Vec<(&str, usize)> = tasks.into_iter().collect();
        tasks.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let mut name = tasks.first().map_or("nothing", |(task, _)| task).to_owned();
        if let [(_, first), (second, size), ..] = tasks[..]
            && size as f64 >= SECOND * first as f64
        {
            name = format!("{name}+{second}");
        }
        let same = |name: &str| names.iter().any(|(other, _)| other == name);
        let number = (2..).find(|number| !same(&format!("{name} {number}")));
        if let Some(number) = number.filter(|_| same(&name)) {
            name = format!("{name} {number}");
        }
        names.push((name, examples));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(task: &str, query: [f32; 2]) -> Sample {
        Sample { prompt: vec![1], answer: vec![2], query: query.to_vec(), task: task.to_owned() }
    }

    #[test]
    fn adapters_are_named_after_their_tasks_and_told_apart() {
        let samples = ["a", "a", "b", "a", "c", "c"].map(|task| sample(task, [0.0, 0.0]));
        let clusters = Clusters { centroids: vec![], nearest: vec![0, 0, 0, 1, 2, 2], spread: 0.0 };
        let names = names(&samples, &[0, 1, 2, 3, 4, 5], &clusters, 4);
        let expected = [("a+b", 3), ("a", 1), ("c", 2), ("nothing", 0)];
        assert_eq!(names, expected.map(|(name, count)| (name.to_owned(), count)));
        let twice = Clusters { centroids: vec![], nearest: vec![0, 1, 2, 1, 2, 2], spread: 0.0 };
        let names = super::names(&samples[..2], &[0, 1], &twice, 2);
        assert_eq!((names[0].0.as_str(), names[1].0.as_str()), ("a", "a 2"));
    }

    #[test]
    fn every_example_trains_or_is_held_out_once() {
        let options = TrainOptions { adapters: 2, ..TrainOptions::default() };
        let (learning, held_out) = split(40, &options).unwrap();
        let mut all = [learning.clone(), held_out.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..40).collect::<Vec<_>>());
        assert_eq!(held_out.len(), 4);
        assert_eq!(split(3, &options).unwrap().1.len(), 1);
        assert!(split(2, &options).is_err());
        let samples = vec![sample("a", [0.0, 0.0]); 40];
        let mut order = epoch_order(&samples, &learning, &options, 3);
        order.sort_unstable();
        let mut expected = learning;
        expected.sort_unstable();
        assert_eq!(order, expected);
    }
}
