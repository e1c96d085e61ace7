//! Guessing what an answer copies: where its last tokens stood in the text before, and what followed them there.
//!
//! The network checks guesses in the pass of the token in front of them (prompt lookup decoding, a speculative decoding whose draft
//! costs nothing, arXiv 2211.17192 for the idea). A row of a pass has the same bits in any company, and tokens are drawn in order from
//! what was computed, so that the answer is the same with guesses and without.

/// The most guesses of a pass.
pub(crate) const MOST: usize = 7;
/// So many tokens have to be the same as before to be taken for a copy.
const SAME: usize = 3;
/// What a further row costs of a pass of one row: 0.1 to 0.4, less beside more weights.
const ROW: f32 = 0.2;
/// How much the last guess counts in the share of right ones.
const LAST: f32 = 0.25;
/// Entries of a table of places at the beginning and at the most: 4 kB and 256 kB.
const ENTRIES: std::ops::RangeInclusive<usize> = 1 << 10..=1 << 16;

/// What may follow in a text, and how far that is to be believed.
pub(crate) struct Guesses {
    places: Places,
    /// Where the text before goes on as the answer is thought to.
    at: Option<usize>,
    /// Share of right guesses lately. Those count, too, that no pass was to check.
    right: f32,
}

impl Guesses {
    /// Nothing known yet.
    pub(crate) fn new() -> Guesses {
        Guesses { places: Places::default(), at: None, right: 0.0 }
    }

    /// What may follow `last`, the token that follows `text`: as many tokens as are worth a pass's rows, `most` at most. To be called for
    /// each token of an answer in turn.
    pub(crate) fn after<'t>(&mut self, text: &'t [u32], last: u32, most: usize) -> &'t [u32] {
        self.at = self.at.and_then(|at| {
            let right = *text.get(at).unwrap_or(&last) == last;
            self.right += LAST * (f32::from(u8::from(right)) - self.right);
            right.then_some(at + 1)
        });
        self.places.read(text);
        if self.at.is_none()
            && let [.., before, previous] = *text
        {
            self.at = self.places.behind(text, [before, previous, last]);
        }
        match self.at.filter(|&at| at < text.len()) {
            Some(at) => &text[at..(at + worth(self.right).min(most)).min(text.len())],
            None => &[],
        }
    }
}

/// The place behind each run of `SAME` tokens of a text, the last one where a run occurs several times. A run's place stands in one entry
/// only, where another may take its place: memory stays small, and of a long text the newest runs are known.
#[derive(Default)]
struct Places {
    /// Places by the runs' hashes; zero where there is none.
    entries: Vec<u32>,
    /// Length of the text whose runs are in `entries`.
    known: usize,
}

impl Places {
    /// Takes in what is new of `text`, which only grows from call to call.
    fn read(&mut self, text: &[u32]) {
        let wanted = (2 * text.len()).next_power_of_two().clamp(*ENTRIES.start(), *ENTRIES.end());
        if self.entries.len() < wanted {
            self.entries = vec![0; wanted];
            self.known = 0;
        }
        for end in (self.known + 1).max(SAME)..=text.len() {
            let entry = self.entry(&text[end - SAME..end]);
            self.entries[entry] = u32::try_from(end).unwrap_or(0);
        }
        self.known = text.len();
    }

    /// The place behind `run` in `text`, which has been read.
    fn behind(&self, text: &[u32], run: [u32; SAME]) -> Option<usize> {
        let end = self.entries[self.entry(&run)] as usize;
        (end >= SAME && text[end - SAME..end] == run).then_some(end)
    }

    /// The entry of a run: its FNV-1a hash over tokens, multiplied once more so that the high bits, which are taken, depend on all.
    fn entry(&self, run: &[u32]) -> usize {
        let hash = run.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &token| {
            (hash ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3)
        });
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (u64::BITS - self.entries.len().ilog2())) as usize
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
        assert!(guesses[..5].iter().all(Vec::is_empty), "two tokens are not a copy: {guesses:?}");
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
    fn of_a_text_longer_than_the_table_the_newest_runs_are_known_and_none_is_mistaken() {
        // Numbers that do not repeat: a run's place is its own or none.
        let text: Vec<u32> =
            (0..3 * *ENTRIES.end() as u32).map(|token| token.wrapping_mul(0x9e37_79b1)).collect();
        let mut places = Places::default();
        let (mut known, half) = (Vec::new(), text.len() / 2);
        for read in [half, text.len()] {
            places.read(&text[..read]);
            known.push(
                (SAME..=read)
                    .filter(|&end| {
                        let found = places.behind(&text[..read], text[end - SAME..end].try_into().unwrap());
                        assert!(found.is_none_or(|found| found == end));
                        found.is_some()
                    })
                    .collect::<Vec<_>>(),
            );
        }
        assert_eq!(places.entries.len(), *ENTRIES.end());
        let new = known[1].iter().filter(|&&end| end + 8192 > text.len()).count();
        assert!(new > 7000, "{new} of the last 8,192 runs");
        assert!(known.iter().all(|known| known.len() > ENTRIES.end() / 2));
    }

    #[test]
    fn a_loop_is_a_copy_of_itself_and_no_more_is_guessed_than_asked_for() {
        let text: Vec<u32> = (0..20).cycle().take(100).collect();
        let guesses = all(&text, 30, 2);
        assert!(guesses.iter().all(|guess| guess.len() <= 2));
        assert_eq!(guesses[69], [0, 1]);
    }
}
