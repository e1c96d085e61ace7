//! Learning from answers without being judged by what was learned: by folds, then once more on all examples.

use std::time::{Duration, Instant};

use crayon_adapters::{Lora, Sample};
use crayon_engine::Engine;
use crayon_train::frozen::FrozenDecoder;
use crayon_train::pool::{Learner, Learning, TrainOptions};

use crate::error::CustomizeError;
use crate::folds::folds;
use crate::given::Case;
use crate::judge::{Judge, Judged, attached};
use crate::note::Note;
use crate::rung::Rung;
use crate::tried::mean_loss;
use crate::watch::{Clock, Stage, Watch};

/// Rounds after which the examples kept aside are looked at.
const EVERY: usize = 2;
/// Looks without improvement after which a fold ends.
const PATIENCE: usize = 2;
/// What is said to take this share of the time left, or less, is begun.
const SHARE: f64 = 0.9;

/// What learning needs.
pub(crate) struct Work<'a, 'e, 'w> {
    pub(crate) engine: &'a Engine,
    pub(crate) cases: &'a [Case],
    pub(crate) decoder: &'a FrozenDecoder,
    pub(crate) judge: &'a mut Judge<'e>,
    pub(crate) clock: Clock,
    pub(crate) rung: Rung,
    pub(crate) seed: u64,
    pub(crate) watch: &'a mut Watch<'w>,
}

/// What was learned.
pub(crate) struct Learned {
    /// By what had not seen the example.
    pub(crate) judged: Vec<Judged>,
    /// From all examples.
    pub(crate) lora: Lora,
    pub(crate) weights: Option<Vec<f32>>,
    pub(crate) notes: Vec<Note>,
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

/// Folds and rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    folds: usize,
    rounds: usize,
}

/// Learns by `recipe`, or says why not.
pub(crate) fn learn<L: Learning>(
    work: &mut Work<'_, '_, '_>,
    recipe: &Recipe<'_, L>,
) -> Result<Result<Learned, Note>, CustomizeError> {
    let (count, batch) = (work.cases.len(), recipe.options.batch);
    let (one, look) = work.cost(recipe)?;
    let Some(plan) = plan(count, batch, recipe.rounds, one, look, work.clock.left()) else {
        return Ok(Err(Note::OverBudget(work.rung)));
    };
    let mut stage = Stage { rung: work.rung, done: 0, total: steps(count, batch, plan) };
    let looks = plan.rounds.div_ceil(EVERY);
    let mut judged = vec![vec![Judged { loss: f64::NAN, right: false }; count]; looks];
    for kept in folds(work.cases, plan.folds, work.seed) {
        let learning = work.samples(|at| !kept.contains(&at));
        let mut learner = work.learner(recipe, learning, plan.rounds)?;
        let round = learner.steps() / plan.rounds;
        let (mut most, mut least, mut since) = (0, f64::INFINITY, 0);
        for look in 0..looks {
            for _ in 0..round * (plan.rounds - look * EVERY).min(EVERY) {
                if work.clock.over() {
                    return Ok(Err(Note::NotDone(work.rung)));
                }
                learner.step()?;
                stage.done += 1;
                if (work.watch)(stage).is_break() {
                    return Ok(Err(Note::Stopped(work.rung)));
                }
            }
            work.judge.take(Some(attached(work.engine, (recipe.lora)(learner.learned())?)?));
            for &at in &kept {
                let one = work.judge.one(at)?;
                judged[look..].iter_mut().for_each(|judged| judged[at] = one);
            }
            let aside: Vec<Judged> = kept.iter().map(|at| judged[look][*at]).collect();
            let (right, loss) = merit(&aside);
            since = if right > most || loss < least { 0 } else { since + 1 };
            (most, least) = (most.max(right), least.min(loss));
            if since == PATIENCE {
                stage.done += round * plan.rounds.saturating_sub((look + 1) * EVERY);
                break;
            }
        }
    }
    let better = |a: &usize, b: &usize| {
        let [a, b] = [a, b].map(|look| merit(&judged[*look]));
        a.0.cmp(&b.0).then(b.1.total_cmp(&a.1))
    };
    // Of equals the earliest: `max_by` keeps the last.
    let best = (0..looks).rev().max_by(better).unwrap_or(0);
    let rounds = ((best + 1) * EVERY).min(plan.rounds);
    let mut notes = Vec::new();
    if rounds < plan.rounds {
        notes.push(Note::Early(rounds, plan.rounds));
    }

    let mut learner = work.learner(recipe, work.samples(|_| true), plan.rounds)?;
    let wanted = learner.steps() / plan.rounds * rounds;
    for done in 0..wanted {
        let stopped = (work.watch)(stage).is_break();
        if stopped || work.clock.over() {
            let note = if stopped { Note::Stopped(work.rung) } else { Note::NotDone(work.rung) };
            // Half of it is worth more than nothing, less is not what was judged.
            if done * 2 < wanted {
                return Ok(Err(note));
            }
            notes.push(note);
            break;
        }
        learner.step()?;
        stage.done += 1;
    }
    let learned = learner.learned();
    let (lora, weights) = ((recipe.lora)(learned)?, (recipe.weights)(learned));
    Ok(Ok(Learned { judged: judged.swap_remove(best), lora, weights, notes }))
}

/// What learning goes on for: right answers, then their loss. The loss alone would end it early: before a few examples make right,
/// they make too sure.
fn merit(judged: &[Judged]) -> (usize, f64) {
    (judged.iter().filter(|one| one.right).count(), mean_loss(judged))
}

impl<'a> Work<'a, '_, '_> {
    fn samples(&self, wanted: impl Fn(usize) -> bool) -> Vec<&'a Sample> {
        let cases = self.cases.iter().enumerate();
        cases.filter(|(at, _)| wanted(*at)).map(|(_, case)| &case.sample).collect()
    }

    fn learner<L: Learning>(
        &self,
        recipe: &Recipe<'_, L>,
        samples: Vec<&'a Sample>,
        rounds: usize,
    ) -> Result<Learner<'a, L>, CustomizeError> {
        let steps = rounds * samples.len().div_ceil(recipe.options.batch);
        let (decoder, threads) = (self.decoder, self.engine.threads());
        Ok(Learner::new(decoder, samples, (recipe.make)(), &recipe.options, steps, threads)?)
    }

    /// Times of a step and of a look at all examples.
    fn cost<L: Learning>(&mut self, recipe: &Recipe<'_, L>) -> Result<(Duration, Duration), CustomizeError> {
        let mut learner = self.learner(recipe, self.samples(|_| true), 1)?;
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
}
