//! The sheet: shapes and words, and the colours of both in light and in dark.

use std::fmt::Write;

use crate::words::{width, xml_text};

/// Font size of labels and of the title, in pixels.
pub(crate) const SMALL: f64 = 13.0;
pub(crate) const LARGE: f64 = 16.0;
/// Height of a line of labels, and of a line of the title.
pub(crate) const LINE: f64 = 18.0;
pub(crate) const TITLE_LINE: f64 = 22.0;

/// On white, and on a dark ground. The first eight are told apart by people who see colours differently, too (after Okabe and Ito).
const COLOURS: [(&str, &str); 12] = [
    ("#7a7a7a", "#a8a8a8"),
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff8c42"),
    ("#009e73", "#2fd3a2"),
    ("#b45a8f", "#e39ac4"),
    ("#b97f00", "#f0b429"),
    ("#7a4fc0", "#b79cf0"),
    ("#8c564b", "#d09a8e"),
    ("#00566e", "#7fc4d8"),
    ("#85890a", "#d3d75a"),
    ("#c2185b", "#ff86b3"),
    ("#3a3fb0", "#9aa0ff"),
];

/// A place in pixels: left, top, right, bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) right: f64,
    pub(crate) bottom: f64,
}

impl Area {
    /// Whether two places have points in common.
    pub(crate) fn meets(&self, other: &Area) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    pub(crate) fn is_in(&self, other: &Area) -> bool {
        self.left >= other.left
            && self.right <= other.right
            && self.top >= other.top
            && self.bottom <= other.bottom
    }
}

/// Where a line of text stands beside its point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side {
    Start,
    Middle,
    End,
}

/// The place of a line of labels whose base line is at `y`.
pub(crate) fn label_area(x: f64, y: f64, words: &str, side: Side) -> Area {
    let width = width(words, SMALL, false);
    let left = match side {
        Side::Start => x,
        Side::Middle => x - width / 2.0,
        Side::End => x - width,
    };
    Area { left, top: y - 0.95 * SMALL, right: left + width, bottom: y + 0.3 * SMALL }
}

/// A picture in the making.
pub(crate) struct Canvas {
    width: f64,
    height: f64,
    title: String,
    body: String,
}

impl Canvas {
    /// An empty sheet; `title` says what the picture shows to those who cannot see it.
    pub(crate) fn new(width: f64, height: f64, title: &str) -> Canvas {
        Canvas { width: width.ceil(), height: height.ceil(), title: title.to_owned(), body: String::new() }
    }

    /// A shape or group as it is.
    pub(crate) fn add(&mut self, svg: &str) {
        self.body.push_str(svg);
        self.body.push('\n');
    }

    pub(crate) fn label(&mut self, x: f64, y: f64, side: Side, words: &str) {
        self.text(x, y, side, "", words);
    }

    /// A label on a coloured ground, dark whatever the page is.
    pub(crate) fn inner_label(&mut self, x: f64, y: f64, words: &str) {
        self.text(x, y, Side::Middle, " class=\"on\"", words);
    }

    /// A label that is read from below.
    pub(crate) fn upward(&mut self, x: f64, y: f64, words: &str) {
        self.text(x, y, Side::Middle, &format!(" transform=\"rotate(-90 {x:.1} {y:.1})\""), words);
    }

    pub(crate) fn heading(&mut self, x: f64, y: f64, words: &str) {
        self.text(x, y, Side::Middle, &format!(" font-size=\"{LARGE}\" font-weight=\"bold\""), words);
    }

    fn text(&mut self, x: f64, y: f64, side: Side, more: &str, words: &str) {
        let anchor = match side {
            Side::Start => "start",
            Side::Middle => "middle",
            Side::End => "end",
        };
        let words = xml_text(words);
        // Nothing can go wrong in writing to a string, here and below.
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{more}>{words}</text>"
        );
    }

    /// A straight line of the grid.
    pub(crate) fn grid(&mut self, from: [f64; 2], to: [f64; 2]) {
        self.line(from, to, "class=\"grid\" stroke=\"#ddd\"");
    }

    /// A straight line in the colour of words.
    pub(crate) fn ink(&mut self, from: [f64; 2], to: [f64; 2]) {
        self.line(from, to, "class=\"ink\" stroke=\"#222\"");
    }

    fn line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], stroke: &str) {
        let _ = writeln!(
            self.body,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {stroke}/>"
        );
    }

    /// Begins a group whose shapes have the colour of this number.
    pub(crate) fn begin_colour(&mut self, number: usize) {
        let number = number % COLOURS.len();
        let _ = writeln!(self.body, "<g class=\"c{number}\" color=\"{}\">", COLOURS[number].0);
    }

    pub(crate) fn end_colour(&mut self) {
        self.add("</g>");
    }

    /// The document.
    pub(crate) fn svg(self) -> String {
        let Canvas { width, height, title, body } = self;
        let title = xml_text(&title);
        let mut dark = String::new();
        for (number, (_, colour)) in COLOURS.iter().enumerate() {
            let _ = write!(dark, ".draw .c{number}{{color:{colour}}}");
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"draw\" role=\"img\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"{SMALL}\" fill=\"#222\">\n\
             <title>{title}</title>\n\
             <style>@media (prefers-color-scheme:dark){{.draw{{fill:#ddd}}.draw .ground{{fill:#1b1d21}}\
             .draw .grid{{stroke:#3d4148}}.draw .ink{{stroke:#ddd}}{dark}}}.draw .on{{fill:#222}}</style>\n\
             <rect class=\"ground\" width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n{body}</svg>\n"
        )
    }
}
