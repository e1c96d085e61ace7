//! What learns, and Adam (arXiv 1412.6980), which moves it.

const BETA: [f32; 2] = [0.9, 0.999];
const EPSILON: f32 = 1e-8;
/// Gradients longer than this are shortened to it, all together.
const LONGEST: f64 = 1.0;

/// Values that learn, and their gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// The values.
    pub values: Vec<f32>,
    /// The loss's gradient by each of them.
    pub gradient: Vec<f32>,
}

impl Variable {
    /// These values, with a gradient of zeros.
    pub fn new(values: Vec<f32>) -> Variable {
        Variable { gradient: vec![0.0; values.len()], values }
    }
}

/// Something that a training changes: its variables, always in the same order and of the same sizes.
pub trait Trainable {
    /// All variables.
    fn variables(&self) -> Vec<&Variable>;

    /// The same, to change them.
    fn variables_mut(&mut self) -> Vec<&mut Variable>;

    /// Values of all variables.
    fn values(&self) -> Vec<Vec<f32>> {
        self.variables().into_iter().map(|variable| variable.values.clone()).collect()
    }
}

/// Adam. Gradients are shortened together to a length of 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// Running means of the gradients and of their squares, for every variable.
    pub(crate) moments: Vec<[Vec<f32>; 2]>,
}

impl Adam {
    /// Before the first step of `trainable`.
    pub fn new(trainable: &dyn Trainable) -> Adam {
        let sizes = trainable.variables().into_iter().map(|variable| variable.values.len());
        Adam { moments: sizes.map(|size| [vec![0.0; size], vec![0.0; size]]).collect() }
    }

    /// Moves every variable by its gradient, with learning rate `rate`, as step number `step` from 0 on.
    pub fn step(&mut self, trainable: &mut dyn Trainable, rate: f64, step: usize) {
        let time = step as i32 + 1;
        let squares = trainable.variables().into_iter().map(|variable| square_sum(&variable.gradient));
        let length = squares.sum::<f64>().sqrt();
        let shorten = if length > LONGEST { (LONGEST / length) as f32 } else { 1.0 };
        let [first, second] = BETA.map(|beta| 1.0 - f64::from(beta).powi(time));
        // Both corrections as factors: rate on the whole, root on the denominator.
        let (rate, root) = ((rate / first) as f32, (1.0 / second).sqrt() as f32);
        for (variable, [mean, square]) in trainable.variables_mut().into_iter().zip(&mut self.moments) {
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

/// Sum of the squares: eight sums side by side, so that the compiler may use vectors.
fn square_sum(values: &[f32]) -> f64 {
    let (eights, tail) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for eight in eights {
        for (sum, value) in sums.iter_mut().zip(eight) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    }
    sums.into_iter().chain(tail.iter().map(|value| f64::from(*value).powi(2))).sum()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Variables that stand for themselves.
    pub(crate) struct Numbers(pub(crate) Vec<Variable>);

    impl Trainable for Numbers {
        fn variables(&self) -> Vec<&Variable> {
            self.0.iter().collect()
        }

        fn variables_mut(&mut self) -> Vec<&mut Variable> {
            self.0.iter_mut().collect()
        }
    }

    #[test]
    fn a_first_step_is_as_long_as_the_rate_and_goes_downhill() {
        let mut numbers = Numbers(vec![Variable::new(vec![1.0, 1.0]), Variable::new(vec![1.0])]);
        numbers.0[0].gradient = vec![3e-3, -5e-3];
        let mut adam = Adam::new(&numbers);
        adam.step(&mut numbers, 0.1, 0);
        let moved: Vec<f32> = numbers.values().concat();
        for (found, expected) in moved.iter().zip([0.9, 1.1, 1.0]) {
            assert!((found - expected).abs() < 1e-4, "{moved:?}");
        }
    }

    #[test]
    fn long_gradients_are_shortened_together() {
        let step = |factor: f32| {
            let mut numbers = Numbers(vec![Variable::new(vec![0.0]), Variable::new(vec![0.0])]);
            numbers.0[0].gradient = vec![3.0 * factor];
            numbers.0[1].gradient = vec![4.0 * factor];
            let mut adam = Adam::new(&numbers);
            adam.step(&mut numbers, 0.1, 0);
            adam.moments.concat().concat()
        };
        let (long, longer) = (step(1.0), step(100.0));
        assert!(long.iter().zip(&longer).all(|(a, b)| (a - b).abs() < 1e-6), "{long:?} {longer:?}");
        assert!((long[0] - 0.1 * 0.6).abs() < 1e-6, "{long:?}");
    }
}
