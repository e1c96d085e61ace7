//! The data of a training: what is held out, its keys, the order of an epoch, and what its parts are called.

use std::collections::BTreeMap;

use crayon_adapters::{AnswerKeys, Keys, Query, QueryMean, Random, Sample, k_means};
use crayon_errors::{Setting, phrase};

use super::TrainOptions;
use super::episodes::Episodes;
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

/// Keys without any key: the mean queries of the training examples.
pub(super) fn centred(samples: &[Sample], learning: &[usize], options: &TrainOptions) -> Keys {
    let query = |at: usize| &samples[at].query;
    let width = samples.first().map_or(0, |sample| sample.query.prompt.len());
    let mean = |part: &dyn Fn(&'_ Query) -> Vec<f32>| -> Vec<f32> {
        let mut mean = vec![0.0f64; width];
        for &at in learning.iter().filter(|_| options.centred) {
            for (sum, value) in mean.iter_mut().zip(part(query(at))) {
                *sum += f64::from(value) / learning.len() as f64;
            }
        }
        mean.into_iter().map(|value| value as f32).collect()
    };
    let answered = !options.prompt_keys && learning.iter().all(|&at| query(at).answer.is_some());
    let answers = answered.then(|| AnswerKeys {
        keys: Vec::new(),
        mean: mean(&|query| query.answer.clone().unwrap_or_default()),
    });
    Keys { mean: mean(&|query| query.prompt.clone()), answers, ..Keys::default() }
}

/// The keys before training: centres of groups of the queries that examples are learned under.
pub(super) fn groups(
    episodes: &Episodes<'_>,
    learning: &[usize],
    means: &Keys,
    options: &TrainOptions,
) -> Result<Keys, TrainError> {
    /// Examples that are grouped, at most.
    const MOST: usize = 4000;
    let mut random = Random::new(options.seed, 3);
    let width = means.mean.len();
    let point = |&at: &usize| {
        let Query { mut prompt, answer } = episodes.draw(at, &mut random).query;
        if means.answers.is_some() {
            prompt.extend(answer.unwrap_or_else(|| vec![0.0; width]));
        }
        prompt
    };
    let points: Vec<Vec<f32>> = learning.iter().take(MOST).map(point).collect();
    let mut keys = means.clone();
    for mut centre in k_means(&points, options.adapters, options.seed)?.centroids {
        let answer = centre.split_off(width);
        keys.keys.push(centre);
        if let Some(answers) = &mut keys.answers {
            answers.keys.push(answer);
        }
    }
    Ok(keys)
}

/// The keys of an earlier pool, with a part for answers where it had none: the mean of those whose prompts are nearest to a key.
pub(super) fn grown(keys: &Keys, means: &Keys, samples: &[Sample], learning: &[usize]) -> Keys {
    let (None, Some(AnswerKeys { mean, .. })) = (&keys.answers, &means.answers) else { return keys.clone() };
    let mut sums = vec![QueryMean::new(mean.len()); keys.keys.len()];
    for &at in learning {
        let query = &samples[at].query;
        let (nearest, _) = best(keys, query);
        sums[nearest].add(means, query);
    }
    let answer = |sum: QueryMean| sum.mean().answer.unwrap_or_else(|| vec![0.0; mean.len()]);
    let answers = AnswerKeys { keys: sums.into_iter().map(answer).collect(), mean: mean.clone() };
    Keys { answers: Some(answers), ..keys.clone() }
}

/// The nearest key, and how near it is.
fn best(keys: &Keys, query: &Query) -> (usize, f32) {
    let scores = keys.scores(&keys.centre(query));
    (0..scores.len()).map(|key| (key, scores[key])).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
}

/// The nearest key of each training example; sets from how near on one fits.
pub(super) fn assign(keys: &mut Keys, samples: &[Sample], learning: &[usize]) -> Vec<usize> {
    /// Share of the training examples that lie farther from every key than the floor allows.
    const OUTSIDE: f64 = 0.01;
    let found: Vec<(usize, f32)> = learning.iter().map(|&at| best(keys, &samples[at].query)).collect();
    let mut scores: Vec<f32> = found.iter().map(|(_, score)| *score).collect();
    scores.sort_by(f32::total_cmp);
    keys.floor = scores[((scores.len() - 1) as f64 * OUTSIDE) as usize];
    found.into_iter().map(|(key, _)| key).collect()
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
    nearest: &[usize],
    count: usize,
) -> Vec<(String, usize)> {
    /// A second task is named when it has at least this share of the first.
    const SECOND: f64 = 0.5;
    let mut names: Vec<(String, usize)> = Vec::with_capacity(count);
    for group in 0..count {
        let own = learning.iter().zip(nearest).filter(|(_, nearest)| **nearest == group);
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
        Sample { prompt: vec![1], answer: vec![2], query: query.into(), task: task.to_owned() }
    }

    #[test]
    fn adapters_are_named_after_their_tasks_and_told_apart() {
        let samples = ["a", "a", "b", "a", "c", "c"].map(|task| sample(task, [0.0, 0.0]));
        let names = names(&samples, &[0, 1, 2, 3, 4, 5], &[0, 0, 0, 1, 2, 2], 4);
        let expected = [("a+b", 3), ("a", 1), ("c", 2), ("nothing", 0)];
        assert_eq!(names, expected.map(|(name, count)| (name.to_owned(), count)));
        let names = super::names(&samples[..2], &[0, 1], &[0, 1], 2);
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
