//! Where results end by themselves.
//!
//! A cosine says little alone: any word is somewhat near to any picture. So each picture's score with the query stands beside its scores
//! with a bank of neutral captions, which say nothing of any picture (`neutral.txt`): the evidence is how far the query exceeds what
//! these have together, `s·cos(query) - log Σ exp(s·cos(neutral))` with the model's factor `s` on cosines. And how much evidence is
//! enough is measured, on the index itself: texts without any sense (`nonsense.txt`) are searched for, and the cut-off is what hardly
//! one of them reaches on any picture.

use std::cmp::Ordering;

use crayon_kernels::Threads;

use crate::embedder::{Embedder, embed_prompts};
use crate::scan::{dot, scan};
use crate::{Codes, ImageError, Prompt, Reader, Store};

const NEUTRAL: &str = include_str!("neutral.txt");
const NONSENSE: &str = include_str!("nonsense.txt");
/// The share of nonsense that may find something.
const ALLOWED: f64 = 0.05;
/// The name of the bank in the store. It changes with the captions.
const NAME: &str = "bank-1";

/// Where results end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum CutOff {
    /// Where a picture's evidence is what nonsense has too.
    #[default]
    Neutral,
    /// Below a score.
    Score(f32),
    /// Nowhere.
    None,
}

impl CutOff {
    pub(crate) fn passes(self, score: f32) -> bool {
        match self {
            CutOff::Score(least) => score >= least,
            _ => true,
        }
    }
}

/// The neutral captions of a model, and the cut-off of an index.
#[derive(Clone, Debug, PartialEq)]
pub struct Bank {
    /// `[captions, dim]`.
    vectors: Vec<f32>,
    dim: usize,
    scale: f32,
    least: f32,
}

impl Bank {
    /// Measures the cut-off of an index.
    ///
    /// # Errors
    /// If the model fails or the index is damaged.
    pub fn measure(reader: &Reader, embedder: &dyn Embedder, threads: &Threads) -> Result<Bank, ImageError> {
        let prompts = |text: &str| text.lines().map(Prompt::plain).collect::<Vec<_>>();
        let vectors = embed_prompts(embedder, &prompts(NEUTRAL))?;
        let nonsense = embed_prompts(embedder, &prompts(NONSENSE))?;
        let (dim, scale) = (embedder.dim(), embedder.logit_scale());
        let mut bank = Bank { vectors, dim, scale, least: f32::NEG_INFINITY };
        let codes = reader.codes()?;
        let mut best = vec![f32::NEG_INFINITY; nonsense.len() / dim];
        bank.each(&codes, &nonsense, threads, |text, evidence| best[text] = best[text].max(evidence));
        best.sort_by(|a, b| b.partial_cmp(a).unwrap_or(Ordering::Equal));
        let allowed = (best.len() as f64 * ALLOWED) as usize;
        bank.least = best.get(allowed).copied().unwrap_or(f32::NEG_INFINITY);
        Ok(bank)
    }

    /// Calls `each` with the number of a text and its evidence for a picture, for all texts and pictures.
    fn each(&self, codes: &Codes, texts: &[f32], threads: &Threads, mut each: impl FnMut(usize, f32)) {
        /// Pictures at a time, which bounds memory.
        const AT_ONCE: usize = 1 << 14;
        let row = codes.bytes.len() / codes.hashes.len().max(1);
        let count = texts.len() / self.dim;
        let queries = [&self.vectors[..], texts].concat();
        for (hashes, bytes) in codes.hashes.chunks(AT_ONCE).zip(codes.bytes.chunks((AT_ONCE * row).max(1))) {
            let part = Codes { hashes: hashes.to_vec(), bytes: bytes.to_vec() };
            let scores = scan(&part, self.dim, &queries, threads);
            let scores: Vec<&[f32]> = scores.chunks(hashes.len()).collect();
            let (neutral, texts) = scores.split_at(scores.len() - count);
            for picture in 0..hashes.len() {
                let neutral = self.log_sum(neutral.iter().map(|scores| scores[picture]));
                for (text, scores) in texts.iter().enumerate() {
                    each(text, self.scale * scores[picture] - neutral);
                }
            }
        }
    }

    fn log_sum(&self, cosines: impl Iterator<Item = f32> + Clone) -> f32 {
        let most = cosines.clone().fold(f32::NEG_INFINITY, f32::max);
        most * self.scale + cosines.map(|cosine| ((cosine - most) * self.scale).exp()).sum::<f32>().ln()
    }

    /// How far a cosine exceeds what the neutral captions have with the same picture.
    pub fn evidence(&self, cosine: f32, picture: &[f32]) -> f32 {
        let neutral = self.vectors.chunks_exact(self.dim).map(|caption| dot(caption, picture));
        self.scale * cosine - self.log_sum(neutral)
    }

    /// Whether a cosine with `picture` says more than nonsense does.
    pub(crate) fn passes(&self, cosine: f32, picture: &[f32]) -> bool {
        self.evidence(cosine, picture) > self.least
    }

    /// The least evidence of a result.
    pub fn least(&self) -> f32 {
        self.least
    }

    /// Keeps it in the index.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remember(&self, store: &Store) -> Result<(), ImageError> {
        let numbers = [self.scale, self.least].into_iter().chain(self.vectors.iter().copied());
        store.remember(NAME, &numbers.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())
    }

    /// What an index has, if it has one.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn recall(reader: &Reader) -> Result<Option<Bank>, ImageError> {
        let dim = reader.made_with().dim;
        let Some(bytes) = reader.recall(NAME)? else { return Ok(None) };
        let mut numbers = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four));
        let (Some(scale), Some(least)) = (numbers.next(), numbers.next()) else { return Ok(None) };
        let vectors: Vec<f32> = numbers.collect();
        let whole = vectors.len().is_multiple_of(dim) && !vectors.is_empty();
        Ok((whole && scale.is_finite() && !least.is_nan()).then_some(Bank { vectors, dim, scale, least }))
    }
}
