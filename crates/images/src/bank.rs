//! Where results end by themselves.
//!
//! A cosine says little alone: any word is somewhat near to any picture. So each picture's score with the query stands beside its scores
//! with a bank of captions (`captions.txt`), of which some say nothing ("a picture of something") and others name what is often seen ("a
//! dog", "red", "a building"). The evidence is how far the query exceeds what these explain together,
//! `e = s·cos(query) - log Σ exp(s·cos(caption))` with the model's factor `s` on cosines, less half of its mean over the index: a query that is near
//! to all pictures alike tells none apart. How much evidence is enough is measured on the index itself: texts without any sense
//! (`nonsense.txt`) are searched for, and the cut-off is what hardly one of them reaches on any picture.

use std::cmp::Ordering;

use crayon_kernels::Threads;

use crate::embedder::{Embedder, embed_prompts, weighted_tokens};
use crate::scan::{dot, scan};
use crate::{Codes, ImageError, Prompt, Reader, Store};

const CAPTIONS: &str = include_str!("captions.txt");
const NONSENSE: &str = include_str!("nonsense.txt");
/// The share of nonsense that may find something.
const ALLOWED: f64 = 0.05;
/// The name of the bank in the store. It changes with the captions.
pub(crate) const NAME: &str = "bank-2";
/// The share of its mean over the index that is taken off a query's evidence.
const CENTRED: f32 = 0.5;

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

/// The captions of a model, and the cut-off of an index.
#[derive(Clone, Debug, PartialEq)]
pub struct Bank {
    /// `[captions, dim]`.
    vectors: Vec<f32>,
    dim: usize,
    scale: f32,
    /// Mean over the index of what the captions explain.
    explained: f32,
    least: f32,
}

impl Bank {
    /// Measures the cut-off of an index.
    ///
    /// # Errors
    /// If the model fails or the index is damaged.
    pub fn measure(reader: &Reader, embedder: &dyn Embedder, threads: &Threads) -> Result<Bank, ImageError> {
        let vectors = embedded(embedder, CAPTIONS)?;
        let nonsense = embedded(embedder, NONSENSE)?;
        let (dim, scale) = (embedder.dim(), embedder.logit_scale());
        let mut bank = Bank { vectors, dim, scale, explained: 0.0, least: f32::NEG_INFINITY };
        if bank.vectors.is_empty() || nonsense.is_empty() {
            return Ok(bank);
        }
        let codes = reader.codes()?;
        let texts = nonsense.len() / dim;
        let (mut most, mut sums, mut explained) =
            (vec![f32::NEG_INFINITY; texts], vec![0.0f64; texts], 0.0f64);
        bank.each(&codes, &nonsense, threads, |log_sum, cosines| {
            explained += f64::from(log_sum);
            for ((most, sum), cosine) in most.iter_mut().zip(&mut sums).zip(cosines) {
                *most = most.max(scale * cosine - log_sum);
                *sum += f64::from(*cosine);
            }
        });
        let count = codes.hashes.len().max(1) as f64;
        bank.explained = (explained / count) as f32;
        let means = sums.iter().map(|sum| bank.mean((sum / count) as f32));
        let mut best: Vec<f32> = most.iter().zip(means).map(|(most, mean)| most - mean).collect();
        best.sort_by(|a, b| b.partial_cmp(a).unwrap_or(Ordering::Equal));
        let allowed = (best.len() as f64 * ALLOWED) as usize;
        bank.least = best.get(allowed).copied().unwrap_or(f32::NEG_INFINITY);
        Ok(bank)
    }

    /// What is taken off the evidence of a query with this mean cosine over the index.
    fn mean(&self, mean_cosine: f32) -> f32 {
        CENTRED * (self.scale * mean_cosine - self.explained)
    }

    /// Calls `each` for every picture with what the captions explain of it, and its cosines with `texts`.
    fn each(&self, codes: &Codes, texts: &[f32], threads: &Threads, mut each: impl FnMut(f32, &[f32])) {
        /// Pictures at a time, which bounds memory.
        const AT_ONCE: usize = 1 << 13;
        let row = codes.bytes.len() / codes.hashes.len().max(1);
        let count = texts.len() / self.dim;
        let queries = [&self.vectors[..], texts].concat();
        let mut cosines = vec![0.0; count];
        for (hashes, bytes) in codes.hashes.chunks(AT_ONCE).zip(codes.bytes.chunks((AT_ONCE * row).max(1))) {
            let part = Codes { hashes: hashes.to_vec(), bytes: bytes.to_vec() };
            let scores = scan(&part, self.dim, &queries, threads);
            let scores: Vec<&[f32]> = scores.chunks(hashes.len()).collect();
            let (captions, texts) = scores.split_at(scores.len() - count);
            for picture in 0..hashes.len() {
                let log_sum = self.log_sum(captions.iter().map(|scores| scores[picture]));
                cosines.iter_mut().zip(texts).for_each(|(cosine, scores)| *cosine = scores[picture]);
                each(log_sum, &cosines);
            }
        }
    }

    fn log_sum(&self, cosines: impl Iterator<Item = f32> + Clone) -> f32 {
        let most = cosines.clone().fold(f32::NEG_INFINITY, f32::max);
        most * self.scale + cosines.map(|cosine| ((cosine - most) * self.scale).exp()).sum::<f32>().ln()
    }

    /// The evidence of a query for `picture`, by their cosine and the query's mean cosine over the index.
    pub fn evidence(&self, cosine: f32, mean_cosine: f32, picture: &[f32]) -> f32 {
        let captions = self.vectors.chunks_exact(self.dim).map(|caption| dot(caption, picture));
        self.scale * cosine - self.log_sum(captions) - self.mean(mean_cosine)
    }

    /// Whether that is more than nonsense has.
    pub(crate) fn passes(&self, cosine: f32, mean_cosine: f32, picture: &[f32]) -> bool {
        self.evidence(cosine, mean_cosine, picture) > self.least
    }

    /// The least evidence of a result.
    pub fn least(&self) -> f32 {
        self.least
    }

    /// The bank of an index whose numbers are known: [`Bank::numbers`].
    #[cfg(feature = "qdrant")]
    pub(crate) fn restored(
        embedder: &dyn Embedder,
        [explained, least]: [f32; 2],
    ) -> Result<Bank, ImageError> {
        let (dim, scale) = (embedder.dim(), embedder.logit_scale());
        Ok(Bank { vectors: embedded(embedder, CAPTIONS)?, dim, scale, explained, least })
    }

    /// What was measured on the index: what the captions explain on average, and the least evidence.
    #[cfg(feature = "qdrant")]
    pub(crate) fn numbers(&self) -> [f32; 2] {
        [self.explained, self.least]
    }

    /// Keeps it in the index.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn remember(&self, store: &Store) -> Result<(), ImageError> {
        let numbers =
            [self.scale, self.explained, self.least].into_iter().chain(self.vectors.iter().copied());
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
        let mut next = || numbers.next();
        let (Some(scale), Some(explained), Some(least)) = (next(), next(), next()) else { return Ok(None) };
        let vectors: Vec<f32> = numbers.collect();
        let whole = vectors.len().is_multiple_of(dim) && !vectors.is_empty() && explained.is_finite();
        Ok((whole && scale.is_finite() && !least.is_nan()).then_some(Bank {
            vectors,
            dim,
            scale,
            explained,
            least,
        }))
    }
}

/// The vectors of `texts`, one a line. A model with a small context or vocabulary reads fewer of them.
fn embedded(embedder: &dyn Embedder, texts: &str) -> Result<Vec<f32>, ImageError> {
    let readable = |prompt: &Prompt| weighted_tokens(embedder, prompt).is_ok();
    let prompts: Vec<Prompt> = texts.lines().map(Prompt::plain).filter(readable).collect();
    embed_prompts(embedder, &prompts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::MadeUp;
    use crate::{Batch, Details, MadeWith};

    #[test]
    fn the_cut_off_is_measured_and_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("index"), &MadeWith::of(&MadeUp)).unwrap();
        assert_eq!(Bank::recall(&store.reader().unwrap()).unwrap(), None);
        let vectors = [[0.9, 0.1, 0.1, 0.4, 0.0], [0.1, 0.9, 0.1, 0.4, 0.0], [0.1, 0.1, 0.9, 0.4, 0.0]];
        let picture = |(i, vector): (u8, &[f32; 5])| ([i; 32], Details::default(), vector.to_vec());
        store
            .write(&Batch { pictures: (0..).zip(&vectors).map(picture).collect(), ..Batch::default() })
            .unwrap();
        let bank = Bank::measure(&store.reader().unwrap(), &MadeUp, &Threads::new(2)).unwrap();
        bank.remember(&store).unwrap();
        assert_eq!(Bank::recall(&store.reader().unwrap()).unwrap().as_ref(), Some(&bank));
        // A colour passes with the picture that has it alone; words without sense pass with none.
        let query = |text: &str| embed_prompts(&MadeUp, &[Prompt::plain(text)]).unwrap();
        let beyond = |text: &str| {
            let query = query(text);
            let cosines: Vec<f32> = vectors.iter().map(|picture| dot(picture, &query)).collect();
            let mean = cosines.iter().sum::<f32>() / 3.0;
            let evidence = |(cosine, picture): (&f32, &[f32; 5])| bank.evidence(*cosine, mean, picture);
            cosines
                .iter()
                .zip(&vectors)
                .map(evidence)
                .map(|evidence| evidence - bank.least())
                .collect::<Vec<f32>>()
        };
        let red = beyond("red");
        assert!(red[0] > 1.0 && red[1] < -1.0 && red[2] < -1.0, "{red:?}");
        // The cut-off is measured in 8 bits.
        assert!(beyond("xyzzy").iter().all(|beyond| *beyond < 0.5), "{:?}", beyond("xyzzy"));
    }
}
