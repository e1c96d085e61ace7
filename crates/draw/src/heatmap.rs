//! A grid of shares: red is little, green is much.

use serde::Deserialize;

use crate::canvas::{SMALL, Side};
use crate::frame::Layout;
use crate::words::width;

/// Least width of a cell, and its height, in pixels.
const CELL: [f64; 2] = [64.0, 36.0];

/// A table of shares with its labels.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heatmap {
    /// Above the grid.
    pub title: String,
    /// What the cells say, such as `right answers (%)`.
    pub cells: String,
    /// What the columns are.
    pub x: String,
    /// What the rows are.
    pub y: String,
    /// A label for each column, such as `4,096`.
    pub columns: Vec<String>,
    /// A label for each row, such as `50 %`.
    pub rows: Vec<String>,
    /// By row and column, from 0 to 1; what is missing or `None` was not measured.
    pub values: Vec<Vec<Option<f64>>>,
}

impl Heatmap {
    /// The picture, an SVG document. Cells go from red over yellow to green and hold their value in percent.
    pub fn svg(&self) -> String {
        let widest =
            |labels: &[String]| labels.iter().map(|label| width(label, SMALL, false)).fold(0.0, f64::max);
        let [wide, high] = [CELL[0].max(widest(&self.columns) + 12.0), CELL[1]];
        let mut frame = Layout {
            title: &self.title,
            subtitle: &self.cells,
            x_name: self.x.clone(),
            y_name: self.y.clone(),
            labels: widest(&self.rows),
            beyond: 0.0,
            size: [wide * self.columns.len() as f64, high * self.rows.len() as f64],
            keys: Vec::new(),
        }
        .frame();
        let (left, top) = (frame.plot.left, frame.plot.top);
        for (column, label) in self.columns.iter().enumerate() {
            frame.canvas.label(
                left + wide * (column as f64 + 0.5),
                frame.plot.bottom + 20.0,
                Side::Middle,
                label,
            );
        }
        for (row, label) in self.rows.iter().enumerate() {
            let y = top + high * row as f64;
            frame.canvas.label(left - 6.0, y + high / 2.0 + 0.35 * SMALL, Side::End, label);
            for column in 0..self.columns.len() {
                let value = self.values.get(row).and_then(|row| row.get(column)).copied().flatten();
                let (fill, shown) = match value {
                    Some(value) if value.is_finite() => (colour(value), format!("{:.0}", 100.0 * value)),
                    _ => ("#ddd".to_owned(), "–".to_owned()),
                };
                let x = left + wide * column as f64;
                frame.canvas.add(&format!(
                    "<rect class=\"cell\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{fill}\"/>",
                    wide - 1.0,
                    high - 1.0
                ));
                frame.canvas.inner_label(x + wide / 2.0, y + high / 2.0 + 0.35 * SMALL, &shown);
            }
        }
        frame.canvas.svg()
    }
}

/// Red at 0, yellow at 0.5, green at 1; all light enough for dark figures.
fn colour(value: f64) -> String {
    const STOPS: [[f64; 3]; 3] = [[236.0, 112.0, 99.0], [250.0, 219.0, 110.0], [96.0, 186.0, 112.0]];
    let position = value.clamp(0.0, 1.0) * 2.0;
    let (from, to) = if position < 1.0 { (STOPS[0], STOPS[1]) } else { (STOPS[1], STOPS[2]) };
    let share = if position < 1.0 { position } else { position - 1.0 };
    let mix = |channel: usize| (from[channel] + share * (to[channel] - from[channel])).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{check, labels};

    fn grid(columns: &[&str], rows: &[&str]) -> Heatmap {
        let owned = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect();
        Heatmap {
            title: "Needles: \"mini\" & <others>".to_owned(),
            cells: "right answers (%)".to_owned(),
            x: "length (tokens)".to_owned(),
            y: "depth of the fact in the text".to_owned(),
            columns: owned(columns),
            rows: owned(rows),
            values: vec![vec![Some(1.0), Some(0.754), None], vec![Some(0.0), Some(f64::NAN), Some(0.5)]],
        }
    }

    #[test]
    fn every_cell_shows_its_value() {
        let svg = grid(&["256", "512", "1,024"], &["0 %", "50 %", "100 %"]).svg();
        check(&svg);
        let found = labels(&svg);
        let count = |label: &str| found.iter().filter(|one| *one == label).count();
        assert_eq!(svg.matches("class=\"cell\"").count(), 9);
        // Five of nine were not measured.
        assert_eq!((count("–"), count("100"), count("75"), count("0"), count("50")), (5, 1, 1, 1, 1));
        for label in ["256", "1,024", "50 %", "length (tokens)", "right answers (%)"] {
            assert_eq!(count(label), 1, "{label} in {found:?}");
        }
    }

    #[test]
    fn small_and_empty_grids_have_room_for_their_words() {
        check(&grid(&["16"], &["0 %"]).svg());
        check(&grid(&[], &[]).svg());
        check(&grid(&["a column with a very long name", "another"], &["a row with a very long name"]).svg());
    }

    #[test]
    fn colours_go_from_red_over_yellow_to_green() {
        assert_eq!([colour(0.0), colour(0.5), colour(1.0)], ["#ec7063", "#fadb6e", "#60ba70"]);
        assert_eq!([colour(-3.0), colour(7.0)], [colour(0.0), colour(1.0)]);
        let channels = |value| u32::from_str_radix(&colour(value)[1..], 16).unwrap().to_be_bytes();
        assert!(channels(0.2)[2] < channels(0.4)[2], "green does not rise");
        assert!(channels(0.6)[1] > channels(0.9)[1], "red does not fall");
    }
}
