//! Text that a model is quantised by, cut into sequences.

use crayon_adapters::Random;

use crate::QuantError;

/// Sequences of one length.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Tokens of a sequence.
    pub window: usize,
    /// One sequence behind the other.
    pub tokens: Vec<u32>,
    /// Sequences of the same text that are left out, to look at the result.
    pub held_out: Vec<u32>,
}

impl Calibration {
    /// Sequences of the text drawn without repetition, at most `sequences`, and at most `held_out` others. A sequence begins with
    /// `start` where there is one, as the model expects its texts to.
    ///
    /// # Errors
    /// When there are not two sequences, or a window is too short to predict anything.
    pub fn new(
        ids: &[u32],
        start: Option<u32>,
        window: usize,
        sequences: usize,
        held_out: usize,
        seed: u64,
    ) -> Result<Calibration, QuantError> {
        /// Purpose of the draw.
        const ORDER: u64 = 0x51;
        if window < 4 || sequences == 0 {
            return Err(QuantError::unusable(
                format!("{sequences} sequences of {window} tokens teach nothing"),
                "take a sequence of 4 tokens or more",
            ));
        }
        let own = window - usize::from(start.is_some());
        let found = ids.len() / own;
        if found < 2 {
            return Err(QuantError::TooShort { found: ids.len(), needed: 2 * own, window });
        }
        let order = Random::new(seed, ORDER).order(found);
        let learned = sequences.min(found - 1);
        let cut = |chosen: &[usize]| {
            chosen
                .iter()
                .flat_map(|at| start.into_iter().chain(ids[at * own..(at + 1) * own].iter().copied()))
                .collect::<Vec<u32>>()
        };
        Ok(Calibration {
            window,
            tokens: cut(&order[..learned]),
            held_out: cut(&order[learned..(learned + held_out).min(found)]),
        })
    }

    /// How many sequences there are to learn from.
    pub fn sequences(&self) -> usize {
        self.tokens.len() / self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_drawn_once_and_begin_as_the_model_expects() {
        let ids: Vec<u32> = (10..110).collect();
        let drawn = Calibration::new(&ids, Some(1), 11, 6, 2, 3).unwrap();
        assert_eq!((drawn.sequences(), drawn.held_out.len()), (6, 22));
        let all = [drawn.tokens.clone(), drawn.held_out.clone()].concat();
        assert!(all.chunks(11).all(|sequence| sequence[0] == 1));
        let mut own: Vec<u32> = all.chunks(11).flat_map(|sequence| &sequence[1..]).copied().collect();
        own.sort_unstable();
        own.dedup();
        assert_eq!(own.len(), 80);
        assert_eq!(drawn, Calibration::new(&ids, Some(1), 11, 6, 2, 3).unwrap());
        assert_ne!(drawn, Calibration::new(&ids, Some(1), 11, 6, 2, 4).unwrap());
    }

    #[test]
    fn one_sequence_is_always_left() {
        let ids: Vec<u32> = (0..25).collect();
        let drawn = Calibration::new(&ids, None, 10, 99, 8, 0).unwrap();
        assert_eq!((drawn.sequences(), drawn.held_out.len()), (1, 10));
        let short = Calibration::new(&ids[..19], None, 10, 1, 1, 0).unwrap_err();
        assert!(matches!(short, QuantError::TooShort { found: 19, needed: 20, window: 10 }));
        assert!(Calibration::new(&ids, None, 3, 1, 1, 0).is_err());
    }
}
