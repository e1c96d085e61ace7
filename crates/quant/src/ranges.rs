//! Static ranges of activations from what was seen.

use crayon_formats::spec::Spec;
use crayon_model::Place;
use crayon_train::quantised::{Extremes, Grid};

use crate::RangeKind;

/// The inputs of a place over the calibration data, before any scale.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// `[sequences, rows, channels]`.
    pub values: Vec<f32>,
    /// Values of a sequence.
    pub sequence: usize,
}

impl Seen {
    /// Least and largest value of every channel.
    pub fn extremes(&self, channels: usize) -> Extremes {
        let mut extremes = Extremes { low: vec![0.0; channels], high: vec![0.0; channels] };
        for row in self.values.chunks_exact(channels) {
            for ((value, low), high) in row.iter().zip(&mut extremes.low).zip(&mut extremes.high) {
                *low = low.min(*value);
                *high = high.max(*value);
            }
        }
        extremes
    }
}

/// What share of both ends of the whole range `kind` keeps, for activations with scales whose logarithms are given.
pub fn shares(
    kind: RangeKind,
    seen: &Seen,
    spec: &Spec,
    place: Place,
    logs: Option<&[f32]>,
    bits: u8,
) -> [f32; 2] {
    let scales: Option<Vec<f32>> = logs.map(|logs| {
        (0..place.width(spec)).map(|channel| logs[place.scale_of(spec, channel)].exp()).collect()
    });
    let scaled = |from: usize, step: usize| {
        let width = place.width(spec);
        seen.values.iter().enumerate().skip(from).step_by(step).map({
            let scales = scales.as_ref();
            move |(at, value)| scales.map_or(*value, |scales| value * scales[at % width])
        })
    };
    let ends = |values: &mut dyn Iterator<Item = f32>| {
        values.fold((0.0f32, 0.0f32), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (low, high) = ends(&mut scaled(0, 1));
    let share = |part: f32, whole: f32| if whole == 0.0 { 1.0 } else { (part / whole).clamp(0.0, 1.0) };
    match kind {
        RangeKind::MinMax | RangeKind::Learned => [1.0, 1.0],
        RangeKind::Percentile => {
            /// Values left out at either end.
            const OUTSIDE: f64 = 1e-4;
            let mut values: Vec<f32> = scaled(0, sampled(seen.values.len())).collect();
            let out = (values.len() as f64 * OUTSIDE) as usize;
            if values.is_empty() {
                return [1.0, 1.0];
            }
            let last = values.len() - 1;
            let lowest = *values.select_nth_unstable_by(out.min(last), f32::total_cmp).1;
            let highest = *values.select_nth_unstable_by(last - out.min(last), f32::total_cmp).1;
            [share(lowest.min(0.0), low), share(highest.max(0.0), high)]
        }
        RangeKind::Mse => {
            let values: Vec<f32> = scaled(0, sampled(seen.values.len())).collect();
            let mut best = (f64::INFINITY, 1.0f32);
            for candidate in 0..40 {
                let share = 1.08f32.powi(-candidate);
                let grid = Grid::asymmetric(bits, low * share, high * share);
                let inverse = 1.0 / grid.scale();
                let error =
                    values.iter().map(|value| f64::from(grid.round(*value, inverse).0 - value).powi(2)).sum();
                if error < best.0 {
                    best = (error, share);
                }
            }
            [best.1, best.1]
        }
        RangeKind::Running => {
            /// How much of the past stays with every sequence.
            const MOMENTUM: f32 = 0.9;
            let mut running: Option<(f32, f32)> = None;
            let values: Vec<f32> = scaled(0, 1).collect();
            for sequence in values.chunks(seen.sequence.max(1)) {
                let own = ends(&mut sequence.iter().copied());
                running = Some(match running {
                    None => own,
                    Some((low, high)) => (
                        MOMENTUM * low + (1.0 - MOMENTUM) * own.0,
                        MOMENTUM * high + (1.0 - MOMENTUM) * own.1,
                    ),
                });
            }
            let own = running.unwrap_or((low, high));
            [share(own.0, low), share(own.1, high)]
        }
    }
}

/// Every so many values are looked at, so that a search stays short.
fn sampled(values: usize) -> usize {
    /// Values looked at, about.
    const ENOUGH: usize = 400_000;
    // Odd, so that channels of an even number take turns.
    (values / ENOUGH) | 1
}
