//! From logits to the next token.
//!
//! By hand: it must not allocate for a token, and the same seed gives the same tokens on every platform.

use std::cmp::Ordering;

use crayon_errors::Setting;
use crayon_formats::Generation;
use crayon_kernels::ops;
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{RngCore as _, SeedableRng as _};

use crate::EngineError;
use crate::constraint::Allowed;

/// How the next token is drawn. The steps run in this order: penalties, temperature, top-k, top-p, min-p.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the most probable token.
    pub temperature: f32,
    /// Keep this many most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Drop tokens less probable than this share of the most probable one; 0 keeps all.
    pub min_p: f32,
    /// Logits of tokens already in the answer are divided (or, when negative, multiplied) by this; 1 is neutral
    /// (CTRL, arXiv 1909.05858). The prompt does not count, so that an answer may quote it.
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens already in the answer; 0 is neutral.
    pub presence_penalty: f32,
    /// Subtracted from the logits of tokens as often as they occur in the answer; 0 is neutral.
    pub frequency_penalty: f32,
    /// Start of the random sequence: same seed, same tokens.
    pub seed: u64,
}

/// What somebody asks of [`Sampling`]; `None` leaves it to the model's makers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplingOverrides {
    /// See [`Sampling`], as all of these.
    pub temperature: Option<f32>,
    /// See above.
    pub top_k: Option<usize>,
    /// See above.
    pub top_p: Option<f32>,
    /// See above.
    pub min_p: Option<f32>,
    /// See above.
    pub repetition_penalty: Option<f32>,
    /// See above.
    pub presence_penalty: Option<f32>,
    /// See above.
    pub frequency_penalty: Option<f32>,
}

/// Against the loops that small models fall into when they take the likeliest token each time.
const REPETITION_PENALTY: f32 = 1.1;

impl SamplingOverrides {
    /// What is not asked for comes from the model's makers, or is plain and repeatable; the seed is the plain one.
    pub fn or_suggested(&self, suggested: &Generation) -> Sampling {
        let plain = Sampling::default();
        let temperature = match suggested.sample {
            Some(false) => Some(0.0),
            _ => suggested.temperature,
        };
        let penalty = self.repetition_penalty.or(suggested.repetition_penalty);
        Sampling {
            temperature: self.temperature.or(temperature).unwrap_or(plain.temperature),
            top_k: self.top_k.or(suggested.top_k).unwrap_or(plain.top_k),
            top_p: self.top_p.or(suggested.top_p).unwrap_or(plain.top_p),
            min_p: self.min_p.or(suggested.min_p).unwrap_or(plain.min_p),
            repetition_penalty: penalty.unwrap_or(REPETITION_PENALTY),
            presence_penalty: self.presence_penalty.unwrap_or(plain.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(plain.frequency_penalty),
            seed: plain.seed,
        }
    }
}

impl Default for Sampling {
    /// The most probable token every time.
    fn default() -> Sampling {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Refuses values outside their ranges.
    pub fn check(&self) -> Result<(), EngineError> {
        let check = |good: bool, name, expected, found: f32| match good {
            true => Ok(()),
            false => Err(EngineError::Sampling { name, expected, found: found.to_string() }),
        };
        let t = self.temperature;
        check(t.is_finite() && t >= 0.0, Setting::Temperature, "0 or more", t)?;
        check(self.top_p > 0.0 && self.top_p <= 1.0, Setting::TopP, "above 0 and at most 1", self.top_p)?;
        check(self.min_p >= 0.0 && self.min_p <= 1.0, Setting::MinP, "between 0 and 1", self.min_p)?;
        let r = self.repetition_penalty;
        check(r.is_finite() && r > 0.0, Setting::RepetitionPenalty, "above 0", r)?;
        let p = self.presence_penalty;
        check(p.is_finite(), Setting::PresencePenalty, "a finite number", p)?;
        let f = self.frequency_penalty;
        check(f.is_finite(), Setting::FrequencyPenalty, "a finite number", f)
    }
}

/// A drawn token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// Token id.
    pub id: u32,
    /// Log-probability under the model itself, before penalties and temperature.
    pub logprob: f32,
}

/// Draws tokens; owns the random sequence and its buffers.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: SplitMix64,
    candidates: Vec<(u32, f32)>,
    seen: Vec<bool>,
}

impl Sampler {
    /// Refuses parameters outside their ranges.
    pub fn new(sampling: Sampling) -> Result<Sampler, EngineError> {
        sampling.check()?;
        let random = SplitMix64::seed_from_u64(sampling.seed);
        Ok(Sampler { sampling, random, candidates: Vec::new(), seen: Vec::new() })
    }

    /// Draws from `logits`; `answer` is what was written so far. `None` when a logit is not a number or none is
    /// finite.
    pub fn draw(&mut self, logits: &[f32], answer: &[u32]) -> Option<Drawn> {
        self.draw_but(logits, answer, &[])
    }

    /// Like [`draw`](Self::draw), none of the `banned` tokens. `None` also when no other is left.
    pub fn draw_but(&mut self, logits: &[f32], answer: &[u32], banned: &[u32]) -> Option<Drawn> {
        self.draw_within(logits, answer, banned, None)
    }

    /// The same, and only tokens that `allowed` has a bit for, 32 to a word.
    pub(crate) fn draw_within(
        &mut self,
        logits: &[f32],
        answer: &[u32],
        banned: &[u32],
        allowed: Option<&[u32]>,
    ) -> Option<Drawn> {
        let log_sum = log_sum_exp(logits)?;
        let Sampling { temperature, repetition_penalty, presence_penalty, frequency_penalty, .. } =
            self.sampling;
        let neutral = repetition_penalty == 1.0
            && presence_penalty == 0.0
            && frequency_penalty == 0.0
            && banned.is_empty()
            && allowed.is_none();
        // Penalties that only lower logits leave the likeliest token where it is, unless they are for it.
        let lowering = repetition_penalty >= 1.0 && presence_penalty >= 0.0 && frequency_penalty >= 0.0;
        let likeliest = match temperature == 0.0 && lowering && allowed.is_none() {
            true => {
                most_probable(logits).filter(|id| neutral || !(answer.contains(id) || banned.contains(id)))
            }
            false => None,
        };
        let id = if let Some(id) = likeliest {
            id
        } else {
            self.candidates.clear();
            self.candidates.extend(logits.iter().enumerate().map(|(id, &logit)| (id as u32, logit)));
            self.penalise(answer);
            for &id in banned {
                if let Some(candidate) = self.candidates.get_mut(id as usize) {
                    candidate.1 = f32::NEG_INFINITY;
                }
            }
            if let Some(allowed) = allowed {
                for (id, logit) in &mut self.candidates {
                    if !Allowed::has(allowed, *id) {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
            if !neutral && self.candidates.iter().all(|(_, logit)| *logit == f32::NEG_INFINITY) {
                return None;
            }
            if temperature == 0.0 { self.most_probable()? } else { self.sample()? }
        };
        Some(Drawn { id, logprob: logits[id as usize] - log_sum })
    }

    fn penalise(&mut self, answer: &[u32]) {
        let (repetition, presence) = (self.sampling.repetition_penalty, self.sampling.presence_penalty);
        if repetition != 1.0 {
            self.each_once(answer, |logit| if logit > 0.0 { logit / repetition } else { logit * repetition });
        }
        if presence != 0.0 {
            self.each_once(answer, |logit| logit - presence);
        }
        let frequency = self.sampling.frequency_penalty;
        if frequency != 0.0 {
            for &id in answer {
                if let Some(candidate) = self.candidates.get_mut(id as usize) {
                    candidate.1 -= frequency;
                }
            }
        }
    }

    /// Changes the logit of every token that occurs in `ids`, once each.
    fn each_once(&mut self, ids: &[u32], change: impl Fn(f32) -> f32) {
        self.seen.clear();
        self.seen.resize(self.candidates.len(), false);
        for &id in ids {
            if let Some(seen) = self.seen.get_mut(id as usize)
                && !*seen
            {
                *seen = true;
                let logit = &mut self.candidates[id as usize].1;
                *logit = change(*logit);
            }
        }
    }

    /// The lowest id among the largest logits, so that ties fall the same way everywhere.
    fn most_probable(&self) -> Option<u32> {
        let mut best: Option<(u32, f32)> = None;
        for &(id, logit) in &self.candidates {
            if best.is_none_or(|(_, largest)| logit > largest) {
                best = Some((id, logit));
            }
        }
        best.map(|(id, _)| id)
    }

    fn sample(&mut self) -> Option<u32> {
        let keep = self.sampling.top_k;
        if keep > 0 && keep < self.candidates.len() {
            self.candidates.select_nth_unstable_by(keep - 1, descending);
            self.candidates.truncate(keep);
        }
        let largest = self.candidates.iter().map(|&(_, logit)| logit).reduce(f32::max)?;
        for (_, logit) in &mut self.candidates {
            *logit = ((*logit - largest) / self.sampling.temperature).exp();
        }
        let sum = |candidates: &[(u32, f32)]| candidates.iter().map(|(_, weight)| weight).sum::<f32>();
        let total = sum(&self.candidates);
        // The largest weight is 1 by construction, so a share of it is the weight itself.
        let min_p = self.sampling.min_p;
        self.candidates.retain(|&(_, weight)| weight >= min_p);
        if self.sampling.top_p < 1.0 {
            self.keep_sum(self.sampling.top_p * total);
        }

        let mut left = self.uniform() * sum(&self.candidates);
        for &(id, weight) in &self.candidates {
            left -= weight;
            if left < 0.0 {
                return Some(id);
            }
        }
        self.candidates.last().map(|&(id, _)| id)
    }

    /// Keeps the fewest candidates whose weights reach `wanted`. Sorts no more of a large vocabulary than needed.
    fn keep_sum(&mut self, wanted: f32) {
        let mut sorted = 0;
        let mut sum = 0.0;
        while sorted < self.candidates.len() {
            let rest = &mut self.candidates[sorted..];
            let next = (sorted + 64).min(rest.len());
            if next < rest.len() {
                rest.select_nth_unstable_by(next - 1, descending);
            }
            rest[..next].sort_unstable_by(descending);
            for (_, weight) in &rest[..next] {
                sum += weight;
                sorted += 1;
                if sum >= wanted {
                    self.candidates.truncate(sorted);
                    return;
                }
            }
        }
    }

    /// A number in [0, 1). The sequence of splitmix64 is fixed by its seed on every platform.
    fn uniform(&mut self) -> f32 {
        (self.random.next_u64() >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// The `count` likeliest tokens with their log-probabilities under the model itself, the likeliest first.
pub(crate) fn likeliest(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let Some(log_sum) = log_sum_exp(logits) else { return Vec::new() };
    let mut all: Vec<(u32, f32)> =
        logits.iter().enumerate().map(|(id, &logit)| (id as u32, logit - log_sum)).collect();
    if count < all.len() {
        all.select_nth_unstable_by(count, descending);
        all.truncate(count);
    }
    all.sort_unstable_by(descending);
    all
}

/// `ln Σ exp(logit)`; `None` when a logit is NaN or the sum is not finite.
pub(crate) fn log_sum_exp(logits: &[f32]) -> Option<f32> {
    Some(ops::log_sum_exp(logits)).filter(|sum| sum.is_finite())
}

/// The lowest id among the largest of `logits`, none of which is NaN.
fn most_probable(logits: &[f32]) -> Option<u32> {
    let largest = ops::largest(logits);
    logits.iter().position(|logit| *logit == largest).map(|id| id as u32)
}

/// Largest first; equal ones by id, so that the order is the same everywhere.
fn descending(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(sampling: Sampling, logits: &[f32], times: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling).unwrap();
        (0..times).map(|_| sampler.draw(logits, &[]).unwrap().id).collect()
    }

    #[test]
    fn temperature_zero_takes_the_largest_and_the_lowest_id_of_a_tie() {
        assert_eq!(drawn(Sampling::default(), &[1.0, 3.0, 3.0], 3), [1, 1, 1]);
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let sampling = Sampling { temperature: 1.0, seed: 7, ..Sampling::default() };
        let logits = [0.0, 1.0, 2.0];
        let ids = drawn(sampling, &logits, 20_000);
        let total: f32 = logits.iter().map(|logit: &f32| logit.exp()).sum();
        for (id, logit) in logits.iter().enumerate() {
            let share = ids.iter().filter(|&&drawn| drawn == id as u32).count() as f32 / 20_000.0;
            assert!((share - logit.exp() / total).abs() < 0.015, "{id}: {share}");
        }
    }

    #[test]
    fn top_k_top_p_and_min_p_cut_the_tail() {
        let logits = [4.0, 3.0, 2.0, -2.0];
        let base = Sampling { temperature: 1.0, seed: 1, ..Sampling::default() };
        let cut = |sampling: Sampling| drawn(sampling, &logits, 400).into_iter().max().unwrap();
        assert_eq!(cut(Sampling { top_k: 2, ..base.clone() }), 1);
        assert_eq!(cut(Sampling { top_p: 0.6, ..base.clone() }), 0);
        assert_eq!(cut(Sampling { min_p: 0.2, ..base.clone() }), 1);
        assert!(cut(base) >= 2);
    }

    #[test]
    fn top_p_keeps_the_fewest_tokens_that_reach_it() {
        // A flat vocabulary larger than one sorting step: the first tenth must be exactly the ids drawn.
        let logits = vec![1.0; 1000];
        let sampling = Sampling { temperature: 1.0, top_p: 0.1, seed: 9, ..Sampling::default() };
        let mut ids = drawn(sampling, &logits, 4000);
        ids.sort_unstable();
        ids.dedup();
        assert!((98..=101).contains(&ids.len()) && *ids.last().unwrap() <= 100, "{ids:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens() {
        let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
        let sampling = Sampling { temperature: 1.3, seed: 42, ..Sampling::default() };
        assert_eq!(drawn(sampling.clone(), &logits, 50), drawn(sampling.clone(), &logits, 50));
        assert_ne!(
            drawn(sampling.clone(), &logits, 50),
            drawn(Sampling { seed: 43, ..sampling }, &logits, 50)
        );
    }

    #[test]
    fn penalties_push_tokens_away() {
        let logits = [2.0, 1.9, -1.0];
        let mut sampler = Sampler::new(Sampling { repetition_penalty: 1.5, ..Sampling::default() }).unwrap();
        assert_eq!(sampler.draw(&logits, &[0]).unwrap().id, 1);
        let mut sampler = Sampler::new(Sampling { presence_penalty: 0.5, ..Sampling::default() }).unwrap();
        assert_eq!(sampler.draw(&logits, &[]).unwrap().id, 0);
        assert_eq!(sampler.draw(&logits, &[0]).unwrap().id, 1);
    }

    /// Where all tokens are named as allowed, every logit is looked at after its penalties.
    #[test]
    fn penalties_take_the_same_token_with_and_without_a_look_at_all_logits() {
        let mut random = SplitMix64::seed_from_u64(5);
        let mut below = |bound: u64| random.next_u64() % bound;
        for round in 0..2000 {
            // Few values, so that many are alike, some of which become alike by a penalty.
            let logits: Vec<f32> = (0..20).map(|_| [-2.0, -1.0, 0.0, 1.5, 3.0][below(5) as usize]).collect();
            let some = |below: &mut dyn FnMut(u64) -> u64| -> Vec<u32> {
                (0..below(9)).map(|_| below(22) as u32).collect()
            };
            let (answer, banned) = (some(&mut below), some(&mut below));
            let sampling = Sampling {
                repetition_penalty: [0.8, 1.0, 1.1, 2.0][below(4) as usize],
                presence_penalty: [-0.5, 0.0, 1.5][below(3) as usize],
                frequency_penalty: [-0.5, 0.0, 0.5][below(3) as usize],
                ..Sampling::default()
            };
            let mut sampler = Sampler::new(sampling).unwrap();
            let quick = sampler.draw_within(&logits, &answer, &banned, None);
            assert_eq!(quick, sampler.draw_within(&logits, &answer, &banned, Some(&[u32::MAX])), "{round}");
        }
    }

    #[test]
    fn a_frequency_penalty_counts_every_time() {
        let logits = [2.0, 1.0];
        let sampling = Sampling { frequency_penalty: 0.4, ..Sampling::default() };
        let mut sampler = Sampler::new(sampling).unwrap();
        assert_eq!(sampler.draw(&logits, &[0, 0]).unwrap().id, 0);
        assert_eq!(sampler.draw(&logits, &[0, 0, 0]).unwrap().id, 1);
        assert!(Sampler::new(Sampling { frequency_penalty: f32::NAN, ..Sampling::default() }).is_err());
    }

    #[test]
    fn the_likeliest_come_first_and_are_the_models_own() {
        let logits = [0.0, 3.0, 1.0, 3.0];
        let found = likeliest(&logits, 3);
        assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 3, 2]);
        let sum: f32 = likeliest(&logits, 9).iter().map(|(_, logprob)| logprob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert!(likeliest(&logits, 0).is_empty());
    }

    #[test]
    fn banned_tokens_are_not_drawn() {
        let logits = [3.0, 2.0, 1.0];
        for temperature in [0.0, 1.0] {
            let mut sampler = Sampler::new(Sampling { temperature, ..Sampling::default() }).unwrap();
            for _ in 0..50 {
                assert_eq!(sampler.draw_but(&logits, &[], &[0, 2, 9]).unwrap().id, 1);
            }
            assert_eq!(sampler.draw_but(&logits, &[], &[0, 1, 2]), None);
        }
    }

    #[test]
    fn the_reported_logprob_is_the_models_own() {
        let logits = [1.0, 2.0];
        let sampling = Sampling { temperature: 5.0, seed: 3, ..Sampling::default() };
        let drawn = Sampler::new(sampling).unwrap().draw(&logits, &[]).unwrap();
        let expected = logits[drawn.id as usize] - (1f32.exp() + 2f32.exp()).ln();
        assert!((drawn.logprob - expected).abs() < 1e-6);
    }

    #[test]
    fn not_a_number_is_refused() {
        let mut sampler = Sampler::new(Sampling::default()).unwrap();
        assert_eq!(sampler.draw(&[0.0, f32::NAN], &[]), None);
        assert_eq!(sampler.draw(&[f32::NEG_INFINITY; 2], &[]), None);
        assert!(Sampler::new(Sampling { top_p: 0.0, ..Sampling::default() }).is_err());
        assert!(Sampler::new(Sampling { temperature: f32::NAN, ..Sampling::default() }).is_err());
    }
}
