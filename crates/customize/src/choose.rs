//! Which candidate is taken.

use crate::judge::Judged;
use crate::tried::Tried;

/// The number of the candidate to take among `tried`, the base first and the simplest before others: the simplest whose loss
/// is within one standard error of the best one's, of those that answer within one standard error as many examples as the one that
/// answers most. What answers fewer examples than the base does is not a candidate, nor what answers
/// not clearly more and puts fewer answers ahead of those to other examples. What answers none has to put more of them ahead than the base, or
/// all, and must not find them unlikely besides.
///
/// The error is that of the mean difference between the two, example by example, over those that both were judged by. With fewer
/// than two examples nothing can be told, and the base stays; a candidate that was stopped early needs three.
pub fn choose(tried: &[Tried]) -> usize {
    let Some(base) = tried.first().filter(|base| base.of() > 1) else { return 0 };
    let able = |one: &Tried| {
        let pairs = pairs(one, base);
        let right = |at: usize| pairs.iter().filter(|pair| pair[at].right).count();
        let ahead = |at: usize| pairs.iter().filter(|pair| pair[at].ahead).count();
        let loss = pairs.iter().map(|pair| pair[0].loss).sum::<f64>() / pairs.len().max(1) as f64;
        let enough = pairs.len() >= base.of().min(ENOUGH);
        let (more, error) = difference(&pairs, rightness);
        let as_good = right(0) >= right(1) && ahead(0) >= ahead(1);
        let answers = right(0) > 0 && (more > error || as_good);
        let apart = ahead(0) > ahead(1) || ahead(0) == pairs.len();
        let tells = right(0) == right(1) && apart && loss < LIKELY;
        enough && loss.is_finite() && (answers || tells)
    };
    let able: Vec<usize> = (0..tried.len()).filter(|at| *at == 0 || able(&tried[*at])).collect();
    // What answers clearly fewer than another does is out, however likely its answers are.
    let Some(&most) = able.iter().max_by(|a, b| right(&tried[**a]).total_cmp(&right(&tried[**b]))) else {
        return 0;
    };
    let answers_enough = |at: &&usize| {
        let (mean, error) = difference(&pairs(&tried[most], &tried[**at]), rightness);
        mean <= error || error.is_nan()
    };
    let able: Vec<usize> = able.iter().filter(answers_enough).copied().collect();
    let gain = |at: &usize| -difference(&pairs(&tried[*at], base), |one| one.loss).0;
    let best = able.iter().copied().filter(|at| *at > 0).max_by(|a, b| gain(a).total_cmp(&gain(b)));
    let Some(best) = best.filter(|best| gain(best) > 0.0) else { return 0 };
    let simplest = |at: &usize| {
        let pairs = pairs(&tried[*at], &tried[best]);
        let (mean, error) = difference(&pairs, |one| one.loss);
        pairs.len() >= tried[best].of().min(ENOUGH) && mean <= error
    };
    able.into_iter().find(|at| *at == best || simplest(at)).unwrap_or(best)
}

/// Examples from which on a comparison says something.
const ENOUGH: usize = 3;
/// Nats a token from which on an answer that is never written right counts as not understood: one token in twenty.
const LIKELY: f64 = 3.0;

/// What both were judged by, example by example.
fn pairs(a: &Tried, b: &Tried) -> Vec<[Judged; 2]> {
    a.judged.iter().zip(&b.judged).filter_map(|(a, b)| Some([(*a)?, (*b)?])).collect()
}

/// 1 for a right answer, else 0.
fn rightness(one: Judged) -> f64 {
    f64::from(u8::from(one.right))
}

/// Share of right answers among those judged.
fn right(one: &Tried) -> f64 {
    one.right() as f64 / one.of().max(1) as f64
}

/// Mean of the first's figure minus the second's, and its standard error.
fn difference(pairs: &[[Judged; 2]], figure: impl Fn(Judged) -> f64) -> (f64, f64) {
    let differences: Vec<f64> = pairs.iter().map(|[a, b]| figure(*a) - figure(*b)).collect();
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
        let judged = losses
            .iter()
            .enumerate()
            .map(|(at, loss)| Some(Judged { loss: *loss, right: at < right, ahead: true }));
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
    fn what_answers_clearly_fewer_is_not_taken_for_being_simple() {
        let base = tried(&[4.0; 12], 0);
        let losses = |low: f64| -> Vec<f64> { (0..12).map(|at| low + 0.3 * f64::from(at % 4)).collect() };
        // Its loss is within an error of the best one's, example by example up and down.
        let mut near = losses(0.9);
        near.iter_mut().step_by(2).for_each(|loss| *loss -= 0.6);
        let simple = tried(&near, 1);
        let best = tried(&losses(0.55), 6);
        assert_eq!(choose(&[base.clone(), simple, best.clone()]), 2);
        // With as many right answers, or nearly, the simple one.
        assert_eq!(choose(&[base.clone(), tried(&near, 5), best.clone()]), 1);
        // A lower loss does not make up for right answers.
        assert_eq!(choose(&[base.clone(), tried(&losses(0.2), 1), best.clone()]), 2);
        // Nor do right answers for a loss above the base's.
        assert_eq!(choose(&[base, tried(&losses(5.0), 6)]), 0);
    }

    #[test]
    fn doubt_goes_to_the_base() {
        let base = tried(&[2.0, 2.0, 2.0, 2.0], 1);
        // Much better on one example, a little worse on the others.
        assert_eq!(choose(&[base.clone(), tried(&[0.0, 2.3, 2.3, 2.3], 1)]), 0);
        // Likelier answers, and fewer right ones.
        assert_eq!(choose(&[base.clone(), tried(&[1.0, 1.1, 0.9, 1.0], 0)]), 0);
        assert_eq!(choose(&[base.clone(), tried(&[1.0, 1.1, 0.9, 1.0], 1)]), 1);
        // Likelier answers, and the wrong ones likelier still.
        let mut misled = tried(&[1.0, 1.1, 0.9, 1.0], 1);
        misled.judged[2].as_mut().unwrap().ahead = false;
        assert_eq!(choose(&[base.clone(), misled.clone()]), 0);
        let mut unsure = base.clone();
        unsure.judged[3].as_mut().unwrap().ahead = false;
        assert_eq!(choose(&[unsure, misled.clone()]), 1);
        // One more right answer may be chance; what answers clearly more is taken for that.
        misled.judged[1].as_mut().unwrap().right = true;
        assert_eq!(choose(&[base.clone(), misled.clone()]), 0);
        misled.judged[3].as_mut().unwrap().right = true;
        assert_eq!(choose(&[base.clone(), misled]), 1);
        // Likelier answers, none of them written, and told apart no better than before.
        let mut mute = tried(&[1.0, 1.1, 0.9, 1.0], 0);
        mute.judged[2].as_mut().unwrap().ahead = false;
        let mut before = tried(&[2.0, 2.0, 2.0, 2.0], 0);
        before.judged[1].as_mut().unwrap().ahead = false;
        assert_eq!(choose(&[before.clone(), mute.clone()]), 0);
        before.judged[0].as_mut().unwrap().ahead = false;
        assert_eq!(choose(&[before, mute]), 1);
        // Not a number, one example, none.
        assert_eq!(choose(&[base, tried(&[f64::NAN, 1.0, 1.0, 1.0], 4)]), 0);
        assert_eq!(choose(&[tried(&[2.0], 0), tried(&[1.0], 1)]), 0);
        assert_eq!(choose(&[]), 0);
        // Answers that nobody could know, less unlikely than before.
        let noise = tried(&[9.0, 9.5, 8.8], 0);
        assert_eq!(choose(&[noise.clone(), tried(&[5.0, 5.1, 4.9], 0)]), 0);
        assert_eq!(choose(&[noise, tried(&[2.0, 2.1, 1.9], 0)]), 1);
    }

    #[test]
    fn what_was_stopped_is_compared_by_what_it_was_judged_by() {
        let base = tried(&[2.0, 2.1, 2.2, 2.0, 9.0, 9.0], 0);
        let part = |losses: &[f64], seen: usize| {
            let mut part = tried(losses, 2);
            part.judged[seen..].fill(None);
            part
        };
        let good = part(&[0.5, 0.4, 0.6, 0.5, 0.0, 0.0], 4);
        assert_eq!((good.of(), good.right()), (4, 2));
        assert_eq!(choose(&[base.clone(), good.clone()]), 1);
        // A low mean that comes from easy examples alone is not a gain.
        assert_eq!(choose(&[base.clone(), part(&[2.1, 2.2, 2.3, 2.1, 0.0, 0.0], 4)]), 0);
        // Two examples are too few.
        assert_eq!(choose(&[base.clone(), part(&[0.5, 0.4, 0.6, 0.5, 0.0, 0.0], 2)]), 0);
        // What was judged by all gains more in all.
        let whole = tried(&[1.0, 1.0, 1.1, 0.9, 1.0, 1.2], 6);
        assert_eq!(choose(&[base, whole, good]), 1);
    }
}
