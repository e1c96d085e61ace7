//! Log-likelihoods from logits.

use crayon_engine::{Engine, Session};

use crate::EvalError;

/// Values of logits held at a time: 64 MB, however large the vocabulary and long the text.
const VALUES: usize = 1 << 24;

/// `ln p(target)` under a row of logits, in f64; `None` when the row holds NaN or +∞.
pub(crate) fn log_likelihood(logits: &[f32], target: u32) -> Option<f64> {
    let target = f64::from(*logits.get(target as usize)?);
    let value = target - log_sum(logits)?;
    (value <= 0.0).then_some(value)
}

/// `ln sum exp` of a row of logits, what is taken from each for its log-likelihood; `None` when the row holds NaN or +∞.
pub(crate) fn log_sum(logits: &[f32]) -> Option<f64> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
    // NaN hides from `max`, but not from the sum.
    sum.is_finite().then_some(largest + sum.ln())
}

/// Feeds `inputs` and hands each row of logits to `row` with its index, a bounded number of rows at a time.
pub(crate) fn feed_rows(
    session: &mut Session<'_>,
    inputs: &[u32],
    mut row: impl FnMut(usize, &[f32]) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let vocab = session.engine().spec().vocab;
    let rows = (VALUES / vocab.max(1)).max(1);
    for (chunk_index, chunk) in inputs.chunks(rows).enumerate() {
        let logits = session.feed_all(chunk)?;
        for (offset, logits) in logits.chunks_exact(vocab).enumerate() {
            row(chunk_index * rows + offset, logits)?;
        }
    }
    Ok(())
}

/// The error for logits that are not numbers.
pub(crate) fn not_finite(engine: &Engine) -> EvalError {
    EvalError::Engine(engine.not_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one() {
        let logits = [0.3f32, -2.0, 5.0, 1.0];
        let total: f64 = (0..4).map(|id| log_likelihood(&logits, id).unwrap().exp()).sum();
        assert!((total - 1.0).abs() < 1e-12, "{total}");
        let shifted = logits.map(|logit| logit + 500.0);
        let pairs = (0..4).map(|id| (log_likelihood(&logits, id), log_likelihood(&shifted, id)));
        for (plain, shifted) in pairs {
            assert!((plain.unwrap() - shifted.unwrap()).abs() < 1e-4);
        }
    }

    #[test]
    fn what_is_not_a_number_gives_nothing() {
        assert_eq!(log_likelihood(&[0.0, f32::NAN], 0), None);
        assert_eq!(log_likelihood(&[0.0, f32::INFINITY], 0), None);
        assert_eq!(log_likelihood(&[f32::NEG_INFINITY; 2], 0), None);
        assert_eq!(log_likelihood(&[0.0, 1.0], 2), None);
        // A token the model rules out is a legitimate answer.
        assert_eq!(log_likelihood(&[f32::NEG_INFINITY, 1.0], 0), Some(f64::NEG_INFINITY));
    }
}
