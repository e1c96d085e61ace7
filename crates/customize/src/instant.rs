//! The instant ladder: what needs no learning, judged for a question that waits.

use std::sync::Arc;
use std::time::Instant;

use crayon_adapters::{Demonstration, Stack};
use crayon_engine::{Adapter, Engine, EngineError};

use crate::choose::choose;
use crate::error::CustomizeError;
use crate::given::Given;
use crate::judge::Judge;
use crate::ladder::{judge_all, nearest};
use crate::note::Note;
use crate::rung::Rung;
use crate::shown::{Shown, show};
use crate::tried::Tried;
use crate::watch::Watch;

/// What there is of a pool's adapters.
#[derive(Clone)]
pub enum Offered<'a> {
    /// No pool.
    Nothing,
    /// All of them, and their weights in the blend.
    Stack(&'a Arc<Stack>, &'a [f32]),
    /// The blend alone.
    Blend(Arc<dyn Adapter>),
}

/// What came of it.
pub struct Instantly {
    /// Every candidate, the simplest first.
    pub tried: Vec<Tried>,
    /// The one to take.
    pub chosen: Rung,
    /// Its adapter, if it has one.
    pub adapter: Option<Arc<dyn Adapter>>,
    /// The weights of the pool's adapters in it, where they are known.
    pub weights: Option<Vec<f32>>,
    /// The examples for the prompt, where that is what is taken.
    pub demonstrations: Vec<Demonstration>,
    /// What should be known about it.
    pub notes: Vec<Note>,
}

/// A rung, its adapter, and the weights of the pool's adapters in it.
type Candidate = (Rung, Option<Arc<dyn Adapter>>, Option<Vec<f32>>);

/// Judges the model as it is, what is `offered` and the examples in the prompt, and says which to take.
///
/// # Errors
/// When the network computes something that is not finite, or `watch` stops it.
pub fn instant(
    engine: &Engine,
    given: &Given,
    offered: &Offered<'_>,
    seed: u64,
    watch: &mut Watch<'_>,
) -> Result<Instantly, CustomizeError> {
    let cases = &given.cases;
    let mut candidates: Vec<Candidate> = vec![(Rung::Base, None, None)];
    match offered {
        Offered::Nothing => {}
        Offered::Blend(adapter) => candidates.push((Rung::Blend, Some(adapter.clone()), None)),
        Offered::Stack(stack, weights) => {
            for (rung, weights) in [(Rung::Blend, weights.to_vec()), (Rung::Nearest, nearest(weights))] {
                candidates.push((rung, Some(Arc::new(stack.weigh(&weights)?)), Some(weights)));
            }
        }
    }
    let mut judge = Judge::new(engine, cases)?;
    let mut tried = Vec::with_capacity(candidates.len() + 1);
    for (rung, adapter, _) in &candidates {
        let started = Instant::now();
        judge.take(adapter.clone());
        let Some(judged) = judge_all(&mut judge, *rung, cases.len(), watch)? else {
            return Err(EngineError::Cancelled.into());
        };
        tried.push(Tried { rung: *rung, judged, seconds: started.elapsed().as_secs_f64() });
    }
    let (started, mut notes, mut shown) = (Instant::now(), Vec::new(), Vec::new());
    match show(engine, cases, seed, watch)? {
        Ok(Shown { judged, demonstrations }) => {
            let judged = judged.into_iter().map(Some).collect();
            tried.push(Tried { rung: Rung::Prompt, judged, seconds: started.elapsed().as_secs_f64() });
            shown = demonstrations;
        }
        Err(Note::Stopped(_)) => return Err(EngineError::Cancelled.into()),
        Err(Note::Few(_)) => {}
        Err(why) => notes.push(why),
    }
    let chosen = tried.get(choose(&tried)).map_or(Rung::Base, |one| one.rung);
    let demonstrations = if chosen == Rung::Prompt { shown } else { Vec::new() };
    if !demonstrations.is_empty() && demonstrations.len() < cases.len() {
        notes.push(Note::Shown(demonstrations.len(), cases.len()));
    }
    if chosen == Rung::Base {
        notes.push(Note::BaseStays);
    }
    let taken = candidates.into_iter().find(|(rung, ..)| *rung == chosen);
    let (adapter, weights) = taken.map_or((None, None), |(_, adapter, weights)| (adapter, weights));
    Ok(Instantly { tried, chosen, adapter, weights, demonstrations, notes })
}
