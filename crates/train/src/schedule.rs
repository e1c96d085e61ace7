//! The learning rate of each step.

/// A rate that rises over the first twentieth of the steps and falls in a line to 0 at the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    rate: f64,
    steps: usize,
}

impl Schedule {
    /// At most `rate`, over `steps` steps.
    pub fn new(rate: f64, steps: usize) -> Schedule {
        Schedule { rate, steps }
    }

    /// The rate of step number `step`, from 0 on.
    pub fn at(&self, step: usize) -> f64 {
        let rising = (self.steps / 20).max(1);
        let up = (step + 1) as f64 / rising as f64;
        let down = (self.steps - step) as f64 / (self.steps - rising.min(self.steps - 1)) as f64;
        self.rate * up.min(down).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls() {
        let schedule = Schedule::new(1.0, 100);
        assert!((schedule.at(0) - 0.2).abs() < 1e-9 && schedule.at(5) > 0.99 && schedule.at(99) < 0.02);
        // One step is enough to be defined.
        assert!(Schedule::new(1.0, 1).at(0).is_finite());
    }
}
