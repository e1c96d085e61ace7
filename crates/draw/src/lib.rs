//! Pictures of numbers as SVG: curves, bars, grids and maps, with title, axes, units and round ticks.
//!
//! Every picture makes itself large enough for its words: no label leaves it or covers another, whatever the names are. The
//! same numbers give the same bytes. In a dark page or viewer the ground is dark and the ink is light.
//!
//! SVG is written by hand: a few shapes and words, whose places have to be known for the labels to keep apart.
//!
//! ```
//! use crayon_draw::{Axis, Curves, Line};
//!
//! let line = Line::new("blend", vec![[0.0, 40.0], [50.0, 71.5], [100.0, 62.0]]);
//! let svg = Curves { title: "Accuracy".into(), x: Axis::new("asked", "%"), y: Axis::new("right", "%"), lines: vec![line] }.svg();
//! assert!(svg.starts_with("<svg") && svg.contains(">asked (%)</text>"));
//! ```

mod axis;
mod bars;
mod canvas;
#[cfg(test)]
mod check;
mod curves;
mod frame;
mod heatmap;
mod map;
mod words;

use serde::Deserialize;

pub use axis::Axis;
pub use bars::{Bar, Bars};
pub use curves::{Curves, Line};
pub use heatmap::Heatmap;
pub use map::{Map, Place};
pub use words::xml_text;

/// Any picture, as JSON describes it: `{"curves": {…}}`, `{"bars": {…}}` and so on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Picture {
    /// Curves over numbers.
    Curves(Curves),
    /// Bars, some for each row.
    Bars(Bars),
    /// A grid of shares.
    Heatmap(Heatmap),
    /// Named places.
    Map(Map),
}

impl Picture {
    /// The picture, an SVG document.
    pub fn svg(&self) -> String {
        match self {
            Picture::Curves(curves) => curves.svg(),
            Picture::Bars(bars) => bars.svg(),
            Picture::Heatmap(heatmap) => heatmap.svg(),
            Picture::Map(map) => map.svg(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_described_in_json() {
        let text = r#"{"bars": {"title": "t", "x": {"name": "gain", "unit": "points"}, "series": ["inside"],
            "rows": [{"name": "blend", "values": [1.5], "errors": [0.5]}]}}"#;
        let picture: Picture = serde_json::from_str(text).unwrap();
        let Picture::Bars(bars) = &picture else { panic!("{picture:?}") };
        assert_eq!(picture.svg(), bars.svg());
        assert!(serde_json::from_str::<Picture>(&text.replace("rows", "columns")).is_err());
    }
}
