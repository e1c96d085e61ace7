//! Log-likelihoods of tokens that were read: with the whole output layer, or with its frequent part at a fraction of the work.

use crayon_kernels::{Matrix, Threads, ops};

use crate::Decoder;
use crate::decoder::Scratch;

/// Logits held at a time.
const LOGITS: usize = 1 << 22;
/// Tokens that stand for all where a large vocabulary is not summed in full.
const FREQUENT: usize = 8192;

/// The part of the vocabulary that the softmax of a log-likelihood is summed over.
///
/// Tokenisers number their tokens by frequency, because merges are learned in that order, so that the first ones hold nearly all
/// probability. What the others have is missing from the sum: log-likelihoods come out too large, by half a nat in the mean with
/// Gemma 3, while their order stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summed {
    /// Every token.
    All,
    /// The first 8,192 tokens and the one that is asked for; every token where there are at most twice as many.
    Frequent,
}

impl Summed {
    /// Tokens of the sum, of a vocabulary.
    fn tokens(self, vocab: usize) -> usize {
        match self {
            Summed::Frequent if vocab > 2 * FREQUENT => FREQUENT,
            Summed::All | Summed::Frequent => vocab,
        }
    }

    /// `ln p(token)` under a row of all logits; negative infinity where there is no such token.
    pub fn log_likelihood(self, logits: &[f32], token: u32) -> f32 {
        let Some(&own) = logits.get(token as usize) else { return f32::NEG_INFINITY };
        let first = &logits[..self.tokens(logits.len())];
        log_share(first, own, (token as usize) < first.len())
    }
}

/// `ln` of the share that a logit has among those of a row; `within` says whether it is one of them.
fn log_share(row: &[f32], own: f32, within: bool) -> f32 {
    let sum = ops::log_sum_exp(row);
    own - if within { sum } else { ops::log_sum_exp(&[sum, own]) }
}

impl Decoder {
    /// Log-likelihoods of `targets[i]` after row `i` of step `step` of the pass that `scratch` was last used for, `[targets]`. Takes
    /// the output layer for a few rows at a time, so that memory does not grow with the rows of a pass.
    ///
    /// # Panics
    /// When there are not as many results as targets, or no such rows, or a target is not a token.
    pub fn log_likelihoods(
        &self,
        pool: &Threads,
        step: usize,
        targets: &[u32],
        summed: Summed,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        assert_eq!(targets.len(), out.len(), "one result for each target");
        let output = self.output();
        let tokens = summed.tokens(output.rows);
        let first = output.rows(0..tokens);
        let rows = rows_at_once(tokens);
        let start = scratch.spans[step].start;
        let mut logits = std::mem::take(&mut scratch.likely);
        let (mut weights, mut own) = (Vec::new(), Vec::new());
        for (block, (targets, out)) in targets.chunks(rows).zip(out.chunks_mut(rows)).enumerate() {
            let wanted: Vec<usize> = (0..targets.len()).map(|at| start + block * rows + at).collect();
            self.norm_wanted(pool, &wanted, scratch);
            self.logits_of(pool, scratch, first, &mut logits);
            // Tokens beyond the sum: their own weights by themselves, so that no logit is computed another way than in a whole row.
            let beyond: Vec<u32> = targets.iter().copied().filter(|id| *id as usize >= tokens).collect();
            weights.clear();
            beyond.iter().for_each(|id| weights.extend_from_slice(output.row(*id as usize)));
            own.clear();
            if !beyond.is_empty() {
                let others = Matrix { rows: beyond.len(), data: &weights, ..output };
                self.logits_of(pool, scratch, others, &mut own);
            }
            let mut others = 0..;
            let own: Vec<f32> = (targets.iter().zip(logits.chunks_exact(tokens)).enumerate())
                .map(|(row, (target, logits))| match logits.get(*target as usize) {
                    Some(logit) => *logit,
                    None => own[row * beyond.len() + others.next().unwrap_or_default()],
                })
                .collect();
            pool.for_each_chunk(&mut logits, tokens, |row, logits| {
                logits[0] = log_share(logits, own[row], (targets[row] as usize) < tokens);
            });
            for (out, logits) in out.iter_mut().zip(logits.chunks_exact(tokens)) {
                *out = logits[0];
            }
        }
        scratch.likely = logits;
    }
}

/// Rows whose logits for so many tokens are held at a time.
pub(crate) fn rows_at_once(tokens: usize) -> usize {
    (LOGITS / tokens.max(1)).clamp(1, 256)
}
