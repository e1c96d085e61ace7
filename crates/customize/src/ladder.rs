//! The ladder: candidates judged in order of simplicity, as far as effort and budget allow.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crayon_adapters::Lora;
use crayon_engine::{Adapter, Engine, EngineError};

use crate::{Case, CustomizeError, Effort, Given, Judge, Judged, Note, Rung, choose};

/// Fewer examples with answers than this cannot be judged by folds; nothing is learned from them.
pub(crate) const FEWEST: usize = 4;

/// The adapters of a pool that is here.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a> {
    /// Each of them.
    pub loras: &'a [&'a Lora],
    /// Their weights in the blend.
    pub weights: &'a [f32],
}

/// What the ladder is built of, and how far it is climbed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The pool's blend for these examples, where there is one.
    pub blend: Option<&'a Lora>,
    /// The pool's adapters, where they are here.
    pub members: Option<Members<'a>>,
    /// How far it is climbed.
    pub effort: Effort,
    /// Time for all of it. What would not be done in it is not begun.
    pub budget: Duration,
    /// Everything random follows from it.
    pub seed: u64,
}

/// How far a rung is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which one.
    pub rung: Rung,
    /// Steps or examples done.
    pub done: usize,
    /// Of so many.
    pub total: usize,
}

/// Is told how far a rung is, and may stop it; what was found until then counts.
pub type Watch<'w> = dyn FnMut(Stage) -> ControlFlow<()> + 'w;

/// A candidate, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// Which one.
    pub rung: Rung,
    /// What every example says about it.
    pub judged: Vec<Judged>,
    /// Time it took to make and to judge it.
    pub seconds: f64,
}

impl Tried {
    /// Examples answered right.
    pub fn right(&self) -> usize {
        self.judged.iter().filter(|one| one.right).count()
    }

    /// Mean of the examples' losses, in nats a token of their answers.
    pub fn loss(&self) -> f64 {
        mean_loss(&self.judged)
    }
}

pub(crate) fn mean_loss(judged: &[Judged]) -> f64 {
    judged.iter().map(|one| one.loss).sum::<f64>() / judged.len().max(1) as f64
}

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

/// The time that is left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    budget: Duration,
}

impl Clock {
    pub(crate) fn left(&self) -> Duration {
        self.budget.saturating_sub(self.started.elapsed())
    }

    pub(crate) fn over(&self) -> bool {
        self.left().is_zero()
    }
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

pub(crate) fn attached(engine: &Engine, lora: Lora) -> Result<Arc<dyn Adapter>, CustomizeError> {
    Ok(Arc::new(lora.attach(engine.spec())?))
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
            none => none.insert(FrozenDecoder::open(engine.checkpoint())?),
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
