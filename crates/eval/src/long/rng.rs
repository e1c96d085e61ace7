//! Seeded random numbers: splitmix64, the same sequence for a seed on every platform.

/// A generator of random numbers. A seed fixes every text made with it.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that `seed` determines.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, which must be above 0.
    pub fn below(&mut self, end: usize) -> usize {
        assert!(end > 0, "there is no number below 0");
        // The high half of the product: unlike a remainder it takes the better bits, and for the sizes drawn here
        // its bias is far below anything measurable.
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// A number in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
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

    /// `count` different ones of `items` in a random order; all when there are no more.
    pub fn sample<T: Clone>(&mut self, items: &[T], count: usize) -> Vec<T> {
        let mut order: Vec<usize> = (0..items.len()).collect();
        self.shuffle(&mut order);
        order.iter().take(count).map(|&index| items[index].clone()).collect()
    }

    /// A number of `length` digits that does not begin with 0.
    pub fn digits(&mut self, length: usize) -> String {
        let digit = |index, rng: &mut Rng| if index == 0 { 1 + rng.below(9) } else { rng.below(10) };
        (0..length).map(|index| char::from(b'0' + digit(index, self) as u8)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        // First outputs of splitmix64 for the seed 1234567, as its reference implementation gives them.
        let mut rng = Rng::new(1_234_567);
        assert_eq!([rng.bits(), rng.bits()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn numbers_are_in_range_and_spread() {
        let mut rng = Rng::new(1);
        let mut seen = [0; 7];
        (0..7000).for_each(|_| seen[rng.below(7)] += 1);
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
        assert!((0..1000).all(|_| (0.0..1.0).contains(&rng.uniform())));
    }

    #[test]
    fn samples_differ_and_digits_never_begin_with_0() {
        let mut rng = Rng::new(2);
        let mut sample = rng.sample(&[1, 2, 3, 4, 5], 4);
        sample.sort_unstable();
        sample.dedup();
        assert_eq!(sample.len(), 4);
        assert_eq!(rng.sample(&[1, 2], 5).len(), 2);
        for _ in 0..200 {
            let number = rng.digits(4);
            assert!(number.len() == 4 && !number.starts_with('0') && number.parse::<u32>().is_ok());
        }
    }
}
