//! Axes: what they are called, where they begin and end, and their round ticks.

use serde::Deserialize;

/// What one direction of a picture means.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// What is counted or measured.
    pub name: String,
    /// In what, such as `%`; empty for what has no unit.
    #[serde(default)]
    pub unit: String,
    /// A value where it begins at the latest.
    #[serde(default)]
    pub from: Option<f64>,
    /// A value where it ends at the earliest.
    #[serde(default)]
    pub to: Option<f64>,
}

impl Axis {
    /// An axis that reaches as far as the values.
    pub fn new(name: &str, unit: &str) -> Axis {
        Axis { name: name.to_owned(), unit: unit.to_owned(), from: None, to: None }
    }

    /// The same axis, from `from` to `to` at least.
    pub fn over(self, from: f64, to: f64) -> Axis {
        Axis { from: Some(from), to: Some(to), ..self }
    }

    /// Name and unit.
    pub(crate) fn label(&self) -> String {
        match self.unit.as_str() {
            "" => self.name.clone(),
            unit => format!("{} ({unit})", self.name),
        }
    }

    /// Ticks around `values` and the axis' own ends, at most `most` and two at least. What is not finite does not count.
    pub(crate) fn ticks(&self, values: impl Iterator<Item = f64>, most: usize) -> Ticks {
        let all = values.chain(self.from).chain(self.to).filter(|value| value.is_finite());
        let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return Ticks::around(0.0, 1.0, most);
        }
        if low == high {
            let half = if low == 0.0 { 0.5 } else { low.abs() / 2.0 };
            return Ticks::around(low - half, low + half, most);
        }
        Ticks::around(low, high, most)
    }
}

/// Whole multiples of a round step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ticks {
    first: i64,
    last: i64,
    /// The step is this many times a power of ten.
    factor: f64,
    exponent: i32,
}

impl Ticks {
    fn around(low: f64, high: f64, most: usize) -> Ticks {
        let most = most.max(3) - 1;
        let mut exponent = ((high - low) / most as f64).log10().floor() as i32;
        loop {
            for factor in [1.0, 2.0, 5.0] {
                let mut ticks = Ticks { first: 0, last: 0, factor, exponent };
                // A hair's breadth more than a tick, from arithmetic, is that tick.
                (ticks.first, ticks.last) =
                    ((low / ticks.step() + 1e-9).floor() as i64, (high / ticks.step() - 1e-9).ceil() as i64);
                if ticks.last - ticks.first <= most as i64 {
                    ticks.last = ticks.last.max(ticks.first + 1);
                    return ticks;
                }
            }
            exponent += 1;
        }
    }

    fn step(&self) -> f64 {
        self.factor * 10f64.powi(self.exponent)
    }

    /// Where `value` lies between the ends, from 0 to 1.
    pub(crate) fn share(&self, value: f64) -> f64 {
        (value / self.step() - self.first as f64) / (self.last - self.first) as f64
    }

    /// Every tick with its label.
    pub(crate) fn all(&self) -> Vec<(f64, String)> {
        let decimals = (-self.exponent).max(0) as usize;
        (self.first..=self.last)
            .map(|number| {
                let value = number as f64 * self.step();
                (value, grouped(&format!("{value:.decimals$}")))
            })
            .collect()
    }
}

/// A number with commas between thousands and a true minus.
fn grouped(number: &str) -> String {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(rest) if rest.chars().any(|c| c.is_ascii_digit() && c != '0') => ("\u{2212}", rest),
        Some(rest) => ("", rest),
        None => ("", number),
    };
    let (whole, part) = digits.split_once('.').map_or((digits, None), |(whole, part)| (whole, Some(part)));
    let mut text = sign.to_owned();
    for (at, c) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    match part {
        Some(part) => text + "." + part,
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], most: usize) -> Vec<String> {
        Axis::default()
            .ticks(values.iter().copied(), most)
            .all()
            .into_iter()
            .map(|(_, label)| label)
            .collect()
    }

    #[test]
    fn ticks_are_round_and_around_the_values() {
        assert_eq!(labels(&[41.0, 73.0], 9), ["40", "45", "50", "55", "60", "65", "70", "75"]);
        assert_eq!(labels(&[0.0, 100.0], 6), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&[-0.31, 0.12], 6), ["−0.4", "−0.2", "0.0", "0.2"]);
        assert_eq!(labels(&[0.0, 12_000.0], 4), ["0", "5,000", "10,000", "15,000"]);
        assert_eq!(labels(&[0.0012, 0.0019], 5), ["0.0012", "0.0014", "0.0016", "0.0018", "0.0020"]);
        assert_eq!(labels(&[0.1, 0.3], 5), ["0.10", "0.15", "0.20", "0.25", "0.30"]);
    }

    #[test]
    fn flat_or_missing_values_have_an_axis() {
        assert_eq!(labels(&[], 3), ["0.0", "0.5", "1.0"]);
        for flat in [[0.0, 0.0], [0.5, 0.5], [-7.0, -7.0], [f64::NAN, 3.0]] {
            assert!(labels(&flat, 5).len() >= 2, "{flat:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_more_than_wanted_and_around_all(a in -1e6..1e6, span in 1e-3..1e6, most in 3usize..12) {
            let (a, span): (f64, f64) = (a, span);
            let ticks = Axis::default().ticks([a, a + span].into_iter(), most);
            let shares = [a, a + span].map(|value| ticks.share(value));
            proptest::prop_assert!(shares.iter().all(|share| (-1e-6..1.0 + 1e-6).contains(share)), "{shares:?}");
            proptest::prop_assert!((2..=most).contains(&ticks.all().len()));
        }
    }
}
