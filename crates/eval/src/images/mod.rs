//! Do word weights steer a search? Captions with two attributes, of which one is stressed, over a gallery whose attributes are known.
//!
//! - `gallery.rs`: the pictures and the captions of a comparison, from files;
//! - `ways.rs`: the ways to stress a word, word weights among them;
//! - `ranks.rs`: what an order of pictures is worth.

mod gallery;
mod ranks;
mod ways;

use std::time::Instant;

use crayon_engine::EngineError;
use crayon_images::embed_files;
use crayon_vision::Clip;
use serde::Serialize;

pub use gallery::{Caption, Gallery};
use ranks::{Lost, average_precision, gain, share_of_first, spread_of_difference};
pub use ways::Way;

use crate::correlation::spearman;
use crate::{EvalError, Progress};

/// How many of the first results are looked at.
const FIRST: usize = 10;
/// Losses on the other attribute at which gains are compared, as differences of average precision.
const LOSSES: [f64; 3] = [0.01, 0.02, 0.05];

/// What is compared.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// Ways to stress a word.
    pub ways: Vec<Way>,
}

/// A way to stress a word, at one strength, over all captions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlRow {
    /// The way's name.
    pub way: String,
    /// Weight, number of repetitions or factor.
    pub strength: f64,
    /// Mean average precision of the pictures with the stressed attribute.
    pub ap_stressed: f64,
    /// Mean average precision of the pictures with the other attribute.
    pub ap_other: f64,
    /// Mean average precision of the pictures with both.
    pub ap_both: f64,
    /// Share of the first ten results with the stressed attribute.
    pub first_stressed: f64,
    /// Share of them with the other attribute.
    pub first_other: f64,
}

/// A way to stress a word, over all strengths.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlSummary {
    /// The way's name.
    pub way: String,
    /// Spearman's correlation of the strength with the mean share of stressed pictures among the first.
    pub spearman: Option<f64>,
    /// The mean of the captions' own correlations, over those whose share changes at all.
    pub spearman_each: Option<f64>,
    /// What the stressed attribute gains where the other has lost so much.
    pub gains: Vec<Gain>,
}

/// The largest gain of the stressed attribute for a loss of the other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gain {
    /// Average precision that the other attribute may lose.
    pub loss: f64,
    /// Average precision that the stressed one gains.
    pub gain: f64,
    /// How much less that is than by word weights in all layers.
    pub behind: f64,
    /// Standard error of `behind`, by drawing captions with replacement.
    pub behind_stderr: f64,
}

/// A whole comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Control {
    /// Pictures of the gallery.
    pub pictures: usize,
    /// Pictures that could not be read.
    pub broken: usize,
    /// Captions, each with one word stressed.
    pub captions: usize,
    /// Captions that no picture fits in one of the two attributes, which are left out.
    pub skipped: usize,
    /// Every way at every strength.
    pub rows: Vec<ControlRow>,
    /// Every way.
    pub summaries: Vec<ControlSummary>,
    /// Time for everything.
    pub seconds: f64,
}

/// What one way gives at one strength, caption by caption.
struct Measured {
    strength: f64,
    stressed: Vec<f64>,
    other: Vec<f64>,
    both: Vec<Option<f64>>,
    first_stressed: Vec<f64>,
    first_other: Vec<f64>,
}

/// Compares the ways on a gallery. `progress` counts passes over all captions, after the pictures.
///
/// # Errors
/// If no caption is left, a text is too long, or the model fails.
pub fn control(
    clip: &Clip,
    gallery: &Gallery,
    options: &ControlOptions,
    progress: &mut Progress<'_>,
) -> Result<Control, EvalError> {
    let began = Instant::now();
    let embedded = embed_files(clip, &gallery.files, clip.threads(), progress)?;
    let facts: Vec<_> = embedded.files.iter().map(|file| &gallery.facts[*file]).collect();
    let with = |fact: &str| -> Vec<bool> { facts.iter().map(|facts| facts.contains(fact)).collect() };
    let asked: Vec<(&Caption, Vec<bool>, Vec<bool>)> = gallery
        .captions
        .iter()
        .map(|caption| (caption, with(&caption.stressed), with(&caption.other)))
        .filter(|(_, stressed, other)| stressed.contains(&true) && other.contains(&true))
        .collect();
    if asked.is_empty() {
        return Err(gallery.no_caption());
    }
    let captions: Vec<&Caption> = asked.iter().map(|(caption, ..)| *caption).collect();
    let total: usize = options.ways.iter().map(|way| way.strengths().len()).sum();
    let (mut rows, mut all, mut done) = (Vec::new(), Vec::new(), 0);
    for way in &options.ways {
        let mut measured = Vec::new();
        for &strength in way.strengths() {
            let texts = way.vectors(clip, &captions, strength)?;
            measured.push(measure(strength, &texts, &embedded.vectors, clip.dim(), &asked));
            done += 1;
            if progress(done, total).is_break() {
                return Err(EngineError::Cancelled.into());
            }
        }
        rows.extend(measured.iter().map(|one| row(way, one)));
        all.push(measured);
    }
    let lead = options.ways.iter().position(|way| *way == Way::Weights { first_layer: 0 });
    let lead = lead.map(|at| lost(&options.ways[at], &all[at]));
    let summaries =
        options.ways.iter().zip(&all).map(|(way, measured)| summary(way, measured, lead.as_ref())).collect();
    Ok(Control {
        pictures: facts.len(),
        broken: embedded.broken.len(),
        captions: asked.len(),
        skipped: gallery.captions.len() - asked.len(),
        rows,
        summaries,
        seconds: began.elapsed().as_secs_f64(),
    })
}

fn measure(
    strength: f64,
    texts: &[f32],
    pictures: &[f32],
    dim: usize,
    asked: &[(&Caption, Vec<bool>, Vec<bool>)],
) -> Measured {
    let mut out = Measured {
        strength,
        stressed: Vec::new(),
        other: Vec::new(),
        both: Vec::new(),
        first_stressed: Vec::new(),
        first_other: Vec::new(),
    };
    for (text, (_, stressed, other)) in texts.chunks_exact(dim).zip(asked) {
        let dot = |picture: &[f32]| picture.iter().zip(text).map(|(a, b)| a * b).sum::<f32>();
        let scores: Vec<f32> = pictures.chunks_exact(dim).map(dot).collect();
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
        let both: Vec<bool> = stressed.iter().zip(other).map(|(a, b)| *a && *b).collect();
        out.stressed.push(average_precision(&order, stressed));
        out.other.push(average_precision(&order, other));
        out.both.push(both.contains(&true).then(|| average_precision(&order, &both)));
        out.first_stressed.push(share_of_first(FIRST, &order, stressed));
        out.first_other.push(share_of_first(FIRST, &order, other));
    }
    out
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value;
        count += 1.0;
    }
    if count == 0.0 { 0.0 } else { sum / count }
}

fn row(way: &Way, one: &Measured) -> ControlRow {
    ControlRow {
        way: way.to_string(),
        strength: one.strength,
        ap_stressed: mean(one.stressed.iter().copied()),
        ap_other: mean(one.other.iter().copied()),
        ap_both: mean(one.both.iter().flatten().copied()),
        first_stressed: mean(one.first_stressed.iter().copied()),
        first_other: mean(one.first_other.iter().copied()),
    }
}

/// Gains and losses against the neutral strength, strongest last; weaker strengths than the neutral one are left out.
fn lost(way: &Way, measured: &[Measured]) -> Lost {
    let neutral = measured.iter().find(|one| one.strength == way.neutral());
    let Some(neutral) = neutral else { return Lost::default() };
    let against = |these: &[f64], those: &[f64]| these.iter().zip(those).map(|(a, b)| a - b).collect();
    let stronger = measured.iter().filter(|one| one.strength >= way.neutral());
    Lost {
        steps: stronger
            .map(|one| (against(&one.stressed, &neutral.stressed), against(&neutral.other, &one.other)))
            .collect(),
    }
}

fn summary(way: &Way, measured: &[Measured], lead: Option<&Lost>) -> ControlSummary {
    let strengths: Vec<f64> = measured.iter().map(|one| one.strength).collect();
    let means: Vec<f64> = measured.iter().map(|one| mean(one.first_stressed.iter().copied())).collect();
    let captions = measured.first().map_or(0, |one| one.first_stressed.len());
    let each: Vec<f64> = (0..captions)
        .filter_map(|caption| {
            let shares: Vec<f64> = measured.iter().map(|one| one.first_stressed[caption]).collect();
            spearman(&strengths, &shares)
        })
        .collect();
    let own = lost(way, measured);
    let gains = LOSSES.iter().map(|&loss| {
        let mine = gain(&own, loss, None);
        let (behind, behind_stderr) = match lead {
            Some(lead) => (gain(lead, loss, None) - mine, spread_of_difference(lead, &own, loss)),
            None => (0.0, 0.0),
        };
        Gain { loss, gain: mine, behind, behind_stderr }
    });
    ControlSummary {
        way: way.to_string(),
        spearman: spearman(&strengths, &means),
        spearman_each: (!each.is_empty()).then(|| mean(each.iter().copied())),
        gains: gains.collect(),
    }
}
