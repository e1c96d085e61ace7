//! Bars to the right, some for each row, with error bars.

use serde::Deserialize;

use crate::Axis;
use crate::canvas::{LINE, SMALL, Side};
use crate::frame::{Key, Layout, Mark, NAME, across_ticks, widest};
use crate::words::{width, wrap};

/// Width of the plot, height of a bar, and the space between rows, in pixels.
const WIDTH: f64 = 440.0;
const BAR: f64 = 13.0;
const BETWEEN: f64 = 9.0;

/// Values of several series, row by row.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bars {
    /// Above the bars.
    pub title: String,
    /// What the bars measure; it always has 0.
    pub x: Axis,
    /// Names of the series.
    pub series: Vec<String>,
    /// The rows from above.
    pub rows: Vec<Bar>,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    /// On the left.
    pub name: String,
    /// A value for each series; `None` where there is none.
    pub values: Vec<Option<f64>>,
    /// Standard errors of the values; empty where none is known.
    #[serde(default)]
    pub errors: Vec<Option<f64>>,
}

impl Bar {
    /// Value and error of a series.
    fn of(&self, series: usize) -> Option<(f64, f64)> {
        let value = self.values.get(series).copied().flatten().filter(|value| value.is_finite())?;
        let error = self.errors.get(series).copied().flatten().filter(|error| error.is_finite());
        Some((value, error.unwrap_or(0.0)))
    }
}

impl Bars {
    /// The picture, an SVG document.
    pub fn svg(&self) -> String {
        let series = 0..self.series.len();
        let values = self.rows.iter().flat_map(|row| series.clone().filter_map(move |number| row.of(number)));
        let ends = values.flat_map(|(value, error)| [value - error, value + error]).chain([0.0]);
        let x = across_ticks(&self.x, ends, WIDTH);
        let names: Vec<Vec<String>> =
            self.rows.iter().map(|row| wrap(&row.name, NAME, SMALL, false)).collect();
        let heights: Vec<f64> = names
            .iter()
            .map(|lines| (BAR * self.series.len() as f64).max(LINE * lines.len() as f64) + BETWEEN)
            .collect();
        let labels = names.iter().flatten().map(|line| width(line, SMALL, false)).fold(0.0, f64::max);
        let keys = self.series.iter().enumerate();
        let mut frame = Layout {
            title: &self.title,
            subtitle: "",
            x_name: self.x.label(),
            y_name: String::new(),
            labels,
            beyond: widest(&x) / 2.0,
            size: [WIDTH, heights.iter().sum::<f64>() + BETWEEN],
            keys: keys
                .map(|(number, name)| Key { name: name.clone(), colour: number + 1, mark: Mark::Block })
                .collect(),
        }
        .frame();
        frame.across(&x);
        let zero = frame.x(&x, 0.0);
        let mut top = frame.plot.top + BETWEEN;
        for ((row, lines), height) in self.rows.iter().zip(&names).zip(&heights) {
            let room = height - BETWEEN;
            let first = top + (room - LINE * lines.len() as f64) / 2.0;
            for (number, line) in lines.iter().enumerate() {
                let y = first + LINE * (number as f64 + 0.7);
                frame.canvas.label(frame.plot.left - 6.0, y, Side::End, line);
            }
            let bars = top + (room - BAR * self.series.len() as f64) / 2.0;
            for number in series.clone() {
                let Some((value, error)) = row.of(number) else { continue };
                let (y, end) = (bars + BAR * number as f64, frame.x(&x, value));
                let (left, wide) = (zero.min(end), (end - zero).abs());
                frame.canvas.begin_colour(number + 1);
                frame.canvas.add(&format!(
                    "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{:.1}\" fill=\"currentColor\"/>",
                    BAR - 1.0
                ));
                frame.canvas.end_colour();
                if error > 0.0 {
                    let middle = y + (BAR - 1.0) / 2.0;
                    let [low, high] = [value - error, value + error].map(|value| frame.x(&x, value));
                    frame.canvas.ink([low, middle], [high, middle]);
                    for end in [low, high] {
                        frame.canvas.ink([end, middle - 3.0], [end, middle + 3.0]);
                    }
                }
            }
            top += height;
        }
        frame.canvas.ink([zero, frame.plot.top], [zero, frame.plot.bottom]);
        frame.canvas.svg()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{check, labels};

    fn row(name: &str, values: &[Option<f64>]) -> Bar {
        Bar { name: name.to_owned(), values: values.to_vec(), errors: vec![Some(1.5); values.len()] }
    }

    fn bars(rows: Vec<Bar>) -> String {
        let series = vec!["inside".to_owned(), "outside".to_owned()];
        Bars { title: "Gain".to_owned(), x: Axis::new("over the base", "points"), series, rows }.svg()
    }

    #[test]
    fn rows_have_bars_on_both_sides_of_zero_and_errors() {
        let svg = bars(vec![row("blend", &[Some(12.0), Some(-3.0)]), row("prompt", &[None, Some(4.0)])]);
        check(&svg);
        let found = labels(&svg);
        for label in ["blend", "prompt", "inside", "outside", "over the base (points)", "0", "−5", "15"] {
            assert!(found.contains(&label.to_owned()), "{label} is missing in {found:?}");
        }
        // The ground, two marks of the key and three bars; three lines for each error and one at zero.
        assert_eq!((svg.matches("<rect").count(), svg.matches("class=\"ink\"").count()), (6, 10));
    }

    #[test]
    fn nothing_is_drawn_of_what_is_not_there() {
        check(&bars(Vec::new()));
        let svg = bars(vec![row("x", &[Some(f64::NAN)])]);
        check(&svg);
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn a_long_number_below_has_room_beside_rows_without_names() {
        let svg = bars(vec![row("", &[Some(-49_022.0), Some(-7_003.0)])]);
        check(&svg);
        assert!(labels(&svg).contains(&"−50,000".to_owned()), "{:?}", labels(&svg));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]
        #[test]
        fn labels_stay_inside_and_apart(names in proptest::collection::vec("[a-zA-Z0-9 `]{0,80}", 0..9), high in -1e5..1e5) {
            let high: f64 = high;
            check(&bars(names.iter().map(|name| row(name, &[Some(high), Some(high / 7.0)])).collect()));
        }
    }
}
