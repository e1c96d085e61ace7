//! LoRAHub (arXiv 2307.13269): weights of the pool's adapters fitted to a few examples without gradients.
//!
//! As in the paper, the loss is the examples' cross-entropy plus 0.05 times the weights' mean size, weights start at 0 and stay
//! within ±1.5, and A and B are weighed apart. The paper's optimiser is a mixture of Nevergrad's; ours is the (1+1) evolution
//! strategy with the one-fifth rule.

use crayon_adapters::{Form, Lora, Pool, Random, Sample, blend};
use crayon_engine::EngineError;
use crayon_kernels::Threads;
use crayon_train::frozen::FrozenDecoder;
use crayon_train::pool;

use crate::EvalError;

/// Evaluations of the loss, as in the paper.
const ROUNDS: usize = 40;
/// Examples that the loss looks at.
const EXAMPLES: usize = 16;
/// Weights stay within plus and minus this.
const BOUND: f64 = 1.5;
/// Of the weights' mean absolute value.
const PENALTY: f64 = 0.05;

/// The pool's adapters under the best weights found.
pub(super) fn fit(
    decoder: &FrozenDecoder,
    adapters: &Pool,
    samples: &[Sample],
    seed: u64,
    threads: &Threads,
) -> Result<Lora, EvalError> {
    let samples = &samples[..samples.len().min(EXAMPLES)];
    let sum = |weights: &[f64]| {
        let weights = weights.iter().map(|weight| *weight as f32);
        let parts: Vec<(&Lora, f32)> =
            adapters.members.iter().map(|member| &member.lora).zip(weights).collect();
        blend(&parts, Form::Factor, threads).map_err(EngineError::from)
    };
    let judge = |weights: &[f64]| -> Result<f64, EvalError> {
        let loss = pool::loss(decoder, &sum(weights)?, samples, threads)?;
        let size = weights.iter().map(|weight| weight.abs()).sum::<f64>() / weights.len() as f64;
        Ok(loss + PENALTY * size)
    };
    Ok(sum(&search(adapters.members.len(), seed, judge)?)?)
}

/// The (1+1) evolution strategy from 0 on.
fn search<E>(
    count: usize,
    seed: u64,
    mut judge: impl FnMut(&[f64]) -> Result<f64, E>,
) -> Result<Vec<f64>, E> {
    let mut random = Random::seeded(seed);
    let mut best = vec![0.0; count];
    let mut least = judge(&best)?;
    let mut step = 0.5;
    for _ in 1..ROUNDS {
        let tried: Vec<f64> = best
            .iter()
            .map(|weight| {
                // Box and Muller.
                let (radius, angle) = (1.0 - random.uniform(), random.uniform());
                let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
                (weight + step * normal).clamp(-BOUND, BOUND)
            })
            .collect();
        let loss = judge(&tried)?;
        // Balances at one success in five.
        if loss < least {
            (best, least) = (tried, loss);
            step *= 1.5;
        } else {
            step *= 1.5f64.powf(-0.25);
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_goes_downhill_within_bounds() {
        let wanted = [1.0, -0.5, 3.0];
        let judge = |weights: &[f64]| -> Result<f64, EvalError> {
            Ok(weights.iter().zip(wanted).map(|(a, b)| (a - b) * (a - b)).sum())
        };
        let found = search(3, 7, judge).unwrap();
        assert!(judge(&found).unwrap() < 0.6 * judge(&[0.0; 3]).unwrap(), "{found:?}");
        assert!(found.iter().all(|weight| weight.abs() <= BOUND));
        assert_eq!(found, search(3, 7, judge).unwrap());
    }
}
