//! Learning from answers without being judged by what was learned: by folds, then once more on all examples.

use std::time::{Duration, Instant};

use crayon_adapters::{Lora, Sample};
use crayon_engine::Engine;
use crayon_train::frozen::FrozenDecoder;
use crayon_train::pool::{Learner, Learning, TrainOptions};

use crate::error::CustomizeError;
use crate::folds::folds;
use crate::given::Case;
use crate::journal::{Fold, Journal, Plan};
use crate::judge::{Judge, Judged, attached};
use crate::note::Note;
use crate::rung::Rung;
use crate::tried::{Tried, mean_loss};
use crate::watch::{Clock, Stage, Watch};

/// Rounds after which the examples kept aside are looked at.
const EVERY: usize = 2;
/// Looks without improvement after which a fold ends.
const PATIENCE: usize = 2;
/// Times that learning from all examples is begun, at most.
const ATTEMPTS: usize = 3;
/// What is said to take this share of the time left, or less, is begun.
const SHARE: f64 = 0.9;

/// What learning needs.
pub(crate) struct Work<'a, 'e, 'w> {
    pub(crate) engine: &'a Engine,
    pub(crate) cases: &'a [Case],
    pub(crate) decoder: &'a FrozenDecoder,
    pub(crate) judge: &'a mut Judge<'e>,
    pub(crate) journal: Journal,
    pub(crate) clock: Clock,
    pub(crate) rung: Rung,
    pub(crate) seed: u64,
    /// The candidate to be better than.
    pub(crate) best: &'a Tried,
    pub(crate) watch: &'a mut Watch<'w>,
}

/// What came of it: perhaps something, and what should be known about it.
#[derive(Default)]
pub(crate) struct Learned {
    /// By what had not seen the example; `None` for those that it was stopped before.
    pub(crate) judged: Vec<Option<Judged>>,
    /// From all examples, or from those of the last fold where it was stopped. None where nothing was judged.
    pub(crate) lora: Option<Lora>,
    pub(crate) weights: Option<Vec<f32>>,
    pub(crate) notes: Vec<Note>,
    /// Whether the person stopped it.
    pub(crate) stopped: bool,
}

/// What learns: made anew for each fold, and turned into an adapter to be judged.
pub(crate) struct Recipe<'r, L> {
    pub(crate) options: TrainOptions,
    /// Times the examples are read at most.
    pub(crate) rounds: usize,
    pub(crate) make: &'r dyn Fn() -> L,
    pub(crate) lora: &'r dyn Fn(&L) -> Result<Lora, CustomizeError>,
    pub(crate) weights: &'r dyn Fn(&L) -> Option<Vec<f32>>,
}

/// A learning under way.
struct Course<'c, 'a, 'e, 'w, L> {
    work: &'c mut Work<'a, 'e, 'w>,
    recipe: &'c Recipe<'c, L>,
    plan: Plan,
    folds: Vec<Fold>,
    parts: Vec<Vec<usize>>,
    stage: Stage,
    /// What the last look was at.
    latest: Option<(Lora, Option<Vec<f32>>)>,
}

/// Learns by `recipe`, or says why not.
pub(crate) fn learn<L: Learning>(
    work: &mut Work<'_, '_, '_>,
    recipe: &Recipe<'_, L>,
) -> Result<Learned, CustomizeError> {
    let (count, batch) = (work.cases.len(), recipe.options.batch);
    let (plan, folds) = match work.journal.earlier() {
        Some(earlier) => earlier,
        None => {
            let (step, look) = work.cost(recipe)?;
            match plan(count, batch, recipe.rounds, step, look, work.clock.left()) {
                Some(plan) => (plan, Vec::new()),
                None => {
                    return Ok(Learned { notes: vec![Note::OverBudget(work.rung)], ..Learned::default() });
                }
            }
        }
    };
    let stage = Stage { rung: work.rung, done: 0, total: steps(count, batch, plan) };
    let parts = self::folds(work.cases, plan.folds, work.seed);
    Course { work, recipe, plan, folds, parts, stage, latest: None }.run()
}

impl<L: Learning> Course<'_, '_, '_, '_, L> {
    fn run(mut self) -> Result<Learned, CustomizeError> {
        for number in 0..self.plan.folds {
            if let Some(why) = self.fold(number)? {
                return Ok(self.part(why));
            }
            if self.behind() {
                let (rung, best) = (self.work.rung, self.work.best.rung);
                return Ok(self.part(Note::Behind(rung, best)));
            }
        }
        let best = self.best_look();
        let rounds = ((best + 1) * EVERY).min(self.plan.rounds);
        let judged = self.judged(best);
        let mut notes = Vec::new();
        if rounds < self.plan.rounds {
            notes.push(Note::Early(rounds, self.plan.rounds));
        }
        self.on_all(rounds, judged, notes)
    }

    /// Learns from all examples. They must then be answered at least as well as those that were kept aside; where they are not,
    /// learning went astray, and is begun again at half the rate.
    fn on_all(
        &mut self,
        rounds: usize,
        aside: Vec<Option<Judged>>,
        mut notes: Vec<Note>,
    ) -> Result<Learned, CustomizeError> {
        let wanted_merit = merit(&aside.iter().flatten().copied().collect::<Vec<_>>());
        let mut options = self.recipe.options.clone();
        for attempt in 0..ATTEMPTS {
            let number = self.plan.folds + attempt;
            let all = self.work.samples(|_| true);
            let mut learner = self.work.learner(self.recipe, &options, all, self.plan.rounds)?;
            self.work.journal.resume(number, &mut learner);
            let wanted = learner.steps() / self.plan.rounds * rounds;
            self.stage.total = self.stage.done + wanted;
            let why = self.steps(number, &mut learner, wanted)?;
            // Half of it is worth more than what a fold has learned.
            if let Some(why) = &why
                && learner.done() * 2 < wanted
            {
                return Ok(self.part(why.clone()));
            }
            let lora = (self.recipe.lora)(learner.learned())?;
            let weights = (self.recipe.weights)(learner.learned());
            let seen = self.look(&lora)?;
            let (right, loss) = merit(&seen);
            if right >= wanted_merit.0 && (loss <= wanted_merit.1 || right > wanted_merit.0) {
                notes.extend(why);
                let stopped = notes.contains(&Note::Stopped(self.work.rung));
                return Ok(Learned { judged: aside, lora: Some(lora), weights, notes, stopped });
            }
            if let Some(why) = why {
                return Ok(self.part(why));
            }
            notes.push(Note::Astray(self.work.rung));
            options.rate /= 2.0;
        }
        // What folds have learned is all there is.
        let part = self.part(Note::NotSteady(self.work.rung));
        Ok(Learned { lora: None, weights: None, judged: Vec::new(), ..part })
    }

    /// All examples, through what was learned from them.
    fn look(&mut self, lora: &Lora) -> Result<Vec<Judged>, CustomizeError> {
        self.work.judge.take(Some(attached(self.work.engine, lora.clone())?));
        (0..self.work.cases.len()).map(|at| self.work.judge.one(at)).collect()
    }

    /// Learns without the examples of a part and looks at them now and then; says why it was stopped, if it was.
    fn fold(&mut self, number: usize) -> Result<Option<Note>, CustomizeError> {
        let looks = self.looks();
        if self.folds.len() <= number {
            self.folds.push(Fold::default());
        }
        let kept = self.parts[number].clone();
        let learning = self.work.samples(|at| !kept.contains(&at));
        let options = &self.recipe.options;
        let mut learner = self.work.learner(self.recipe, options, learning, self.plan.rounds)?;
        let round = learner.steps() / self.plan.rounds;
        let rounds = self.plan.rounds;
        let target = |look: usize| round * ((look + 1) * EVERY).min(rounds);
        self.work.journal.resume(number, &mut learner);
        if !self.folds[number].ended {
            // Looks at what was not kept are taken again.
            let seen = (0..looks).take_while(|look| target(*look) <= learner.done()).count();
            self.folds[number].looks.truncate(seen);
        }
        if learner.done() > 0 && !self.folds[number].looks.is_empty() {
            let learned = learner.learned();
            self.latest = Some(((self.recipe.lora)(learned)?, (self.recipe.weights)(learned)));
        }
        self.stage.done += learner.done();
        while !self.folds[number].ended {
            let look = self.folds[number].looks.len();
            if let Some(why) = self.steps(number, &mut learner, target(look))? {
                return Ok(Some(why));
            }
            let lora = (self.recipe.lora)(learner.learned())?;
            self.latest = Some((lora.clone(), (self.recipe.weights)(learner.learned())));
            self.work.judge.take(Some(attached(self.work.engine, lora)?));
            let aside = kept.iter().map(|at| self.work.judge.one(*at)).collect::<Result<Vec<_>, _>>()?;
            let fold = &mut self.folds[number];
            fold.looks.push(aside);
            fold.ended = fold.looks.len() == looks || is_stale(&fold.looks);
            let ended = fold.ended;
            self.work.journal.note(self.plan, &self.folds)?;
            self.work.journal.keep(number, &learner, ended)?;
        }
        self.stage.done += learner.steps() - learner.done();
        Ok(None)
    }

    /// Steps up to number `until`; says why they were stopped, if they were.
    fn steps(
        &mut self,
        number: usize,
        learner: &mut Learner<'_, L>,
        until: usize,
    ) -> Result<Option<Note>, CustomizeError> {
        while learner.done() < until {
            let stopped = (self.work.watch)(self.stage).is_break();
            if stopped || self.work.clock.over() {
                self.work.journal.keep(number, learner, true)?;
                let rung = self.work.rung;
                return Ok(Some(if stopped { Note::Stopped(rung) } else { Note::NotDone(rung) }));
            }
            learner.step()?;
            self.stage.done += 1;
            self.work.journal.keep(number, learner, false)?;
        }
        Ok(None)
    }

    /// What is left of a learning that did not come to its end.
    fn part(&mut self, why: Note) -> Learned {
        let judged = self.judged(self.best_look());
        let stopped = matches!(why, Note::Stopped(_));
        let (lora, weights) =
            self.latest.take().map_or((None, None), |(lora, weights)| (Some(lora), weights));
        Learned { judged, lora, weights, notes: vec![why], stopped }
    }

    fn looks(&self) -> usize {
        self.plan.rounds.div_ceil(EVERY)
    }

    /// What the examples kept aside said at a look, or at the last one before it.
    fn judged(&self, look: usize) -> Vec<Option<Judged>> {
        let mut judged = vec![None; self.work.cases.len()];
        for (part, fold) in self.parts.iter().zip(&self.folds) {
            let seen = fold.looks.get(look).or(fold.looks.last());
            for (at, one) in part.iter().zip(seen.into_iter().flatten()) {
                judged[*at] = Some(*one);
            }
        }
        judged
    }

    /// The look at which most was right: of equals the last one, because more rounds make more of other questions right than the few
    /// kept aside can tell. Where nothing was right, the look with the least loss.
    fn best_look(&self) -> usize {
        let merit = |look: &usize| {
            let judged: Vec<Judged> = self.judged(*look).into_iter().flatten().collect();
            merit(&judged)
        };
        let better = |a: &usize, b: &usize| match (merit(a), merit(b)) {
            ((0, one), (0, other)) => other.total_cmp(&one),
            // `max_by` keeps the last of equals.
            ((one, _), (other, _)) => one.cmp(&other),
        };
        (0..self.looks()).max_by(better).unwrap_or(0)
    }

    /// Whether what was judged so far is no better than the best candidate there is: answers no more and finds answers no likelier.
    fn behind(&self) -> bool {
        let judged = self.judged(self.best_look());
        let pairs: Vec<(Judged, Judged)> =
            judged.iter().zip(&self.work.best.judged).filter_map(|(a, b)| Some(((*a)?, (*b)?))).collect();
        let (own, best): (Vec<Judged>, Vec<Judged>) = pairs.into_iter().unzip();
        let (own, best) = (merit(&own), merit(&best));
        own.0 <= best.0 && own.1 >= best.1
    }
}

/// Whether a fold gains nothing more.
fn is_stale(looks: &[Vec<Judged>]) -> bool {
    let (mut most, mut least, mut since) = (0, f64::INFINITY, 0);
    for look in looks {
        let (right, loss) = merit(look);
        since = if right > most || loss < least { 0 } else { since + 1 };
        (most, least) = (most.max(right), least.min(loss));
    }
    since >= PATIENCE
}

/// What learning goes on for: right answers, then their loss. The loss alone would end it early: before a few examples make right,
/// they make too sure.
fn merit(judged: &[Judged]) -> (usize, f64) {
    (judged.iter().filter(|one| one.right).count(), mean_loss(judged.iter()))
}

impl<'a> Work<'a, '_, '_> {
    fn samples(&self, wanted: impl Fn(usize) -> bool) -> Vec<&'a Sample> {
        let cases = self.cases.iter().enumerate();
        cases.filter(|(at, _)| wanted(*at)).map(|(_, case)| &case.sample).collect()
    }

    fn learner<L: Learning>(
        &self,
        recipe: &Recipe<'_, L>,
        options: &TrainOptions,
        samples: Vec<&'a Sample>,
        rounds: usize,
    ) -> Result<Learner<'a, L>, CustomizeError> {
        let steps = rounds * samples.len().div_ceil(options.batch);
        let (decoder, threads) = (self.decoder, self.engine.threads());
        Ok(Learner::new(decoder, samples, (recipe.make)(), options, steps, threads)?)
    }

    /// Times of a step and of a look at all examples.
    fn cost<L: Learning>(&mut self, recipe: &Recipe<'_, L>) -> Result<(Duration, Duration), CustomizeError> {
        let mut learner = self.learner(recipe, &recipe.options, self.samples(|_| true), 1)?;
        let started = Instant::now();
        learner.step()?;
        let step = started.elapsed();
        let started = Instant::now();
        self.judge.take(None);
        self.judge.one(0)?;
        Ok((step, started.elapsed() * self.cases.len() as u32))
    }
}

/// Steps of all folds and of the learning on all examples.
fn steps(count: usize, batch: usize, plan: Plan) -> usize {
    let parts = (0..plan.folds)
        .map(|fold| (count - count / plan.folds - usize::from(fold < count % plan.folds)).div_ceil(batch));
    plan.rounds * (parts.sum::<usize>() + count.div_ceil(batch))
}

/// The most that fits the time left: first fewer folds, then fewer rounds.
fn plan(
    count: usize,
    batch: usize,
    rounds: usize,
    step: Duration,
    look: Duration,
    left: Duration,
) -> Option<Plan> {
    let plans = [(3, 1), (2, 1), (2, 2), (2, 3), (2, 6)];
    let plans = plans.map(|(folds, part)| Plan { folds, rounds: (rounds / part).max(1) });
    plans.into_iter().find(|plan| {
        let looks = look.mul_f64(plan.rounds.div_ceil(EVERY) as f64);
        step.mul_f64(steps(count, batch, *plan) as f64) + looks <= left.mul_f64(SHARE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_shrink_with_the_time_left() {
        let second = Duration::from_secs(1);
        // 12 examples in batches of 4: three folds of 2 steps a round, and 3 on all.
        assert_eq!(steps(12, 4, Plan { folds: 3, rounds: 12 }), 12 * 9);
        let plan = |left: u32| plan(12, 4, 12, second, Duration::ZERO, second * left);
        assert_eq!(plan(1000), Some(Plan { folds: 3, rounds: 12 }));
        assert_eq!(plan(60), Some(Plan { folds: 2, rounds: 6 }));
        assert_eq!(plan(20), Some(Plan { folds: 2, rounds: 2 }));
        assert_eq!(plan(10), None);
        assert_eq!(plan(0), None);
    }

    #[test]
    fn a_fold_ends_when_nothing_improves_twice() {
        let look = |right: bool, loss: f64| vec![Judged { loss, right, ahead: right }];
        assert!(!is_stale(&[look(false, 2.0), look(false, 2.5)]));
        assert!(is_stale(&[look(false, 2.0), look(false, 2.5), look(false, 2.1)]));
        // More right answers are worth a larger loss.
        assert!(!is_stale(&[look(false, 2.0), look(false, 2.5), look(true, 2.6)]));
    }
}
