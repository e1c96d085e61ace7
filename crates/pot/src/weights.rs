//! Weights of keys: words of the text that count more, or less, in every attention that sees them.
//!
//! This is SToRI's weight of a word (arXiv 2410.08469) in a decoder: `ln w` is added to the attention logit of the word's keys, in every
//! layer and head, for as long as they are held.

use std::ops::Range;

/// `ln w` of places of the text; all others have a weight of 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyWeights(Vec<(Range<u32>, f32)>);

impl KeyWeights {
    /// Weights `w` of 0 or more for the tokens of places that do not overlap. Weights of 1 are left out.
    pub fn new(mut weights: Vec<(Range<u32>, f32)>) -> KeyWeights {
        weights.retain(|(place, weight)| !place.is_empty() && *weight != 1.0);
        weights.sort_by_key(|(place, _)| place.start);
        // The least float stands for 0: a row whose every key were hidden would have no attention at all.
        let log = |(place, weight): (Range<u32>, f32)| (place, weight.max(f32::MIN_POSITIVE).ln());
        KeyWeights(weights.into_iter().map(log).collect())
    }

    /// Whether all weights are 1.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first place with a weight.
    pub fn first(&self) -> Option<u32> {
        self.0.first().map(|(place, _)| place.start)
    }

    /// `ln w` of the token at this place.
    pub fn log(&self, place: u32) -> f32 {
        let at = self.0.partition_point(|(range, _)| range.end <= place);
        self.0.get(at).filter(|(range, _)| range.contains(&place)).map_or(0.0, |(_, log)| *log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_their_weights_and_others_none() {
        let weights = KeyWeights::new(vec![(9..11, 2.0), (3..5, 0.0), (6..7, 1.0), (8..8, 5.0)]);
        assert_eq!(weights.first(), Some(3));
        assert_eq!([2, 5, 6, 8, 11].map(|place| weights.log(place)), [0.0; 5]);
        assert_eq!([9, 10].map(|place| weights.log(place)), [2f32.ln(); 2]);
        assert!(weights.log(3) < -80.0 && weights.log(3).is_finite());
        assert!(KeyWeights::new(vec![(1..2, 1.0)]).is_empty());
    }
}
