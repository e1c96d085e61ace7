//! Which candidate is taken.

use crate::judge::Judged;
use crate::tried::Tried;

/// The number of the candidate to take among `tried`, the base first and the simplest before others: the simplest whose loss
/// is within one standard error of the best one's. What answers fewer examples than the base does is no candidate, and neither
/// is what answers none of them and finds their answers unlikely besides.
///
/// The error is that of the mean difference between the two, example by example. With fewer than two examples nothing can be
/// told, and the base stays.
pub fn choose(tried: &[Tried]) -> usize {
    let Some(base) = tried.first().filter(|base| base.judged.len() > 1) else { return 0 };
    let able = |one: &&Tried| {
        one.loss().is_finite() && one.right() >= base.right() && (one.right() > 0 || one.loss() < LIKELY)
    };
    let best = tried.iter().skip(1).filter(able).min_by(|a, b| a.loss().total_cmp(&b.loss()));
    let Some(best) = best.filter(|best| best.loss() < base.loss()) else { return 0 };
    let simplest = |one: &Tried| {
        let (mean, error) = difference(&one.judged, &best.judged);
        mean <= error
    };
    if simplest(base) {
        return 0;
    }
    tried.iter().skip(1).position(|one| able(&one) && simplest(one)).map_or(0, |at| at + 1)
}

/// Nats a token from which on an answer that is never written right counts as not understood: one token in twenty.
const LIKELY: f64 = 3.0;

/// Mean of `a - b` over the examples, and its standard error.
fn difference(a: &[Judged], b: &[Judged]) -> (f64, f64) {
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a.loss - b.loss).collect();
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|one| (one - mean) * (one - mean)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rung;

    fn tried(losses: &[f64], right: usize) -> Tried {
        let judged = losses.iter().enumerate().map(|(at, loss)| Judged { loss: *loss, right: at < right });
        Tried { rung: Rung::Base, judged: judged.collect(), seconds: 0.0 }
    }

    #[test]
    fn the_simplest_within_one_standard_error_of_the_best_is_taken() {
        let base = tried(&[2.0, 2.5, 3.0, 2.2], 0);
        // Clearly better, and a little better still: differences of the two vary more than their mean.
        let simple = tried(&[1.0, 1.4, 1.2, 1.1], 2);
        let best = tried(&[1.2, 1.0, 1.3, 0.9], 2);
        assert_eq!(choose(&[base.clone(), simple.clone(), best.clone()]), 1);
        // Better on every example by nearly the same.
        let clear = tried(&[0.8, 1.1, 1.0, 0.9], 2);
        assert_eq!(choose(&[base.clone(), simple.clone(), clear]), 2);
        // Worse than the base, or as good as it: the base.
        assert_eq!(choose(&[simple.clone(), base.clone()]), 0);
        assert_eq!(choose(&[simple.clone(), simple.clone()]), 0);
    }

    #[test]
    fn doubt_goes_to_the_base() {
        let base = tried(&[2.0, 2.0, 2.0, 2.0], 1);
        // Much better on one example, a little worse on the others.
        assert_eq!(choose(&[base.clone(), tried(&[0.0, 2.3, 2.3, 2.3], 1)]), 0);
        // Likelier answers, and fewer right ones.
        assert_eq!(choose(&[base.clone(), tried(&[1.0, 1.1, 0.9, 1.0], 0)]), 0);
        assert_eq!(choose(&[base.clone(), tried(&[1.0, 1.1, 0.9, 1.0], 1)]), 1);
        // Not a number, one example, none.
        assert_eq!(choose(&[base, tried(&[f64::NAN, 1.0, 1.0, 1.0], 4)]), 0);
        assert_eq!(choose(&[tried(&[2.0], 0), tried(&[1.0], 1)]), 0);
        assert_eq!(choose(&[]), 0);
        // Answers that nobody could know, less unlikely than before.
        let noise = tried(&[9.0, 9.5, 8.8], 0);
        assert_eq!(choose(&[noise.clone(), tried(&[5.0, 5.1, 4.9], 0)]), 0);
        assert_eq!(choose(&[noise, tried(&[2.0, 2.1, 1.9], 0)]), 1);
    }
}
