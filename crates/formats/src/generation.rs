//! What a model's makers suggest about writing answers.

/// Special ids and sampling settings a model's makers suggest; what they do not say is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// Ids that end an answer.
    pub eos: Vec<u32>,
    /// Id that starts a text.
    pub bos: Option<u32>,
    /// Id that fills batches.
    pub pad: Option<u32>,
    /// Whether texts start with `bos`, if the model file says so.
    pub add_bos: Option<bool>,
    /// Whether texts end with an `eos`, if the model file says so.
    pub add_eos: Option<bool>,
    /// Whether to sample rather than take the likeliest token.
    pub sample: Option<bool>,
    /// Sampling temperature.
    pub temperature: Option<f32>,
    /// Number of likeliest tokens to sample among.
    pub top_k: Option<usize>,
    /// Probability mass to sample among.
    pub top_p: Option<f32>,
    /// Smallest probability to sample, as a share of the largest.
    pub min_p: Option<f32>,
    /// Divisor of the scores of tokens already written.
    pub repetition_penalty: Option<f32>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Tokens that may not be written.
    pub bans: Bans,
}

/// Tokens that may not be written, always or at some place of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bans {
    /// Never (`suppress_tokens`).
    pub always: Vec<u32>,
    /// Not as the first token of an answer (`begin_suppress_tokens`).
    pub first: Vec<u32>,
    /// Sequences of which the last token may not follow the others (`bad_words_ids`).
    pub sequences: Vec<Vec<u32>>,
    /// Tokens of an answer before one may end it (`min_new_tokens`).
    pub min_tokens: usize,
    /// Sequences of this length that may not occur a second time, the prompt included (`no_repeat_ngram_size`); 0 for
    /// no such limit.
    pub repeated: usize,
}

impl Bans {
    /// Whether nothing is banned.
    pub fn is_empty(&self) -> bool {
        *self == Bans::default()
    }

    /// The tokens that may not come next, in no order and perhaps more than once. `tokens` is the whole text, of which
    /// the last `written` are the answer; `ends` are those that end one.
    pub fn of(&self, tokens: &[u32], written: usize, ends: &[u32]) -> Vec<u32> {
        let mut banned = self.always.clone();
        if written == 0 {
            banned.extend(&self.first);
        }
        if written < self.min_tokens {
            banned.extend(ends);
        }
        for sequence in &self.sequences {
            if let Some((last, before)) = sequence.split_last()
                && tokens.ends_with(before)
            {
                banned.push(*last);
            }
        }
        if let Some(before) = self.repeated.checked_sub(1)
            && before < tokens.len()
        {
            let tail = &tokens[tokens.len() - before..];
            let repeats = tokens.windows(self.repeated).filter(|window| window.starts_with(tail));
            banned.extend(repeats.filter_map(|window| window.last()));
        }
        banned
    }
}

#[cfg(test)]
mod tests {
    use super::Bans;

    #[test]
    fn bans_depend_on_the_place() {
        let bans = Bans { always: vec![9], first: vec![8], min_tokens: 2, ..Bans::default() };
        assert_eq!(bans.of(&[1, 2], 0, &[3]), [9, 8, 3]);
        assert_eq!(bans.of(&[1, 2], 1, &[3]), [9, 3]);
        assert_eq!(bans.of(&[1, 2], 2, &[3]), [9]);
        assert!(Bans::default().is_empty() && Bans::default().of(&[1], 0, &[3]).is_empty());
    }

    #[test]
    fn sequences_are_broken_before_their_last_token() {
        let bans = Bans { sequences: vec![vec![5], vec![1, 2, 3], vec![2, 4]], ..Bans::default() };
        assert_eq!(bans.of(&[1, 2], 2, &[]), [5, 3, 4]);
        assert_eq!(bans.of(&[2], 1, &[]), [5, 4]);
        let bans = Bans { repeated: 3, ..Bans::default() };
        assert_eq!(bans.of(&[1, 2, 3, 1, 2, 4, 1, 2], 0, &[]), [3, 4]);
        assert!(bans.of(&[1, 2], 0, &[]).is_empty());
        let bans = Bans { repeated: 1, ..Bans::default() };
        assert_eq!(bans.of(&[1, 2], 0, &[]), [1, 2]);
    }
}
