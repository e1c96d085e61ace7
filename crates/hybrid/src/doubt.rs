//! Below which confidence a model is not believed: found on answers of which it is known whether they are right.

use serde::{Deserialize, Serialize};

use crate::HybridError;
use crate::thresholds::{EVERYTHING, NOTHING, between};

/// Fewer doubted answers than this say nothing about others.
const FEWEST: usize = 10;

/// An answer whose rightness is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// How sure the model was, 0 to 1.
    pub confidence: f32,
    /// Whether it is right.
    pub right: bool,
    /// Its tokens.
    pub tokens: usize,
}

/// Below which confidence a model's answers are mostly wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Doubt {
    /// Below this confidence an answer is doubted.
    pub below: f32,
    /// Tokens of the longest answer it was found on: of longer ones nothing is known.
    pub longest: usize,
    /// Answers it was found on.
    pub answers: usize,
    /// Of these, doubted.
    pub doubted: usize,
    /// Of the doubted ones, wrong.
    pub wrong: usize,
    /// Of the others, right.
    pub right: usize,
}

/// The highest confidence below which at least the share `wrong` (0 to 1) of the `answers` is wrong. Nothing is doubted where there
/// is none or fewer than ten answers lie below it, everything where even all of them are wrong that often.
///
/// # Errors
/// When the share is out of range.
pub fn doubt(answers: &[Judged], wrong: f64) -> Result<Doubt, HybridError> {
    if !(0.0..=1.0).contains(&wrong) {
        return Err(HybridError::Share { share: wrong });
    }
    let mut sorted = answers.to_vec();
    sorted.sort_unstable_by(|a, b| a.confidence.total_cmp(&b.confidence));
    let all_right = sorted.iter().filter(|answer| answer.right).count();
    let longest = sorted.iter().map(|answer| answer.tokens).max().unwrap_or(0);
    let found = |below, doubted, wrong| Doubt {
        below,
        longest,
        answers: sorted.len(),
        doubted,
        wrong,
        right: all_right - (doubted - wrong),
    };
    let mut best = found(NOTHING, 0, 0);
    let (mut seen, mut wrong_seen) = (0, 0);
    for equal in sorted.chunk_by(|a, b| a.confidence.total_cmp(&b.confidence).is_eq()) {
        seen += equal.len();
        wrong_seen += equal.iter().filter(|answer| !answer.right).count();
        if seen >= FEWEST && wrong_seen as f64 >= wrong * seen as f64 {
            let last = equal.first().map_or(NOTHING, |answer| answer.confidence);
            let below = sorted.get(seen).map_or(EVERYTHING, |next| between(last, next.confidence));
            best = found(below, seen, wrong_seen);
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers at these confidences, wrong but for those at `right`.
    fn judged(confidences: impl IntoIterator<Item = f32>, right: &[usize]) -> Vec<Judged> {
        let one = |(at, confidence)| Judged { confidence, right: right.contains(&at), tokens: at };
        confidences.into_iter().enumerate().map(one).collect()
    }

    #[test]
    fn the_border_is_the_highest_below_which_enough_are_wrong() {
        let confidences: Vec<f32> = (0..20).map(|at| at as f32 / 20.0).collect();
        // The eleventh and the last seven are right.
        let answers = judged(confidences, &[10, 13, 14, 15, 16, 17, 18, 19]);
        let found = doubt(&answers, 0.9).unwrap();
        // Below the fourteenth 12 of 13 are wrong; one right answer more, and 9 of 10 are no longer.
        assert!((found.below - 0.625).abs() < 1e-6, "{found:?}");
        assert_eq!((found.answers, found.doubted, found.wrong, found.right), (20, 13, 12, 7));
        assert_eq!(found.longest, 19);
        assert_eq!(doubt(&answers, 1.0).unwrap().doubted, 10);
        assert_eq!(doubt(&answers, 0.6).unwrap().doubted, 20);
    }

    #[test]
    fn equal_confidences_stay_together_and_few_answers_say_nothing() {
        let equal = judged([0.1; 10].into_iter().chain([0.5, 0.5]), &[11]);
        assert_eq!(doubt(&equal, 0.95).unwrap().doubted, 10);
        assert_eq!(doubt(&judged([0.1; 9], &[]), 0.5).unwrap().doubted, 0);
    }

    #[test]
    fn where_all_are_alike_nothing_or_everything_is_doubted() {
        let all: Vec<usize> = (0..12).collect();
        assert!(doubt(&judged([0.1; 12], &all), 0.8).unwrap().below < 0.0);
        assert!(doubt(&judged([0.1; 12], &[]), 0.8).unwrap().below > 1.0);
        assert!(doubt(&[], 0.8).unwrap().below < 0.0);
        assert!(matches!(doubt(&[], 1.1), Err(HybridError::Share { .. })));
    }
}
