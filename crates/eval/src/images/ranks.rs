//! What an order of pictures is worth, and what is gained for what is lost.

use crayon_adapters::Random;

/// Draws of captions for a standard error.
const DRAWS: usize = 200;

/// Gains and losses of each caption, one pair for each strength, the neutral one first.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost {
    /// What the stressed attribute gains and what the other loses, caption by caption.
    pub(super) steps: Vec<(Vec<f64>, Vec<f64>)>,
}

/// Mean of the precisions at the places of the relevant pictures.
pub(super) fn average_precision(order: &[usize], relevant: &[bool]) -> f64 {
    let (mut found, mut sum) = (0.0, 0.0);
    for (place, picture) in order.iter().enumerate() {
        if relevant[*picture] {
            found += 1.0;
            sum += found / (place + 1) as f64;
        }
    }
    if found == 0.0 { 0.0 } else { sum / found }
}

/// Share of relevant pictures among the first `count`.
pub(super) fn share_of_first(count: usize, order: &[usize], relevant: &[bool]) -> f64 {
    let count = count.min(order.len()).max(1);
    let found = order.iter().take(count).filter(|picture| relevant[**picture]).count();
    found as f64 / count as f64
}

/// The largest mean gain along the strengths whose mean loss is at most `loss`, with straight lines between strengths. `drawn` are the
/// captions that count, all once by default.
pub(super) fn gain(lost: &Lost, loss: f64, drawn: Option<&[usize]>) -> f64 {
    let mean = |values: &[f64]| match drawn {
        Some(drawn) => drawn.iter().map(|caption| values[*caption]).sum::<f64>() / drawn.len().max(1) as f64,
        None => values.iter().sum::<f64>() / values.len().max(1) as f64,
    };
    let mut best = 0.0f64;
    let mut before = (0.0, 0.0);
    for (gained, other) in &lost.steps {
        let now = (mean(gained), mean(other));
        if now.1 <= loss {
            best = best.max(now.0);
        } else if before.1 <= loss {
            let part = (loss - before.1) / (now.1 - before.1);
            best = best.max(before.0 + part * (now.0 - before.0));
        }
        before = now;
    }
    best
}

/// Standard error of the difference of two ways' gains, over captions.
pub(super) fn spread_of_difference(lead: &Lost, other: &Lost, loss: f64) -> f64 {
    let captions = lead.steps.first().map_or(0, |(gained, _)| gained.len());
    if captions == 0 {
        return 0.0;
    }
    let mut random = Random::seeded(0);
    let differences: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let drawn: Vec<usize> = (0..captions).map(|_| random.below(captions)).collect();
            gain(lead, loss, Some(&drawn)) - gain(other, loss, Some(&drawn))
        })
        .collect();
    let mean = differences.iter().sum::<f64>() / DRAWS as f64;
    (differences.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (DRAWS - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_precision_is_the_mean_over_relevant_places() {
        assert_eq!(average_precision(&[0, 1, 2], &[true, false, true]), (1.0 + 2.0 / 3.0) / 2.0);
        assert_eq!(average_precision(&[1, 0], &[true, false]), 0.5);
        assert_eq!(average_precision(&[0], &[false]), 0.0);
        assert_eq!(share_of_first(2, &[2, 0, 1], &[true, false, false]), 0.5);
    }

    #[test]
    fn a_gain_is_read_off_between_two_strengths() {
        let step = |gain, loss| (vec![gain; 3], vec![loss; 3]);
        let lost = Lost { steps: vec![step(0.0, 0.0), step(0.1, 0.02), step(0.2, 0.06)] };
        assert!((gain(&lost, 0.02, None) - 0.1).abs() < 1e-12);
        assert!((gain(&lost, 0.04, None) - 0.15).abs() < 1e-12);
        assert!((gain(&lost, 0.5, None) - 0.2).abs() < 1e-12);
        // A way that only loses gains nothing.
        let worse = Lost { steps: vec![step(0.0, 0.0), step(-0.1, 0.02)] };
        assert_eq!(gain(&worse, 0.02, None), 0.0);
        // All captions alike: no spread.
        assert!(spread_of_difference(&lost, &worse, 0.04) < 1e-12);
    }
}
