//! Episodes of a text: clusters of segments that are about the same thing (EpiCache, arXiv 2509.17396).

use crayon_model::Decoder;

/// Episodes kept in mind.
const EPISODES: usize = 4;
/// Rounds of k-means; so few segments settle sooner.
const ROUNDS: usize = 8;

/// The segment nearest to the middle of each episode, among the segments of `chunk` and the earlier `medoids`.
/// Segments have at most `length` tokens.
pub(crate) fn medoids(
    decoder: &Decoder,
    medoids: &[Vec<u32>],
    chunk: &[u32],
    length: usize,
) -> Vec<Vec<u32>> {
    let segments: Vec<&[u32]> = medoids
        .iter()
        .map(Vec::as_slice)
        .chain(chunk.chunks(length).filter(|s| s.len() * 2 > length))
        .collect();
    let mut points: Vec<Vec<f32>> = segments.iter().map(|segment| embed(decoder, segment)).collect();
    centre(&mut points);
    nearest_to_middles(&points, EPISODES.min(segments.len()))
        .into_iter()
        .map(|at| segments[at].to_vec())
        .collect()
}

/// Mean of the token embeddings.
fn embed(decoder: &Decoder, tokens: &[u32]) -> Vec<f32> {
    let width = decoder.spec().hidden;
    let (mut row, mut mean) = (vec![0.0; width], vec![0.0; width]);
    for &token in tokens {
        decoder.embedding(token, &mut row);
        mean.iter_mut().zip(&row).for_each(|(mean, x)| *mean += x / tokens.len() as f32);
    }
    mean
}

/// Subtracts the common mean, without which all segments of a text look alike.
fn centre(points: &mut [Vec<f32>]) {
    let Some(width) = points.first().map(Vec::len) else { return };
    let mut mean = vec![0.0; width];
    for point in points.iter() {
        mean.iter_mut().zip(point).for_each(|(mean, x)| *mean += x / points.len() as f32);
    }
    for point in points {
        point.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean);
    }
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// k-means with farthest-first starts; returns the point nearest to each middle, ascending and without repetition.
fn nearest_to_middles(points: &[Vec<f32>], k: usize) -> Vec<usize> {
    if k == 0 {
        return Vec::new();
    }
    let mut middles = vec![points[0].clone()];
    let lonely = |middles: &[Vec<f32>], point: &[f32]| {
        middles.iter().map(|middle| distance(middle, point)).fold(f32::INFINITY, f32::min)
    };
    while middles.len() < k {
        let far = points.iter().max_by(|a, b| lonely(&middles, a).total_cmp(&lonely(&middles, b)));
        middles.extend(far.cloned());
    }
    let closest = |middles: &[Vec<f32>], point: &[f32]| {
        let by_distance =
            |a: &usize, b: &usize| distance(&middles[*a], point).total_cmp(&distance(&middles[*b], point));
        (0..k).min_by(by_distance).unwrap_or(0)
    };
    for _ in 0..ROUNDS {
        let of: Vec<usize> = points.iter().map(|point| closest(&middles, point)).collect();
        for (cluster, middle) in middles.iter_mut().enumerate() {
            let members: Vec<&Vec<f32>> =
                points.iter().zip(&of).filter(|(_, of)| **of == cluster).map(|(p, _)| p).collect();
            if !members.is_empty() {
                middle.fill(0.0);
                for member in &members {
                    middle.iter_mut().zip(*member).for_each(|(m, x)| *m += x / members.len() as f32);
                }
            }
        }
    }
    let nearest = |middle: &Vec<f32>| {
        (0..points.len())
            .min_by(|a, b| distance(&points[*a], middle).total_cmp(&distance(&points[*b], middle)))
    };
    let mut chosen: Vec<usize> = middles.iter().filter_map(nearest).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cluster_gives_its_middle() {
        let points: Vec<Vec<f32>> =
            [[0.0, 0.0], [0.1, 0.0], [0.2, 0.0], [9.0, 9.0], [9.1, 9.0], [9.2, 9.0]].map(Vec::from).into();
        assert_eq!(nearest_to_middles(&points, 2), [1, 4]);
        assert_eq!(nearest_to_middles(&points[..1], 1), [0]);
        assert!(nearest_to_middles(&[], 0).is_empty());
    }

    #[test]
    fn centred_points_have_no_common_part() {
        let mut points = vec![vec![5.0, 1.0], vec![5.0, 3.0]];
        centre(&mut points);
        assert_eq!(points, [vec![0.0, -1.0], vec![0.0, 1.0]]);
    }
}
