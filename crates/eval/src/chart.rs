//! Curves as a picture.
//!
//! SVG is written by hand here and in the two other pictures: a few shapes and words, the same bytes for the same numbers.

use std::fmt::Write;

use crayon_adapters::xml_text;

/// Curves of shares (0 to 1) over shares.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Above the curves.
    pub title: String,
    /// What goes to the right.
    pub x_label: String,
    /// What goes upwards.
    pub y_label: String,
    /// The curves.
    pub lines: Vec<Line>,
}

/// A curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// In the legend.
    pub name: String,
    /// `[x, y]`, in order.
    pub points: Vec<[f64; 2]>,
}

/// Told apart by people who see colours differently, too (Okabe and Ito).
const COLOURS: [&str; 6] = ["#999999", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"];
/// Sizes in pixels.
const WIDTH: f64 = 672.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 172.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 60.0;
/// Lines of the grid to each side, at most.
const STEPS: usize = 8;

impl Chart {
    /// The picture, an SVG document. The upward axis begins and ends at whole steps around the values.
    pub fn svg(&self) -> String {
        let values = || self.lines.iter().flat_map(|line| &line.points).map(|point| point[1]);
        let (low, high) = (values().fold(1.0, f64::min), values().fold(0.0, f64::max));
        let steps = [0.01, 0.02, 0.05, 0.1, 0.2];
        let step = steps.into_iter().find(|step| high - low <= step * (STEPS - 1) as f64).unwrap_or(0.25);
        let (first, last) = ((low / step).floor(), (high / step).ceil().max((low / step).floor() + 1.0));
        let x = |share: f64| LEFT + (WIDTH - LEFT - RIGHT) * share;
        let y =
            |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value / step - first) / (last - first);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\" \
             text-anchor=\"middle\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
        );
        // Nothing can go wrong in writing to a string.
        let mut line = |x1: f64, y1: f64, x2: f64, y2: f64| {
            let _ = writeln!(
                svg,
                "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>"
            );
        };
        let rows: Vec<f64> = (0..=(last - first) as usize).map(|row| (first + row as f64) * step).collect();
        let columns = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
        rows.iter().for_each(|row| line(x(0.0), y(*row), x(1.0), y(*row)));
        columns.iter().for_each(|column| line(x(*column), TOP, x(*column), HEIGHT - BOTTOM));
        let mut text = |x: f64, y: f64, more: &str, words: &str| {
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\"{more}>{}</text>", xml_text(words));
        };
        text(WIDTH / 2.0, 26.0, " font-size=\"16\" font-weight=\"bold\"", &self.title);
        text(x(0.5), HEIGHT - 16.0, "", &self.x_label);
        let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
        text(18.0, middle, &format!(" transform=\"rotate(-90 18 {middle})\""), &self.y_label);
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        columns.iter().for_each(|column| text(x(*column), HEIGHT - BOTTOM + 20.0, "", &percent(*column)));
        rows.iter().for_each(|row| text(LEFT - 8.0, y(*row) + 4.0, " text-anchor=\"end\"", &percent(*row)));
        for (number, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let key = TOP + 14.0 + 22.0 * number as f64;
            let more = format!(" text-anchor=\"start\" fill=\"{colour}\" font-weight=\"bold\"");
            text(WIDTH - RIGHT + 14.0, key, &more, &line.name);
        }
        for (number, line) in self.lines.iter().enumerate() {
            let points: Vec<String> =
                line.points.iter().map(|point| format!("{:.1},{:.1}", x(point[0]), y(point[1]))).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2.5\"/>",
                points.join(" "),
                COLOURS[number % COLOURS.len()]
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<[f64; 2]>) -> String {
        let lines = vec![Line { name: "a < b".to_owned(), points }];
        let label = || "label".to_owned();
        Chart { title: label(), x_label: label(), y_label: label(), lines }.svg()
    }

    #[test]
    fn the_lowest_and_highest_values_lie_inside() {
        let svg = chart(vec![[0.0, 0.41], [0.5, 0.73], [1.0, 0.62]]);
        assert!(
            svg.contains(">40 %</text>") && svg.contains(">80 %</text>") && !svg.contains(">30 %</text>")
        );
        assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let (xs, ys): (Vec<f64>, Vec<f64>) = points
            .split(' ')
            .map(|pair| pair.split_once(',').unwrap())
            .map(|(x, y)| (x.parse::<f64>().unwrap(), y.parse::<f64>().unwrap()))
            .unzip();
        assert_eq!((xs[0], xs[2]), (LEFT, WIDTH - RIGHT));
        assert!(ys.iter().all(|y| (TOP..=HEIGHT - BOTTOM).contains(y)), "{ys:?}");
        assert!(ys[1] < ys[2] && ys[2] < ys[0]);
    }

    #[test]
    fn flat_curves_have_a_place() {
        assert!(!chart(vec![[0.0, 0.5], [1.0, 0.5]]).contains("NaN"));
        assert!(!chart(vec![[0.0, 0.0], [1.0, 0.0]]).contains("NaN"));
    }
}
