//! Accuracy over the share of queries that go to the server, and what RouteLLM (arXiv 2406.18665, section 4.1) makes of
//! it: the area under it (AUC), the recovered part of the performance gap (APGR) and the share needed for a part of the
//! gap (CPT).

/// A query that both answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The lower, the earlier the query goes to the server.
    pub signal: f64,
    /// Whether the device was right.
    pub device: bool,
    /// Whether the server was right.
    pub server: bool,
}

/// Accuracy at every share of the server, from none to all.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Corners `(share, accuracy)`; straight in between.
    corners: Vec<(f64, f64)>,
}

impl Curve {
    /// Of at least one query. Queries with equal signals go to the server in random order; the curve is the mean over
    /// all orders, a straight line.
    pub fn new(outcomes: &[Outcome]) -> Curve {
        let mut sorted = outcomes.to_vec();
        sorted.sort_by(|a, b| a.signal.total_cmp(&b.signal));
        let n = sorted.len() as f64;
        let mut right = sorted.iter().filter(|outcome| outcome.device).count() as f64;
        let mut sent = 0.0;
        let mut corners = vec![(0.0, right / n)];
        for equal in sorted.chunk_by(|a, b| a.signal.total_cmp(&b.signal).is_eq()) {
            for outcome in equal {
                right += f64::from(u8::from(outcome.server)) - f64::from(u8::from(outcome.device));
            }
            sent += equal.len() as f64;
            corners.push((sent / n, right / n));
        }
        Curve { corners }
    }

    /// Accuracy where everything stays on the device.
    pub fn weak(&self) -> f64 {
        self.corners.first().map_or(0.0, |corner| corner.1)
    }

    /// Accuracy where everything goes to the server.
    pub fn strong(&self) -> f64 {
        self.corners.last().map_or(0.0, |corner| corner.1)
    }

    /// Accuracy at a share from 0 to 1.
    pub fn at(&self, share: f64) -> f64 {
        for pair in self.corners.windows(2) {
            let ((from, low), (to, high)) = (pair[0], pair[1]);
            if share <= to {
                return low + (high - low) * ((share - from) / (to - from)).clamp(0.0, 1.0);
            }
        }
        self.strong()
    }

    /// The area under the curve: mean accuracy over all shares.
    pub fn auc(&self) -> f64 {
        self.corners.windows(2).map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0).sum()
    }

    /// `(AUC - weak) / (strong - weak)`: the part of the gap that is recovered on average; 0.5 at random. `None` where
    /// the server is not better than the device.
    pub fn apgr(&self) -> Option<f64> {
        let gap = self.strong() - self.weak();
        (gap > 0.0).then(|| (self.auc() - self.weak()) / gap)
    }

    /// The smallest share at which `part` (0 to 1) of the gap is recovered; `None` where there is no gap.
    pub fn cpt(&self, part: f64) -> Option<f64> {
        let gap = self.strong() - self.weak();
        let goal = self.weak() + part * gap;
        if gap <= 0.0 {
            return None;
        }
        for pair in self.corners.windows(2) {
            let ((from, low), (to, high)) = (pair[0], pair[1]);
            if low >= goal {
                return Some(from);
            }
            if high >= goal {
                return Some(from + (to - from) * (goal - low) / (high - low));
            }
        }
        Some(1.0)
    }
}

/// Chance that a query of `low` has a smaller signal than one of `high` (equal ones count half): the area under the
/// receiver's curve of a signal that should be low for `low`. `None` without queries on a side.
pub fn auroc(low: &[f64], high: &[f64]) -> Option<f64> {
    if low.is_empty() || high.is_empty() {
        return None;
    }
    let mut all: Vec<(f64, bool)> = low.iter().map(|value| (*value, true)).collect();
    all.extend(high.iter().map(|value| (*value, false)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut area) = (0.0, 0.0);
    for equal in all.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let lows = equal.iter().filter(|(_, low)| *low).count() as f64;
        area += (equal.len() as f64 - lows) * (below + lows / 2.0);
        below += lows;
    }
    Some(area / (low.len() as f64 * high.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(signal: f64, device: bool, server: bool) -> Outcome {
        Outcome { signal, device, server }
    }

    #[test]
    fn a_perfect_router_recovers_all_before_the_rest_is_sent() {
        // Two the device gets wrong, two it gets right; the server knows all.
        let outcomes = [
            outcome(0.9, true, true),
            outcome(0.1, false, true),
            outcome(0.8, true, true),
            outcome(0.2, false, true),
        ];
        let curve = Curve::new(&outcomes);
        assert_eq!((curve.weak(), curve.strong()), (0.5, 1.0));
        assert_eq!((curve.at(0.0), curve.at(0.25), curve.at(0.5), curve.at(1.0)), (0.5, 0.75, 1.0, 1.0));
        assert!((curve.auc() - 0.875).abs() < 1e-12);
        assert!((curve.apgr().unwrap() - 0.75).abs() < 1e-12);
        assert_eq!((curve.cpt(0.5), curve.cpt(0.8)), (Some(0.25), Some(0.4)));
    }

    #[test]
    fn equal_signals_are_the_straight_line_of_chance() {
        let outcomes = [false, true, false, false].map(|device| outcome(0.0, device, true));
        let curve = Curve::new(&outcomes);
        let found = [curve.apgr(), curve.cpt(0.5), curve.cpt(0.8)].map(Option::unwrap);
        assert!(found.iter().zip([0.5, 0.5, 0.8]).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
    }

    #[test]
    fn a_server_that_is_no_better_has_no_gap() {
        let curve = Curve::new(&[outcome(0.0, true, false), outcome(1.0, true, true)]);
        assert_eq!((curve.apgr(), curve.cpt(0.5)), (None, None));
        assert_eq!(curve.strong(), 0.5);
    }

    #[test]
    fn a_curve_may_fall_again_after_its_top() {
        let curve =
            Curve::new(&[outcome(0.1, false, true), outcome(0.9, true, false), outcome(0.5, false, true)]);
        assert!((curve.at(2.0 / 3.0) - 1.0).abs() < 1e-12);
        assert!((curve.strong() - 2.0 / 3.0).abs() < 1e-12);
        // The gap is reached on the way up, though more than it is recovered later.
        assert!((curve.cpt(1.0).unwrap() - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn auroc_counts_pairs() {
        assert_eq!(auroc(&[0.1, 0.2], &[0.3, 0.4]), Some(1.0));
        assert_eq!(auroc(&[0.3, 0.4], &[0.1, 0.2]), Some(0.0));
        assert_eq!(auroc(&[0.1, 0.4], &[0.2, 0.4]), Some(0.625));
        assert_eq!(auroc(&[], &[0.2]), None);
    }
}
