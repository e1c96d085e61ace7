//! A grid of scores as a picture: length of the text to the right, depth of the fact downwards.

use std::fmt::Write;

use crayon_adapters::xml_text;

/// A table of shares with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Heatmap {
    /// Above the grid.
    pub title: String,
    /// What the columns are.
    pub x_label: String,
    /// What the rows are.
    pub y_label: String,
    /// A label for each column, such as `4096`.
    pub columns: Vec<String>,
    /// A label for each row, such as `50 %`.
    pub rows: Vec<String>,
    /// By row and column, from 0 to 1; what is missing or `None` was not measured.
    pub values: Vec<Vec<Option<f64>>>,
}

/// Sizes in pixels.
const CELL: (usize, usize) = (64, 36);
const TOP: usize = 56;
const BOTTOM: usize = 64;
const RIGHT: usize = 24;
/// About the width of a character of the labels and of the title.
const CHARACTER: usize = 7;
const TITLE_CHARACTER: usize = 9;

impl Heatmap {
    /// The picture, an SVG document. Cells go from red over yellow to green and hold their value in percent.
    pub fn svg(&self) -> String {
        let widest = self.rows.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let left = 48 + CHARACTER * widest;
        let (grid_width, grid_height) = (CELL.0 * self.columns.len(), CELL.1 * self.rows.len());
        let needed = TITLE_CHARACTER * self.title.chars().count() + 24;
        let (width, height) = ((left + grid_width + RIGHT).max(needed), TOP + grid_height + BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\" \
             text-anchor=\"middle\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
        );
        let mut text = |x: usize, y: usize, more: &str, words: &str| {
            // Nothing can go wrong in writing to a string.
            let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\"{more}>{}</text>", xml_text(words));
        };
        text(width / 2, 30, " font-size=\"16\" font-weight=\"bold\"", &self.title);
        text(left + grid_width / 2, TOP + grid_height + 48, "", &self.x_label);
        let middle = TOP + grid_height / 2;
        text(20, middle, &format!(" transform=\"rotate(-90 20 {middle})\""), &self.y_label);
        for (column, label) in self.columns.iter().enumerate() {
            text(left + CELL.0 * column + CELL.0 / 2, TOP + grid_height + 22, "", label);
        }
        for (row, label) in self.rows.iter().enumerate() {
            text(left - 8, TOP + CELL.1 * row + CELL.1 / 2 + 5, " text-anchor=\"end\"", label);
        }
        for row in 0..self.rows.len() {
            for column in 0..self.columns.len() {
                let value = self.values.get(row).and_then(|row| row.get(column)).copied().flatten();
                let (x, y) = (left + CELL.0 * column, TOP + CELL.1 * row);
                svg.push_str(&cell(x, y, value));
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn cell(x: usize, y: usize, value: Option<f64>) -> String {
    let (width, height) = CELL;
    let (fill, shown) = match value {
        Some(value) if value.is_finite() => (colour(value), format!("{:.0}", 100.0 * value)),
        _ => ("#ddd".to_owned(), "–".to_owned()),
    };
    let (middle, base) = (x + width / 2, y + height / 2 + 5);
    format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\" stroke=\"#fff\"/>\n\
         <text x=\"{middle}\" y=\"{base}\">{shown}</text>\n"
    )
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

    fn grid() -> Heatmap {
        let labels = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect();
        Heatmap {
            title: "Needles: \"mini\" & <others>".to_owned(),
            x_label: "length (tokens)".to_owned(),
            y_label: "depth".to_owned(),
            columns: labels(&["256", "512", "1024"]),
            rows: labels(&["0 %", "50 %", "100 %"]),
            values: vec![vec![Some(1.0), Some(0.754), None], vec![Some(0.0), Some(f64::NAN), Some(0.5)]],
        }
    }

    /// Whether tags close in order and no stray mark stands between them; enough for what is written here.
    fn is_well_formed(xml: &str) -> bool {
        let mut open = Vec::new();
        for part in xml.split('<').skip(1) {
            let Some((tag, text)) = part.split_once('>') else { return false };
            if text.contains('>') || !tag.matches('"').count().is_multiple_of(2) {
                return false;
            }
            let entities = text.split('&').skip(1);
            if !entities
                .into_iter()
                .all(|rest| ["amp;", "lt;", "gt;", "quot;"].iter().any(|e| rest.starts_with(e)))
            {
                return false;
            }
            if let Some(name) = tag.strip_prefix('/') {
                if open.pop() != Some(name) {
                    return false;
                }
            } else if !tag.ends_with('/') {
                open.push(tag.split(' ').next().unwrap_or_default());
            }
        }
        open.is_empty()
    }

    #[test]
    fn the_picture_is_well_formed_and_escaped() {
        let svg = grid().svg();
        assert!(is_well_formed(&svg), "{svg}");
        assert!(svg.contains(">Needles: &quot;mini&quot; &amp; &lt;others&gt;</text>"));
        assert!(
            !is_well_formed(&svg.replace("&amp;", "&")) && !is_well_formed(&svg.replacen("</text>", "", 1))
        );
        assert_eq!(xml_text("a\u{0}b\n"), "ab");
        let empty = Heatmap { columns: Vec::new(), rows: Vec::new(), values: Vec::new(), ..grid() };
        assert!(is_well_formed(&empty.svg()));
    }

    #[test]
    fn every_cell_shows_its_value() {
        let svg = grid().svg();
        // The ground and nine cells, five of which were not measured.
        assert_eq!(svg.matches("<rect").count(), 10);
        assert_eq!(svg.matches(">–</text>").count(), 5);
        for shown in [">100</text>", ">75</text>", ">0</text>", ">50</text>"] {
            assert_eq!(svg.matches(shown).count(), 1, "{shown}");
        }
        for label in [">256</text>", ">50 %</text>", ">length (tokens)</text>", ">depth</text>"] {
            assert_eq!(svg.matches(label).count(), 1, "{label}");
        }
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
