//! How sure a model is of its answer, from 0 to 1.

/// Free text: `exp` of the mean log-probability (nats) of its tokens; `None` without tokens.
pub fn of_text(logprobs: &[f32]) -> Option<f32> {
    if logprobs.is_empty() {
        return None;
    }
    let sum: f64 = logprobs.iter().map(|logprob| f64::from(*logprob)).sum();
    Some((sum / logprobs.len() as f64).exp() as f32)
}

/// Multiple choice: the largest of the softmax over the choices' log-likelihoods (nats); `None` without choices or
/// when none is finite.
pub fn of_choice(likelihoods: &[f32]) -> Option<f32> {
    let largest = likelihoods.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !largest.is_finite() || likelihoods.iter().any(|value| value.is_nan()) {
        return None;
    }
    let sum: f64 = likelihoods.iter().map(|value| f64::from(value - largest).exp()).sum();
    Some((1.0 / sum) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: Option<f32>, b: f32) {
        assert!((a.unwrap() - b).abs() < 1e-6, "{a:?} {b}");
    }

    #[test]
    fn free_text_has_the_geometric_mean_of_its_probabilities() {
        close(of_text(&[0.5f32.ln(), 0.125f32.ln()]), 0.25);
        close(of_text(&[0.0]), 1.0);
        assert_eq!(of_text(&[]), None);
    }

    #[test]
    fn choices_have_the_share_of_the_likeliest() {
        close(of_choice(&[-3.0, -3.0]), 0.5);
        close(of_choice(&[0.6f32.ln(), 0.3f32.ln(), 0.1f32.ln()]), 0.6);
        // Likelihoods of long choices are far below what `exp` can tell from 0.
        close(of_choice(&[-2000.0, -2000.0]), 0.5);
        close(of_choice(&[f32::NEG_INFINITY, -1.0]), 1.0);
        assert_eq!(of_choice(&[]), None);
        assert_eq!(of_choice(&[f32::NAN, -1.0]), None);
    }
}
