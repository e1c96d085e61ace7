//! Small drawings to search in: six shapes in eight colours.

use std::path::Path;

use image::{Rgb, RgbImage};

use crate::failure::{Context as _, Result, fault};

/// Height and width.
const SIDE: u32 = 96;
/// Points of a pixel in each direction: edges are smooth.
const POINTS: u32 = 3;

const COLOURS: [(&str, [u8; 3]); 8] = [
    ("red", [214, 40, 40]),
    ("green", [46, 158, 79]),
    ("blue", [47, 95, 208]),
    ("yellow", [244, 200, 30]),
    ("purple", [138, 63, 184]),
    ("orange", [238, 125, 27]),
    ("pink", [240, 143, 180]),
    ("black", [34, 34, 34]),
];

/// Whether a point belongs to a shape; the picture goes from -1 to 1, upwards and to the right.
type Shape = fn(f32, f32) -> bool;

const SHAPES: [(&str, Shape); 6] = [
    ("heart", |x, y| {
        let (x, y) = (x * 1.45, y * 1.45 + 0.15);
        (x * x + y * y - 1.0).powi(3) - x * x * y * y * y <= 0.0
    }),
    ("star", in_star),
    ("circle", |x, y| x.hypot(y) <= 0.7),
    ("square", |x, y| x.abs().max(y.abs()) <= 0.62),
    ("triangle", |x, y| y >= -0.6 && y <= 0.75 - 1.7 * x.abs()),
    ("ring", |x, y| (0.42..=0.74).contains(&x.hypot(y))),
];

/// Whether a point lies in a star of five points: the polygon's edges to its right are an odd number.
fn in_star(x: f32, y: f32) -> bool {
    let corner = |i: usize| {
        let angle = std::f32::consts::PI * (i as f32 / 5.0);
        let radius = if i.is_multiple_of(2) { 0.85 } else { 0.36 };
        (radius * angle.sin(), radius * angle.cos())
    };
    let crossed = (0..10).filter(|i| {
        let ((x1, y1), (x2, y2)) = (corner(*i), corner((i + 1) % 10));
        (y1 > y) != (y2 > y) && x < x1 + (y - y1) / (y2 - y1) * (x2 - x1)
    });
    crossed.count() % 2 == 1
}

/// A drawing.
pub(crate) struct Drawing {
    /// Its file's name.
    pub(crate) file: String,
    pub(crate) colour: &'static str,
    pub(crate) shape: &'static str,
}

/// Draws every shape in every colour into `folder`.
pub(crate) fn draw(folder: &Path) -> Result<Vec<Drawing>> {
    std::fs::create_dir_all(folder).context(folder.display())?;
    let mut drawings = Vec::new();
    for (shape, inside) in SHAPES {
        for (colour, rgb) in COLOURS {
            let file = format!("{colour}-{shape}.png");
            let path = folder.join(&file);
            picture(inside, rgb).save(&path).map_err(fault).context(path.display())?;
            drawings.push(Drawing { file, colour, shape });
        }
    }
    Ok(drawings)
}

fn picture(inside: Shape, colour: [u8; 3]) -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |column, row| {
        let place = |pixel: u32, point: u32| {
            (pixel as f32 + (point as f32 + 0.5) / POINTS as f32) / SIDE as f32 * 2.0 - 1.0
        };
        let points = (0..POINTS).flat_map(|i| (0..POINTS).map(move |j| (i, j)));
        let hit = points.filter(|(i, j)| inside(place(column, *i), -place(row, *j))).count();
        let share = hit as f32 / (POINTS * POINTS) as f32;
        Rgb(colour.map(|value| (255.0 + share * (f32::from(value) - 255.0)).round() as u8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_fills_some_of_the_picture_and_not_its_corners() {
        for (name, inside) in SHAPES {
            let picture = picture(inside, [0, 0, 0]);
            let dark = picture.pixels().filter(|pixel| pixel.0[0] < 128).count() as f32;
            let share = dark / (SIDE * SIDE) as f32;
            assert!((0.12..0.7).contains(&share), "{name}: {share}");
            assert_eq!(picture.get_pixel(0, 0).0, [255; 3], "{name}");
        }
    }
}
