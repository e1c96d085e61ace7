//! What every picture has to hold to, read from its SVG as a viewer reads it.

use roxmltree::{Document, Node};

use crate::canvas::{Area, LARGE, SMALL};
use crate::words::width;

fn number(node: &Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name)
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("{node:?} has no {name}"))
}

/// Where a text stands.
fn area(text: &Node<'_, '_>) -> Area {
    let (x, y, words) = (number(text, "x"), number(text, "y"), text.text().unwrap_or_default());
    let heading = text.attribute("font-weight").is_some();
    let size = if heading { LARGE } else { SMALL };
    let wide = width(words, size, heading);
    let left = match text.attribute("text-anchor") {
        Some("start") => x,
        Some("middle") => x - wide / 2.0,
        Some("end") => x - wide,
        other => panic!("{other:?}"),
    };
    let (up, down) = (0.8 * size, 0.25 * size);
    match text.attribute("transform") {
        None => Area { left, top: y - up, right: left + wide, bottom: y + down },
        Some(turn) => {
            assert!(turn.starts_with("rotate(-90 "), "{turn}");
            Area { left: x - up, top: y - wide / 2.0, right: x + down, bottom: y + wide / 2.0 }
        }
    }
}

/// The words of a picture.
pub(crate) fn labels(svg: &str) -> Vec<String> {
    let document = Document::parse(svg).unwrap();
    let texts = document.descendants().filter(|node| node.has_tag_name("text"));
    texts.map(|text| text.text().unwrap_or_default().to_owned()).collect()
}

/// Well formed, with a title, and every label inside and apart from all others.
pub(crate) fn check(svg: &str) {
    let document = Document::parse(svg).unwrap_or_else(|error| panic!("{error}: {svg}"));
    let root = document.root_element();
    let sheet = Area { left: 0.0, top: 0.0, right: number(&root, "width"), bottom: number(&root, "height") };
    assert!(root.children().any(|node| node.has_tag_name("title")), "no title");
    assert!(svg.contains("prefers-color-scheme:dark"), "no dark colours");
    let texts = document.descendants().filter(|node| node.has_tag_name("text"));
    let areas: Vec<(Area, String)> =
        texts.map(|text| (area(&text), text.text().unwrap_or_default().to_owned())).collect();
    for (at, (area, words)) in areas.iter().enumerate() {
        assert!(area.is_in(&sheet), "{words:?} at {area:?} leaves {sheet:?}");
        for (other, others) in &areas[..at] {
            assert!(!area.meets(other), "{words:?} at {area:?} covers {others:?} at {other:?}");
        }
    }
    for shape in document.descendants().filter(|node| node.has_tag_name("circle")) {
        let (x, y, r) = (number(&shape, "cx"), number(&shape, "cy"), number(&shape, "r"));
        let circle = Area { left: x - r, top: y - r, right: x + r, bottom: y + r };
        assert!(circle.is_in(&sheet), "{circle:?} leaves {sheet:?}");
    }
}

#[test]
#[should_panic(expected = "covers")]
fn labels_on_top_of_each_other_are_found() {
    let text = |x: u32| format!("<text x=\"{x}\" y=\"20\" text-anchor=\"start\">words</text>");
    check(&format!(
        "<svg width=\"200\" height=\"40\"><title/><style>prefers-color-scheme:dark</style>{}{}</svg>",
        text(5),
        text(30)
    ));
}

#[test]
#[should_panic(expected = "leaves")]
fn labels_over_the_edge_are_found() {
    check(
        "<svg width=\"50\" height=\"40\"><title/><style>prefers-color-scheme:dark</style>\
         <text x=\"30\" y=\"20\" text-anchor=\"start\">words</text></svg>",
    );
}
