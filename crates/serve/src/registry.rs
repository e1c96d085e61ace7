//! What requests may ask for besides the model: adapters, pools, a bigger model on a server.

use std::ops::ControlFlow;
use std::sync::Arc;

use crayon_answer::{AnswerError, Calibrated, Customization, Routing, Server};
use crayon_engine::adapters::{Catalogue, Demonstration, Form, Lora, Pool, Scope, Stack, peft};
use crayon_engine::{Adapter, Engine};
use crayon_hybrid::{
    Event as ServerEvent, HybridError, Question, Remote, RemoteAnswer, Route, Router, Thresholds,
};
use tokio::sync::Semaphore;

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
    /// What is known of the model's confidence; nothing is doubted by default.
    pub calibrated: Calibrated,
    /// What the adapter of the engine was made for, through which requests are answered that name none; empty where it acts
    /// always.
    pub common: Vec<Scope>,
    /// Examples that stand in the prompts of requests that name no adapter.
    pub demonstrations: Vec<Demonstration>,
}

/// An adapter that requests may name.
#[derive(Clone, Debug)]
pub struct OfferedAdapter {
    /// Its name in requests.
    pub name: String,
    /// What it is.
    pub what: Offered,
    /// Its weight where a request gives none; other weights are multiplied with it.
    pub weight: f32,
    /// What it was customized for, where known.
    pub scope: Option<Scope>,
}

/// What answers under a name.
#[derive(Clone, Debug)]
pub enum Offered {
    /// An adapter, which can be weighed and summed with others.
    Adapter(Lora),
    /// Examples that stand in the prompt, alone.
    Demonstrations(Vec<Demonstration>),
}

impl OfferedAdapter {
    /// Its adapter, if it is one.
    fn lora(&self) -> Option<&Lora> {
        match &self.what {
            Offered::Adapter(lora) => Some(lora),
            Offered::Demonstrations(_) => None,
        }
    }
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
    /// Tokens of the device's answer after which it is decided; all of them when `None`.
    pub after: Option<usize>,
}

/// A server that so many may ask at once.
struct SharedRemote {
    remote: Remote,
    places: Semaphore,
}

impl Server for SharedRemote {
    fn ask(
        &self,
        question: &Question,
        hear: &mut dyn FnMut(ServerEvent) -> ControlFlow<()>,
    ) -> Result<RemoteAnswer, AnswerError> {
        let Ok(_place) = self.places.try_acquire() else { return Err(AnswerError::ServerBusy) };
        Ok(self.remote.ask(question, hear)?)
    }

    fn is_readable_by_others(&self) -> bool {
        self.remote.endpoint().is_readable_by_others()
    }
}

/// The offers, ready to be used.
pub(crate) struct Registry {
    /// What requests are answered through that name nothing, and what it was made for.
    common: (Option<Arc<dyn Adapter>>, Vec<Scope>),
    demonstrations: Vec<Demonstration>,
    adapters: Vec<OfferedAdapter>,
    /// Those of them that are adapters, held once for any weighting.
    stack: Option<Arc<Stack>>,
    pub(crate) pools: Vec<OfferedPool>,
    bigger: Option<(Bigger, Arc<dyn Server>)>,
    /// What is known of the model's confidence.
    pub(crate) calibrated: Calibrated,
}

/// A pool, ready to be used.
pub(crate) struct OfferedPool {
    pub(crate) name: String,
    pub(crate) pool: Pool,
    pub(crate) stack: Arc<Stack>,
    pub(crate) catalogue: Catalogue,
    /// The file of its keys, as devices get it.
    pub(crate) keys: Vec<u8>,
    /// SHA-256 of that file.
    pub(crate) digest: String,
}

impl Registry {
    /// Makes `offers` ready; so many may ask the bigger model at once. The engine's own adapter moves here, because every
    /// request is answered with it or without.
    pub(crate) fn new(offers: Offers, engine: &mut Engine, asking: usize) -> Result<Registry, ServeError> {
        let adapter = engine.adapter().cloned();
        engine.set_adapter(None);
        let Offers { adapters, pools, bigger, calibrated, common, demonstrations } = offers;
        let loras: Vec<&Lora> = adapters.iter().filter_map(OfferedAdapter::lora).collect();
        let stack = match loras.is_empty() {
            true => None,
            false => Some(Arc::new(Stack::new(&loras, engine.spec(), engine.threads())?)),
        };
        let pools = pools.into_iter().map(|(name, pool)| {
            let stack = Arc::new(pool.stack(engine.spec(), engine.threads())?);
            let catalogue = pool.catalogue();
            let keys = catalogue.to_bytes()?;
            let digest = crayon_hybrid::digest(&keys);
            Ok(OfferedPool { name, pool, stack, catalogue, keys, digest })
        });
        let bigger = bigger.map(|bigger| {
            let shared = SharedRemote { remote: bigger.remote.clone(), places: Semaphore::new(asking) };
            (bigger, Arc::new(shared) as Arc<dyn Server>)
        });
        Ok(Registry {
            common: (adapter, common),
            demonstrations,
            adapters,
            stack,
            pools: pools.collect::<Result<_, ServeError>>()?,
            bigger,
            calibrated,
        })
    }

    /// What requests may name, adapters and examples for the prompt.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.adapters.iter().map(|adapter| adapter.name.as_str()).collect()
    }

    /// Bytes of the adapters, those of pools included.
    pub(crate) fn bytes(&self) -> usize {
        let pools = self.pools.iter().map(|pool| pool.stack.bytes());
        self.stack.iter().map(|stack| stack.bytes()).chain(pools).sum()
    }

    /// Whether a bigger model may be asked.
    pub(crate) fn has_bigger(&self) -> bool {
        self.bigger.is_some()
    }

    /// Who decides for a request that asks for `route`.
    pub(crate) fn routing(&self, route: Option<Route>) -> Result<Routing, HybridError> {
        match &self.bigger {
            None => {
                let router =
                    Router::new(route.unwrap_or_default(), false, false, None, Thresholds::default())?;
                Ok(Routing::new(router, None, None))
            }
            Some((bigger, server)) => {
                let route = route.unwrap_or(bigger.route);
                let router = Router::new(route, true, false, None, bigger.thresholds)?;
                Ok(Routing::new(router, Some(server.clone()), bigger.after))
            }
        }
    }

    /// The pool called `name`; the only one where none is named.
    pub(crate) fn pool(&self, name: Option<&str>) -> Result<&OfferedPool, Refusal> {
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

    /// What a request answers through that names nothing.
    pub(crate) fn common(&self) -> Customization {
        let (adapter, scopes) = &self.common;
        if !self.demonstrations.is_empty() {
            return Customization::of_demonstrations(self.demonstrations.clone(), scopes.first().cloned());
        }
        Customization::of_adapters(Vec::new(), scopes.clone(), adapter.clone())
    }

    /// What a request answers through: offered adapters by name, each with its weight.
    pub(crate) fn adapters(&self, wanted: &[(String, f32)]) -> Result<Customization, Refusal> {
        let mut weights = vec![0.0; self.adapters.len()];
        let (mut scopes, mut shown) = (Vec::new(), None);
        for (name, weight) in wanted {
            let Some(at) = self.adapters.iter().position(|adapter| adapter.name == *name) else {
                let names = self.adapters.iter().map(|adapter| adapter.name.as_str());
                let refusal = Refusal::unknown("adapter", format!("no adapter {name:?} here"), names);
                return Err(refusal.code("adapter_not_found"));
            };
            weights[at] += weight * self.adapters[at].weight;
            scopes.extend(self.adapters[at].scope.clone());
            if let Offered::Demonstrations(demonstrations) = &self.adapters[at].what {
                shown = Some((at, demonstrations));
            }
        }
        if let Some((at, demonstrations)) = shown {
            if wanted.len() > 1 || weights[at] != 1.0 {
                let message = format!(
                    "{:?} is examples for the prompt, which are not part of a sum",
                    self.adapters[at].name
                );
                return Err(Refusal::invalid(message).at("adapter"));
            }
            return Ok(Customization::of_demonstrations(demonstrations.clone(), scopes.pop()));
        }
        let mut kinds = self.adapters.iter();
        weights.retain(|_| kinds.next().is_some_and(|adapter| adapter.lora().is_some()));
        let weighted = match &self.stack {
            Some(stack) => stack.weigh(&weights).map_err(|error| Refusal::invalid(error.to_string()))?,
            None => return Err(Refusal::invalid("no adapter is offered here").at("adapter")),
        };
        Ok(Customization::of_adapters(wanted.to_vec(), scopes, Some(Arc::new(weighted))))
    }
}

impl OfferedPool {
    /// What its adapters are called.
    pub(crate) fn names(&self) -> Vec<String> {
        self.pool.members.iter().map(|member| member.name.clone()).collect()
    }

    /// One adapter for these scores, in one piece.
    pub(crate) fn blend(
        &self,
        engine: &Engine,
        scores: &[f32],
        form: Form,
        temperature: Option<f32>,
    ) -> Result<Vec<u8>, Refusal> {
        let temperature = temperature.unwrap_or(self.pool.temperature);
        let made = self.pool.blend(scores, temperature, form, engine.threads());
        let bytes = made.and_then(|blended| peft::to_bytes(&blended.lora, engine.spec()));
        bytes.map_err(|error| Refusal::invalid(error.to_string()))
    }
}

/// Whether `name` can stand in addresses and objects.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

/// Names that stand in addresses and objects: letters, digits, `-`, `_`, `.`, each once.
fn distinct<'a>(what: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), ServeError> {
    let mut seen = Vec::new();
    for name in names {
        let problem = match name {
            name if !is_name(name) => "is not a name",
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
            assert!(check(&[wrong]).unwrap_err().contains("is not a name"), "{wrong}");
        }
    }
}
