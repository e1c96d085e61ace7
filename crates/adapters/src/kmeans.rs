//! K-means (Lloyd 1957) with k-means++ starts (Arthur and Vassilvitskii 2007), the same for a seed everywhere.
//!
//! By hand: it is a page, and keys must come out bit for bit the same in every version of the program.

use crate::AdapterError;
use crate::Random;
use crayon_errors::{Setting, phrase};

/// Starts, of which the best is kept.
const STARTS: u64 = 8;
/// Rounds of one start; it ends earlier when nothing moves.
const ROUNDS: usize = 100;

/// Points in groups.
#[derive(Clone, Debug)]
pub struct Clusters {
    /// Mean of each group, `[groups][width]`.
    pub centroids: Vec<Vec<f32>>,
    /// Group of each point.
    pub nearest: Vec<usize>,
    /// Sum of squared distances to the own centroid.
    pub spread: f64,
}

/// Groups `points`, all `[width]`, into `count`.
///
/// # Errors
/// When there are fewer points that differ than groups.
pub fn k_means(points: &[Vec<f32>], count: usize, seed: u64) -> Result<Clusters, AdapterError> {
    if count == 0 || points.len() < count {
        return Err(AdapterError::unusable(
            format!("{} examples cannot be grouped into {count}", points.len()),
            phrase!["give more of ", Setting::Data, ", or lower ", Setting::Adapters],
        ));
    }
    let mut best: Option<Clusters> = None;
    for start in 0..STARTS {
        let found = lloyd(points, plus_plus(points, count, &mut Random::new(seed, start))?);
        if best.as_ref().is_none_or(|best| found.spread < best.spread) {
            best = Some(found);
        }
    }
    best.ok_or_else(|| {
        AdapterError::unusable("no groups were found", phrase!["give more of ", Setting::Data])
    })
}

/// Each new centre is drawn with a chance that grows with its squared distance to those before.
fn plus_plus(points: &[Vec<f32>], count: usize, random: &mut Random) -> Result<Vec<Vec<f32>>, AdapterError> {
    let mut centres = vec![points[random.below(points.len())].clone()];
    let mut distances: Vec<f64> = points.iter().map(|point| squared(point, &centres[0])).collect();
    while centres.len() < count {
        let total: f64 = distances.iter().sum();
        let mut left = random.uniform() * total;
        let drawn = distances.iter().position(|distance| {
            left -= distance;
            left < 0.0 && *distance > 0.0
        });
        let farthest =
            || (0..points.len()).max_by(|a, b| distances[*a].total_cmp(&distances[*b])).unwrap_or(0);
        let chosen = drawn.unwrap_or_else(farthest);
        if distances[chosen] == 0.0 {
            return Err(AdapterError::unusable(
                format!("the examples differ in {} ways, too few for {count} adapters", centres.len()),
                phrase!["vary ", Setting::Data, " more, or lower ", Setting::Adapters],
            ));
        }
        let centre = points[chosen].clone();
        for (distance, point) in distances.iter_mut().zip(points) {
            *distance = distance.min(squared(point, &centre));
        }
        centres.push(centre);
    }
    Ok(centres)
}

fn lloyd(points: &[Vec<f32>], mut centroids: Vec<Vec<f32>>) -> Clusters {
    let mut nearest = vec![usize::MAX; points.len()];
    for _ in 0..ROUNDS {
        let assigned: Vec<usize> = points.iter().map(|point| closest(point, &centroids)).collect();
        if assigned == nearest {
            break;
        }
        nearest = assigned;
        let width = centroids[0].len();
        let mut sums = vec![vec![0.0f64; width]; centroids.len()];
        let mut sizes = vec![0usize; centroids.len()];
        for (point, &group) in points.iter().zip(&nearest) {
            sizes[group] += 1;
            for (sum, value) in sums[group].iter_mut().zip(point) {
                *sum += f64::from(*value);
            }
        }
        for ((centroid, sum), &size) in centroids.iter_mut().zip(sums).zip(&sizes) {
            // A group that lost all its points keeps its place; later points may come back to it.
            if size > 0 {
                *centroid = sum.iter().map(|value| (value / size as f64) as f32).collect();
            }
        }
    }
    let spread = points.iter().zip(&nearest).map(|(point, &group)| squared(point, &centroids[group])).sum();
    Clusters { centroids, nearest, spread }
}

/// Index of the nearest centroid, the first of equals.
fn closest(point: &[f32], centroids: &[Vec<f32>]) -> usize {
    let mut best = (0, f64::INFINITY);
    for (index, centroid) in centroids.iter().enumerate() {
        let distance = squared(point, centroid);
        if distance < best.1 {
            best = (index, distance);
        }
    }
    best.0
}

fn squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> Vec<Vec<f32>> {
        let mut random = Random::new(9, 0);
        let centres = [[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]];
        (0..60).map(|i| centres[i % 3].iter().map(|c| c + random.uniform() as f32).collect()).collect()
    }

    #[test]
    fn groups_that_stand_apart_are_found() {
        let clusters = k_means(&blobs(), 3, 1).unwrap();
        for (i, group) in clusters.nearest.iter().enumerate() {
            assert_eq!(*group, clusters.nearest[i % 3], "point {i}");
        }
        assert!(clusters.spread < 60.0, "{}", clusters.spread);
        // Centroids are the means of their groups.
        let first = clusters.nearest[0];
        let own: Vec<Vec<f32>> = blobs().into_iter().step_by(3).collect();
        let mean = own.iter().map(|point| point[0]).sum::<f32>() / own.len() as f32;
        assert!((clusters.centroids[first][0] - mean).abs() < 1e-5);
    }

    #[test]
    fn the_same_seed_gives_the_same_groups() {
        let (one, two) = (k_means(&blobs(), 5, 7).unwrap(), k_means(&blobs(), 5, 7).unwrap());
        assert_eq!((one.centroids, one.nearest), (two.centroids, two.nearest));
    }

    #[test]
    fn too_few_different_points_are_refused() {
        assert!(k_means(&blobs()[..2], 3, 1).is_err());
        let same = vec![vec![1.0, 2.0]; 10];
        assert!(k_means(&same, 2, 1).unwrap_err().to_string().contains("differ in 1 ways"));
        assert_eq!(k_means(&same, 1, 1).unwrap().nearest, vec![0; 10]);
    }
}
