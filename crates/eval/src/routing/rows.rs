//! What answers of both sides say together: accuracy, what each order of sending brings, and whether right is told from wrong.

use crayon_adapters::Random;
use serde::Serialize;

use super::curve::{Curve, Outcome, auroc};
use super::device::MEASURES;

/// Points of a curve that are told.
const POINTS: usize = 20;
/// Draws of questions for standard errors.
const DRAWS: usize = 200;

/// A task, or all of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the file, or `all`.
    pub task: String,
    /// Questions.
    pub n: usize,
    /// Questions that do not fit the device's context, left out.
    pub skipped: usize,
    /// Accuracy where everything stays on the device.
    pub device: f64,
    /// Accuracy where everything goes to the server; `None` without one.
    pub server: Option<f64>,
    /// Answers of the server that name no choice, counted as wrong.
    pub unmatched: usize,
    /// What each order brings; empty without a server.
    pub orders: Vec<Order>,
    /// Whether right answers of the device are told from wrong ones.
    pub told: Vec<Told>,
    /// What becomes of the answers below the calibrated threshold, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubted: Option<Doubted>,
}

/// An order of sending.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Order {
    /// `random`, `confidence`, `scope` or `both`.
    pub by: &'static str,
    /// Mean accuracy over all shares.
    pub auc: f64,
    /// Part of the gap between device and server that is recovered on average; `None` where there is no gap.
    pub apgr: Option<f64>,
    /// Its standard error, over draws of the questions.
    pub apgr_stderr: Option<f64>,
    /// Share of the server that recovers half of the gap.
    pub cpt50: Option<f64>,
    /// Share that recovers four fifths.
    pub cpt80: Option<f64>,
    /// `[share, accuracy]`.
    pub curve: Vec<[f64; 2]>,
}

/// A measure of how sure the device was, and the chance that a right answer has more of it than a wrong one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    /// The measure.
    pub by: &'static str,
    /// That chance; `None` where all are right or all wrong.
    pub auroc: Option<f64>,
    /// Its standard error, over draws of the questions.
    pub auroc_stderr: Option<f64>,
}

/// Answers of the device below a threshold and the others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Doubted {
    /// The threshold.
    pub below: f32,
    /// Answers below it.
    pub doubted: usize,
    /// Of these, wrong.
    pub wrong: usize,
    /// Other answers.
    pub believed: usize,
    /// Of these, right.
    pub right: usize,
}

/// One question, answered by the device, and by the server where there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Answered {
    pub(super) confidence: f64,
    /// All [`MEASURES`] of a written answer; empty for a choice.
    pub(super) measures: Vec<f64>,
    pub(super) scope: Option<f64>,
    pub(super) device: bool,
    pub(super) server: Option<bool>,
    /// Whether the server's answer could be one of the right form at all.
    pub(super) matched: bool,
}

/// The row of `answered`, which is not empty.
pub(super) fn row(task: &str, answered: &[Answered], skipped: usize, below: Option<f32>, seed: u64) -> Row {
    let count = |what: fn(&Answered) -> bool| answered.iter().filter(|a| what(a)).count();
    let n = answered.len();
    let asked = answered.iter().all(|answered| answered.server.is_some());
    Row {
        task: task.to_owned(),
        n,
        skipped,
        device: count(|a| a.device) as f64 / n as f64,
        server: asked.then(|| count(|a| a.server == Some(true)) as f64 / n as f64),
        unmatched: if asked { count(|a| !a.matched) } else { 0 },
        orders: if asked { orders(answered, seed) } else { Vec::new() },
        told: told(answered, seed),
        doubted: below.map(|below| doubted(answered, below)),
    }
}

fn orders(answered: &[Answered], seed: u64) -> Vec<Order> {
    let mut orders = vec![
        order("random", answered, &vec![0.0; answered.len()], seed),
        order("confidence", answered, &signals(answered, |a| a.confidence), seed),
    ];
    if answered.iter().all(|answered| answered.scope.is_some()) {
        let scope = signals(answered, |a| a.scope.unwrap_or(0.0));
        // As thresholds are calibrated: both are quantiles at one level, and the lower of the two decides.
        let sure = ranks(&signals(answered, |a| a.confidence));
        let both: Vec<f64> = sure.iter().zip(ranks(&scope)).map(|(a, b)| a.min(b)).collect();
        orders.extend([order("scope", answered, &scope, seed), order("both", answered, &both, seed)]);
    }
    orders
}

fn signals(answered: &[Answered], value: fn(&Answered) -> f64) -> Vec<f64> {
    answered.iter().map(value).collect()
}

/// For each value, the share of the values that are smaller.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let below = |value: &f64| sorted.partition_point(|other| other < value);
    values.iter().map(|value| below(value) as f64 / values.len() as f64).collect()
}

fn order(by: &'static str, answered: &[Answered], signals: &[f64], seed: u64) -> Order {
    let outcome = |index: usize| Outcome {
        signal: signals[index],
        device: answered[index].device,
        server: answered[index].server == Some(true),
    };
    let curve = Curve::new(&(0..answered.len()).map(outcome).collect::<Vec<_>>());
    let drawn = draws(answered.len(), seed, &mut |places| {
        Curve::new(&places.iter().map(|place| outcome(*place)).collect::<Vec<_>>()).apgr()
    });
    let point = |step: usize| {
        let share = step as f64 / POINTS as f64;
        [share, curve.at(share)]
    };
    Order {
        by,
        auc: curve.auc(),
        apgr: curve.apgr(),
        // Where many draws have no gap the part of it means little.
        apgr_stderr: (drawn.len() > DRAWS / 2 && curve.apgr().is_some()).then(|| deviation(&drawn)),
        cpt50: curve.cpt(0.5),
        cpt80: curve.cpt(0.8),
        curve: (0..=POINTS).map(point).collect(),
    }
}

/// Whether right and wrong are told apart by the confidence, or by every measure of a written answer.
fn told(answered: &[Answered], seed: u64) -> Vec<Told> {
    if answered.iter().any(|answered| answered.measures.is_empty()) {
        return vec![told_by("confidence", answered, &|a| a.confidence, seed)];
    }
    let measures = MEASURES.iter().enumerate();
    measures.map(|(at, (by, _))| told_by(by, answered, &|a| a.measures[at], seed)).collect()
}

fn told_by(by: &'static str, answered: &[Answered], value: &dyn Fn(&Answered) -> f64, seed: u64) -> Told {
    let area = |places: &[usize]| {
        let (mut wrong, mut right) = (Vec::new(), Vec::new());
        for place in places {
            let side = if answered[*place].device { &mut right } else { &mut wrong };
            side.push(value(&answered[*place]));
        }
        auroc(&wrong, &right)
    };
    let found = area(&(0..answered.len()).collect::<Vec<_>>());
    let drawn = draws(answered.len(), seed, &mut |places| area(places));
    Told { by, auroc: found, auroc_stderr: found.map(|_| deviation(&drawn)) }
}

fn doubted(answered: &[Answered], below: f32) -> Doubted {
    let (unsure, sure): (Vec<&Answered>, Vec<&Answered>) =
        answered.iter().partition(|answered| answered.confidence < f64::from(below));
    let right = |side: &[&Answered]| side.iter().filter(|answered| answered.device).count();
    Doubted {
        below,
        doubted: unsure.len(),
        wrong: unsure.len() - right(&unsure),
        believed: sure.len(),
        right: right(&sure),
    }
}

/// What `of` makes of the places of questions drawn anew from `n`, as often as they are drawn.
fn draws(n: usize, seed: u64, of: &mut dyn FnMut(&[usize]) -> Option<f64>) -> Vec<f64> {
    let mut random = Random::seeded(seed);
    let mut draw = || (0..n).map(|_| random.below(n)).collect::<Vec<usize>>();
    (0..DRAWS).filter_map(|_| of(&draw())).collect()
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1).max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(confidence: f64, scope: Option<f64>, device: bool, server: bool) -> Answered {
        Answered { confidence, scope, device, server: Some(server), matched: server, ..Answered::default() }
    }

    #[test]
    fn every_order_begins_at_the_device_and_ends_at_the_server() {
        let all = [
            answered(0.2, Some(0.9), false, true),
            answered(0.9, Some(0.8), true, true),
            answered(0.8, Some(0.1), false, true),
            answered(0.7, Some(0.7), true, false),
        ];
        let row = row("t", &all, 0, Some(0.75), 1);
        assert_eq!((row.device, row.server, row.unmatched), (0.5, Some(0.75), 1));
        for order in &row.orders {
            assert_eq!(order.curve[0], [0.0, 0.5], "{}", order.by);
            assert_eq!(order.curve[POINTS], [1.0, 0.75], "{}", order.by);
        }
        let apgr = |by| row.orders.iter().find(|order| order.by == by).unwrap().apgr.unwrap();
        assert_eq!(apgr("random"), 0.5);
        // The unsure one and the one outside the task are the two that the device gets wrong.
        assert!(apgr("both") > apgr("confidence") && apgr("confidence") > apgr("random"));
        // Of the four pairs of a right and a wrong answer three are told by confidence.
        assert_eq!((row.told.len(), row.told[0].auroc), (1, Some(0.75)));
        let doubted = Doubted { below: 0.75, doubted: 2, wrong: 1, believed: 2, right: 1 };
        assert_eq!(row.doubted, Some(doubted));
    }

    #[test]
    fn without_a_customized_task_there_is_no_scope() {
        let both = [answered(0.5, None, true, true), answered(0.1, None, false, true)];
        let row = row("t", &both, 0, None, 1);
        assert_eq!(row.orders.iter().map(|order| order.by).collect::<Vec<_>>(), ["random", "confidence"]);
        assert!(row.doubted.is_none());
    }

    #[test]
    fn without_a_server_the_device_is_measured_alone() {
        let wrote = |first: f64, device| Answered { measures: vec![first; 6], device, ..Answered::default() };
        let row = row("t", &[wrote(0.5, true), wrote(0.1, false), wrote(0.2, true)], 0, None, 1);
        assert_eq!((row.server, row.orders.len(), row.unmatched), (None, 0, 0));
        assert!(row.told.len() == 6 && row.told.iter().all(|told| told.auroc == Some(1.0)));
        let all_wrong = super::row("t", &[wrote(0.5, false)], 0, None, 1);
        assert!(all_wrong.told.iter().all(|told| told.auroc.is_none() && told.auroc_stderr.is_none()));
    }
}
