//! Examples in parts, each kept aside once while the others are learned from.

use crayon_adapters::Random;

use crate::given::Case;

/// `count` parts of the numbers of `cases`, of sizes that differ by one at most. Examples with the same answer are spread over the
/// parts, so that none of them knows nothing of a label; else the seed decides.
pub(crate) fn folds(cases: &[Case], count: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut order = Random::new(seed, 7000).order(cases.len());
    order.sort_by(|a, b| cases[*a].answer.cmp(&cases[*b].answer));
    let mut parts = vec![Vec::new(); count];
    for (place, at) in order.into_iter().enumerate() {
        parts[place % count].push(at);
    }
    parts
}

#[cfg(test)]
mod tests {
    use crayon_adapters::{Query, Sample};

    use super::*;

    #[test]
    fn every_example_is_kept_aside_once_and_labels_are_spread() {
        let case = |answer: &str| Case {
            sample: Sample { prompt: vec![1], answer: vec![2], query: Query::default(), task: String::new() },
            choices: Vec::new(),
            right: 0,
            others: Vec::new(),
            prompt: String::new(),
            answer: answer.to_owned(),
        };
        let cases: Vec<Case> = (0..11).map(|at| case(["a", "b", "c"][at / 4])).collect();
        let parts = folds(&cases, 3, 5);
        let mut all = parts.concat();
        all.sort_unstable();
        assert_eq!(all, (0..11).collect::<Vec<_>>());
        for part in &parts {
            assert!((3..=4).contains(&part.len()));
            for label in ["a", "b", "c"] {
                let same = part.iter().filter(|at| cases[**at].answer == label).count();
                assert!((1..=2).contains(&same), "{parts:?}");
            }
        }
        assert_eq!(parts, folds(&cases, 3, 5));
        assert_ne!(parts, folds(&cases, 3, 6));
    }
}
