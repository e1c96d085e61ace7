//! What an example is learned under: the mean query that a few examples of its task give a person.
//!
//! A person's blend is weighed by the mean query of several examples. Queries of single texts lie far apart and their mean
//! near the middle, so that a pool learned under each example's own weights has never answered in the mixture that is asked
//! of it. Each time an example is read here, its weights come from the mean over 1, 2, 4, … examples of its task, itself
//! among them, drawn anew: training is what use will be (episodes, Vinyals et al., 2016, arXiv 1606.04080).
//!
//! Most people's tasks are unknown to a pool, and there it should not act. Some examples are therefore read as a stranger's: in
//! the whole episode the labels are exchanged for answers of another task. From these the keys learn, the adapters do not.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use crayon_adapters::{Keys, Query, QueryMean, Random, Sample};

use super::TrainOptions;

/// One in so many examples is read without the answers of its episode: not everybody gives some.
const SILENT: usize = 8;
/// Tasks of more different answers than this have no labels that could be exchanged.
const LABELS: usize = 24;

/// An example as it is read once.
pub(super) struct Drawn<'a> {
    pub(super) sample: Cow<'a, Sample>,
    /// The mean of centred queries that weighs the adapters.
    pub(super) query: Query,
    /// Whether the adapters learn from it.
    pub(super) taught: bool,
}

/// Draws what training examples are learned under.
pub(super) struct Episodes<'a> {
    keys: &'a Keys,
    samples: &'a [Sample],
    /// The examples that train, by task.
    tasks: HashMap<&'a str, Vec<usize>>,
    /// Of every task with labels these, and one example of each.
    labels: HashMap<&'a str, HashMap<&'a [u32], usize>>,
    /// Examples with different answers, by task.
    answers: Vec<(&'a str, Vec<usize>)>,
    largest: usize,
    strangers: f64,
}

impl<'a> Episodes<'a> {
    /// Of `learning`, the examples that train. The means of `keys` count.
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
        let names: BTreeSet<&str> = tasks.keys().copied().collect();
        let (mut labels, mut answers) = (HashMap::new(), Vec::new());
        for name in names {
            let mut different = HashMap::<&[u32], usize>::new();
            for &at in &tasks[name] {
                different.entry(&samples[at].answer).or_insert(at);
            }
            let mut own: Vec<usize> = different.values().copied().collect();
            own.sort_unstable();
            answers.push((name, own));
            if different.len() <= LABELS && 2 * different.len() <= tasks[name].len() {
                labels.insert(name, different);
            }
        }
        Episodes {
            keys,
            samples,
            tasks,
            labels,
            answers,
            largest: options.episode,
            strangers: options.strangers,
        }
    }

    /// Example `at` as somebody's of its task.
    pub(super) fn draw(&self, at: usize, random: &mut Random) -> Drawn<'a> {
        let sample = &self.samples[at];
        let mates = self.mates(at, random);
        let query = self.mean(mates.iter().map(|&at| Cow::Borrowed(&self.samples[at])), random);
        Drawn { sample: Cow::Borrowed(sample), query, taught: true }
    }

    /// The same, or now and then as a stranger's where its task has labels.
    pub(super) fn draw_or_exchange(&self, at: usize, random: &mut Random) -> Drawn<'a> {
        let exchanged = match random.uniform() < self.strangers {
            true => self.exchange(at, random),
            false => None,
        };
        let Some(others) = exchanged else { return self.draw(at, random) };
        let mates = self.mates(at, random);
        let renamed = |at: usize| {
            let (sample, other) = (&self.samples[at], &self.samples[others[&*self.samples[at].answer]]);
            let query = Query { answer: other.query.answer.clone(), ..sample.query.clone() };
            Sample { answer: other.answer.clone(), query, ..sample.clone() }
        };
        let query = self.mean(mates.into_iter().map(|at| Cow::Owned(renamed(at))), random);
        Drawn { sample: Cow::Owned(renamed(at)), query, taught: false }
    }

    /// `at` and others of its task.
    fn mates(&self, at: usize, random: &mut Random) -> Vec<usize> {
        let others = self.tasks.get(&*self.samples[at].task).map_or(&[][..], |task| task);
        let size = if others.is_empty() { 1 } else { 1 << random.below(self.largest.ilog2() as usize + 1) };
        let drawn = (1..size).map(|_| others[random.below(others.len())]);
        std::iter::once(at).chain(drawn).collect()
    }

    fn mean<'s>(&self, samples: impl Iterator<Item = Cow<'s, Sample>>, random: &mut Random) -> Query {
        let silent = random.below(SILENT) == 0;
        let mut mean = QueryMean::new(self.keys.mean.len());
        for sample in samples {
            match silent {
                true => mean.add(self.keys, &Query::from(sample.query.prompt.clone())),
                false => mean.add(self.keys, &sample.query),
            }
        }
        mean.mean()
    }

    /// For each label of the task of `at` an example of another task, whose answer takes its place.
    fn exchange(&self, at: usize, random: &mut Random) -> Option<HashMap<&'a [u32], usize>> {
        let task: &str = &self.samples[at].task;
        // A held-out example may have a label that nobody learns.
        let labels = self.labels.get(task).filter(|labels| labels.contains_key(&*self.samples[at].answer))?;
        let (other, answers) = &self.answers[random.below(self.answers.len())];
        if *other == task {
            return None;
        }
        let mut labels: Vec<&[u32]> = labels.keys().copied().collect();
        labels.sort_unstable();
        let order = random.order(answers.len());
        Some(labels.into_iter().zip(order.iter().cycle().map(|&at| answers[at])).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(task: &str, query: [f32; 2]) -> Sample {
        Sample { prompt: vec![1], answer: vec![2], query: query.into(), task: task.to_owned() }
    }

    fn keys() -> Keys {
        Keys { keys: vec![vec![1.0, 0.0], vec![0.0, 1.0]], mean: vec![0.0, 0.0], ..Keys::default() }
    }

    #[test]
    fn alone_an_example_has_its_own_query() {
        let (keys, samples) = (keys(), [sample("a", [1.0, 0.8]), sample("a", [0.0, 1.0])]);
        let options = TrainOptions { episode: 1, ..TrainOptions::default() };
        let drawn = Episodes::new(&keys, &samples, &[0, 1], &options).draw(0, &mut Random::new(0, 0));
        assert_eq!(drawn.query, keys.centre(&samples[0].query));
        assert!(drawn.taught);
    }

    #[test]
    fn in_company_its_query_leans_to_its_task_and_to_no_other() {
        let keys = keys();
        let mut samples = vec![sample("a", [1.0, 0.0])];
        samples.extend(vec![sample("a", [0.0, 1.0]); 20]);
        samples.extend(vec![sample("b", [-1.0, 0.0]); 20]);
        let all: Vec<usize> = (0..samples.len()).collect();
        let options = TrainOptions { episode: 16, ..TrainOptions::default() };
        let episodes = Episodes::new(&keys, &samples, &all, &options);
        let mut random = Random::new(3, 0);
        let drawn: Vec<Vec<f32>> = (0..200).map(|_| episodes.draw(0, &mut random).query.prompt).collect();
        let alone = drawn.iter().filter(|query| query[0] > 0.99).count();
        assert!((15..85).contains(&alone), "one in five: {alone}");
        // two of its task, itself and another: the middle between both
        assert!(drawn.iter().any(|query| (query[0] - 0.5).abs() < 0.01));
        assert!(drawn.iter().any(|query| query[1] > 0.8));
        // a held-out example of a task that nobody learns stands alone
        let apart = Episodes::new(&keys, &samples, &all[21..], &options);
        assert!((0..20).all(|_| apart.draw(0, &mut random).query.prompt[0] > 0.99));
    }

    #[test]
    fn strangers_have_the_labels_of_another_task_and_teach_nothing() {
        let labelled = |task: &str, number: u32, label: u32| Sample {
            prompt: vec![number],
            answer: vec![label],
            query: Query { prompt: vec![1.0, 0.0], answer: Some(vec![label as f32, 1.0]) },
            task: task.to_owned(),
        };
        let mut samples: Vec<Sample> = (0..20).map(|at| labelled("a", at, 100 + at % 2)).collect();
        samples.extend((0..20).map(|at| labelled("b", at, 200 + at)));
        let all: Vec<usize> = (0..40).collect();
        let keys = Keys { answers: Some(Default::default()), ..keys() };
        let episodes = Episodes::new(&keys, &samples, &all, &TrainOptions::default());
        let mut random = Random::new(1, 0);
        let drawn: Vec<Drawn<'_>> = (0..400).map(|_| episodes.draw_or_exchange(0, &mut random)).collect();
        let strange: Vec<&Drawn<'_>> = drawn.iter().filter(|drawn| !drawn.taught).collect();
        assert!((20..90).contains(&strange.len()), "half of a quarter: {}", strange.len());
        assert!(strange.iter().all(|drawn| drawn.sample.prompt == [0] && drawn.sample.answer[0] >= 200));
        assert!(drawn.iter().filter(|drawn| drawn.taught).all(|drawn| drawn.sample.answer == [100]));
        // Answers that are all different are not labels.
        assert!((0..100).all(|_| episodes.draw_or_exchange(30, &mut random).taught));
        let silent = drawn.iter().filter(|drawn| drawn.query.answer.is_none()).count();
        assert!((20..90).contains(&silent), "one in eight: {silent}");
    }
}
