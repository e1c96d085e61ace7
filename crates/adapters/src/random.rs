//! Numbers drawn by a seed, the same on every platform: for starts, orders and made-up texts, not for secrets.
//!
//! The generator is `rand_xoshiro`'s splitmix64. Ranges and orders are drawn here rather than by `rand`, whose draws
//! change between its versions, while trained pools and measured results depend on them. Everything above this crate
//! that draws numbers takes them from here.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// A generator. Its seed fixes everything drawn from it.
#[derive(Clone, Debug)]
pub struct Random(SplitMix64);

impl Random {
    /// The generator of `seed`.
    pub fn seeded(seed: u64) -> Random {
        Random(SplitMix64::seed_from_u64(seed))
    }

    /// The generator of `seed` for one purpose; purposes do not disturb each other.
    pub fn new(seed: u64, purpose: u64) -> Random {
        let mut random = Random::seeded(seed ^ purpose.wrapping_mul(0xD1B5_4A32_D192_ED03));
        random.bits();
        random
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number below `bound`, which must be above 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "there is no number below 0");
        // The high half of the product: unlike a remainder it takes the better bits, and for the sizes drawn here
        // its bias is far below anything measurable.
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// One of `items`, of which there must be one.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    /// Puts `items` in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A random order of `0..count`.
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        self.shuffle(&mut order);
        order
    }

    /// `count` different ones of `items` in a random order; all when there are no more.
    pub fn sample<T: Clone>(&mut self, items: &[T], count: usize) -> Vec<T> {
        self.order(items.len()).iter().take(count).map(|&index| items[index].clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        // First outputs of splitmix64 for the seed 1234567, as its reference implementation gives them.
        let mut random = Random::seeded(1_234_567);
        assert_eq!([random.bits(), random.bits()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn draws_stay_as_they_were_when_results_were_measured() {
        let mut random = Random::new(7, 1);
        assert_eq!(random.order(10), [5, 4, 7, 9, 0, 6, 3, 1, 2, 8]);
        assert_eq!([random.below(1000), random.below(1000)], [80, 499]);
        assert_eq!(Random::seeded(0).uniform(), 0.883_310_808_213_642_6);
    }

    #[test]
    fn numbers_are_in_range_and_spread() {
        let mut random = Random::seeded(1);
        let mut seen = [0; 7];
        (0..7000).for_each(|_| seen[random.below(7)] += 1);
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
        assert!((0..1000).all(|_| (0.0..1.0).contains(&random.uniform())));
    }

    #[test]
    fn samples_differ() {
        let mut random = Random::seeded(2);
        let mut sample = random.sample(&[1, 2, 3, 4, 5], 4);
        sample.sort_unstable();
        sample.dedup();
        assert_eq!(sample.len(), 4);
        assert_eq!(random.sample(&[1, 2], 5).len(), 2);
    }
}
