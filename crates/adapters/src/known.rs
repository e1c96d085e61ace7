//! What a pool knows: whether a query lies among what its adapters learned, or elsewhere.

use crate::general::{Against, General, Place, quantile};
use crate::{Keys, scope};

/// Share of the texts from elsewhere that a pool is taken not to know.
const UNKNOWN: f64 = 0.95;

/// The places of a pool's keys.
#[derive(Clone, Debug)]
pub struct Known<'g> {
    general: &'g General,
    keys: Vec<Place>,
    border: f64,
}

impl<'g> Known<'g> {
    /// What the pool of `keys` knows. A key says a direction only; it is taken to lie as far from the mean query as everyday
    /// questions do.
    pub fn new(keys: &Keys, general: &'g General) -> Known<'g> {
        let distance = general.distance(&keys.mean);
        let place = |key: &Vec<f32>| {
            let length = crate::keys::dot(key, key).sqrt();
            let scale = if length > 0.0 { (distance / length) as f32 } else { 0.0 };
            let query: Vec<f32> = keys.mean.iter().zip(key).map(|(mean, key)| mean + scale * key).collect();
            general.place(&query)
        };
        let keys: Vec<Place> = keys.keys.iter().map(place).collect();
        let border = quantile(&general.likenesses(&keys, Against::Elsewhere), UNKNOWN);
        Known { general, keys, border }
    }

    /// How likely `query` `[width]` is of a kind that the pool learned, 0 to 1: other languages, programs, dates, verse and
    /// noise lie below 0.5.
    pub fn of(&self, query: &[f32]) -> f32 {
        let place = self.general.place(query);
        scope::share(self.general.likeness(&place, self.keys.iter(), Against::Elsewhere), self.border)
    }
}
