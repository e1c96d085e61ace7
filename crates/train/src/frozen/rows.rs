//! The rows of a pass: what several texts have in common at their beginning, once, and then each text's own.

use std::ops::Range;

use super::Sequence;

/// Rows that attend to one another, and to rows that stand before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Rows of the beginning that it goes on from; empty where there is none.
    pub(super) before: Range<usize>,
    /// Its own rows.
    pub(super) rows: Range<usize>,
}

impl Part {
    /// Rows that its last row sees.
    pub(super) fn seen(&self) -> usize {
        self.before.len() + self.rows.len()
    }

    /// Where `row` stands among its own rows.
    pub(super) fn own(&self, row: usize) -> Option<usize> {
        self.rows.contains(&row).then(|| row - self.rows.start)
    }

    /// Where `row` stands among all rows that it sees.
    pub(super) fn place(&self, row: usize) -> Option<usize> {
        let before = self.before.contains(&row).then(|| row - self.before.start);
        before.or_else(|| self.own(row).map(|at| self.before.len() + at))
    }

    /// All rows that it sees, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> + Clone + use<> {
        self.before.clone().chain(self.rows.clone())
    }
}

/// The parts of some sequences, and the tokens of all rows. With `together`, tokens that all sequences begin with are read once,
/// as a part of their own in front. The last token of a sequence is predicted, not read.
pub(super) fn parts(sequences: &[Sequence<'_>], together: bool) -> (Vec<Part>, Vec<u32>) {
    let common = if together && sequences.len() > 1 { common(sequences) } else { 0 };
    let mut tokens = sequences.first().map_or_else(Vec::new, |first| first.tokens[..common].to_vec());
    let mut parts = Vec::with_capacity(sequences.len() + 1);
    if common > 0 {
        parts.push(Part { before: 0..0, rows: 0..common });
    }
    for sequence in sequences {
        let start = tokens.len();
        tokens.extend_from_slice(&sequence.tokens[common..sequence.tokens.len() - 1]);
        parts.push(Part { before: 0..common, rows: start..tokens.len() });
    }
    (parts, tokens)
}

/// Tokens that all begin with. What predicts a token of an answer is each one's own.
fn common(sequences: &[Sequence<'_>]) -> usize {
    let Some((first, others)) = sequences.split_first() else { return 0 };
    let most = sequences.iter().map(|sequence| sequence.answer - 1).min().unwrap_or(0);
    let same = |at: &usize| others.iter().all(|other| other.tokens[*at] == first.tokens[*at]);
    (0..most).take_while(same).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_beginning_is_read_once() {
        let texts = [vec![1, 2, 3, 4, 5], vec![1, 2, 3, 9], vec![1, 2, 7, 8]];
        let sequences: Vec<Sequence<'_>> =
            texts.iter().zip([4, 3, 3]).map(|(tokens, answer)| Sequence { tokens, answer }).collect();
        let (found, tokens) = parts(&sequences, true);
        assert_eq!(tokens, [1, 2, 3, 4, 3, 7]);
        let part = |before: usize, rows: Range<usize>| Part { before: 0..before, rows };
        assert_eq!(found, [part(0, 0..2), part(2, 2..4), part(2, 4..5), part(2, 5..6)]);
        assert_eq!([0, 2, 3, 4].map(|row| found[2].place(row)), [Some(0), None, None, Some(2)]);
        assert_eq!([0, 4].map(|row| found[2].own(row)), [None, Some(0)]);
        let (found, tokens) = parts(&sequences, false);
        assert_eq!((found.len(), tokens.len()), (3, 10));
        // The row that predicts an answer's first token is never shared.
        let same = [Sequence { tokens: &texts[0], answer: 2 }, Sequence { tokens: &texts[0], answer: 2 }];
        assert_eq!(parts(&same, true).0, [part(0, 0..1), part(1, 1..4), part(1, 4..7)]);
    }
}
