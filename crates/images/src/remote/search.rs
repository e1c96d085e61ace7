//! Searches asked of a server. It looks for what is near to the words and to the picture, among the pictures that pass the filter; scores, minus
//! words, the cut-off and near-duplicates are judged here, from the vectors it gives.

use std::collections::HashMap;

use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::{
    Condition, CountPoints, Filter as Conditions, PointId, Query as Near, QueryPoints, ScoredPoint,
    ScrollPoints,
};

use super::Remote;
use super::points::{KEYWORDS, conditions, known, vector};
use crate::bank::{Bank, CutOff, NAME as BANK};
use crate::ranking::{Asked, Candidate, Known, rank, wanted};
use crate::scan::dot;
use crate::{Embedder, Found, ImageError, MadeWith, Query};

/// Pictures by which a query's mean and spread over the collection are measured. Points are named by digests, so that the first of them are as
/// good as drawn by chance.
const SAMPLE: u32 = 1024;

impl Remote {
    /// As [`crate::Searcher::search`], of the whole collection.
    ///
    /// # Errors
    /// As there, and if the server fails.
    pub fn search(&self, query: &Query, embedder: &dyn Embedder) -> Result<Found, ImageError> {
        let info = self.info()?;
        let info = info.ok_or_else(|| super::remote(&self.address, &"there is no such collection"))?;
        self.made_with(&info)?.must_be_at(&MadeWith::of(embedder), &self.address.to_string())?;
        let notes = info.config.as_ref().map(|config| &config.metadata);
        let note = |name: &str| Some(notes?.get(&format!("{BANK} {name}"))?.as_double()? as f32);
        let asked = Asked::new(query, embedder)?;
        let bank = match (query.cut_off, note("explained"), note("least")) {
            (CutOff::Neutral, Some(explained), Some(least)) if asked.text.is_some() => {
                Some(Bank::restored(embedder, [explained, least])?)
            }
            _ => None,
        };
        let dim = embedder.dim();
        let sample = self.sample(dim)?;
        let cosines: Vec<Vec<f32>> = asked
            .vectors
            .chunks_exact(dim)
            .map(|vector| sample.iter().map(|picture| dot(vector, picture)).collect())
            .collect();
        let mix = asked.mix(&cosines.iter().map(Vec::as_slice).collect::<Vec<_>>());

        let filter = conditions(&query.filter);
        let count = wanted(query) as u64;
        let mut found: HashMap<String, Candidate<Known>> = HashMap::new();
        let mut take = |points: Vec<ScoredPoint>, named: bool| {
            for point in points {
                let read = || Some((name(point.id.as_ref()?)?, known(&point.payload)?));
                // What this program did not write is none of its pictures.
                let (Some((name, known)), Some(vector)) = (read(), vector(point.vectors.clone(), dim)) else {
                    continue;
                };
                found.entry(name).or_insert(Candidate { which: known, vector, named: false }).named |= named;
            }
        };
        for vector in asked.near() {
            take(self.nearest(vector, &filter, count)?, false);
        }
        if let (Some(prompt), Some(vector)) = (asked.text, asked.near().next()) {
            let mut filter = filter.clone();
            filter.must.push(Condition::matches(KEYWORDS, prompt.text.to_lowercase()));
            take(self.nearest(vector, &filter, count)?, true);
        }
        let mut candidates: Vec<(String, Candidate<Known>)> = found.into_iter().collect();
        candidates.sort_by(|a, b| a.0.cmp(&b.0));
        let candidates = candidates.into_iter().map(|(_, candidate)| candidate).collect();
        let found = rank(candidates, &asked, &mix, bank.as_ref(), query, |known| Ok(known.clone()))?;
        let counting = CountPoints {
            collection_name: self.address.collection.clone(),
            filter: Some(filter),
            exact: Some(true),
            ..CountPoints::default()
        };
        let counted = self.call(self.points.clone().count(counting))?.result;
        Ok(Found { considered: counted.map_or(0, |counted| counted.count as usize), ..found })
    }

    fn nearest(
        &self,
        vector: &[f32],
        filter: &Conditions,
        count: u64,
    ) -> Result<Vec<ScoredPoint>, ImageError> {
        let query = QueryPoints {
            collection_name: self.address.collection.clone(),
            query: Some(Near::new_nearest(vector.to_vec())),
            filter: Some(filter.clone()),
            limit: Some(count),
            with_vectors: Some(true.into()),
            with_payload: Some(true.into()),
            ..QueryPoints::default()
        };
        Ok(self.call(self.points.clone().query(query))?.result)
    }

    /// Vectors of some pictures.
    fn sample(&self, dim: usize) -> Result<Vec<Vec<f32>>, ImageError> {
        let scroll = ScrollPoints {
            collection_name: self.address.collection.clone(),
            limit: Some(SAMPLE),
            with_payload: Some(false.into()),
            with_vectors: Some(true.into()),
            ..ScrollPoints::default()
        };
        let points = self.call(self.points.clone().scroll(scroll))?.result;
        Ok(points.into_iter().filter_map(|point| vector(point.vectors, dim)).collect())
    }
}

/// The name of a point of ours, which is a UUID.
pub(super) fn name(id: &PointId) -> Option<String> {
    match id.point_id_options.as_ref()? {
        PointIdOptions::Uuid(name) => Some(name.clone()),
        PointIdOptions::Num(_) => None,
    }
}
