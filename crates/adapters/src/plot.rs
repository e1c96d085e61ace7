//! A map of a pool's keys: their two main directions, as SVG.

use std::fmt::Write;

use crate::Pool;
use crate::keys::dot;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 480.0;
const MARGIN: f64 = 70.0;
/// Wax crayons.
const COLOURS: [&str; 8] =
    ["#e6324b", "#2f7de1", "#2ca25f", "#f28e2b", "#8e5bd0", "#c9a200", "#e377c2", "#17a2a8"];

/// Draws the keys of `pool`. Circles grow with the number of examples; near circles are near keys, as far as two dimensions
/// can show it (principal components).
pub fn svg(pool: &Pool) -> String {
    let keys = &pool.keys.keys;
    let x = component(keys, &[]);
    let y = component(keys, std::slice::from_ref(&x));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fffdf7\"/>\n"
    );
    let most = pool.members.iter().map(|member| member.examples).max().unwrap_or(1).max(1) as f64;
    let (place_x, place_y) = (scaled(&x, MARGIN, WIDTH - MARGIN), scaled(&y, HEIGHT - MARGIN, MARGIN));
    for (index, member) in pool.members.iter().enumerate() {
        let radius = 8.0 + 24.0 * (member.examples as f64 / most).sqrt();
        let (x, y, colour) = (place_x[index], place_y[index], COLOURS[index % COLOURS.len()]);
        let name = xml_text(&member.name);
        let _ = writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{colour}\" fill-opacity=\"0.75\">\
             <title>{name}: {} examples</title></circle>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"14\">{name}</text>",
            member.examples,
            y + radius + 16.0,
        );
    }
    out.push_str("</svg>\n");
    out
}

/// `text` as XML has it; control characters, which it cannot have, are left out.
pub fn xml_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}')) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

/// Coordinates along the main direction of the centred points that is orthogonal to `others`, by power iteration on the
/// products between points.
fn component(points: &[Vec<f32>], others: &[Vec<f64>]) -> Vec<f64> {
    let count = points.len();
    let mut gram: Vec<Vec<f64>> = points.iter().map(|a| points.iter().map(|b| dot(a, b)).collect()).collect();
    let means: Vec<f64> = gram.iter().map(|row| row.iter().sum::<f64>() / count as f64).collect();
    let whole = means.iter().sum::<f64>() / count as f64;
    for (i, row) in gram.iter_mut().enumerate() {
        for (j, value) in row.iter_mut().enumerate() {
            *value += whole - means[i] - means[j];
        }
    }
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut x: Vec<f64> = (0..count).map(|i| 1.0 + (i as f64 * 1.7).sin()).collect();
    let mut length = 0.0;
    for _ in 0..300 {
        for other in others {
            let share = product(&x, other) / product(other, other).max(f64::MIN_POSITIVE);
            x.iter_mut().zip(other).for_each(|(x, other)| *x -= share * other);
        }
        let next: Vec<f64> = gram.iter().map(|row| product(row, &x)).collect();
        length = product(&next, &next).sqrt();
        if length < 1e-12 {
            return vec![0.0; count];
        }
        x = next.iter().map(|value| value / length).collect();
    }
    x.iter().map(|value| value * length.sqrt()).collect()
}

fn scaled(values: &[f64], low: f64, high: f64) -> Vec<f64> {
    let (min, max) = values.iter().fold((f64::MAX, f64::MIN), |(min, max), v| (min.min(*v), max.max(*v)));
    let span = max - min;
    values
        .iter()
        .map(|v| if span > 1e-9 { low + (v - min) / span * (high - low) } else { (low + high) / 2.0 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_a_picture() {
        assert_eq!(xml_text("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        assert_eq!(xml_text("a\u{0}b\n"), "ab");
    }

    #[test]
    fn the_main_direction_orders_points_on_a_line() {
        let points: Vec<Vec<f32>> = [3.0f32, -1.0, 7.0].iter().map(|t| vec![*t, 2.0 * t, 1.0]).collect();
        let along = component(&points, &[]);
        let sign = (along[2] - along[1]).signum();
        assert!((along[0] - along[1]) * sign > 0.0 && (along[2] - along[0]) * sign > 0.0, "{along:?}");
        // Distances are kept: 4 steps and 4 steps of length sqrt(5).
        assert!(((along[2] - along[0]).abs() - 4.0 * 5f64.sqrt()).abs() < 1e-3, "{along:?}");
        // Nothing is left across the line.
        assert!(component(&points, &[along]).iter().all(|value| value.abs() < 1e-3));
    }
}
