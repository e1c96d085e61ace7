//! General texts: what people ask and write that belongs to no customization. They say how far apart queries lie, and how
//! dense they lie where nobody asked for anything special, so that "near" means something.
//!
//! Queries differ most in what says little: the case of letters, the words that every sentence has. Directions are therefore
//! weighed by how much general texts differ in them (the inverse of their covariance, with a ridge), and cosines are taken
//! after that.

/// Everyday questions and instructions of many kinds, one a line.
const QUESTIONS: &str = include_str!("texts/general.txt");
/// Other languages, programs, dates, verse and noise, one a line.
const ELSEWHERE: &str = include_str!("texts/elsewhere.txt");
/// Ridge, as a share of the mean variance of a direction.
const RIDGE: f64 = 0.3;
/// Width of the kernel that densities are estimated with, in cosines.
const WIDTH: f64 = 0.15;

/// The queries of the general texts for one model.
#[derive(Clone, Debug)]
pub struct General {
    mean: Vec<f32>,
    /// Queries without the mean, `[texts][width]`.
    offsets: Vec<Vec<f32>>,
    /// Lower triangle of the Cholesky factor of `offsets offsets' + ridge I`, row after row.
    factor: Vec<f32>,
    places: Vec<Place>,
    /// Of the texts, so many are everyday questions; the others follow.
    questions: usize,
}

/// Where a query lies among the general ones.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    offset: Vec<f32>,
    /// What the general texts explain of it: an inner product is that of the offsets less that of these.
    explained: Vec<f32>,
    length: f64,
}

impl Place {
    fn cosine(&self, other: &Place) -> f64 {
        let inner = product(&self.offset, &other.offset) - product(&self.explained, &other.explained);
        let lengths = self.length * other.length;
        if lengths > 0.0 { inner / lengths } else { 0.0 }
    }
}

impl General {
    /// The texts in order, each as it is written and then as people write in haste: in small letters and without its end.
    pub fn texts() -> impl Iterator<Item = String> {
        QUESTIONS.lines().chain(ELSEWHERE.lines()).flat_map(|line| {
            let plain = line.to_lowercase();
            [line.to_owned(), plain.trim_end_matches(['.', '?', '!']).to_owned()]
        })
    }

    /// From the queries of [`texts`](Self::texts), `[texts][width]`.
    pub fn new(queries: &[Vec<f32>]) -> General {
        let count = queries.len().max(1) as f64;
        let width = queries.first().map_or(0, Vec::len);
        let mean: Vec<f32> = (0..width)
            .map(|at| (queries.iter().map(|q| f64::from(q[at])).sum::<f64>() / count) as f32)
            .collect();
        let offsets: Vec<Vec<f32>> = queries.iter().map(|query| less(query, &mean)).collect();
        let products = products(&offsets);
        let trace: f64 = (0..offsets.len()).map(|at| products[start(at) + at]).sum();
        let ridge = (RIDGE * trace / width.max(1) as f64).max(f64::MIN_POSITIVE);
        let factor = cholesky(&products, offsets.len(), ridge);
        let questions = 2 * QUESTIONS.lines().count();
        let mut general = General { mean, offsets, factor, places: Vec::new(), questions };
        let with = |at: usize, other: usize| products[start(at.max(other)) + at.min(other)];
        general.places = (0..general.offsets.len())
            .map(|at| general.placed(general.offsets[at].clone(), |other| with(at, other)))
            .collect();
        general
    }

    /// Where `query` `[width]` lies.
    pub(crate) fn place(&self, query: &[f32]) -> Place {
        let offset = less(query, &self.mean);
        let products: Vec<f64> = self.offsets.iter().map(|other| product(other, &offset)).collect();
        self.placed(offset, |at| products[at])
    }

    /// The place of `offset`, with its inner product `with` each of the general ones.
    fn placed(&self, offset: Vec<f32>, with: impl Fn(usize) -> f64) -> Place {
        let mut explained: Vec<f32> = Vec::with_capacity(self.offsets.len());
        let mut squared = product(&offset, &offset);
        for at in 0..self.offsets.len() {
            let row = &self.factor[start(at)..];
            let value = (with(at) - product(&row[..at], &explained)) / f64::from(row[at]);
            squared -= value * value;
            explained.push(value as f32);
        }
        Place { offset, explained, length: squared.max(0.0).sqrt() }
    }

    /// `ln` of how dense `near` lie around `place` against the general texts, or against those that are not everyday questions.
    pub(crate) fn likeness<'a>(
        &self,
        place: &Place,
        near: impl Iterator<Item = &'a Place>,
        against: Against,
    ) -> f64 {
        let texts = &self.places[self.first(against)..];
        log_density(place, near) - log_density(place, texts.iter())
    }

    /// [`likeness`](Self::likeness) of each of those texts themselves, measured against the others.
    pub(crate) fn likenesses(&self, near: &[Place], against: Against) -> Vec<f64> {
        let first = self.first(against);
        let of = |at: usize| {
            let place = &self.places[at];
            // Without itself, and without the other way of writing it.
            let others = (first..self.places.len()).filter(|other| other / 2 != at / 2);
            log_density(place, near.iter()) - log_density(place, others.map(|other| &self.places[other]))
        };
        (first..self.places.len()).map(of).collect()
    }

    /// Mean distance of everyday questions from `point`, `[width]`.
    pub(crate) fn distance(&self, point: &[f32]) -> f64 {
        let from_mean = less(point, &self.mean);
        let questions = &self.offsets[..self.questions];
        let lengths = questions.iter().map(|offset| {
            let offset = less(offset, &from_mean);
            product(&offset, &offset).sqrt()
        });
        lengths.sum::<f64>() / questions.len().max(1) as f64
    }

    fn first(&self, against: Against) -> usize {
        match against {
            Against::All => 0,
            Against::Elsewhere => self.questions,
        }
    }
}

/// The general texts that something is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Against {
    /// All of them.
    All,
    /// Those that are not everyday questions.
    Elsewhere,
}

/// `ln` of the mean kernel between `place` and `others`.
fn log_density<'a>(place: &Place, others: impl Iterator<Item = &'a Place>) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for other in others {
        sum += (place.cosine(other) / WIDTH).exp();
        count += 1;
    }
    (sum / f64::from(count.max(1))).max(f64::MIN_POSITIVE).ln()
}

/// The value that `share` of `values` do not exceed; `values` must not be empty.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(at.max(1) - 1).copied().unwrap_or(f64::INFINITY)
}

fn less(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// Where row `row` of a lower triangle begins.
fn start(row: usize) -> usize {
    row * (row + 1) / 2
}

/// Lower triangle of `rows rows'`.
fn products(rows: &[Vec<f32>]) -> Vec<f64> {
    let row = |at: usize| rows[..=at].iter().map(move |other| product(&rows[at], other));
    (0..rows.len()).flat_map(row).collect()
}

/// Lower triangle of the Cholesky factor of a symmetric matrix, given by its own, plus `ridge` on the diagonal.
fn cholesky(matrix: &[f64], size: usize, ridge: f64) -> Vec<f32> {
    let mut factor: Vec<f32> = Vec::with_capacity(matrix.len());
    for at in 0..size {
        for other in 0..=at {
            let before = product(&factor[start(at)..], &factor[start(other)..start(other) + other]);
            let left = matrix[start(at) + other] - before;
            factor.push(match other == at {
                true => (left + ridge).max(f64::MIN_POSITIVE).sqrt() as f32,
                false => (left / f64::from(factor[start(other) + other])) as f32,
            });
        }
    }
    factor
}

/// Inner product of as many values as both have, in sums side by side that a processor makes at once.
fn product(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 8;
    let common = a.len().min(b.len());
    let (a, b) = (a[..common].chunks_exact(LANES), b[..common].chunks_exact(LANES));
    let rest =
        a.remainder().iter().zip(b.remainder()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let mut sums = [0.0; LANES];
    for (a, b) in a.zip(b) {
        for at in 0..LANES {
            sums[at] += f64::from(a[at]) * f64::from(b[at]);
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn made_up(width: usize) -> General {
        let mut random = Random::seeded(7);
        let mut value = |at: usize| (random.uniform() as f32 - 0.5) * if at < 2 { 20.0 } else { 1.0 };
        let queries: Vec<Vec<f32>> = General::texts().map(|_| (0..width).map(&mut value).collect()).collect();
        General::new(&queries)
    }

    #[test]
    fn directions_in_which_everything_differs_count_for_less() {
        let general = made_up(8);
        let at = |first: f32, last: f32| {
            let mut query = general.mean.clone();
            query[0] += first;
            query[7] += last;
            general.place(&query)
        };
        // Plain cosines are -0.8 and 0.8.
        assert!(at(10.0, 3.0).cosine(&at(-10.0, 3.0)) > 0.0);
        assert!(at(10.0, 3.0).cosine(&at(10.0, -3.0)) < 0.0);
        let place = at(1.0, 2.0);
        assert!((place.cosine(&place) - 1.0).abs() < 1e-5);
        assert_eq!(general.place(&general.mean).cosine(&place), 0.0);
    }

    #[test]
    fn inner_products_are_those_of_the_inverse_covariance() {
        let general = made_up(3);
        // (Z'Z + c I) y = x solved by elimination, for one x.
        let trace: f64 = general.offsets.iter().map(|offset| product(offset, offset)).sum();
        let ridge = RIDGE * trace / 3.0;
        let mut system = [[0.0f64; 4]; 3];
        for (i, row) in system.iter_mut().enumerate() {
            for (j, value) in row.iter_mut().take(3).enumerate() {
                let products =
                    general.offsets.iter().map(|offset| f64::from(offset[i]) * f64::from(offset[j]));
                *value = products.sum::<f64>() + if i == j { ridge } else { 0.0 };
            }
        }
        let x = [3.0f32, -1.0, 2.0];
        for (row, value) in system.iter_mut().zip(x) {
            row[3] = f64::from(value);
        }
        for pivot in 0..3 {
            for row in 0..3 {
                if row != pivot {
                    let by = system[row][pivot] / system[pivot][pivot];
                    let subtract = system[pivot];
                    system[row].iter_mut().zip(subtract).for_each(|(value, other)| *value -= by * other);
                }
            }
        }
        let squared: f64 = (0..3).map(|at| f64::from(x[at]) * system[at][3] / system[at][at]).sum();
        let query: Vec<f32> = general.mean.iter().zip(x).map(|(mean, x)| mean + x).collect();
        let length = general.place(&query).length;
        assert!((length * length / ridge / squared - 1.0).abs() < 1e-4, "{length} {squared}");
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(
            [0.0, 0.25, 0.5, 0.51, 1.0].map(|share| quantile(&values, share)),
            [1.0, 1.0, 2.0, 3.0, 4.0]
        );
    }

    #[test]
    fn every_text_is_there_twice() {
        let texts: Vec<String> = General::texts().collect();
        assert_eq!(texts.len() % 2, 0);
        assert!(texts.iter().all(|text| !text.trim().is_empty()));
        assert!(texts.contains(&"Hello!".to_owned()) && texts.contains(&"hello".to_owned()));
    }
}
