//! A map of a pool's keys: their two main directions, as SVG.

use crayon_draw::{Axis, Map, Place};

use crate::Pool;
use crate::keys::dot;

/// Draws the keys of `pool`. Circles grow with the number of examples; near circles are near keys, as far as two dimensions
/// can show it (principal components).
pub fn svg(pool: &Pool) -> String {
    let keys = &pool.keys.keys;
    let x = component(keys, &[]);
    let y = component(keys, std::slice::from_ref(&x));
    let place = |(index, member): (usize, &crate::Member)| Place {
        name: member.name.clone(),
        at: [x[index], y[index]],
        size: member.examples as f64,
    };
    Map {
        title: "Keys of the pool's adapters".to_owned(),
        sizes: "a circle's area grows with the number of examples".to_owned(),
        x: Axis::new("first main direction of the keys", ""),
        y: Axis::new("second main direction of the keys", ""),
        places: pool.members.iter().enumerate().map(place).collect(),
    }
    .svg()
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

#[cfg(test)]
mod tests {
    use super::*;

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
