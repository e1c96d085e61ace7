//! What a text means to the model, as one vector.

use crayon_model::Scratch;

use crate::{Engine, EngineError};

impl Engine {
    /// The mean of the last block's states over `tokens`, behind the final norm, of length 1: `[hidden]`. No model here was trained
    /// for this; texts that a model goes on with alike lie near to each other.
    ///
    /// # Errors
    /// When there are no tokens, or more than the model's window holds.
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let (decoder, mut scratch) = (self.decoder(), Scratch::new());
        let mut session = self.session(tokens.len())?;
        session.begin(tokens, tokens.len(), false)?;
        let mut sum = vec![0.0f32; self.spec().hidden];
        while let Some(step) = session.next_step(decoder.pass_rows(), false)? {
            decoder.forward(self.threads(), &mut [step], &mut scratch)?;
            decoder.add_states(0, &mut sum, &mut scratch);
            session.absorb(&mut scratch, 0)?;
        }
        let length = sum.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        if !length.is_finite() {
            return Err(self.not_finite());
        }
        sum.iter_mut().for_each(|value| *value = (f64::from(*value) / length.max(f64::MIN_POSITIVE)) as f32);
        Ok(sum)
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use crate::{Engine, ModelSource, Settings};

    #[test]
    fn likely_neighbours_lie_nearer_and_chunks_change_nothing() {
        let engine = Engine::open(&ModelSource::embedded("mini").unwrap(), &Settings::default()).unwrap();
        let embed = |text: &str| engine.embed(&engine.text_prompt(text).unwrap()).unwrap();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let [cat, kitten, sum] =
            ["The cat sat on the mat.", "A cat was lying on the mat.", "12 + 30 = 42, 5 * 7 = 35"].map(embed);
        assert!((dot(&cat, &cat) - 1.0).abs() < 1e-5 && cat.len() == engine.spec().hidden);
        assert!(dot(&cat, &kitten) > dot(&cat, &sum), "{} {}", dot(&cat, &kitten), dot(&cat, &sum));
        assert!(engine.embed(&[]).is_err());
    }
}
