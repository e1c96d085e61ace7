//! The ladder: candidates judged in order of simplicity, as far as effort and budget allow.

use std::sync::Arc;
use std::time::Instant;

use crayon_adapters::Lora;
use crayon_engine::{Adapter, Engine, EngineError};

use crate::choose::choose;
use crate::error::CustomizeError;
use crate::given::{Case, Given};
use crate::judge::{Judge, Judged, attached};
use crate::note::Note;
use crate::request::Request;
use crate::rung::{Effort, Rung};
use crate::tried::Tried;
use crate::watch::{Clock, Stage, Watch};

/// What came of it.
#[derive(Clone, Debug)]
pub struct Climbed {
    /// Every candidate that was judged, the simplest first; none where no example has an answer.
    pub tried: Vec<Tried>,
    /// The one to take.
    pub chosen: Rung,
    /// Its adapter; `None` for the model as it is.
    pub lora: Option<Lora>,
    /// The weights of the pool's adapters in it, where they are known.
    pub weights: Option<Vec<f32>>,
    /// What should be known about it.
    pub notes: Vec<Note>,
}

/// A candidate with what it consists of.
struct Found {
    tried: Tried,
    lora: Option<Lora>,
    weights: Option<Vec<f32>>,
}

/// Climbs the ladder for examples.
///
/// # Errors
/// When an adapter does not fit the model, the network computes something that is no number, or `watch` stops it before the model
/// as it is was judged.
pub fn climb(
    engine: &Engine,
    given: &Given,
    request: &Request<'_>,
    watch: &mut Watch<'_>,
) -> Result<Climbed, CustomizeError> {
    let clock = Clock { started: Instant::now(), budget: request.budget };
    let mut notes = Vec::new();
    if given.cases.is_empty() {
        return Ok(Climbed { tried: Vec::new(), chosen: Rung::Base, lora: None, weights: None, notes });
    }
    let mut judge = Judge::new(engine, &given.cases)?;
    let mut found: Vec<Found> = Vec::new();
    let mut stopped = false;
    for (rung, lora, weights) in ready(request) {
        if rung > Rung::Base && clock.over() {
            notes.push(Note::OverBudget(rung));
            continue;
        }
        let started = Instant::now();
        let adapter = lora.clone().map(|lora| attached(engine, lora)).transpose()?;
        judge.take(adapter);
        match judge_all(&mut judge, rung, given.cases.len(), watch)? {
            Some(judged) => {
                let tried = Tried { rung, judged, seconds: started.elapsed().as_secs_f64() };
                found.push(Found { tried, lora, weights });
            }
            None if rung == Rung::Base => return Err(EngineError::Cancelled.into()),
            None => {
                notes.push(Note::Stopped(rung));
                stopped = true;
                break;
            }
        }
    }
    if !stopped {
        learn(engine, given, request, clock, &mut judge, &mut found, &mut notes, watch)?;
    }
    let tried: Vec<Tried> = found.iter().map(|one| one.tried.clone()).collect();
    let Found { tried: Tried { rung: chosen, .. }, lora, weights } = found.swap_remove(choose(&tried));
    if chosen == Rung::Base && tried.len() > 1 {
        notes.push(Note::BaseStays);
    }
    Ok(Climbed { tried, chosen, lora, weights, notes })
}

/// The candidates that do not look at answers.
fn ready(request: &Request<'_>) -> Vec<(Rung, Option<Lora>, Option<Vec<f32>>)> {
    let mut ready = vec![(Rung::Base, None, None)];
    if let Some(blend) = request.blend {
        let weights = request.members.map(|members| members.weights.to_vec());
        ready.push((Rung::Blend, Some(blend.clone()), weights));
    }
    if let Some(members) = request.members {
        let nearest = largest(members.weights);
        let weights = (0..members.weights.len()).map(|at| f32::from(u8::from(at == nearest))).collect();
        ready.push((Rung::Nearest, members.loras.get(nearest).map(|lora| (*lora).clone()), Some(weights)));
    }
    ready
}

fn largest(weights: &[f32]) -> usize {
    (0..weights.len()).max_by(|a, b| weights[*a].total_cmp(&weights[*b])).unwrap_or(0)
}

/// Judges by all examples; `None` when `watch` stops it.
fn judge_all(
    judge: &mut Judge<'_>,
    rung: Rung,
    total: usize,
    watch: &mut Watch<'_>,
) -> Result<Option<Vec<Judged>>, CustomizeError> {
    let mut judged = Vec::with_capacity(total);
    for number in 0..total {
        judged.push(judge.one(number)?);
        if watch(Stage { rung, done: number + 1, total }).is_break() {
            return Ok(None);
        }
    }
    Ok(Some(judged))
}

/// Judges adapters that are made already, the base first, and says which to take: the instant ladder.
///
/// # Errors
/// As [`climb`].
pub fn instant(
    engine: &Engine,
    cases: &[Case],
    candidates: &[(Rung, Option<Arc<dyn Adapter>>)],
    watch: &mut Watch<'_>,
) -> Result<(Vec<Tried>, Rung), CustomizeError> {
    let mut judge = Judge::new(engine, cases)?;
    let mut tried = Vec::with_capacity(candidates.len());
    for (rung, adapter) in candidates {
        let started = Instant::now();
        judge.take(adapter.clone());
        let Some(judged) = judge_all(&mut judge, *rung, cases.len(), watch)? else {
            return Err(EngineError::Cancelled.into());
        };
        tried.push(Tried { rung: *rung, judged, seconds: started.elapsed().as_secs_f64() });
    }
    let chosen = tried.get(choose(&tried)).map_or(Rung::Base, |one| one.rung);
    Ok((tried, chosen))
}

/// Adds the candidates that learn from answers.
#[cfg(feature = "train")]
#[expect(clippy::too_many_arguments, reason = "the second half of `climb`")]
fn learn(
    engine: &Engine,
    given: &Given,
    request: &Request<'_>,
    clock: Clock,
    judge: &mut Judge<'_>,
    found: &mut Vec<Found>,
    notes: &mut Vec<Note>,
    watch: &mut Watch<'_>,
) -> Result<(), CustomizeError> {
    use crate::given::FEWEST;
    use crate::{fitted, learn, trained};
    use crayon_train::frozen::FrozenDecoder;

    if given.cases.len() < FEWEST {
        return Ok(());
    }
    let tried = |found: &[Found]| found.iter().map(|one| one.tried.clone()).collect::<Vec<Tried>>();
    // What is learned stands on the best that was not.
    let below = found[choose(&tried(found))].lora.clone();
    let mut decoder = None;
    for rung in [Rung::Fitted, Rung::Trained] {
        if !request.effort.reaches(rung) || rung == Rung::Fitted && request.members.is_none() {
            continue;
        }
        let so_far = tried(found);
        if request.effort == Effort::Auto && so_far[choose(&so_far)].right() == given.cases.len() {
            break;
        }
        if clock.over() {
            notes.push(Note::OverBudget(rung));
            continue;
        }
        let started = Instant::now();
        let decoder = match &mut decoder {
            Some(decoder) => decoder,
            none => none.insert(FrozenDecoder::open(engine.checkpoint(), engine.mode(), engine.threads())?),
        };
        let mut work = learn::Work {
            engine,
            cases: &given.cases,
            decoder,
            judge,
            clock,
            rung,
            seed: request.seed,
            watch,
        };
        let learned = match (rung, request.members) {
            (Rung::Fitted, Some(members)) => fitted::fit(&mut work, members)?,
            _ => trained::train(&mut work, below.as_ref())?,
        };
        match learned {
            Ok(learned) => {
                let tried = Tried { rung, judged: learned.judged, seconds: started.elapsed().as_secs_f64() };
                notes.extend(learned.notes);
                found.push(Found { tried, lora: Some(learned.lora), weights: learned.weights });
            }
            Err(note) => {
                let stopped = matches!(note, Note::Stopped(_));
                notes.push(note);
                if stopped {
                    break;
                }
            }
        }
    }
    Ok(())
}

#[cfg(not(feature = "train"))]
#[expect(clippy::too_many_arguments, reason = "the second half of `climb`")]
fn learn(
    _: &Engine,
    _: &Given,
    request: &Request<'_>,
    _: Clock,
    _: &mut Judge<'_>,
    _: &mut Vec<Found>,
    notes: &mut Vec<Note>,
    _: &mut Watch<'_>,
) -> Result<(), CustomizeError> {
    if request.effort > Effort::Instant {
        notes.push(Note::NoTraining);
    }
    Ok(())
}
