//! One adapter from several: `sum of w_n * scale_n * B_n A_n`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crayon_kernels::Threads;
use crayon_model::{LowRankPair, Site};

use crate::{AdapterError, Lora, svd};

/// How the weighted sum is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The sum itself, by concatenation: the rank is the sum of ranks.
    #[default]
    Exact,
    /// The sum cut back to the largest rank of its parts, by its singular values: the nearest adapter of that rank.
    Svd,
    /// A and B averaged apart (LoRAHub, arXiv 2307.13269): not the sum, but of the parts' rank.
    Factor,
}

impl Form {
    /// All of them.
    pub const ALL: [Form; 3] = [Form::Exact, Form::Svd, Form::Factor];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Form::Exact => "exact",
            Form::Svd => "svd",
            Form::Factor => "factor",
        }
    }

    /// The form called `name`.
    pub fn from_name(name: &str) -> Option<Form> {
        Form::ALL.into_iter().find(|form| form.name() == name)
    }
}

/// Blends `parts`, each an adapter and its weight. Parts of weight 0 leave no trace; a single part of weight 1 is itself,
/// bit by bit.
///
/// # Errors
/// When two adapters differ in the shape of a layer, or [`Form::Factor`] meets different ranks; the error names the layer.
pub fn blend(parts: &[(&Lora, f32)], form: Form, threads: &Threads) -> Result<Lora, AdapterError> {
    let mut out = Lora::default();
    blend_into(parts, form, threads, &mut out)?;
    Ok(out)
}

/// As [`blend`], in the memory of an earlier blend where its sizes are the same: most of the exact form's time goes into
/// memory that is new to the process. After an error `out` is empty.
///
/// # Errors
/// As [`blend`].
pub fn blend_into(
    parts: &[(&Lora, f32)],
    form: Form,
    threads: &Threads,
    out: &mut Lora,
) -> Result<(), AdapterError> {
    let parts: Vec<(&Lora, f32)> = parts.iter().filter(|(_, weight)| *weight != 0.0).copied().collect();
    let sites: Vec<Site> = parts
        .iter()
        .flat_map(|(lora, _)| lora.pairs.keys())
        .copied()
        .collect::<BTreeSet<Site>>()
        .into_iter()
        .collect();
    let mut used = std::mem::take(out).pairs;
    let made: Vec<Mutex<Result<LowRankPair, AdapterError>>> =
        sites.iter().map(|site| Mutex::new(Ok(used.remove(site).unwrap_or_else(empty)))).collect();
    threads.run(sites.len(), |at| {
        let here: Vec<(&LowRankPair, f32)> =
            parts.iter().filter_map(|(lora, weight)| Some((lora.pairs.get(&sites[at])?, *weight))).collect();
        let mut place = made[at].lock().unwrap_or_else(PoisonError::into_inner);
        let used = std::mem::replace(&mut *place, Ok(empty()));
        *place = same_shape(sites[at], &here).and_then(|()| match form {
            Form::Exact => Ok(concatenate(&here, used.unwrap_or_else(|_| empty()))),
            Form::Svd => Ok(truncate(&here)),
            Form::Factor => average(sites[at], &here),
        });
    });
    let mut pairs = BTreeMap::new();
    for (site, pair) in sites.iter().zip(made) {
        pairs.insert(*site, pair.into_inner().unwrap_or_else(PoisonError::into_inner)?);
    }
    out.pairs = pairs;
    if let Some((first, _)) = parts.first() {
        out.base.clone_from(&first.base);
        out.base_name.clone_from(&first.base_name);
    }
    Ok(())
}

fn empty() -> LowRankPair {
    LowRankPair { a: Vec::new(), b: Vec::new(), rank: 0, scale: 1.0 }
}

fn sizes(pair: &LowRankPair) -> (usize, usize) {
    (pair.a.len() / pair.rank.max(1), pair.b.len() / pair.rank.max(1))
}

fn same_shape(site: Site, parts: &[(&LowRankPair, f32)]) -> Result<(), AdapterError> {
    match parts.iter().find(|(pair, _)| sizes(pair) != sizes(parts[0].0)) {
        Some((pair, _)) => {
            let (one, other) = (sizes(parts[0].0), sizes(pair));
            Err(AdapterError::unusable(
                format!("adapters differ at {site}: {one:?} and {other:?} values in and out"),
                "blend adapters of one model",
            ))
        }
        None => Ok(()),
    }
}

/// A stacked, B side by side with each part's weight in it, in the memory of `used`.
fn concatenate(parts: &[(&LowRankPair, f32)], used: LowRankPair) -> LowRankPair {
    let first = parts[0].0;
    let (_, output) = sizes(first);
    // A scale that all share stays a factor of its own, so that one part comes out as it went in.
    let shared = parts.iter().all(|(pair, _)| pair.scale == first.scale);
    let scale = if shared { first.scale } else { 1.0 };
    let rank: usize = parts.iter().map(|(pair, _)| pair.rank).sum();
    let LowRankPair { mut a, mut b, .. } = used;
    a.clear();
    a.reserve_exact(parts.iter().map(|(pair, _)| pair.a.len()).sum());
    for (pair, _) in parts {
        a.extend_from_slice(&pair.a);
    }
    // Every value is written below.
    b.resize(output * rank, 0.0);
    let mut column = 0;
    for (pair, weight) in parts {
        let factor = if shared { *weight } else { weight * pair.scale };
        for (to, from) in b.chunks_exact_mut(rank).zip(pair.b.chunks_exact(pair.rank)) {
            for (to, from) in to[column..].iter_mut().zip(from) {
                *to = from * factor;
            }
        }
        column += pair.rank;
    }
    LowRankPair { a, b, rank, scale }
}

fn truncate(parts: &[(&LowRankPair, f32)]) -> LowRankPair {
    let sum = concatenate(parts, empty());
    let rank = parts.iter().map(|(pair, _)| pair.rank).max().unwrap_or(1);
    if sum.rank <= rank {
        return sum;
    }
    let (input, output) = sizes(&sum);
    let (a, b) = svd::truncate(&sum.a, &sum.b, sum.rank, input, output, rank);
    LowRankPair { rank: a.len() / input.max(1), a, b, scale: sum.scale }
}

fn average(site: Site, parts: &[(&LowRankPair, f32)]) -> Result<LowRankPair, AdapterError> {
    let first = parts[0].0;
    if let Some((other, _)) =
        parts.iter().find(|(pair, _)| pair.rank != first.rank || pair.scale != first.scale)
    {
        return Err(AdapterError::unusable(
            format!("the factors of {site} cannot be averaged: ranks {} and {}", first.rank, other.rank),
            "the forms exact and svd take adapters of different ranks and scales",
        ));
    }
    let mean = |values: fn(&LowRankPair) -> &[f32]| {
        let mut out = vec![0.0; values(first).len()];
        for (pair, weight) in parts {
            for (out, value) in out.iter_mut().zip(values(pair)) {
                *out += weight * value;
            }
        }
        out
    };
    let (a, b) = (mean(|pair| &pair.a), mean(|pair| &pair.b));
    Ok(LowRankPair { a, b, rank: first.rank, scale: first.scale })
}
