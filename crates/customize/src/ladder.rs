//! The ladder: candidates judged in order of simplicity, as far as effort and budget allow.

use std::time::Instant;

use crayon_adapters::{Demonstration, Lora};
use crayon_engine::{Engine, EngineError};
#[cfg(feature = "train")]
use crayon_train::frozen::FrozenDecoder;

use crate::choose::choose;
use crate::error::CustomizeError;
use crate::given::{Case, Given};
use crate::judge::{Judge, Judged, attached};
use crate::note::Note;
use crate::request::Request;
use crate::rung::{Effort, Rung};
use crate::shown::{Shown, show};
use crate::tried::Tried;
use crate::watch::{Clock, Stage, Watch};

/// What came of it.
#[derive(Clone, Debug)]
pub struct Climbed {
    /// Every candidate that was judged, the simplest first; none where no example has an answer.
    pub tried: Vec<Tried>,
    /// The one to take.
    pub chosen: Rung,
    /// Its adapter; `None` for the model as it is, and for examples in the prompt.
    pub lora: Option<Lora>,
    /// The examples for the prompt, where that is what is taken.
    pub demonstrations: Vec<Demonstration>,
    /// The weights of the pool's adapters in it, where they are known.
    pub weights: Option<Vec<f32>>,
    /// What should be known about it.
    pub notes: Vec<Note>,
    /// Whether the person stopped it; what was found until then counts.
    pub stopped: bool,
}

/// A candidate with what it consists of.
struct Found {
    tried: Tried,
    lora: Option<Lora>,
    demonstrations: Vec<Demonstration>,
    weights: Option<Vec<f32>>,
}

/// A climb under way.
struct Ladder<'a, 'e, 'w> {
    engine: &'e Engine,
    cases: &'e [Case],
    request: &'a Request<'a>,
    clock: Clock,
    judge: Judge<'e>,
    found: Vec<Found>,
    notes: Vec<Note>,
    stopped: bool,
    watch: &'a mut Watch<'w>,
    /// Opened when something learns.
    #[cfg(feature = "train")]
    decoder: Option<FrozenDecoder>,
}

/// Climbs the ladder for examples.
///
/// # Errors
/// When an adapter does not fit the model, the network computes something that is not finite, the disk does not take what is kept, or
/// `watch` stops it before the model as it is was judged.
pub fn climb(
    engine: &Engine,
    given: &Given,
    request: &Request<'_>,
    watch: &mut Watch<'_>,
) -> Result<Climbed, CustomizeError> {
    let nothing = Climbed {
        tried: Vec::new(),
        chosen: Rung::Base,
        lora: None,
        demonstrations: Vec::new(),
        weights: None,
        notes: Vec::new(),
        stopped: false,
    };
    if given.cases.is_empty() {
        return Ok(nothing);
    }
    let mut ladder = Ladder {
        engine,
        cases: &given.cases,
        request,
        clock: Clock { started: Instant::now(), budget: request.budget },
        judge: Judge::new(engine, &given.cases)?,
        found: Vec::new(),
        notes: Vec::new(),
        stopped: false,
        watch,
        #[cfg(feature = "train")]
        decoder: None,
    };
    ladder.ready()?;
    // What is learned stands on the best adapter that was not.
    let below = ladder.found[ladder.best()].lora.clone();
    ladder.learn(Rung::Fitted, None)?;
    ladder.prompt()?;
    ladder.learn(Rung::Trained, below.as_ref())?;

    let best = ladder.best();
    let Ladder { mut found, mut notes, stopped, .. } = ladder;
    let tried: Vec<Tried> = found.iter().map(|one| one.tried.clone()).collect();
    let Found { tried: Tried { rung: chosen, .. }, lora, demonstrations, weights } = found.swap_remove(best);
    if chosen == Rung::Base && tried.len() > 1 {
        notes.push(Note::BaseStays);
    }
    if !demonstrations.is_empty() && demonstrations.len() < given.cases.len() {
        notes.push(Note::Shown(demonstrations.len(), given.cases.len()));
    }
    #[cfg(feature = "train")]
    if let Some(folder) = request.folder.filter(|_| !stopped) {
        crate::journal::clear(folder);
    }
    Ok(Climbed { tried, chosen, lora, demonstrations, weights, notes, stopped })
}

impl Ladder<'_, '_, '_> {
    /// The number of the candidate to take so far.
    fn best(&self) -> usize {
        let tried: Vec<Tried> = self.found.iter().map(|one| one.tried.clone()).collect();
        choose(&tried)
    }

    /// Whether a rung is to be tried now.
    fn wanted(&mut self, rung: Rung) -> bool {
        let effort = self.request.effort;
        if self.stopped || !effort.reaches(rung) {
            return false;
        }
        if effort == Effort::Auto && self.found[self.best()].tried.right() == self.cases.len() {
            return false;
        }
        if self.clock.over() {
            self.notes.push(Note::OverBudget(rung));
            return false;
        }
        true
    }

    /// The candidates that are there already.
    fn ready(&mut self) -> Result<(), CustomizeError> {
        for (rung, lora, weights) in ready(self.request) {
            if rung > Rung::Base && self.clock.over() {
                self.notes.push(Note::OverBudget(rung));
                continue;
            }
            let started = Instant::now();
            self.judge.take(lora.clone().map(|lora| attached(self.engine, lora)).transpose()?);
            match judge_all(&mut self.judge, rung, self.cases.len(), self.watch)? {
                Some(judged) => {
                    let tried = Tried { rung, judged, seconds: started.elapsed().as_secs_f64() };
                    self.found.push(Found { tried, lora, demonstrations: Vec::new(), weights });
                }
                None if rung == Rung::Base => return Err(EngineError::Cancelled.into()),
                None => {
                    self.notes.push(Note::Stopped(rung));
                    self.stopped = true;
                    break;
                }
            }
        }
        Ok(())
    }

    /// The examples in the prompt.
    fn prompt(&mut self) -> Result<(), CustomizeError> {
        if !self.wanted(Rung::Prompt) {
            return Ok(());
        }
        // Three parts of the examples are read, and then all of them once more.
        if self.clock.left().as_secs_f64() < 4.0 * self.found[0].tried.seconds {
            self.notes.push(Note::OverBudget(Rung::Prompt));
            return Ok(());
        }
        let started = Instant::now();
        match show(self.engine, self.cases, self.request.seed, self.watch)? {
            Ok(Shown { judged, demonstrations }) => {
                let judged = judged.into_iter().map(Some).collect();
                let tried = Tried { rung: Rung::Prompt, judged, seconds: started.elapsed().as_secs_f64() };
                self.found.push(Found { tried, lora: None, demonstrations, weights: None });
            }
            // So few were noted when the examples were read.
            Err(Note::Few(_)) => {}
            Err(why) => {
                self.stopped |= matches!(why, Note::Stopped(_));
                self.notes.push(why);
            }
        }
        Ok(())
    }

    /// A candidate that learns from answers, on top of what is `below`.
    #[cfg(feature = "train")]
    fn learn(&mut self, rung: Rung, below: Option<&Lora>) -> Result<(), CustomizeError> {
        use crate::given::FEWEST;
        use crate::journal::Journal;
        use crate::{fitted, learn, trained};
        let Request { members, seed, folder, .. } = *self.request;
        if self.cases.len() < FEWEST || rung == Rung::Fitted && members.is_none() || !self.wanted(rung) {
            return Ok(());
        }
        let started = Instant::now();
        let best = self.best();
        let journal = Journal::new(
            folder.map(|folder| folder.join(rung.name())),
            key(self.engine, self.cases, self.request, below),
        );
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none.insert(FrozenDecoder::open(
                self.engine.checkpoint(),
                self.engine.mode(),
                self.engine.threads(),
            )?),
        };
        let mut work = learn::Work {
            engine: self.engine,
            cases: self.cases,
            decoder,
            judge: &mut self.judge,
            journal,
            clock: self.clock,
            rung,
            seed,
            best: &self.found[best].tried,
            watch: self.watch,
        };
        let learned = match (rung, members) {
            (Rung::Fitted, Some(members)) => fitted::fit(&mut work, members)?,
            _ => trained::train(&mut work, below)?,
        };
        self.stopped |= learned.stopped;
        self.notes.extend(learned.notes);
        if learned.lora.is_some() && learned.judged.iter().any(Option::is_some) {
            let tried = Tried { rung, judged: learned.judged, seconds: started.elapsed().as_secs_f64() };
            let (lora, weights) = (learned.lora, learned.weights);
            self.found.push(Found { tried, lora, demonstrations: Vec::new(), weights });
        }
        Ok(())
    }

    /// Nothing learns in a program without training.
    #[cfg(not(feature = "train"))]
    fn learn(&mut self, rung: Rung, _: Option<&Lora>) -> Result<(), CustomizeError> {
        if self.wanted(rung) && !self.notes.contains(&Note::NoTraining) {
            self.notes.push(Note::NoTraining);
        }
        Ok(())
    }
}

/// Text that differs between learnings with different results.
#[cfg(feature = "train")]
fn key(engine: &Engine, cases: &[Case], request: &Request<'_>, below: Option<&Lora>) -> String {
    use sha2::{Digest, Sha256};

    let hidden = engine.spec().hidden;
    let options = (crate::fitted::options(request.seed), crate::trained::training(hidden, request.seed));
    let members = request.members.map(|members| members.weights);
    let mut hash = Sha256::new();
    hash.update(format!("{} {options:?} {members:?} {cases:?}", engine.checkpoint().fingerprint()));
    for (site, pair) in below.into_iter().flat_map(|lora| &lora.pairs) {
        hash.update(format!("{site} {}", pair.scale));
        pair.a.iter().chain(&pair.b).for_each(|value| hash.update(value.to_le_bytes()));
    }
    hex::encode(hash.finalize())
}

/// The candidates that do not look at answers.
fn ready(request: &Request<'_>) -> Vec<(Rung, Option<Lora>, Option<Vec<f32>>)> {
    let mut ready = vec![(Rung::Base, None, None)];
    if let Some(blend) = request.blend {
        let weights = request.members.map(|members| members.weights.to_vec());
        ready.push((Rung::Blend, Some(blend.clone()), weights));
    }
    if let Some(members) = request.members {
        let weights = nearest(members.weights);
        let at = weights.iter().position(|weight| *weight > 0.0).unwrap_or(0);
        ready.push((Rung::Nearest, members.loras.get(at).map(|lora| (*lora).clone()), Some(weights)));
    }
    ready
}

/// The largest of `weights` alone, of equals the first.
pub(crate) fn nearest(weights: &[f32]) -> Vec<f32> {
    let best = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let first = weights.iter().position(|weight| *weight == best);
    (0..weights.len()).map(|at| f32::from(u8::from(Some(at) == first))).collect()
}

/// Judges by all examples; `None` when `watch` stops it.
pub(crate) fn judge_all(
    judge: &mut Judge<'_>,
    rung: Rung,
    total: usize,
    watch: &mut Watch<'_>,
) -> Result<Option<Vec<Option<Judged>>>, CustomizeError> {
    let mut judged = Vec::with_capacity(total);
    for number in 0..total {
        judged.push(Some(judge.one(number)?));
        if watch(Stage { rung, done: number + 1, total }).is_break() {
            return Ok(None);
        }
    }
    Ok(Some(judged))
}
