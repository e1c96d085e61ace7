//! From candidates to results: their exact scores, where results end, and near-duplicates as one. However candidates were found, this comes
//! after it.

use std::path::PathBuf;

use crayon_errors::phrase;

use crate::bank::{Bank, CutOff};
use crate::embedder::{Embedder, embed_prompts};
use crate::looks::{alike, decoded};
use crate::prompt::spans;
use crate::scan::dot;
use crate::{Details, Filter, Found, Hit, ImageError, Minus, Prompt, Query};

/// Cosine from which pictures that look the same count as near-duplicates.
const NEAR: f32 = 0.9;
/// Candidates that are looked at again, at least.
const CANDIDATES: usize = 256;

/// How many candidates a query needs.
pub(crate) fn wanted(query: &Query) -> usize {
    (8 * query.count).max(CANDIDATES)
}

/// What is known of a picture besides its vector.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// In the order of their paths.
    pub(crate) files: Vec<PathBuf>,
    /// When the first was changed.
    pub(crate) changed: String,
    pub(crate) details: Details,
}

impl Known {
    pub(crate) fn date(&self) -> &str {
        self.details.taken.as_deref().unwrap_or(&self.changed)
    }

    /// Whether `keyword`, in lower case, is one of its keywords, or words of its caption that stand together.
    fn has(&self, keyword: &str) -> bool {
        self.details.keywords.iter().any(|known| known.to_lowercase() == keyword)
            || self
                .details
                .caption
                .as_ref()
                .is_some_and(|caption| speaks_of(&caption.to_lowercase(), keyword))
    }

    pub(crate) fn passes(&self, filter: &Filter) -> bool {
        let date = self.date();
        !self.files.is_empty()
            && filter.after.as_deref().is_none_or(|after| date >= after)
            && filter.before.as_deref().is_none_or(|before| date < before && !date.is_empty())
            && filter
                .folder
                .as_ref()
                .is_none_or(|folder| self.files.iter().any(|path| path.starts_with(folder)))
            && filter.keywords.iter().all(|keyword| self.has(&keyword.to_lowercase()))
    }
}

/// Whether the words of `phrase` stand together in `text`.
fn speaks_of(text: &str, phrase: &str) -> bool {
    let words = |text: &str| spans(text).map(|span| text[span].to_owned()).collect::<Vec<String>>();
    let (text, phrase) = (words(text), words(phrase));
    !phrase.is_empty() && text.windows(phrase.len()).any(|some| some == phrase)
}

/// A query as vectors.
pub(crate) struct Asked<'a> {
    /// `[vectors, dim]`: the text's, if there is one; one for each minus word; the picture's, if there is one.
    pub(crate) vectors: Vec<f32>,
    dim: usize,
    pub(crate) text: Option<&'a Prompt>,
    minus: &'a [Minus],
    like: bool,
}

impl<'a> Asked<'a> {
    /// Embeds a query's words.
    ///
    /// # Errors
    /// If there is nothing to search for, a text is too long, or the model fails.
    pub(crate) fn new(query: &'a Query, embedder: &dyn Embedder) -> Result<Asked<'a>, ImageError> {
        let text = query.text.as_ref().filter(|prompt| !prompt.text.is_empty());
        if text.is_none() && query.like.is_none() {
            return Err(ImageError::unusable(
                "there is nothing to search for",
                phrase!["write what the picture shows, or name a picture that it is like"],
            ));
        }
        let minus = query.text.as_ref().map_or(&[][..], |prompt| &prompt.minus);
        let mut prompts: Vec<Prompt> = text.cloned().into_iter().collect();
        prompts.extend(minus.iter().map(|minus| Prompt::plain(&minus.text)));
        let mut vectors = embed_prompts(embedder, &prompts)?;
        vectors.extend(query.like.iter().flatten());
        Ok(Asked { vectors, dim: embedder.dim(), text, minus, like: query.like.is_some() })
    }

    /// How cosines become a score, by all cosines `[vectors][pictures]` of the index or of a fair sample of it.
    pub(crate) fn mix(&self, cosines: &[&[f32]]) -> Mix {
        Mix::new(self.text.is_some(), self.minus, self.like, cosines)
    }

    /// The vectors that pictures should be near to: the text's and the picture's.
    #[cfg(any(feature = "hnsw", feature = "qdrant"))]
    pub(crate) fn near(&self) -> impl Iterator<Item = &[f32]> {
        let minus = usize::from(self.text.is_some())..usize::from(self.text.is_some()) + self.minus.len();
        let vectors = self.vectors.chunks_exact(self.dim).enumerate();
        vectors.filter(move |(which, _)| !minus.contains(which)).map(|(_, vector)| vector)
    }
}

/// A picture that may be a result.
pub(crate) struct Candidate<T> {
    /// What leads to the rest of what is known of it.
    pub(crate) which: T,
    /// Its vector of length 1.
    pub(crate) vector: Vec<f32>,
    /// Whether one of its keywords is the text itself.
    pub(crate) named: bool,
}

/// Orders candidates, ends them at the cut-off, and puts near-duplicates together. `known` is asked for those that are results.
///
/// # Errors
/// If `known` fails.
pub(crate) fn rank<T>(
    candidates: Vec<Candidate<T>>,
    asked: &Asked<'_>,
    mix: &Mix,
    bank: Option<&Bank>,
    query: &Query,
    mut known: impl FnMut(&T) -> Result<Known, ImageError>,
) -> Result<Found, ImageError> {
    let mut scored: Vec<(Candidate<T>, f32)> = candidates
        .into_iter()
        .map(|candidate| {
            let cosines: Vec<f32> =
                asked.vectors.chunks_exact(asked.dim).map(|vector| dot(vector, &candidate.vector)).collect();
            let score = mix.score(&|which| cosines[which]);
            (candidate, score)
        })
        .collect();
    scored.sort_by(|(a, of_a), (b, of_b)| b.named.cmp(&a.named).then(of_b.total_cmp(of_a)));
    // The bank judges words; a picture alone has no words.
    let bank = bank.filter(|_| query.cut_off == CutOff::Neutral && asked.text.is_some());
    let mut found = Found::default();
    let mut kept: Vec<(Vec<u8>, Vec<f32>)> = Vec::new();
    for (Candidate { which, vector, named }, score) in scored {
        let passes = named
            || match bank {
                Some(bank) => bank.passes(score, mix.text_mean, &vector),
                None => query.cut_off.passes(score),
            };
        if !passes {
            found.below += 1;
            continue;
        }
        let this = known(&which)?;
        let look = decoded(&this.details.look);
        let same = |(other, known): &(Vec<u8>, Vec<f32>)| alike(other, &look) && dot(known, &vector) >= NEAR;
        let same = kept.iter().position(same).filter(|_| !query.apart);
        match same {
            Some(hit) => found.hits[hit].also.extend(this.files),
            None if found.hits.len() == query.count => {}
            None => {
                let date = this.date().to_owned();
                let mut files = this.files.into_iter();
                let Some(path) = files.next() else { continue };
                let also = files.collect();
                found.hits.push(Hit { path, score, details: this.details, date, keyword: named, also });
                kept.push((look, vector));
            }
        }
    }
    Ok(found)
}

/// How the cosines of a picture with text, minus words and another picture become its score. All in units of the first.
pub(crate) struct Mix {
    text: bool,
    like: Option<usize>,
    /// For each minus word its number, its mean over the index, and the factor on what exceeds it.
    minus: Vec<(usize, f32, f32)>,
    /// Mean and spread of the text's cosines, and of the picture's.
    text_mean: f32,
    like_mean: f32,
    ratio: f32,
}

impl Mix {
    pub(crate) fn new(text: bool, minus: &[Minus], like: bool, cosines: &[&[f32]]) -> Mix {
        let first = usize::from(text);
        let like = like.then_some(first + minus.len());
        let main = if text { 0 } else { like.unwrap_or(0) };
        let stats = |which: usize| cosines.get(which).map_or((0.0, 0.0), |some| moments(some));
        let (text_mean, text_spread) = stats(main);
        let ratio = |spread: f32| if spread > 0.0 { text_spread / spread } else { 1.0 };
        let minus = minus
            .iter()
            .enumerate()
            .map(|(i, minus)| {
                let (mean, spread) = stats(first + i);
                (first + i, mean, minus.weight * ratio(spread))
            })
            .collect();
        let (like_mean, like_spread) = like.map_or((0.0, 0.0), stats);
        Mix { text, like, minus, text_mean, like_mean, ratio: ratio(like_spread) }
    }

    pub(crate) fn score(&self, cosine: &dyn Fn(usize) -> f32) -> f32 {
        let like = self.like.map(cosine);
        let mut score = match (self.text, like) {
            (true, Some(like)) => 0.5 * (cosine(0) + self.text_mean + (like - self.like_mean) * self.ratio),
            (true, None) => cosine(0),
            (false, like) => like.unwrap_or(0.0),
        };
        for (which, mean, factor) in &self.minus {
            score -= factor * (cosine(*which) - mean).max(0.0);
        }
        score
    }
}

/// Mean and standard deviation.
fn moments(values: &[f32]) -> (f32, f32) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let variance = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count;
    (mean as f32, variance.sqrt() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_speaks_of_its_words() {
        let text = "a dog's bed, and a red ball";
        for (phrase, is) in
            [("red ball", true), ("dog's", true), ("dog", false), ("bed and", true), ("", false)]
        {
            assert_eq!(speaks_of(text, phrase), is, "{phrase}");
        }
    }
}
