//! What an adapter was customized for: whether a query lies among its examples or among general texts. What lies outside is
//! answered without the adapter, and a router may send it to a bigger model.
//!
//! It is kept beside the adapter, in a file that PEFT does not look at: `scope.safetensors` with `examples`
//! `[examples, width]`, their queries, and `border` `[1, 1]`; without a border the adapter acts always. The adapter itself does
//! not hold them, so it can be given away without telling what it was customized for. Files of earlier versions hold the mean
//! of the examples' centred queries (`query`) and the pool's (`mean`).

use std::collections::BTreeMap;
use std::path::Path;

use crayon_formats::safetensors::{self, SafeTensors};
use crayon_formats::{Checkpoint, Tensor};
use sha2::{Digest, Sha256};

use crate::AdapterError;
use crate::catalogue::matrix;
use crate::general::{Against, General, Place, quantile};
use crate::kmeans::k_means;

/// The file beside an adapter.
const FILE: &str = "scope.safetensors";
/// Key of the model's fingerprint in its metadata.
const BASE: &str = "crayon.base";
const OTHERS: &str = "take the file away, or customize again";
/// Examples that are kept at most.
const MOST: usize = 128;
/// Share of the general texts that lie outside.
const OUTSIDE: f64 = 0.96;
/// So often an example must be liker the others than a general text is, or the examples are of all kinds.
const APART: f64 = 0.8;
/// With fewer examples they are not compared with each other.
const FEW: usize = 4;

/// The examples an adapter was customized for.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// Queries of the examples, `[examples][width]`.
    pub examples: Vec<Vec<f32>>,
    /// How much liker the examples than general texts a query inside is, as the `ln` of the two densities' quotient. `None` where
    /// everything is inside.
    pub border: Option<f32>,
}

impl Scope {
    /// The scope of `examples`, queries `[examples][width]` as [`QueryEncoder::query`](crate::QueryEncoder::query) gives them:
    /// nearly all general texts lie outside. Examples that are themselves of all kinds, such as those of a way to speak, have
    /// no border.
    pub fn of_examples(examples: Vec<Vec<f32>>, general: &General) -> Scope {
        let places: Vec<Place> = examples.iter().map(|query| general.place(query)).collect();
        let outside = general.likenesses(&places, Against::All);
        let own = |at: usize| {
            let others = places.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, place)| place);
            general.likeness(&places[at], others, Against::All)
        };
        let apart = places.len() < FEW || {
            let own: Vec<f64> = (0..places.len()).map(own).collect();
            let pairs = own.iter().flat_map(|own| outside.iter().map(move |other| own > other));
            let above = pairs.filter(|above| *above).count();
            above as f64 >= APART * (own.len() * outside.len()) as f64
        };
        let border = (apart && !places.is_empty()).then(|| quantile(&outside, OUTSIDE) as f32);
        Scope { examples, border }
    }

    /// The examples in `most` groups at most, the mean of each.
    ///
    /// # Errors
    /// When one of them is not finite.
    pub fn gathered(&self, most: usize) -> Result<Vec<Vec<f32>>, AdapterError> {
        let mut different: Vec<Vec<f32>> = Vec::new();
        for example in &self.examples {
            if !different.contains(example) {
                different.push(example.clone());
            }
        }
        if different.len() <= most {
            return Ok(different);
        }
        Ok(k_means(&different, most, 0)?.centroids)
    }

    /// How likely `query` `[width]` belongs to the examples rather than to general texts, 0 to 1; the border is at 0.5.
    pub fn of(&self, query: &[f32], general: &General) -> f32 {
        let places: Vec<Place> = self.examples.iter().map(|query| general.place(query)).collect();
        let likeness = general.likeness(&general.place(query), places.iter(), Against::All);
        share(likeness, f64::from(self.border.unwrap_or(0.0)))
    }

    /// Whether a query of this [`of`](Self::of) is answered through the adapter.
    pub fn acts(&self, of: f32) -> bool {
        self.border.is_none() || of >= 0.5
    }

    /// Text that differs between scopes.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let border = self.border.iter();
        self.examples.iter().flatten().chain(border).for_each(|value| hash.update(value.to_le_bytes()));
        hex::encode(hash.finalize())
    }

    /// Writes it beside the adapter in `folder`, for the model with the fingerprint `base`.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write(&self, folder: &Path, base: &str) -> Result<(), AdapterError> {
        let width = self.examples.first().map_or(0, Vec::len);
        let mut tensors =
            vec![Tensor::from_f32("examples", vec![self.examples.len(), width], &self.examples.concat())];
        tensors.extend(self.border.map(|border| Tensor::from_f32("border", vec![1, 1], &[border])));
        let metadata = BTreeMap::from([(BASE.to_owned(), base.to_owned())]);
        Ok(safetensors::write(&folder.join(FILE), &tensors, &metadata)?)
    }

    /// Reads what stands beside the adapter at `path`, its folder or a file in it, for the model in `checkpoint` or the one it is a form
    /// of; `None` where nothing does. What an earlier version wrote has no border.
    ///
    /// # Errors
    /// When the file is damaged or belongs to another model.
    pub fn read(path: &Path, checkpoint: &Checkpoint) -> Result<Option<Scope>, AdapterError> {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let path = folder.join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let file = SafeTensors::open(&path)?;
        let spec = &checkpoint.spec;
        let origin = checkpoint.origin().map_or(&[][..], |origin| &origin.fingerprints);
        if !file
            .metadata
            .get(BASE)
            .is_some_and(|base| origin.contains(base) || *base == checkpoint.fingerprint())
        {
            return Err(AdapterError::file(&path, "belongs to another model", OTHERS));
        }
        let rows = |name: &str, most: usize, width: usize| match matrix(&file, name)? {
            rows if !rows.is_empty() && rows.len() <= most && rows[0].len() == width => Ok(rows),
            _ => {
                let what = format!("is not one to {most} rows of {width} values");
                Err(AdapterError::tensor(&file.file, name, what, OTHERS))
            }
        };
        let width = spec.heads * spec.head_dim;
        if file.tensor("examples")?.is_none() {
            let (query, mean) = (rows("query", 1, width)?, rows("mean", 1, width)?);
            // One example in the direction of them all, about as far from the mean as the mean is from nothing.
            let lengths = |row: &[f32]| crate::keys::dot(row, row).sqrt();
            let scale = (0.5 * lengths(&mean[0]) / lengths(&query[0]).max(f64::MIN_POSITIVE)) as f32;
            let example = mean[0].iter().zip(&query[0]).map(|(mean, query)| mean + scale * query).collect();
            return Ok(Some(Scope { examples: vec![example], border: None }));
        }
        let border = match file.tensor("border")? {
            Some(_) => Some(rows("border", 1, 1)?[0][0]),
            None => None,
        };
        Ok(Some(Scope { examples: rows("examples", MOST, width)?, border }))
    }
}

/// From the `ln` of two densities' quotient to a share, 0.5 at the border.
pub(crate) fn share(likeness: f64, border: f64) -> f32 {
    (1.0 / (1.0 + (border - likeness).exp())) as f32
}

/// So many queries of all that are added as a scope keeps, evenly spread, in memory that does not grow.
#[derive(Clone, Debug)]
pub struct ScopeQueries {
    kept: Vec<Vec<f32>>,
    seen: usize,
    every: usize,
}

impl Default for ScopeQueries {
    fn default() -> ScopeQueries {
        ScopeQueries { kept: Vec::new(), seen: 0, every: 1 }
    }
}

impl ScopeQueries {
    /// Adds one.
    pub fn add(&mut self, query: Vec<f32>) {
        if self.seen.is_multiple_of(self.every) {
            if self.kept.len() == MOST {
                let mut at = 0;
                self.kept.retain(|_| {
                    at += 1;
                    at % 2 == 1
                });
                self.every *= 2;
            }
            if self.seen.is_multiple_of(self.every) {
                self.kept.push(query);
            }
        }
        self.seen += 1;
    }

    /// What was kept.
    pub fn into_queries(self) -> Vec<Vec<f32>> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    const WIDTH: usize = 24;

    #[test]
    fn many_examples_are_gathered_in_groups() {
        let mut random = Random::seeded(3);
        let groups = [around(-5.0, 20, &mut random), around(5.0, 20, &mut random)].concat();
        let scope = Scope { examples: groups, border: None };
        let means = scope.gathered(2).unwrap();
        let mut firsts: Vec<f32> = means.iter().map(|mean| mean[0]).collect();
        firsts.sort_by(f32::total_cmp);
        assert!(firsts[0] < -3.0 && firsts[1] > 3.0, "{firsts:?}");
        assert_eq!(scope.gathered(99).unwrap().len(), 40);
    }

    fn around(centre: f32, count: usize, random: &mut Random) -> Vec<Vec<f32>> {
        let mut value = |at: usize| if at < 6 { centre } else { 0.0 } + random.uniform() as f32 - 0.5;
        (0..count).map(|_| (0..WIDTH).map(&mut value).collect()).collect()
    }

    fn general(random: &mut Random) -> General {
        General::new(&around(0.0, General::texts().count(), random))
    }

    #[test]
    fn what_is_like_the_examples_lies_inside_and_general_texts_outside() {
        let mut random = Random::seeded(3);
        let general = general(&mut random);
        for count in [1, 3, 12] {
            let scope = Scope::of_examples(around(1.0, count, &mut random), &general);
            assert!(scope.border.is_some(), "{count}");
            let inside = |queries: &[Vec<f32>]| {
                queries.iter().filter(|query| scope.acts(scope.of(query, &general))).count()
            };
            assert!(inside(&around(1.0, 100, &mut random)) >= 95, "{count}");
            assert!(inside(&around(0.0, 100, &mut random)) <= 10, "{count}");
        }
    }

    #[test]
    fn examples_of_all_kinds_have_no_border() {
        let mut random = Random::seeded(4);
        let general = general(&mut random);
        let scope = Scope::of_examples(around(0.0, 20, &mut random), &general);
        assert_eq!(scope.border, None);
        assert!(around(-1.0, 20, &mut random).iter().all(|query| scope.acts(scope.of(query, &general))));
    }

    #[test]
    fn scopes_differ_by_examples_and_border() {
        let scope = Scope { examples: vec![vec![1.0, 2.0]], border: Some(0.5) };
        let others = [
            Scope { border: None, ..scope.clone() },
            Scope { border: Some(0.6), ..scope.clone() },
            Scope { examples: vec![vec![1.0, 3.0]], ..scope.clone() },
        ];
        assert!(others.iter().all(|other| other.fingerprint() != scope.fingerprint()));
    }

    #[test]
    fn a_sample_of_many_is_spread_evenly() {
        let kept = |count: usize| {
            let mut queries = ScopeQueries::default();
            (0..count).for_each(|at| queries.add(vec![at as f32]));
            queries.into_queries().into_iter().map(|query| query[0] as usize).collect::<Vec<_>>()
        };
        assert_eq!(kept(MOST), (0..MOST).collect::<Vec<_>>());
        assert_eq!(kept(2 * MOST), (0..MOST).map(|at| 2 * at).collect::<Vec<_>>());
        let many = kept(10_000);
        let step = many[1];
        assert!(many.len() > MOST / 2 && many.len() <= MOST, "{}", many.len());
        assert!(
            many.iter().enumerate().all(|(at, kept)| *kept == at * step)
                && many[many.len() - 1] + step > 9_998
        );
    }
}
