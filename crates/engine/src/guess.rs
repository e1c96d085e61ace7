//! Guessing what an answer copies: where its last tokens stood in the text before, and what followed them there.
//!
//! The network checks guesses in the pass of the token in front of them (prompt lookup decoding, a speculative decoding whose draft
//! costs nothing, arXiv 2211.17192 for the idea). A row of a pass has the same bits in any company, and tokens are drawn in order from
//! what was computed, so that the answer is the same with guesses and without.

use std::collections::HashMap;

/// The most guesses of a pass.
pub(crate) const MOST: usize = 7;
/// So many tokens have to be the same as before to be taken for a copy.
const SAME: usize = 3;
/// What a further row costs of a pass of one row: 0.1 to 0.4, less beside more weights.
const ROW: f32 = 0.2;
/// How much the last guess counts in the share of right ones.
const LAST: f32 = 0.25;

/// What may follow in a text, and how far that is to be believed.
pub(crate) struct Guesses {
    /// The place behind each run of `SAME` tokens of the text so far, the last place where it occurs several times.
    behind: HashMap<[u32; SAME], usize>,
    /// Length of the text whose runs are in `behind`.
    known: usize,
    /// Where the text before goes on as the answer is thought to.
    at: Option<usize>,
    /// Share of right guesses lately. Those count, too, that no pass was to check.
    right: f32,
}

impl Guesses {
    /// Nothing known yet.
    pub(crate) fn new() -> Guesses {
        Guesses { behind: HashMap::new(), known: 0, at: None, right: 0.0 }
    }

    /// What may follow `last`, the token that follows `text`: as many tokens as are worth a pass's rows, `most` at most. To be called for
    /// each token of an answer in turn.
    pub(crate) fn after<'t>(&mut self, text: &'t [u32], last: u32, most: usize) -> &'t [u32] {
        self.at = self.at.and_then(|at| {
            let right = *text.get(at).unwrap_or(&last) == last;
            self.right += LAST * (f32::from(u8::from(right)) - self.right);
            right.then_some(at + 1)
        });
        for end in self.known.max(SAME)..=text.len() {
            if let Ok(run) = text[end - SAME..end].try_into() {
                self.behind.insert(run, end);
            }
        }
        self.known = text.len() + 1;
        if self.at.is_none()
            && let [.., before, previous] = *text
        {
            self.at = self.behind.get(&[before, previous, last]).copied();
        }
        match self.at.filter(|&at| at < text.len()) {
            Some(at) => &text[at..(at + worth(self.right).min(most)).min(text.len())],
            None => &[],
        }
    }
}

/// How many guesses bring the most tokens for a pass's time, where the share `right` of them is right.
fn worth(right: f32) -> usize {
    let mut best = (0, 1.0);
    let (mut tokens, mut chance) = (1.0, 1.0);
    for guesses in 1..=MOST {
        chance *= right;
        tokens += chance;
        let speed = tokens / (1.0 + ROW * guesses as f32);
        if speed > best.1 {
            best = (guesses, speed);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guesses after every token of `text` from the `from`th on.
    fn all(text: &[u32], from: usize, most: usize) -> Vec<Vec<u32>> {
        let mut guesses = Guesses::new();
        (from..text.len()).map(|at| guesses.after(&text[..at], text[at], most).to_vec()).collect()
    }

    #[test]
    fn a_copy_is_followed_with_more_and_more_guesses_and_left_at_once() {
        let before: Vec<u32> = (100..160).collect();
        let copied: Vec<u32> = (110..140).collect();
        let text = [&before[..], &[7, 8, 9], &copied, &[5]].concat();
        let guesses = all(&text, before.len(), MOST);
        assert!(guesses[..5].iter().all(Vec::is_empty), "two tokens are no copy: {guesses:?}");
        for (&token, guess) in copied.iter().zip(&guesses[3..]) {
            assert!(guess.iter().copied().eq((token + 1..160).take(guess.len())), "after {token}: {guess:?}");
        }
        let lengths: Vec<usize> = guesses[3..33].iter().map(Vec::len).collect();
        assert!(lengths.is_sorted() && lengths[29] == MOST, "{lengths:?}");
        assert!(guesses[33].is_empty(), "the copy has ended");
    }

    #[test]
    fn guesses_that_are_mostly_wrong_are_not_worth_a_row() {
        assert_eq!(worth(0.15), 0);
        assert!(worth(0.5) >= 1 && worth(0.5) < worth(0.8));
        // The same three tokens, followed by something else each time.
        let text: Vec<u32> = (0..50).flat_map(|turn| [1, 2, 3, 1000 + turn]).collect();
        let guesses = all(&text, 0, MOST);
        assert!(guesses.iter().skip(2).step_by(4).all(Vec::is_empty), "{guesses:?}");
    }

    #[test]
    fn a_loop_is_a_copy_of_itself_and_no_more_is_guessed_than_asked_for() {
        let text: Vec<u32> = (0..20).cycle().take(100).collect();
        let guesses = all(&text, 30, 2);
        assert!(guesses.iter().all(|guess| guess.len() <= 2));
        assert_eq!(guesses[69], [0, 1]);
    }
}
