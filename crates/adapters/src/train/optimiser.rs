//! Adam (arXiv 1412.6980), written out because its moments have to be kept with the state.

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};

use super::Soft;
use super::state::State;
use crate::AdapterError;

const BETA: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;
/// Gradients longer than this are shortened to it, all together.
const LONGEST: f64 = 1.0;

/// Adam with a rate that rises, then falls to 0.
pub(super) struct Adam {
    rate: f64,
    steps: usize,
}

impl Adam {
    pub(super) fn new(rate: f64, steps: usize) -> Adam {
        Adam { rate, steps }
    }

    fn rate(&self, step: usize) -> f64 {
        let rising = (self.steps / 20).max(1);
        let up = (step + 1) as f64 / rising as f64;
        let down = (self.steps - step) as f64 / (self.steps - rising.min(self.steps - 1)) as f64;
        self.rate * up.min(down).min(1.0)
    }

    /// Moves every variable by its gradient; `state` holds the moments.
    pub(super) fn step(
        &mut self,
        soft: &Soft,
        gradients: &GradStore,
        state: &mut State,
    ) -> Result<(), AdapterError> {
        let (rate, time) = (self.rate(state.step), state.step as i32 + 1);
        let read = |gradient: &Tensor| gradient.flatten_all()?.to_vec1::<f32>();
        let gradients: Vec<Vec<f32>> = soft
            .variables()
            .map(|variable| gradients.get(variable).map_or(Ok(vec![0.0; variable.elem_count()]), read))
            .collect::<Result<_, _>>()?;
        let length = gradients.iter().flatten().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let shorten = if length > LONGEST { LONGEST / length } else { 1.0 };
        let correction = BETA.map(|beta| 1.0 - beta.powi(time));
        for ((variable, gradient), moments) in soft.variables().zip(&gradients).zip(&mut state.moments) {
            let mut values = variable.flatten_all()?.to_vec1::<f32>()?;
            let [mean, square] = moments;
            for (((value, gradient), mean), square) in values.iter_mut().zip(gradient).zip(mean).zip(square) {
                let gradient = f64::from(*gradient) * shorten;
                *mean = (BETA[0] * f64::from(*mean) + (1.0 - BETA[0]) * gradient) as f32;
                *square = (BETA[1] * f64::from(*square) + (1.0 - BETA[1]) * gradient * gradient) as f32;
                let (mean, square) = (f64::from(*mean) / correction[0], f64::from(*square) / correction[1]);
                *value -= (rate * mean / (square.sqrt() + EPSILON)) as f32;
            }
            variable.set(&Tensor::from_vec(values, variable.shape(), &Device::Cpu)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls() {
        let adam = Adam::new(1.0, 100);
        assert!((adam.rate(0) - 0.2).abs() < 1e-9 && adam.rate(5) > 0.99 && adam.rate(99) < 0.02);
        // One step is enough to be defined.
        assert!(Adam::new(1.0, 1).rate(0).is_finite());
    }
}
