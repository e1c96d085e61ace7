//! Whether weights of words that were learned from a few pictures are better than none, told by pictures left out of learning.

use std::ops::ControlFlow;

use crate::few_shot::{Classifier as _, Linear, Shots};
use crate::{Embedder, ImageError, Learning};

/// How far weights are taken: each is raised to this power, so 0 is plain texts and 1 what was learned.
pub const STRENGTHS: [f32; 4] = [0.0, 0.25, 0.5, 1.0];
/// Parts that the pictures are left out in, at most.
const FOLDS: usize = 3;

/// What pictures that were left out of learning say.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Pictures that were left out in turn; 0 where no class can spare one.
    pub pictures: usize,
    /// How many of them are right, for each of [`STRENGTHS`].
    pub right: [usize; STRENGTHS.len()],
    /// `-ln p` of their classes in nats, the mean for each of [`STRENGTHS`].
    pub loss: [f64; STRENGTHS.len()],
    /// How far weights are to be taken.
    pub strength: f32,
}

impl Learning<'_> {
    /// Judges learned weights by cross-validation: they are learned again without a part of the pictures, which they then have to
    /// recognise.
    ///
    /// The strength of least loss is taken, of those by which no fewer pictures are right than by plain texts. Where its loss is not
    /// below that of plain texts by more than a standard error, texts stay plain.
    ///
    /// # Errors
    /// As [`Learning::words`].
    pub fn judge(
        &self,
        shots: Shots<'_>,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Judged, ImageError> {
        let (clip, classes) = (self.clip, self.classes.classes.len());
        let folds = folds(shots.labels, classes);
        let count = folds.iter().flatten().max().map_or(0, |most| most + 1);
        let plain = self.classes.taken(0.0).embed(clip)?;
        let mut losses: [Vec<f64>; STRENGTHS.len()] = Default::default();
        let mut right = [0; STRENGTHS.len()];
        for fold in 0..count {
            let (others, own) =
                (part(shots, &folds, |at| at != Some(fold)), part(shots, &folds, |at| at == Some(fold)));
            let few = Shots { pictures: &others.0, labels: &others.1, dim: shots.dim };
            let mut told = |done, total| progress(fold * total + done, count * total);
            let (learned, _) = self.words(few, &mut told)?;
            for (number, strength) in STRENGTHS.into_iter().enumerate() {
                let texts = match strength {
                    0.0 => plain.clone(),
                    _ => learned.taken(strength).embed(clip)?,
                };
                let model = Linear::zero_shot(&texts, shots.dim, Embedder::logit_scale(clip));
                let logits = model.logits(&own.0);
                for (row, &label) in logits.chunks_exact(classes).zip(&own.1) {
                    let (loss, best) = look(row, label as usize);
                    losses[number].push(loss);
                    right[number] += usize::from(best);
                }
            }
        }
        Ok(chosen(&losses, right))
    }
}

/// The part that each picture is left out with; `None` for the only picture of a class, without which nothing is known of it.
fn folds(labels: &[u32], classes: usize) -> Vec<Option<usize>> {
    let mut of = vec![0usize; classes];
    labels.iter().for_each(|label| of[*label as usize] += 1);
    let mut seen = vec![0usize; classes];
    let next = |label: &u32| {
        let label = *label as usize;
        seen[label] += 1;
        (of[label] > 1).then(|| (seen[label] - 1) % FOLDS)
    };
    labels.iter().map(next).collect()
}

/// The pictures of some folds.
fn part(
    shots: Shots<'_>,
    folds: &[Option<usize>],
    wanted: impl Fn(Option<usize>) -> bool,
) -> (Vec<f32>, Vec<u32>) {
    let chosen = || folds.iter().enumerate().filter(|(_, fold)| wanted(**fold)).map(|(at, _)| at);
    let pictures =
        chosen().flat_map(|at| shots.pictures[at * shots.dim..(at + 1) * shots.dim].iter().copied());
    (pictures.collect(), chosen().map(|at| shots.labels[at]).collect())
}

/// `-ln p` of a class, and whether no other is likelier.
fn look(logits: &[f32], label: usize) -> (f64, bool) {
    let own = f64::from(logits[label]);
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - own).exp()).sum();
    (sum.ln(), logits.iter().all(|logit| *logit <= logits[label]))
}

/// The strength to take.
fn chosen(losses: &[Vec<f64>; STRENGTHS.len()], right: [usize; STRENGTHS.len()]) -> Judged {
    let pictures = losses[0].len();
    let n = pictures as f64;
    let loss = losses.each_ref().map(|own| own.iter().sum::<f64>() / n.max(1.0));
    let gain = |at: usize| {
        let gains: Vec<f64> = losses[0].iter().zip(&losses[at]).map(|(plain, own)| plain - own).collect();
        let mean = gains.iter().sum::<f64>() / n;
        let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, (variance / n).sqrt())
    };
    let able = (1..STRENGTHS.len()).filter(|at| right[*at] >= right[0]);
    let best = able.min_by(|a, b| loss[*a].total_cmp(&loss[*b])).filter(|_| pictures > 1);
    let clear = best.filter(|at| {
        let (mean, error) = gain(*at);
        mean > error
    });
    Judged { pictures, right, loss, strength: clear.map_or(0.0, |at| STRENGTHS[at]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_is_left_out_once_but_the_only_one_of_a_class() {
        let labels = [0, 0, 0, 0, 1, 2, 2, 0];
        let folds = folds(&labels, 3);
        assert_eq!(folds, [Some(0), Some(1), Some(2), Some(0), None, Some(0), Some(1), Some(1)]);
        let pictures: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let shots = Shots { pictures: &pictures, labels: &labels, dim: 2 };
        let own = part(shots, &folds, |fold| fold == Some(1));
        assert_eq!(own, (vec![2.0, 3.0, 12.0, 13.0, 14.0, 15.0], vec![0, 2, 0]));
        assert_eq!(part(shots, &folds, |fold| fold != Some(1)).1, [0, 0, 0, 1, 2]);
        assert_eq!(self::folds(&[0, 1, 2], 3), [None; 3]);
    }

    #[test]
    fn a_class_s_loss_is_that_of_a_softmax() {
        let (loss, best) = look(&[1.0, 3.0, 2.0], 1);
        let sum = 1f64.exp() + 3f64.exp() + 2f64.exp();
        assert!((loss - (sum.ln() - 3.0)).abs() < 1e-12 && best);
        assert!(!look(&[1.0, 3.0, 2.0], 2).1);
    }

    #[test]
    fn weights_are_taken_as_far_as_they_help() {
        let plain = [1.0, 1.2, 0.8, 1.0];
        let by = |changes: [f64; 4]| {
            changes.map(|by| plain.iter().enumerate().map(|(i, loss)| loss + by + 0.01 * i as f64).collect())
        };
        // The least loss.
        assert_eq!(chosen(&by([0.0, -0.1, -0.3, -0.2]), [2; 4]).strength, 0.5);
        // Not where fewer pictures are right.
        assert_eq!(chosen(&by([0.0, -0.1, -0.3, -0.2]), [2, 2, 1, 3]).strength, 1.0);
        assert_eq!(chosen(&by([0.0, -0.1, -0.3, -0.2]), [2, 1, 1, 1]).strength, 0.0);
        // Worse, or hardly better for some and worse for others.
        assert_eq!(chosen(&by([0.0, 0.1, 0.3, 0.2]), [2; 4]).strength, 0.0);
        let mut unsure: [Vec<f64>; 4] = by([0.0; 4]);
        unsure[3] = vec![0.2, 1.5, 1.1, 1.1];
        assert_eq!(chosen(&unsure, [2; 4]).strength, 0.0);
        // Nothing to judge by.
        let nothing = chosen(&Default::default(), [0; 4]);
        assert_eq!((nothing.pictures, nothing.strength), (0, 0.0));
    }
}
