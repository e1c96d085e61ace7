//! SentencePiece's unigram model: the segmentation with the highest sum of piece scores (Kudo, arXiv 1804.10959),
//! found in one pass from left to right.

use crate::error::Result;
use crate::prefixes::Prefixes;
use crate::vocab::{Kind, Vocab};

/// How much worse than the worst piece an unknown character is.
const UNKNOWN_PENALTY: f32 = 10.0;

/// Scores of the pieces and a trie to find them.
pub(crate) struct Unigram {
    pieces: Prefixes,
    scores: Vec<f32>,
    max_score: f32,
    unknown_score: f32,
}

impl Unigram {
    pub(crate) fn new(vocab: &Vocab, scores: Vec<f32>) -> Self {
        let usable = |id: &u32| matches!(vocab.kind(*id), Some(Kind::Normal | Kind::UserDefined));
        let ids = || (0..vocab.len() as u32).filter(usable);
        let normal = || {
            ids()
                .filter(|&id| vocab.kind(id) == Some(Kind::Normal))
                .filter_map(|id| scores.get(id as usize).copied())
        };
        let min_score = normal().fold(f32::INFINITY, f32::min);
        let min_score = if min_score.is_finite() { min_score } else { 0.0 };
        Unigram {
            pieces: Prefixes::new(ids().filter_map(|id| Some((vocab.bytes(id)?, id)))),
            max_score: normal().fold(f32::NEG_INFINITY, f32::max).max(f32::MIN),
            unknown_score: min_score - UNKNOWN_PENALTY,
            scores,
        }
    }

    /// Appends the ids of `text`, in which spaces stand for `▁`.
    pub(crate) fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) -> Result<()> {
        // For each place, the best way there: its score, where its last piece starts, and which it is.
        #[derive(Clone, Copy)]
        struct Best {
            score: f32,
            start: u32,
            id: Option<u32>,
        }
        let mut best: Vec<Option<Best>> = vec![None; text.len() + 1];
        let reach = |best: &mut Vec<Option<Best>>, end: usize, candidate: Best| {
            if best[end].is_none_or(|known| candidate.score > known.score) {
                best[end] = Some(candidate);
            }
        };
        for (start, c) in text.char_indices() {
            let here = if start == 0 { 0.0 } else { best[start].map_or(f32::MIN, |way| way.score) };
            let mut single = false;
            for (len, id) in self.pieces.all(&text.as_bytes()[start..]) {
                if !text.is_char_boundary(start + len) {
                    continue;
                }
                let score = self.score(vocab, id, &text[start..start + len]);
                reach(
                    &mut best,
                    start + len,
                    Best { score: here + score, start: start as u32, id: Some(id) },
                );
                single |= len == c.len_utf8();
            }
            if !single {
                let score = here + self.unknown_score;
                reach(&mut best, start + c.len_utf8(), Best { score, start: start as u32, id: None });
            }
        }
        let mut pieces = Vec::new();
        let mut end = text.len();
        while let Some(way) = best[end].filter(|_| end > 0) {
            pieces.push((way.start as usize, end, way.id));
            end = way.start as usize;
        }
        let mut unknown_before = false;
        for &(start, end, id) in pieces.iter().rev() {
            let count = out.len();
            match id {
                Some(id) => out.push(id),
                None => vocab.push_fallback(&text[start..end], out)?,
            }
            // A run of unknown characters is one unknown token.
            let unknown = id.is_none() && out.last().copied() == vocab.unknown();
            if unknown && unknown_before {
                out.truncate(count);
            }
            unknown_before = unknown;
        }
        Ok(())
    }

    fn score(&self, vocab: &Vocab, id: u32, piece: &str) -> f32 {
        if vocab.kind(id) == Some(Kind::UserDefined) {
            // Better than any way to spell it with other pieces; lengths count `▁`, three bytes, for a space.
            let len = piece.len() + 2 * piece.matches(' ').count();
            len as f32 * self.max_score - 0.1
        } else {
            self.scores.get(id as usize).copied().unwrap_or(self.unknown_score)
        }
    }
}
