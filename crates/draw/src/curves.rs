//! Curves over numbers, with error bars where errors are known.

use serde::Deserialize;

use crate::Axis;
use crate::frame::{DASHED, Key, Layout, Mark, across_ticks, upward_ticks, widest};

/// Width and height of the plot in pixels.
const SIZE: [f64; 2] = [440.0, 300.0];
/// Half the width of an error bar's ends.
const CAP: f64 = 3.0;

/// Curves in one pair of axes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curves {
    /// Above the plot.
    pub title: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// The curves.
    pub lines: Vec<Line>,
}

/// A curve.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// In the key.
    pub name: String,
    /// `[x, y]`, in order.
    pub points: Vec<[f64; 2]>,
    /// Standard error of each point's `y`; empty where none is known.
    #[serde(default)]
    pub errors: Vec<f64>,
    /// Number of its colour; its place among the curves where there is none.
    #[serde(default)]
    pub colour: Option<usize>,
    /// Whether it is broken.
    #[serde(default)]
    pub dashed: bool,
}

impl Line {
    /// A curve without errors.
    pub fn new(name: &str, points: Vec<[f64; 2]>) -> Line {
        Line { name: name.to_owned(), points, errors: Vec::new(), colour: None, dashed: false }
    }

    /// Its points with their errors, those that are numbers.
    fn finite(&self) -> impl Iterator<Item = ([f64; 2], f64)> + Clone {
        let error = |at: usize| self.errors.get(at).copied().filter(|e| e.is_finite()).unwrap_or(0.0);
        let all = self.points.iter().enumerate().map(move |(at, point)| (*point, error(at)));
        all.filter(|(point, _)| point.iter().all(|value| value.is_finite()))
    }
}

impl Curves {
    /// The picture, an SVG document.
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(Line::finite);
        let x = across_ticks(&self.x, points().map(|(point, _)| point[0]), SIZE[0]);
        let y =
            upward_ticks(&self.y, points().flat_map(|(point, error)| [point[1] - error, point[1] + error]));
        let colour = |number: usize, line: &Line| line.colour.unwrap_or(number);
        let keys = self.lines.iter().enumerate().map(|(number, line)| Key {
            name: line.name.clone(),
            colour: colour(number, line),
            mark: if line.dashed { Mark::Dashed } else { Mark::Line },
        });
        let mut frame = Layout {
            title: &self.title,
            subtitle: "",
            x_name: self.x.label(),
            y_name: self.y.label(),
            labels: widest(&y),
            beyond: widest(&x) / 2.0,
            size: SIZE,
            keys: keys.collect(),
        }
        .frame();
        frame.across(&x);
        frame.upwards(&y);
        for (number, line) in self.lines.iter().enumerate() {
            frame.canvas.begin_colour(colour(number, line));
            let dash = if line.dashed { DASHED } else { "" };
            let places: Vec<String> = line
                .finite()
                .map(|(point, _)| format!("{:.1},{:.1}", frame.x(&x, point[0]), frame.y(&y, point[1])))
                .collect();
            frame.canvas.add(&format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2.5\"{dash}/>",
                places.join(" ")
            ));
            for (point, error) in line.finite().filter(|(_, error)| *error > 0.0) {
                let (at, [low, high]) = (
                    frame.x(&x, point[0]),
                    [point[1] - error, point[1] + error].map(|value| frame.y(&y, value)),
                );
                let (left, ends) = (at - CAP, 2.0 * CAP);
                frame.canvas.add(&format!(
                    "<path d=\"M{left:.1} {low:.1}h{ends}m-{CAP} 0V{high:.1}m-{CAP} 0h{ends}\" stroke=\"currentColor\" fill=\"none\"/>"
                ));
            }
            frame.canvas.end_colour();
        }
        frame.canvas.svg()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{check, labels};

    fn curves(lines: Vec<Line>) -> Curves {
        let (x, y) = (Axis::new("asked", "%").over(0.0, 100.0), Axis::new("right", "%"));
        Curves { title: "Accuracy".to_owned(), x, y, lines }
    }

    #[test]
    fn values_and_their_errors_lie_between_round_ticks() {
        let line = |name: &str| Line::new(name, vec![[0.0, 41.0], [50.0, 73.0], [100.0, 62.0]]);
        let errors = Line { errors: vec![4.0, 0.0, 2.0], ..line("with errors") };
        let svg = curves(vec![line("a < b"), errors]).svg();
        check(&svg);
        let found = labels(&svg);
        for label in ["Accuracy", "asked (%)", "right (%)", "a < b", "35", "75", "0", "100"] {
            assert!(found.contains(&label.to_owned()), "{label} is missing in {found:?}");
        }
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<path").count()), (2, 2));
    }

    #[test]
    fn flat_missing_and_endless_values_have_a_place() {
        for points in
            [vec![], vec![[0.0, 0.5], [1.0, 0.5]], vec![[f64::NAN, 1.0], [1.0, f64::INFINITY], [2.0, 3.0]]]
        {
            let svg = curves(vec![Line::new("line", points)]).svg();
            check(&svg);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]
        #[test]
        fn labels_stay_inside_and_apart(
            names in proptest::collection::vec("[a-zA-Z0-9 %é漢]{0,70}", 0..12),
            title in "[a-zA-Z ,:]{0,120}",
            axes in proptest::collection::vec("[a-z ]{0,90}", 2),
            low in -1e7..1e7,
            span in 1e-3..1e7,
        ) {
            let (low, span): (f64, f64) = (low, span);
            let points = vec![[low, low], [low + span, low + span / 3.0]];
            let lines = names.iter().map(|name| Line::new(name, points.clone())).collect();
            check(&Curves { title, x: Axis::new(&axes[0], "s"), y: Axis::new(&axes[1], "MB"), lines }.svg());
        }
    }
}
