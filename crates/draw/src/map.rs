//! Named places in a plane, as circles: near ones are alike.

use serde::Deserialize;

use crate::Axis;
use crate::canvas::{Area, Side, label_area};
use crate::frame::{Frame, Key, Layout, Mark, across_ticks, upward_ticks, widest};
use crate::words::xml_text;

/// Width and height of the plot in pixels.
const SIZE: [f64; 2] = [560.0, 400.0];
/// Radius of the smallest and of the largest circle.
const RADIUS: [f64; 2] = [8.0, 32.0];
/// Directions in which a label is tried, close to its circle and so much farther: one still sees whose it is.
const DIRECTIONS: usize = 16;
const DISTANCES: [f64; 2] = [0.0, 10.0];

/// Places in one pair of axes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// Above the places.
    pub title: String,
    /// What the sizes of circles mean.
    pub sizes: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// The places.
    pub places: Vec<Place>,
}

/// A place.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Beside its circle.
    pub name: String,
    /// To the right, and upwards.
    pub at: [f64; 2],
    /// Area of its circle.
    pub size: f64,
}

impl Map {
    /// The picture, an SVG document. A name for which there is no room beside its circle stands in a key on the right.
    pub fn svg(&self) -> String {
        let x = across_ticks(&self.x, self.places.iter().map(|place| place.at[0]), SIZE[0]);
        let y = upward_ticks(&self.y, self.places.iter().map(|place| place.at[1]));
        let layout = |keys: Vec<Key>| Layout {
            title: &self.title,
            subtitle: &self.sizes,
            x_name: self.x.label(),
            y_name: self.y.label(),
            labels: widest(&y),
            beyond: widest(&x) / 2.0,
            size: SIZE,
            keys,
        };
        let largest =
            self.places.iter().map(|place| place.size).filter(|size| size.is_finite()).fold(0.0, f64::max);
        let circles = |frame: &Frame| -> Vec<[f64; 3]> {
            let circle = |place: &Place| {
                let share = if largest > 0.0 { (place.size / largest).clamp(0.0, 1.0).sqrt() } else { 0.0 };
                let radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * share;
                // The largest circles at the edge stay in the plot.
                let keep = |value: f64, low: f64, high: f64| value.clamp(low + radius, high - radius);
                [
                    keep(frame.x(&x, place.at[0]), frame.plot.left, frame.plot.right),
                    keep(frame.y(&y, place.at[1]), frame.plot.top, frame.plot.bottom),
                    radius,
                ]
            };
            self.places.iter().map(circle).collect()
        };
        // A key makes the plot higher, and other names may find no room in it: until all have theirs.
        let mut in_key = vec![false; self.places.len()];
        let (mut frame, circles, labels) = loop {
            let named = self.places.iter().zip(&in_key).enumerate().filter(|(_, (_, in_key))| **in_key);
            let key = |(number, (place, _)): (usize, (&Place, &bool))| Key {
                name: place.name.clone(),
                colour: number + 1,
                mark: Mark::Block,
            };
            let frame = layout(named.map(key).collect()).frame();
            let circles = circles(&frame);
            let labels = placed(&self.places, &circles, &in_key, &frame.plot);
            let before = in_key.clone();
            in_key.iter_mut().zip(&labels).for_each(|(in_key, label)| *in_key |= label.is_none());
            if in_key == before {
                break (frame, circles, labels);
            }
        };
        frame.across(&x);
        frame.upwards(&y);
        for (number, (place, [x, y, radius])) in self.places.iter().zip(&circles).enumerate() {
            frame.canvas.begin_colour(number + 1);
            frame.canvas.add(&format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"currentColor\" fill-opacity=\"0.7\">\
                 <title>{}: {}</title></circle>",
                xml_text(&place.name),
                place.size
            ));
            frame.canvas.end_colour();
        }
        for (place, label) in self.places.iter().zip(&labels) {
            if let Some([x, y]) = label {
                frame.canvas.label(*x, *y, Side::Middle, &place.name);
            }
        }
        frame.canvas.svg()
    }
}

/// A place for every name that has room in the plot, on no other name and on no circle; none for those in the key.
fn placed(places: &[Place], circles: &[[f64; 3]], in_key: &[bool], plot: &Area) -> Vec<Option<[f64; 2]>> {
    let mut taken: Vec<Area> = circles
        .iter()
        .map(|[x, y, r]| Area { left: x - r, top: y - r, right: x + r, bottom: y + r })
        .collect();
    let mut find = |place: &Place, [x, y, radius]: [f64; 3]| {
        for more in DISTANCES {
            for direction in 0..DIRECTIONS {
                // Below first, then above, then around.
                let turn =
                    [0.5, -0.5].get(direction).copied().unwrap_or(direction as f64 * 2.0 / DIRECTIONS as f64);
                let angle = turn * std::f64::consts::PI;
                let empty = label_area(0.0, 0.0, &place.name, Side::Middle);
                let reach = [radius + (empty.right - empty.left) / 2.0 + 3.0, radius + 14.0];
                let at = [x + (reach[0] + more) * angle.cos(), y + (reach[1] + more) * angle.sin() + 5.0];
                let area = label_area(at[0], at[1], &place.name, Side::Middle);
                if area.is_in(plot) && !taken.iter().any(|other| other.meets(&area)) {
                    taken.push(area);
                    return Some(at);
                }
            }
        }
        None
    };
    let all = places.iter().zip(circles).zip(in_key);
    all.map(|((place, circle), in_key)| if *in_key { None } else { find(place, *circle) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{check, labels};

    fn map(places: Vec<Place>) -> String {
        Map {
            title: "Keys".to_owned(),
            sizes: "area: examples".to_owned(),
            x: Axis::new("first direction", ""),
            y: Axis::new("second direction", ""),
            places,
        }
        .svg()
    }

    fn place(name: &str, at: [f64; 2]) -> Place {
        Place { name: name.to_owned(), at, size: 40.0 }
    }

    #[test]
    fn names_stand_beside_their_circles_once() {
        let svg =
            map(vec![place("travel", [0.0, 0.0]), place("banking", [1.0, 0.5]), place("home", [0.01, 0.0])]);
        check(&svg);
        let found = labels(&svg);
        for name in ["travel", "banking", "home"] {
            assert_eq!(found.iter().filter(|one| *one == name).count(), 1, "{name} in {found:?}");
        }
        assert_eq!(svg.matches("<circle").count(), 3);
        check(&map(Vec::new()));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]
        #[test]
        fn crowds_have_room(names in proptest::collection::vec("[a-z_&]{1,70}", 1..40), spread in 0.0..1.0) {
            let spread: f64 = spread;
            let at = |number: usize| [spread * (number as f64).sin(), spread * (number as f64 * 1.7).cos()];
            let svg = map(names.iter().enumerate().map(|(number, name)| place(name, at(number))).collect());
            check(&svg);
            // A long name in the key is broken into lines.
            let (all, words) = (names.concat(), labels(&svg).concat());
            proptest::prop_assert!(all.chars().all(|c| words.contains(c)) && words.len() >= all.len());
        }
    }
}
