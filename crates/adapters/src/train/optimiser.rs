//! Adam (arXiv 1412.6980), with a rate that rises, then falls to 0.

use super::Soft;
use super::state::State;

const BETA: [f32; 2] = [0.9, 0.999];
const EPSILON: f32 = 1e-8;
/// Gradients longer than this are shortened to it, all together.
const LONGEST: f64 = 1.0;

/// The moments stand in the training's state, because they are kept with it.
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

    /// Moves every variable by its gradient.
    pub(super) fn step(&mut self, soft: &mut Soft, state: &mut State) {
        let time = state.step as i32 + 1;
        let square = |gradient: &[f32]| gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>();
        let length = soft.variables().map(|variable| square(&variable.gradient)).sum::<f64>().sqrt();
        let shorten = if length > LONGEST { (LONGEST / length) as f32 } else { 1.0 };
        let [first, second] = BETA.map(|beta| 1.0 - f64::from(beta).powi(time));
        // Both corrections as factors: rate on the whole, root on the denominator.
        let (rate, root) = ((self.rate(state.step) / first) as f32, (1.0 / second).sqrt() as f32);
        for (variable, [mean, square]) in soft.variables_mut().zip(&mut state.moments) {
            let moments = mean.iter_mut().zip(square);
            for ((value, gradient), (mean, square)) in
                variable.values.iter_mut().zip(&variable.gradient).zip(moments)
            {
                let gradient = gradient * shorten;
                *mean = BETA[0] * *mean + (1.0 - BETA[0]) * gradient;
                *square = BETA[1] * *square + (1.0 - BETA[1]) * gradient * gradient;
                *value -= rate * *mean / (square.sqrt() * root + EPSILON);
            }
        }
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
