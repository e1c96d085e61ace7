//! Noise on scores before they leave a device.

use crate::{AdapterError, Random};

/// A seed that nobody can guess, from the operating system.
///
/// # Errors
/// When the system gives no randomness. Noise of a seed that can be guessed would hide nothing.
pub fn secret_seed() -> Result<u64, AdapterError> {
    getrandom::u64().map_err(|error| AdapterError::Randomness { what: error.to_string() })
}

/// Adds Gaussian noise of standard deviation `sigma` to cosines, and keeps them cosines (-1 to 1). Whoever knows `seed` can take
/// the noise off again: where privacy depends on it, it is a [`secret_seed`].
pub fn add_noise(scores: &mut [f32], sigma: f32, seed: u64) {
    let mut random = Random::new(seed, 0x6E01);
    for score in scores {
        // Box and Muller; 1 - u is never 0.
        let length = (-2.0 * (1.0 - random.uniform()).ln()).sqrt();
        let normal = length * (std::f64::consts::TAU * random.uniform()).cos();
        *score = (f64::from(*score) + f64::from(sigma) * normal).clamp(-1.0, 1.0) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_wanted_spread_and_no_bias() {
        let mut scores = vec![0.0f32; 20_000];
        add_noise(&mut scores, 0.1, 7);
        let mean = scores.iter().map(|s| f64::from(*s)).sum::<f64>() / scores.len() as f64;
        let spread = (scores.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / scores.len() as f64).sqrt();
        assert!(mean.abs() < 0.003 && (spread - 0.1).abs() < 0.003, "{mean} {spread}");
    }

    #[test]
    fn secret_seeds_differ() {
        let seeds: std::collections::HashSet<u64> = (0..64).map(|_| secret_seed().unwrap()).collect();
        assert_eq!(seeds.len(), 64);
    }

    #[test]
    fn it_follows_the_seed_and_leaves_cosines() {
        let noisy = |sigma, seed| {
            let mut scores = vec![0.3, -0.2, 0.9];
            add_noise(&mut scores, sigma, seed);
            scores
        };
        assert_eq!(noisy(0.2, 1), noisy(0.2, 1));
        assert_ne!(noisy(0.2, 1), noisy(0.2, 2));
        assert_eq!(noisy(0.0, 1), [0.3, -0.2, 0.9]);
        assert!((0..50).all(|seed| noisy(5.0, seed).iter().all(|score| score.abs() <= 1.0)));
    }
}
