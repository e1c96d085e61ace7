//! What stands around a picture: title, names of the axes, ticks, and the key of colours. The margins follow the words.

use crate::axis::{Axis, Ticks};
use crate::canvas::{Area, Canvas, LARGE, LINE, SMALL, Side, TITLE_LINE};
use crate::words::{width, wrap};

/// Space between things, and between them and the edge.
const GAP: f64 = 10.0;
/// Longest line of a name in the key, or of a row.
pub(crate) const NAME: f64 = 220.0;
/// Width of a mark in the key.
const MARK: f64 = 26.0;
/// Room for the name of the upward axis where the plot is lower.
const LEAST_UPWARD: f64 = 90.0;
/// Most ticks of an axis.
const TICKS: usize = 9;

/// What a colour means.
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) colour: usize,
    pub(crate) mark: Mark,
}

#[derive(Clone, Copy)]
pub(crate) enum Mark {
    Line,
    Dashed,
    Block,
}

/// What a frame has to hold.
pub(crate) struct Layout<'a> {
    pub(crate) title: &'a str,
    /// What the values are, where no axis says so.
    pub(crate) subtitle: &'a str,
    pub(crate) x_name: String,
    pub(crate) y_name: String,
    /// Width of the labels to the left of the plot.
    pub(crate) labels: f64,
    /// How far the outer labels below the plot reach beyond it.
    pub(crate) beyond: f64,
    /// Width and height of the plot.
    pub(crate) size: [f64; 2],
    pub(crate) keys: Vec<Key>,
}

/// A sheet with everything but the values.
pub(crate) struct Frame {
    pub(crate) canvas: Canvas,
    pub(crate) plot: Area,
}

impl Layout<'_> {
    pub(crate) fn frame(self) -> Frame {
        let keys: Vec<(Vec<String>, &Key)> =
            self.keys.iter().map(|key| (wrap(&key.name, NAME, SMALL, false), key)).collect();
        let widest = keys
            .iter()
            .flat_map(|(lines, _)| lines)
            .map(|line| width(line, SMALL, false))
            .fold(0.0, f64::max);
        let key_height = keys.iter().map(|(lines, _)| LINE * lines.len() as f64 + 4.0).sum::<f64>();
        let key_width = if keys.is_empty() { 0.0 } else { GAP + MARK + 6.0 + widest };
        let [plot_width, plot_height] = [self.size[0], self.size[1].max(key_height)];

        let upward = wrap(&self.y_name, plot_height.max(LEAST_UPWARD), SMALL, false);
        let left = (GAP + LINE * upward.len() as f64 + self.labels).max(self.beyond) + GAP;
        let full = (left + plot_width + key_width.max(self.beyond) + GAP).max(320.0);
        let title = wrap(self.title, full - 2.0 * GAP, LARGE, true);
        let subtitle = wrap(self.subtitle, full - 2.0 * GAP, SMALL, false);
        // The name of the upward axis may be longer than a low plot.
        let spill = if upward.is_empty() { 0.0 } else { (LEAST_UPWARD - plot_height).max(0.0) / 2.0 };
        let top = GAP + TITLE_LINE * title.len() as f64 + LINE * subtitle.len() as f64 + 1.5 * GAP + spill;
        let middle = left + plot_width / 2.0;
        let below = wrap(&self.x_name, 2.0 * middle.min(full - middle) - 2.0 * GAP, SMALL, false);
        let plot = Area { left, top, right: left + plot_width, bottom: top + plot_height };
        let named = plot.bottom + spill + 2.5 * GAP;
        let height = named + LINE * below.len() as f64 + GAP;

        let mut canvas = Canvas::new(full, height, self.title);
        for (row, line) in title.iter().enumerate() {
            canvas.heading(full / 2.0, GAP + TITLE_LINE * (row as f64 + 0.75), line);
        }
        let under = GAP + TITLE_LINE * title.len() as f64;
        for (row, line) in subtitle.iter().enumerate() {
            canvas.label(full / 2.0, under + LINE * (row as f64 + 0.75), Side::Middle, line);
        }
        for (row, line) in below.iter().enumerate() {
            canvas.label(middle, named + LINE * (row as f64 + 0.8), Side::Middle, line);
        }
        for (column, line) in upward.iter().enumerate() {
            canvas.upward(GAP + LINE * (column as f64 + 0.75), (plot.top + plot.bottom) / 2.0, line);
        }
        let mut y = plot.top + 0.75 * LINE;
        for (lines, key) in keys {
            let x = plot.right + GAP;
            canvas.begin_colour(key.colour);
            canvas.add(&key.mark.svg(x, y - 0.3 * SMALL));
            canvas.end_colour();
            for line in lines {
                canvas.label(x + MARK + 6.0, y, Side::Start, &line);
                y += LINE;
            }
            y += 4.0;
        }
        Frame { canvas, plot }
    }
}

impl Mark {
    fn svg(self, x: f64, y: f64) -> String {
        let dash = if matches!(self, Mark::Dashed) { DASHED } else { "" };
        match self {
            Mark::Block => {
                format!(
                    "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{MARK}\" height=\"10\" fill=\"currentColor\"/>",
                    y - 5.0
                )
            }
            Mark::Line | Mark::Dashed => format!(
                "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"currentColor\" stroke-width=\"2.5\"{dash}/>",
                x + MARK
            ),
        }
    }
}

/// How a line is broken.
pub(crate) const DASHED: &str = " stroke-dasharray=\"6 4\"";

impl Frame {
    /// Lines of the grid upwards and their labels below.
    pub(crate) fn across(&mut self, ticks: &Ticks) {
        for (value, label) in ticks.all() {
            let x = self.x(ticks, value);
            self.canvas.grid([x, self.plot.top], [x, self.plot.bottom]);
            self.canvas.label(x, self.plot.bottom + 2.0 * GAP, Side::Middle, &label);
        }
    }

    /// Lines of the grid to the right and their labels on the left.
    pub(crate) fn upwards(&mut self, ticks: &Ticks) {
        for (value, label) in ticks.all() {
            let y = self.y(ticks, value);
            self.canvas.grid([self.plot.left, y], [self.plot.right, y]);
            self.canvas.label(self.plot.left - 0.6 * GAP, y + 0.35 * SMALL, Side::End, &label);
        }
    }

    /// The pixel of a value on the axis to the right.
    pub(crate) fn x(&self, ticks: &Ticks, value: f64) -> f64 {
        self.plot.left + (self.plot.right - self.plot.left) * ticks.share(value)
    }

    /// The pixel of a value on the axis upwards.
    pub(crate) fn y(&self, ticks: &Ticks, value: f64) -> f64 {
        self.plot.bottom - (self.plot.bottom - self.plot.top) * ticks.share(value)
    }
}

/// Ticks whose labels stand apart on an axis of so many pixels to the right.
pub(crate) fn across_ticks(axis: &Axis, values: impl Iterator<Item = f64> + Clone, room: f64) -> Ticks {
    let ticks = |most| axis.ticks(values.clone(), most);
    let apart = |ticks: &Ticks| room / (ticks.all().len() - 1) as f64 > widest(ticks) + GAP;
    (3..=TICKS).rev().map(ticks).find(apart).unwrap_or_else(|| ticks(3))
}

/// Ticks of an axis upwards.
pub(crate) fn upward_ticks(axis: &Axis, values: impl Iterator<Item = f64>) -> Ticks {
    axis.ticks(values, TICKS)
}

/// Room for the longest label of an axis.
pub(crate) fn widest(ticks: &Ticks) -> f64 {
    ticks.all().iter().map(|(_, label)| width(label, SMALL, false)).fold(0.0, f64::max)
}
