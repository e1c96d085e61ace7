//! What requests may ask for besides the model: adapters, pools, a bigger model on a server.

use std::sync::Arc;

use crayon_engine::Engine;
use crayon_engine::adapters::{Form, Lora, Pool, Scope, Stack, peft};
use crayon_hybrid::{HybridError, Remote, Route, Router, Thresholds};

use crate::ServeError;
use crate::refusal::Refusal;

/// Offered to requests; nothing is by default.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    /// Adapters by name.
    pub adapters: Vec<OfferedAdapter>,
    /// Pools by name, which requests with examples are blended from, and other devices with scores.
    pub pools: Vec<(String, Pool)>,
    /// A server with a bigger model.
    pub bigger: Option<Bigger>,
}

/// An adapter that requests may name.
#[derive(Clone, Debug)]
pub struct OfferedAdapter {
    /// Its name in requests.
    pub name: String,
    /// The adapter.
    pub lora: Lora,
    /// Its weight where a request gives none; other weights are multiplied with it.
    pub weight: f32,
    /// What it was customised for, where known.
    pub scope: Option<Scope>,
}

impl Offers {
    /// Whether everything has a name of its own that requests can spell.
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        distinct("adapter", self.adapters.iter().map(|adapter| adapter.name.as_str()))?;
        distinct("pool", self.pools.iter().map(|(name, _)| name.as_str()))
    }
}

/// A bigger model on a server, and when it is asked.
#[derive(Clone, Debug)]
pub struct Bigger {
    /// The server.
    pub remote: Remote,
    /// Who answers where a request does not say.
    pub route: Route,
    /// When the device is sure enough.
    pub thresholds: Thresholds,
}

impl Bigger {
    /// Who decides for a request that asks for `route`.
    pub(crate) fn router(&self, route: Option<Route>) -> Result<Router, HybridError> {
        let route = route.unwrap_or(self.route);
        Router::new(route, true, false, None, self.thresholds)
    }
}

/// The offers, ready to be used.
pub(crate) struct Shelf {
    adapters: Vec<OfferedAdapter>,
    /// Those adapters, held once for any weighting.
    stack: Option<Arc<Stack>>,
    pub(crate) pools: Vec<Shelved>,
    pub(crate) bigger: Option<Bigger>,
}

/// A pool, ready to be used.
pub(crate) struct Shelved {
    pub(crate) name: String,
    pub(crate) pool: Pool,
    pub(crate) stack: Arc<Stack>,
    /// The file of its keys, as devices get it.
    pub(crate) keys: Vec<u8>,
    /// SHA-256 of that file.
    pub(crate) digest: String,
}

impl Shelf {
    pub(crate) fn new(offers: Offers, engine: &Engine) -> Result<Shelf, ServeError> {
        let Offers { adapters, pools, bigger } = offers;
        let loras: Vec<&Lora> = adapters.iter().map(|adapter| &adapter.lora).collect();
        let stack = match loras.is_empty() {
            true => None,
            false => Some(Arc::new(Stack::new(&loras, engine.spec(), engine.pool())?)),
        };
        let pools = pools.into_iter().map(|(name, pool)| {
            let stack = Arc::new(pool.stack(engine.spec(), engine.pool())?);
            let keys = pool.catalogue().to_bytes()?;
            let digest = crayon_hybrid::digest(&keys);
            Ok(Shelved { name, pool, stack, keys, digest })
        });
        Ok(Shelf { adapters, stack, pools: pools.collect::<Result<_, ServeError>>()?, bigger })
    }

    /// The pool called `name`; the only one where none is named.
    pub(crate) fn pool(&self, name: Option<&str>) -> Result<&Shelved, Refusal> {
        let found = match name {
            Some(name) => self.pools.iter().find(|pool| pool.name == name),
            None => Some(&self.pools).filter(|pools| pools.len() == 1).and_then(|pools| pools.first()),
        };
        found.ok_or_else(|| {
            let what =
                name.map_or("which pool is not said".to_owned(), |name| format!("no pool {name:?} here"));
            let names = self.pools.iter().map(|pool| pool.name.as_str());
            Refusal::unknown("pool", what, names).code("pool_not_found")
        })
    }

    /// The adapters of a request, each with its weight, and their sum to answer through.
    pub(crate) fn blend(&self, wanted: &[(String, f32)]) -> Result<Chosen<'_>, Refusal> {
        let mut weights = vec![0.0; self.adapters.len()];
        let mut scopes = Vec::new();
        for (name, weight) in wanted {
            let Some(at) = self.adapters.iter().position(|adapter| adapter.name == *name) else {
                let names = self.adapters.iter().map(|adapter| adapter.name.as_str());
                let refusal = Refusal::unknown("adapter", format!("no adapter {name:?} here"), names);
                return Err(refusal.code("adapter_not_found"));
            };
            weights[at] += weight * self.adapters[at].weight;
            scopes.extend(&self.adapters[at].scope);
        }
        let weighted = match &self.stack {
            Some(stack) => stack.weigh(&weights).map_err(|error| Refusal::invalid(error.to_string()))?,
            None => return Err(Refusal::invalid("no adapter is offered here").at("adapter")),
        };
        Ok(Chosen { weighted, scopes })
    }
}

/// Adapters a request named.
pub(crate) struct Chosen<'a> {
    pub(crate) weighted: crayon_engine::adapters::Weighted,
    pub(crate) scopes: Vec<&'a Scope>,
}

impl Shelved {
    /// One adapter for these scores, in one piece.
    pub(crate) fn blend(
        &self,
        engine: &Engine,
        scores: &[f32],
        form: Form,
        temperature: Option<f32>,
    ) -> Result<Vec<u8>, Refusal> {
        let temperature = temperature.unwrap_or(self.pool.temperature);
        let made = self.pool.blend(scores, temperature, form, engine.pool());
        let bytes = made.and_then(|blended| peft::to_bytes(&blended.lora, engine.spec()));
        bytes.map_err(|error| Refusal::invalid(error.to_string()))
    }
}

/// Names that stand in addresses and objects: letters, digits, `-`, `_`, `.`, each once.
fn distinct<'a>(what: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), ServeError> {
    let mut seen = Vec::new();
    for name in names {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let problem = match name {
            name if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) => "is no name",
            name if seen.contains(&name) => "is given twice",
            _ => {
                seen.push(name);
                continue;
            }
        };
        return Err(ServeError::Name { what, name: name.to_owned(), problem });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_distinct() {
        let check =
            |names: &[&str]| distinct("pool", names.iter().copied()).map_err(|error| error.to_string());
        assert_eq!(check(&["a", "B-2", "c_d.e"]), Ok(()));
        assert!(check(&["a", "a"]).unwrap_err().contains("twice"));
        for wrong in ["", "a/b", "..", "a b", "ä"] {
            assert!(check(&[wrong]).unwrap_err().contains("is no name"), "{wrong}");
        }
    }
}
